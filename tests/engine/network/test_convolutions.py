"""Methods for convolutions: measured once, recorded, and equal up to rounding."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from engine_helpers import quick_settings

from napari_nst import RunRecord, StyleTransfer, stylize
from napari_nst.engine.network import convolutions, weights
from napari_nst.engine.network.convolutions import FastConvolutions, fastest_method
from napari_nst.engine.network.nnpack import NnpackConvolution, is_nnpack_available
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.engine.network.winograd import WinogradConvolution
from napari_nst.engine.run import transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

METHODS = [
    pytest.param(
        "nnpack", marks=pytest.mark.skipif(not is_nnpack_available(), reason="torch has no NNPACK")
    ),
    "winograd",
]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "cache"))
    convolutions._fastest.cache_clear()
    yield tmp_path / "cache"
    convolutions._fastest.cache_clear()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let measurements say "winograd"; return a list with an item for each."""
    calls: list[str] = []

    def measure() -> str:
        calls.append("measured")
        return "winograd"

    monkeypatch.setattr(convolutions, "_measure", measure)
    return calls


@pytest.fixture
def make_fastest(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes a method the fastest."""
    return lambda method: monkeypatch.setattr(transfer, "fastest_method", lambda name: method)


def test_the_fastest_method_is_measured_once_and_cached(
    measured: list[str], empty_cache: Path
) -> None:
    assert [fastest_method("abacus") for _ in range(2)] == ["winograd"] * 2
    assert len(measured) == 1
    assert list(json.loads((empty_cache / "convolutions.json").read_text()).values()) == [
        "winograd"
    ]
    convolutions._fastest.cache_clear()  # as in another process
    assert fastest_method("abacus") == "winograd"
    assert len(measured) == 1
    assert fastest_method("another") == "winograd"
    assert len(measured) == 2


def test_a_damaged_cache_is_measured_again(measured: list[str], empty_cache: Path) -> None:
    fastest_method("abacus")
    file = empty_cache / "convolutions.json"
    (machine,) = json.loads(file.read_text())
    damaged = ("[", '{"x": 3}', json.dumps({machine: [1]}), json.dumps({machine: "magic"}))
    for text in damaged:
        file.write_text(text)
        convolutions._fastest.cache_clear()
        assert fastest_method("abacus") == "winograd"
    assert len(measured) == 1 + len(damaged)


def test_a_cache_that_cannot_be_written_is_no_error(measured: list[str], empty_cache: Path) -> None:
    empty_cache.write_text("not a folder")
    assert fastest_method("abacus") == "winograd"


@pytest.mark.parametrize(
    ("direct", "winograd", "expected"), [(2.0, 1.0, "winograd"), (1.0, 2.0, "direct"),
                                         (1.01, 1.0, "direct")]
)  # fmt: skip
def test_a_measurement_chooses_the_clearly_fastest_method(
    monkeypatch: pytest.MonkeyPatch, direct: float, winograd: float, expected: str
) -> None:
    monkeypatch.setattr(convolutions, "is_nnpack_available", lambda: False)
    seconds = {"direct": direct, "winograd": winograd}
    monkeypatch.setattr(convolutions._Runs, "seconds", lambda self, method: seconds[method])
    assert convolutions._measure() == expected


@pytest.mark.parametrize("factor", [1.001, np.nan])
def test_a_method_with_wrong_results_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    monkeypatch.setattr(convolutions, "is_nnpack_available", lambda: False)
    seconds = {"direct": 2.0, "winograd": 1.0}
    monkeypatch.setattr(convolutions._Runs, "seconds", lambda self, method: seconds[method])
    right = WinogradConvolution.gradient
    monkeypatch.setattr(
        WinogradConvolution, "gradient", lambda self, gradient: right(self, gradient) * factor
    )
    assert convolutions._measure() == "direct"


def test_a_measurement_on_this_machine_chooses_a_method() -> None:
    assert convolutions._measure() in {"direct", "nnpack", "winograd"}


@pytest.mark.parametrize(
    ("method", "channels", "size", "expected"),
    [
        ("nnpack", (128, 256), (48, 48), NnpackConvolution),
        ("nnpack", (64, 128), (512, 512), None),
        ("nnpack", (256, 512), (47, 48), WinogradConvolution),
        ("nnpack", (512, 512), (16, 15), None),
        ("winograd", (128, 128), (100, 100), None),
        ("winograd", (512, 256), (16, 16), WinogradConvolution),
    ],
)
def test_each_method_is_used_for_suitable_sizes(
    monkeypatch: pytest.MonkeyPatch,
    method: Any,
    channels: tuple[int, int],
    size: tuple[int, int],
    expected: type | None,
) -> None:
    monkeypatch.setattr(convolutions, "is_nnpack_available", lambda: True)
    fast = FastConvolutions(method)
    weight, image = torch.zeros(*channels, 3, 3), torch.zeros(1, channels[1], *size)
    found = fast.convolution("conv", weight, image)
    assert (found is None) if expected is None else isinstance(found, expected)
    assert fast.convolution("conv", weight, image) is found
    fast.clear()
    assert found is None or fast.convolution("conv", weight, image) is not found


def test_winograd_replaces_nnpack_if_torch_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "is_nnpack_available", lambda: False)
    weight, image = torch.zeros(256, 256, 3, 3), torch.zeros(1, 256, 50, 50)
    found = FastConvolutions("nnpack").convolution("conv", weight, image)
    assert isinstance(found, WinogradConvolution)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize(("size", "padding"), [((128, 128), "zero"), ((150, 166), "replicate")])
def test_features_and_gradients_are_those_of_direct_convolutions(
    method: Any, pooling: Any, size: tuple[int, int], padding: Any
) -> None:
    tensors = weights.load("vgg16").tensors
    layers = ("relu1_2", "relu2_2", "relu3_2")
    fast = FastConvolutions(method)
    networks = [
        FeatureExtractor(
            "vgg16", tensors, layers, padding=padding, pooling=pooling, fast_convolutions=each
        )
        for each in (None, fast)
    ]
    image = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0))

    def add(layer: str, features: Tensor, gradient: Tensor) -> None:
        gradient.add_(features)

    direct, found = (network(image) for network in networks)
    for layer, features in direct.items():
        assert (found[layer] - features).norm() < 1e-5 * features.norm()
    gradients = [network.record_tape(image).gradient(add) for network in networks]
    # Rounding can change the sign of a ReLU's input or the maximum of a pooling window, which
    # changes the gradient of a few pixels by more.
    difference = (gradients[0] - gradients[1]).abs().flatten()
    assert 0 < difference.quantile(0.9) < 1e-5 * gradients[0].abs().max()
    assert difference.norm() < 0.01 * gradients[0].norm()


@pytest.mark.parametrize("method", METHODS)
def test_a_replay_uses_the_recorded_method(
    method: str, make_fastest: Callable[[str], None]
) -> None:
    content, style = np.random.default_rng(0).random((2, 136, 144, 3), np.float32)
    settings = quick_settings(
        scales=2,
        iterations=4,
        device="cpu",
        precision="float32",
        content_layers=("relu3_2",),
        style_layers=("relu2_1", "relu3_2"),
    )
    results = {}
    for fastest in (method, "direct"):
        make_fastest(fastest)
        results[fastest] = stylize(content, style, settings)
    record = RunRecord.model_validate_json(results[method].record.to_json())
    assert record.resolved.convolutions == method
    assert results["direct"].record.resolved.convolutions == "direct"
    again = stylize(content, style, record=record)  # while "direct" is the fastest
    assert again.image.tobytes() == results[method].image.tobytes()
    assert again.image.tobytes() != results["direct"].image.tobytes()
    assert again.record.resolved == record.resolved


def test_a_saved_run_continues_with_its_method(
    make_fastest: Callable[[str], None], tmp_path: Path
) -> None:
    make_fastest("winograd")
    content, style = np.random.default_rng(0).random((2, 40, 48, 3), np.float32)
    run = StyleTransfer(content, style, quick_settings(device="cpu", precision="float32"))
    next(run)
    run.save(tmp_path / "run")
    make_fastest("direct")
    assert StyleTransfer.load(tmp_path / "run").record.resolved.convolutions == "winograd"


@pytest.mark.parametrize("choices", [{"precision": "bfloat16"}, {"precision": "float32"}])
def test_only_float32_has_fast_convolutions(
    choices: dict[str, Any], make_fastest: Callable[[str], None]
) -> None:
    make_fastest("winograd")
    content, style = np.random.default_rng(0).random((2, 40, 48, 3), np.float32)
    run = StyleTransfer(content, style, quick_settings(device="cpu", **choices))
    expected = "winograd" if choices["precision"] == "float32" else "direct"
    assert run.record.resolved.convolutions == expected
