"""Which shapes Winograd's convolution is chosen for, and that a record keeps the choice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_nst import RunRecord, StyleTransfer, StyleTransferSettings, stylize
from napari_nst.engine.network import convolutions, weights
from napari_nst.engine.network.convolutions import WinogradChoice
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.engine.network.winograd import WinogradConvolution

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAYERS = ("relu1_2", "relu2_2", "relu3_1")
SHAPES = ("64x64@64", "64x64@32", "64x128@32", "128x64@32", "128x128@32")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "cache"))
    known = convolutions._is_known_faster
    known.cache_clear()
    yield tmp_path / "cache"
    known.cache_clear()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Answer measurements: faster with 64 channels in; return what was measured."""
    calls: list[tuple[int, int, int]] = []

    def is_faster(in_channels: int, out_channels: int, side: int) -> bool:
        calls.append((in_channels, out_channels, side))
        return in_channels == 64

    monkeypatch.setattr(convolutions, "_is_faster", is_faster)
    return calls


def test_each_shape_is_measured_once_and_kept_in_the_cache(
    measured: list[tuple[int, int, int]], empty_cache: Path
) -> None:
    choice = WinogradChoice("abacus")
    for _ in range(2):
        assert choice.includes(64, 128, 70, 64)
        assert choice.includes(64, 128, 200, 20)  # as many pixels as 63 x 63
        assert not choice.includes(128, 64, 500, 500)
    assert measured == [(64, 128, 64), (64, 128, 32), (128, 64, 128)]
    assert choice.used == {"64x128@64", "64x128@32"}
    (kept,) = json.loads((empty_cache / "convolutions.json").read_text()).values()
    assert kept == {"64x128@64": True, "64x128@32": True, "128x64@128": False}
    convolutions._is_known_faster.cache_clear()  # as in another process
    assert WinogradChoice("abacus").includes(64, 128, 64, 64)
    assert len(measured) == 3
    assert WinogradChoice("another").includes(64, 128, 64, 64)
    assert len(measured) == 4


def test_small_images_are_not_measured(measured: list[tuple[int, int, int]]) -> None:
    assert not WinogradChoice("abacus").includes(64, 64, 31, 32)
    assert measured == []


def test_a_damaged_cache_is_measured_again(
    measured: list[tuple[int, int, int]], empty_cache: Path
) -> None:
    empty_cache.mkdir()
    for text in ("[", '{"x": 3}', json.dumps({WinogradChoice("abacus")._machine: [1]})):
        (empty_cache / "convolutions.json").write_text(text)
        convolutions._is_known_faster.cache_clear()
        assert WinogradChoice("abacus").includes(64, 64, 64, 64)
    assert len(measured) == 3


def test_a_cache_that_cannot_be_written_is_no_error(
    measured: list[tuple[int, int, int]], empty_cache: Path
) -> None:
    empty_cache.write_text("not a folder")
    assert WinogradChoice("abacus").includes(64, 64, 64, 64)


def test_fixed_shapes_are_not_measured(measured: list[tuple[int, int, int]]) -> None:
    choice = WinogradChoice("abacus", ["128x64@32"])
    assert choice.includes(128, 64, 40, 40)
    assert not choice.includes(64, 128, 40, 40)
    assert measured == []


def test_a_measurement_answers_and_does_not_trust_wrong_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter([1.0, 2.0] * 3 + [2.0, 1.0] * 3)
    monkeypatch.setattr(convolutions, "_seconds", lambda function: next(seconds))
    assert convolutions._is_faster(8, 16, 32)
    assert not convolutions._is_faster(8, 16, 32)
    monkeypatch.setattr(convolutions, "_seconds", lambda function: pytest.fail("measured"))
    right = WinogradConvolution.gradient
    monkeypatch.setattr(WinogradConvolution, "gradient", lambda self, g: right(self, g) * 1.001)
    assert not convolutions._is_faster(8, 16, 32)
    monkeypatch.setattr(WinogradConvolution, "gradient", lambda self, g: right(self, g) * np.nan)
    assert not convolutions._is_faster(8, 16, 32)


@pytest.mark.parametrize("size", [(64, 64), (75, 83)])
@pytest.mark.parametrize("padding", ["zero", "replicate"])
def test_features_and_gradients_are_those_of_direct_convolutions(
    size: tuple[int, int], padding: Any
) -> None:
    tensors = weights.load("vgg16").tensors
    choice = WinogradChoice("abacus", ["3x64@64", *SHAPES])
    direct = FeatureExtractor("vgg16", tensors, LAYERS, padding=padding)
    winograd = FeatureExtractor("vgg16", tensors, LAYERS, padding=padding, winograd=choice)
    image = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0))

    def add(layer: str, features: torch.Tensor, gradient: torch.Tensor) -> None:
        gradient.add_(features)

    found = winograd(image)
    for layer, features in direct(image).items():
        assert (found[layer] - features).norm() < 1e-5 * features.norm()
    gradients = [each.record_tape(image).gradient(add) for each in (direct, winograd)]
    assert ("3x64@64" in choice.used) == (padding == "zero")
    assert choice.used >= set(SHAPES[:1])
    # A ReLU whose input is rounded to the other side of 0 passes its gradient or not.
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[0].norm()


def test_a_replay_computes_the_recorded_shapes_by_winograd(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(0)
    content, style = generator.random((2, 72, 80, 3), np.float32)
    settings = StyleTransferSettings(
        size=None, scales=2, iterations=6, device="cpu", precision="float32"
    )
    results = {}
    for faster in (True, False):
        monkeypatch.setattr(convolutions, "_is_known_faster", lambda *_, answer=faster: answer)
        results[faster] = stylize(content, style, settings)
    record = RunRecord.model_validate_json(results[True].record.to_json())
    assert "64x64@64" in record.resolved.winograd_shapes
    assert results[False].record.resolved.winograd_shapes == ()
    again = stylize(content, style, record=record)  # where direct convolutions are faster
    assert again.image.tobytes() == results[True].image.tobytes()
    assert again.image.tobytes() != results[False].image.tobytes()
    assert again.record.resolved == record.resolved


def test_a_saved_run_remembers_the_shapes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(convolutions, "_is_known_faster", lambda *_: True)
    generator = np.random.default_rng(0)
    content, style = generator.random((2, 72, 80, 3), np.float32)
    settings = StyleTransferSettings(size=None, iterations=4, device="cpu", precision="float32")
    run = StyleTransfer(content, style, settings)
    next(run)
    run.save(tmp_path / "run")
    loaded = StyleTransfer.load(tmp_path / "run")
    shapes = run.record.resolved.winograd_shapes
    assert shapes and loaded.record.resolved.winograd_shapes == shapes
