"""Temporal loss: formula, tiles and weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from engine_helpers import run_to_end
from on_device import DEVICE

from napari_nst import StyleTransfer, StyleTransferSettings, stylize
from napari_nst.engine.images.reliability import TemporalTarget
from napari_nst.engine.losses.objective import Objective
from napari_nst.engine.losses.temporal import temporal_term
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_nst.engine.losses.values import Losses

    Maker = Callable[[int, int], NDArray[np.float32]]

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = StyleTransferSettings(
    content_layers=("relu2_1",), style_layers=("relu1_1", "relu2_1"), temporal_weight=3
)


def random(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(DEVICE)


def evaluate(
    settings: StyleTransferSettings, target: TemporalTarget | None, tile: int | None = None
) -> tuple[Losses, Tensor]:
    content, image = random(1, 1, 3, 90, 80), random(2, 1, 3, 90, 80)
    objective = Objective(content, [random(3, 1, 3, 30, 40)], settings, temporal=target, tile=tile)
    return objective.loss_and_gradient(image, tile)


@pytest.fixture
def target() -> TemporalTarget:
    return TemporalTarget(random(4, 1, 3, 90, 80), random(5, 1, 90, 80))


def test_the_term_is_the_weighted_sum_of_squared_differences() -> None:
    image, before, weights = random(1, 1, 3, 5, 4), random(2, 1, 3, 5, 4), random(3, 1, 5, 4)
    term = temporal_term(image, TemporalTarget(before, weights))
    difference = image.cpu().numpy() - before.cpu().numpy()
    c = weights.cpu().numpy()
    assert float(term.value) == pytest.approx((c * difference**2).sum(), rel=1e-12)
    np.testing.assert_allclose(term.gradient.cpu().numpy(), 2 * c * difference, rtol=1e-12)


def test_the_total_has_the_mean_over_all_values_times_its_weight(target: TemporalTarget) -> None:
    plain, plain_gradient = evaluate(SETTINGS, None)
    found, gradient = evaluate(SETTINGS, target)
    difference = random(2, 1, 3, 90, 80) - target.image
    expected = 3 * (target.reliability * difference.square()).mean()
    assert plain.temporal == 0
    assert found.temporal == pytest.approx(float(expected), rel=1e-12)
    assert found.total == pytest.approx(plain.total + found.temporal, rel=1e-12)
    added = 3 * 2 * target.reliability * difference / difference.numel()
    torch.testing.assert_close(gradient - plain_gradient, added, rtol=0, atol=1e-12)


def test_tiles_do_not_change_it(target: TemporalTarget) -> None:
    (whole, of_whole), (tiled, of_tiles) = (evaluate(SETTINGS, target, tile) for tile in (None, 64))
    assert tiled.temporal == whole.temporal
    scale = of_whole.abs().max()
    torch.testing.assert_close(of_tiles / scale, of_whole / scale, rtol=0, atol=1e-10)


def test_a_weight_of_zero_removes_it(target: TemporalTarget) -> None:
    (without, of_without), (zero, of_zero) = (
        evaluate(SETTINGS.replace(temporal_weight=0), each) for each in (None, target)
    )
    assert zero.total == without.total
    assert torch.equal(of_zero, of_without)


def test_a_reliable_initial_image_is_kept_the_more_the_larger_the_weight(
    photo: Maker, style: NDArray[np.float32]
) -> None:
    content, start = photo(40, 48), photo(40, 48)[:, ::-1].copy()
    reliable = np.zeros((40, 48), bool)
    reliable[:, :24] = True
    distances = []
    for weight in (0, 10, 1000):
        settings = SETTINGS.replace(
            temporal_weight=weight, init="image", iterations=20, scales=1, size=None, device=DEVICE
        )
        run = StyleTransfer(content, style, settings, init_image=start, init_reliability=reliable)
        squares = np.square(run_to_end(run).image - start)
        distances.append((squares[:, :20].mean(), squares[:, 28:].mean()))
    held, free = zip(*distances, strict=True)
    assert held[0] > 2 * held[1] > 4 * held[2]
    assert free[2] > 0.5 * free[0]


def test_a_run_with_a_temporal_loss_is_replayed_to_the_same_bytes(
    photo: Maker, style: NDArray[np.float32]
) -> None:
    content = photo(40, 48)
    settings = SETTINGS.replace(init="image", iterations=4, scales=1, size=None, device=DEVICE)
    reliability = np.linspace(0, 1, 1920).reshape(40, 48)
    inputs = {"init_image": 1 - content, "init_reliability": reliability}
    run = StyleTransfer(content, style, settings, **inputs)
    for snapshot in run:
        if snapshot.iteration == 2:
            run.steer(temporal_weight=50)
    first = run.result()
    assert first.record.losses["temporal"] == run.history[-1].temporal > 0
    again = stylize(content, style, record=first.record, **inputs)
    assert again.image.tobytes() == first.image.tobytes()
    with pytest.raises(InputError, match="with init_reliability, which is missing"):
        stylize(content, style, record=first.record, init_image=inputs["init_image"])
