from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from napari_nst.engine.resources import precision
from napari_nst.engine.resources.device import Device
from napari_nst.errors import InputError
from napari_nst.settings import StyleTransferSettings


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_the_requested_precision_is_that_of_the_convolutions(name: str, dtype: torch.dtype) -> None:
    found = Device.from_name("cpu", name)
    assert (found.torch_device, found.dtype, found.precision) == (torch.device("cpu"), dtype, name)
    assert found.name


@pytest.mark.parametrize(
    ("capability", "allowed", "dtype", "expected"),
    [
        ((9, 0), True, torch.float32, "tf32"),
        ((8, 0), True, torch.float32, "tf32"),
        ((7, 5), True, torch.float32, "float32"),
        ((9, 0), False, torch.float32, "float32"),
        ((9, 0), True, torch.bfloat16, "bfloat16"),
    ],
)
def test_tf32_is_named_as_the_precision(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    allowed: bool,
    dtype: torch.dtype,
    expected: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: capability)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    assert Device(torch.device("cuda:0"), dtype).precision == expected


def test_automatic_is_the_cpu_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert Device.from_name("auto").torch_device == torch.device("cpu")


@pytest.mark.parametrize(("device", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_missing_cuda_device_raises(
    monkeypatch: pytest.MonkeyPatch, device: str, count: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(InputError) as caught:
        Device.from_name(device)
    message = str(caught.value)
    assert message.startswith(f"device is {device!r}, but torch {torch.__version__} sees {count} ")
    assert "'cpu'" in message and "\n" not in message


def test_a_missing_apple_gpu_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"^device is 'mps', but there is none here; choose"):
        Device.from_name("mps")


def test_free_memory_is_that_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=12345))
    assert Device.from_name("cpu").free_bytes == 12345


@pytest.mark.parametrize("faster", [True, False])
def test_automatic_precision_is_the_faster_one_that_the_loss_tolerates(
    monkeypatch: pytest.MonkeyPatch, faster: bool
) -> None:
    monkeypatch.setattr(precision, "bfloat16_is_faster", lambda device, name: faster)

    def chosen(**choices: Any) -> torch.dtype:
        return Device.from_settings(StyleTransferSettings(device="cpu", **choices)).dtype

    quick = torch.bfloat16 if faster else torch.float32
    assert chosen() == chosen(style_loss="gram+moments") == quick
    assert chosen(style_loss="wasserstein") == chosen(optimizer="lbfgs") == torch.float32
    assert chosen(precision="bfloat16", style_loss="wasserstein") == torch.bfloat16
    assert chosen(precision="float32") == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_cuda_device_has_a_name_and_memory() -> None:
    found = Device.from_name("auto")
    assert found.torch_device.type == "cuda"
    assert found.name == torch.cuda.get_device_name(0)
    assert 0 < found.free_bytes <= torch.cuda.get_device_properties(0).total_memory
