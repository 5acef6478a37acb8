"""Whole runs on a simulated GPU: no tensors on mixed devices, no needless synchronisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from simulated_gpu import simulated_gpu

from napari_nst.engine.optim.content_factor import MEASURE_EVERY
from napari_nst.engine.run import checkpoint
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulated_gpu import SimulatedGpu

RNG = np.random.default_rng(0)
CONTENT = RNG.random((64, 96, 3), dtype=np.float32)
STYLE = RNG.random((70, 64, 3), dtype=np.float32)
LABELS = np.repeat(np.arange(4), 16)[:, None] * np.ones(96, int)
ON_GPU: dict[str, Any] = {
    "device": "cuda",
    "precision": "float32",
    "size": 96,
    "iterations": 8,
    "scales": 2,
    "content_layers": ("relu2_2",),
    "style_layers": ("relu1_1", "relu3_1"),
}
DEFAULT_LAYERS = {
    name: getattr(StyleTransferSettings(), name) for name in ("content_layers", "style_layers")
}

CHOICES: dict[str, dict[str, Any]] = {
    "default": DEFAULT_LAYERS,
    "bfloat16": {"precision": "bfloat16"},
    "as in the paper": {"normalize_gradients": False, "pooling": "average"},
    "gram+moments": {"style_loss": "gram+moments"},
    "wasserstein": {"style_loss": "wasserstein"},
    "lbfgs": {"optimizer": "lbfgs"},
    "palette": {"color": "palette"},
    "luminance": {"color": "luminance"},
    "match": {"color": "match"},
    "noise": {"init": "noise"},
    "tiles": {"tile": 64},
}


@pytest.fixture(params=[True, False], ids=["float64", "without float64"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedGpu]:
    with simulated_gpu(monkeypatch, float64=request.param) as simulated:
        yield simulated


def test_the_simulated_gpu_raises_where_a_real_one_would(gpu: SimulatedGpu) -> None:
    tensor = torch.ones(2, device="cuda")
    with pytest.raises(RuntimeError, match=r"device"):
        tensor + torch.ones(2)
    assert (tensor + tensor).device.type == "cuda"
    gpu.restart()
    assert float(tensor.sum()) == 1  # tensors have no values
    assert gpu.waits["__float__"] == 1 and gpu.kernels["sum"] == 1
    if not gpu.float64:
        with pytest.raises(NotImplementedError, match="float64"):
            tensor.double()


def synchronisations(gpu: SimulatedGpu) -> int:
    return sum(gpu.waits.values())


def check_synchronisations(run: StyleTransfer, gpu: SimulatedGpu) -> None:
    """Run to the end, and fail if an iteration waits for the GPU, but at the start of a scale."""
    scale = 0
    for snapshot in run:
        if snapshot.scale == scale:
            assert synchronisations(gpu) == 0, gpu.waits
        scale = snapshot.scale
        gpu.restart()
    assert scale == 2


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_runs_without_synchronising(name: str, gpu: SimulatedGpu) -> None:
    settings = StyleTransferSettings(**{**ON_GPU, **CHOICES[name]})
    run = StyleTransfer(CONTENT, STYLE, settings)
    scale = 0
    for snapshot in run:
        if snapshot.scale == scale and name != "lbfgs":  # which compares losses and slopes
            # Without float64, matrices are decomposed on the CPU: one wait for each layer.
            expected = 2 if name == "wasserstein" and not gpu.float64 else 0
            assert synchronisations(gpu) == expected, gpu.waits
        scale = snapshot.scale
        gpu.restart()
    assert scale == 2
    assert run.result().image.shape == CONTENT.shape
    assert run.record.resolved.device == "cuda"


@pytest.mark.parametrize("color", ["style", "luminance"])
@pytest.mark.parametrize("tile", ["off", 64])
def test_a_temporal_loss_runs_without_synchronising(
    color: str, tile: int | str, gpu: SimulatedGpu
) -> None:
    settings = StyleTransferSettings(**{**ON_GPU, "init": "image", "color": color, "tile": tile})
    reliability = RNG.random((64, 96))
    run = StyleTransfer(
        CONTENT, STYLE, settings, init_image=1 - CONTENT, init_reliability=reliability
    )
    check_synchronisations(run, gpu)
    assert run.result().image.shape == CONTENT.shape


@pytest.mark.parametrize("guidance", ["all", "inside"])
@pytest.mark.parametrize("tile", ["off", 64])
def test_regions_synchronise_only_at_the_start_of_a_scale(
    guidance: str, tile: int | str, gpu: SimulatedGpu
) -> None:
    settings = StyleTransferSettings(**{**ON_GPU, "region_guidance": guidance, "tile": tile})
    run = StyleTransfer(CONTENT, STYLE, settings, content_labels=LABELS)
    check_synchronisations(run, gpu)


def test_a_run_can_be_steered(gpu: SimulatedGpu) -> None:
    settings = StyleTransferSettings(**{**ON_GPU, "scales": 1})
    run = StyleTransfer(CONTENT, [STYLE, STYLE[:50]], settings)
    next(run)
    run.steer(style_weight=20.0)
    next(run)
    run.steer(color="palette")
    assert next(run).image().shape == CONTENT.shape
    run.steer(color="luminance", style_weights=(1.0, 3.0))
    next(run)
    run.steer(content_labels=LABELS)
    next(run)
    run.steer(styles=[STYLE[:60]], style_weights=None)
    assert [snapshot.iteration for snapshot in run] == [6, 7, 8]


def test_a_run_can_be_saved(
    gpu: SimulatedGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, torch.Tensor] = {}

    def save_file(tensors: dict[str, torch.Tensor], path: Path, metadata: object) -> None:
        written.update(tensors)  # without values: safetensors cannot write them
        path.write_bytes(b"")

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    run = StyleTransfer(CONTENT, STYLE, StyleTransferSettings(**ON_GPU), content_labels=LABELS)
    next(run)
    run.steer(styles=[STYLE[:50]])
    run.save(tmp_path / "run.nst")
    assert {"image", "history", "optimizer.first"} <= set(written)
    assert {tensor.device.type for tensor in written.values()} == {"cpu"}
    assert next(run).iteration == 2


def test_an_iteration_with_default_settings_launches_few_kernels(gpu: SimulatedGpu) -> None:
    """At 5 microseconds each, 250 take as long as the convolutions of 512 pixels on a fast GPU.

    Iterations that measure the kept structure have more, and the others fewer.
    """
    run = StyleTransfer(CONTENT, STYLE, StyleTransferSettings(**{**ON_GPU, **DEFAULT_LAYERS}))
    kernels = []
    for _ in run:
        kernels.append(sum(gpu.kernels.values()))
        gpu.restart()
    first = run.scales[0].iterations  # the first evaluations of a scale compute its targets
    assert len(kernels) == first + 1 + MEASURE_EVERY
    assert np.mean(kernels[first + 1 : first + 1 + MEASURE_EVERY]) < 250, kernels
