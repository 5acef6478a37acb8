"""Scales that only add detail: strokes keep their place and size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_helpers import quick_settings as quick
from engine_helpers import run_to_end
from numpy.typing import NDArray

from napari_nst import StyleTransfer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Image = NDArray[np.float32]

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")

# Strokes are drawn at 384 pixels.
SHAPE, SIZES = (64, 768), [(32, 384), (64, 768)]


@pytest.fixture
def wide(photo: Callable[[int, int], Image]) -> Image:
    return photo(*SHAPE)


def make_run(content: Image, style: Image) -> StyleTransfer:
    return StyleTransfer(content, style, quick(scales=2, iterations=40))


def coarse(image: Image) -> Image:
    """Return what a sixteenth of the size shows, without the border, where strokes may move."""
    blocks = image.reshape(SHAPE[0] // 16, 16, SHAPE[1] // 16, 16, 3).mean(axis=(1, 3))
    return np.asarray(blocks[1:-1, 1:-1])


def pictures(run: StyleTransfer, **change: Any) -> tuple[Image, Image]:
    """Return the first picture of the scale for detail, where it is steered, and the last."""
    first = next(snapshot.image() for snapshot in run if snapshot.scale == 2)
    if change:
        run.steer(**change)
    return first, run_to_end(run).image


def test_scales_after_that_of_the_strokes_are_for_detail(wide: Image, style: Image) -> None:
    run = make_run(wide, style)
    assert [(scale.height, scale.width) for scale in run.scales] == SIZES
    assert [scale.role for scale in run.scales] == ["strokes", "detail"]
    run_to_end(run)
    assert [scale.role for scale in run.record.resolved.scales] == ["strokes", "detail"]


def test_strokes_stay_while_detail_is_added(wide: Image, style: Image) -> None:
    first, end = pictures(make_run(wide, style))
    detail = end - first
    assert np.abs(detail).mean() > 0.02
    assert np.abs(coarse(end) - coarse(first)).mean() < 0.1 * np.abs(detail).mean()


def test_a_change_while_detail_is_added_moves_strokes(wide: Image, style: Image) -> None:
    first, end = pictures(make_run(wide, style), styles=1 - style)
    assert np.abs(coarse(end) - coarse(first)).mean() > 0.03


def test_a_run_saved_while_detail_is_added_continues_to_the_same_bytes(
    wide: Image, style: Image, tmp_path: Path
) -> None:
    run = make_run(wide, style)
    for snapshot in run:
        if snapshot.scale == 2 and not (tmp_path / "run").exists():
            run.save(tmp_path / "run")
    continued = run_to_end(StyleTransfer.load(tmp_path / "run"))
    assert continued.image.tobytes() == run.result().image.tobytes()
