"""Runs that keep the content's structure: measured, controlled, recorded, continued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_helpers import quick_settings, run_to_end, steer_after

from napari_nst import StyleTransfer, stylize
from napari_nst.engine.optim.content_factor import MEASURE_EVERY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Image = NDArray[np.float32]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def content(photo: Callable[[int, int], Image]) -> Image:
    return photo(64, 48)


@pytest.fixture(scope="module")
def style(stripes: Callable[[int, int], Image]) -> Image:
    return stripes(64, 48)


def run(content: Image, style: Image, **choices: Any) -> StyleTransfer:
    defaults = {"iterations": 24, "content_weight": 1e-3, "style_weight": 0.01}
    found = StyleTransfer(content, style, quick_settings(**{**defaults, **choices}))
    run_to_end(found)
    return found


def kept(found: StyleTransfer) -> list[float]:
    return [losses.kept_structure for losses in found.history]


def test_it_is_measured_every_few_iterations_from_the_content_on(
    content: Image, style: Image
) -> None:
    found = kept(run(content, style))
    assert found[0] == pytest.approx(1, abs=1e-4)  # the initial image is the content
    measured = [index for index, value in enumerate(found) if np.isfinite(value)]
    assert measured == list(range(0, 24, MEASURE_EVERY))


def test_more_is_kept_where_more_is_asked_for(content: Image, style: Image) -> None:
    last = [
        run(content, style, kept_structure=share, iterations=60).history[56]
        for share in (0.05, 0.6, 0.95)
    ]
    structures = [losses.kept_structure for losses in last]
    assert structures[0] < structures[1] - 0.02 and structures[1] < structures[2] - 0.02
    assert last[0].content_factor == pytest.approx(1)
    assert last[2].content_factor > 2


def test_the_content_loss_counts_with_the_factor(content: Image, style: Image) -> None:
    found = run(content, style, kept_structure=0.95)
    factors = [losses.content_factor for losses in found.history]
    assert len({round(factor, 3) for factor in factors}) > 2
    for losses in found.history:
        (layer,) = losses.content_layers.values()
        assert losses.content == pytest.approx(losses.content_factor * 1e-3 * layer)


@pytest.mark.parametrize(
    "choices",
    [{"kept_structure": 0}, {"optimizer": "lbfgs"}, {"content_weight": 0}, {"content_layers": ()}],
)
def test_otherwise_the_factor_is_constant(
    choices: dict[str, Any], content: Image, style: Image
) -> None:
    found = run(content, style, scales=2, **choices)
    before_last = found.scales[0].iterations
    factors = [losses.content_factor for losses in found.history]
    assert factors == [3] * before_last + [1] * (24 - before_last)
    assert np.isnan(kept(found)).all()


def test_tiles_measure_the_same(content: Image, style: Image) -> None:
    large = np.tile(content, (3, 3, 1))
    whole, tiles = (
        kept(run(large, style, iterations=5, tile=tile, kept_structure=0.95, precision="float32"))
        for tile in ("off", 64)
    )
    np.testing.assert_allclose(whole, tiles, atol=1e-3)


def test_kept_and_hidden_pixels_do_not_count(content: Image, style: Image) -> None:
    labels = np.zeros(content.shape[:2], int)
    labels[32:] = 1
    settings = quick_settings(iterations=9, region_styles={0: 0, 1: None}, kept_structure=0.9)
    part = StyleTransfer(content, style, settings, content_labels=labels)
    run_to_end(part)
    whole = StyleTransfer(content, style, settings.replace(region_styles=None))
    run_to_end(whole)
    # Half of the pixels are the content's, and still no more structure counts as kept.
    assert kept(part)[8] < 0.5 * (1 + kept(whole)[8])

    hidden = content.copy()
    hidden[32:] = np.nan
    alone, masked = (
        kept(run(image, style, nan="keep", iterations=5, kept_structure=0.9))
        for image in (content[:32], hidden)
    )
    assert masked[0] == pytest.approx(1, abs=1e-4)
    assert masked[4] == pytest.approx(alone[4], abs=0.1)


def test_it_can_change_during_a_run_and_a_replay_has_the_same_bytes(
    content: Image, style: Image
) -> None:
    steered = StyleTransfer(content, style, quick_settings(iterations=24, kept_structure=0))
    steer_after(steered, 4, kept_structure=0.95)
    run_to_end(steered)
    factors = [losses.content_factor for losses in steered.history]
    assert set(factors[:4]) == {1} and max(factors[4:]) > 2
    record = steered.record
    replayed = StyleTransfer(content, style, record.settings, replay=record)
    np.testing.assert_array_equal(run_to_end(replayed).image, steered.result().image)


def test_a_saved_run_continues_with_its_factor(
    content: Image, style: Image, tmp_path: Path
) -> None:
    settings = quick_settings(iterations=24, kept_structure=0.95)
    whole = stylize(content, style, settings)
    first = StyleTransfer(content, style, settings)
    for _ in range(10):
        next(first)
    first.save(tmp_path / "run.nst")
    again = StyleTransfer.load(tmp_path / "run.nst")
    result = run_to_end(again)
    np.testing.assert_array_equal(result.image, whole.image)
    assert [losses.total for losses in result.history] == [losses.total for losses in whole.history]


def test_the_record_has_what_each_scale_kept(content: Image, style: Image) -> None:
    found = run(content, style, scales=2, kept_structure=0.95)
    first, last = found.record.resolved.scales
    measured = [value for value in kept(found) if np.isfinite(value)]
    assert last.kept_structure == measured[-1]
    assert last.content_factor == found.history[-1].content_factor
    assert first.content_factor == found.history[first.iterations - 1].content_factor >= 3
    off = run(content, style, kept_structure=0).record.resolved.scales[0]
    assert (off.kept_structure, off.content_factor) == (None, 1)
