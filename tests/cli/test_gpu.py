"""Messages about a GPU that torch cannot use."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_nst.cli import _gpu

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that this machine has two NVIDIA GPUs."""
    answer = SimpleNamespace(stdout="Card A\nCard B\n")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(_gpu.shutil, "which", lambda name: name)
    monkeypatch.setattr(_gpu.subprocess, "run", lambda *_, **__: answer)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def failing(message: str) -> Callable[[], None]:
    def init() -> None:
        raise RuntimeError(message)

    return init


def test_no_message_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(_gpu.shutil, "which", lambda name: None)
    monkeypatch.setattr(_gpu.Path, "exists", lambda path: False)
    assert _gpu.unused_gpu() is None


def test_torch_built_without_cuda_is_explained(
    nvidia: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    sentence = _gpu.unused_gpu() or ""
    assert sentence.startswith("This machine has an NVIDIA GPU (Card A, Card B), but t")
    assert "is built without CUDA: install torch again" in sentence


def test_error_of_the_driver_is_quoted(nvidia: None, monkeypatch: pytest.MonkeyPatch) -> None:
    error = "The driver is too old (found version 11040). Please update it. More."
    monkeypatch.setattr(torch.cuda, "init", failing(error))
    sentence = _gpu.unused_gpu() or ""
    assert "(The driver is too old (found version 11040)): update the NVIDIA driver" in sentence


def test_environment_variable_that_hides_the_gpu_is_named(
    nvidia: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "init", failing("No CUDA GPUs are available"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert (_gpu.unused_gpu() or "").endswith(
        "CUDA_VISIBLE_DEVICES= hides it: unset that variable."
    )


def test_gpu_is_guessed_if_the_driver_does_not_answer(
    nvidia: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise subprocess.CalledProcessError(9, "nvidia-smi")

    monkeypatch.setattr(_gpu.subprocess, "run", run)
    monkeypatch.setattr(torch.cuda, "init", failing("Found no NVIDIA driver on your system."))
    sentence = _gpu.unused_gpu() or ""
    assert sentence.startswith("This machine seems to have an NVIDIA GPU, but torch")


@pytest.mark.parametrize(
    ("compiled", "owned", "works"),
    [
        (["sm_80", "sm_90"], [(9, 0)], True),
        (["sm_80", "sm_90"], [(8, 9)], True),
        (["sm_80", "sm_90"], [(6, 1)], False),
        (["sm_80", "sm_90"], [(12, 0)], False),
        (["sm_80", "compute_90"], [(12, 0)], True),
        (["sm_86"], [(8, 0)], False),
        (["sm_90a", "sm_120"], [(6, 1), (12, 0)], True),
    ],
)
def test_torch_must_be_compiled_for_the_generation_of_the_gpu(
    nvidia: None,
    monkeypatch: pytest.MonkeyPatch,
    compiled: list[str],
    owned: list[tuple[int, int]],
    works: bool,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: compiled)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(owned))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: owned[index])
    sentence = _gpu.unused_gpu()
    assert (sentence is None) == works
    assert works or "and not for sm_" in (sentence or "")


@pytest.mark.parametrize(
    ("built", "available", "expected"),
    [(True, True, None), (True, False, "update macOS"), (False, False, "for arm64")],
)
def test_unavailable_metal_is_explained(
    monkeypatch: pytest.MonkeyPatch, built: bool, available: bool, expected: str | None
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: built)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: available)
    sentence = _gpu.unused_gpu()
    assert sentence is None if expected is None else expected in (sentence or "")
