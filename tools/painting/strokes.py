"""Paths of brush strokes, and the topmost stroke of each pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from painting.canvas import Floats

__all__ = ["TopStrokes", "paint_strokes"]

_STEP = 0.8  # pixels between samples of a stroke: below 1, so that there are no holes


class TopStrokes(NamedTuple):
    """The topmost stroke of each pixel.

    Attributes
    ----------
    stroke
        Index of the stroke; -1 where there is none.
    along
        Distance from the start of the stroke, in pixels.
    across
        Position across the stroke, from -1 to 1.
    """

    stroke: NDArray[np.int32]
    along: Floats
    across: Floats


def paint_strokes(
    rng: np.random.Generator,
    starts: tuple[NDArray[np.intp], NDArray[np.intp]],
    heading: Floats,
    region: NDArray[np.int8],
    length: float,
    radius: float,
    wear: float = 0.35,
) -> TopStrokes:
    """Paint strokes along ``heading``; each stays in the region of its start.

    A stroke covers those before it in ``starts``. Lengths and widths vary by a third. At the end
    of a stroke its bristles run dry at different points, the first at ``1 - wear`` of its length.
    """
    height, width = region.shape
    count = len(starts[0])
    size = rng.uniform(0.67, 1.33, (2, count)).astype(np.float32)
    steps = int(1.33 * length / _STEP) + 1
    last = (length * size[0] / _STEP).astype(np.int32)
    own_region = region[starts]
    row, column = (start.astype(np.float32) for start in starts)

    south, east = (heading / (np.hypot(*heading) + 1e-12)).reshape(2, -1)
    regions = region.ravel()

    def place(row: Floats, column: Floats) -> NDArray[np.int32]:
        rows = np.clip(row, 0, height - 1).astype(np.int32)
        return rows * np.int32(width) + np.clip(column, 0, width - 1).astype(np.int32)

    # Move the starts back by half a stroke, to cover both sides of a start near a border.
    at = place(row, column)
    for _ in range(steps // 2):
        before = row - _STEP * south[at], column - _STEP * east[at]
        there = place(*before)
        inside = regions[there] == own_region
        row, column = np.where(inside, before[0], row), np.where(inside, before[1], column)
        at = np.where(inside, there, at)
    path = np.empty((4, steps, count), dtype=np.float32)
    for step in range(steps):
        last = np.where((regions[at] != own_region) & (last > step), np.int32(step), last)
        down, across = south[at], east[at]
        path[:, step] = row, column, across, -down
        row, column = row + _STEP * down, column + _STEP * across
        at = place(row, column)

    sides = max(3, int(2 * 1.33 * radius / _STEP))
    side = np.linspace(-1, 1, sides, dtype=np.float32)
    dry = 1 - wear * rng.random((count, sides), dtype=np.float32) ** 2  # where a bristle runs dry
    part = np.arange(steps, dtype=np.float32)[:, None] / np.maximum(last, 1)
    half_width = radius * size[1] * np.sqrt(np.clip(1 - np.abs(2 * part - 1) ** 5, 0, 1))
    # Axes: stroke, step, side. A later stroke has larger flat indices.
    reach = half_width.T[:, :, None] * side
    rows = (path[0].T[:, :, None] + path[2].T[:, :, None] * reach).astype(np.int32)
    columns = (path[1].T[:, :, None] + path[3].T[:, :, None] * reach).astype(np.int32)
    painted = part.T[:, :, None] < dry[:, None, :]
    painted &= (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)

    samples = np.flatnonzero(painted).astype(np.int32)
    top = np.full(height * width, -1, dtype=np.int32)
    # Of repeated indices, numpy keeps the last value.
    top[rows[painted] * width + columns[painted]] = samples
    top = top.reshape(height, width)
    stroke, rest = np.divmod(top, steps * sides)
    step_at, side_at = np.divmod(rest, sides)
    stroke = np.where(top < 0, np.int32(-1), stroke)
    return TopStrokes(stroke, (step_at * _STEP).astype(np.float32), side[side_at])
