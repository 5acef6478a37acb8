"""Paths of brush strokes, and the topmost stroke of each pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from painting.canvas import Floats

__all__ = ["Layer", "lay"]

_STEP = 0.8  # pixels between two dabs of one stroke, so that they leave no holes


class Layer(NamedTuple):
    """The topmost stroke of each pixel.

    Attributes
    ----------
    stroke
        Index of the stroke; -1 on bare canvas.
    along
        Distance from the start of the stroke, in pixels.
    across
        From -1 at one side of the stroke to 1 at the other.
    """

    stroke: NDArray[np.int32]
    along: Floats
    across: Floats


def lay(
    rng: np.random.Generator,
    starts: tuple[NDArray[np.intp], NDArray[np.intp]],
    heading: Floats,
    region: NDArray[np.int8],
    length: float,
    radius: float,
    wear: float = 0.35,
) -> Layer:
    """Return strokes that follow ``heading`` from where they start and stay in their region.

    They are laid in the order of ``starts``, a later one over an earlier. Their lengths and
    widths vary by a third, and the bristles leave the canvas one after another, the first when
    a share ``wear`` of the stroke is still to come.
    """
    height, width = region.shape
    count = len(starts[0])
    size = rng.uniform(0.67, 1.33, (2, count)).astype(np.float32)
    steps = int(1.33 * length / _STEP) + 1
    last = (length * size[0] / _STEP).astype(np.int32)
    home = region[starts]
    row, column = (start.astype(np.float32) for start in starts)

    south, east = (heading / (np.hypot(*heading) + 1e-12)).reshape(2, -1)
    regions = region.ravel()

    def place(row: Floats, column: Floats) -> NDArray[np.int32]:
        rows = np.clip(row, 0, height - 1).astype(np.int32)
        return rows * np.int32(width) + np.clip(column, 0, width - 1).astype(np.int32)

    # back by half a stroke first, so that those near a border cover what lies behind them too
    at = place(row, column)
    for _ in range(steps // 2):
        before = row - _STEP * south[at], column - _STEP * east[at]
        there = place(*before)
        inside = regions[there] == home
        row, column = np.where(inside, before[0], row), np.where(inside, before[1], column)
        at = np.where(inside, there, at)
    path = np.empty((4, steps, count), dtype=np.float32)
    for step in range(steps):
        last = np.where((regions[at] != home) & (last > step), np.int32(step), last)
        down, across = south[at], east[at]
        path[:, step] = row, column, across, -down
        row, column = row + _STEP * down, column + _STEP * across
        at = place(row, column)

    sides = max(3, int(2 * 1.33 * radius / _STEP))
    side = np.linspace(-1, 1, sides, dtype=np.float32)
    worn = 1 - wear * rng.random((count, sides), dtype=np.float32) ** 2  # where a bristle lifts
    part = np.arange(steps, dtype=np.float32)[:, None] / np.maximum(last, 1)
    belly = radius * size[1] * np.sqrt(np.clip(1 - np.abs(2 * part - 1) ** 5, 0, 1))
    # axes: stroke, step, side; so a later stroke also comes later in memory
    reach = belly.T[:, :, None] * side
    rows = (path[0].T[:, :, None] + path[2].T[:, :, None] * reach).astype(np.int32)
    columns = (path[1].T[:, :, None] + path[3].T[:, :, None] * reach).astype(np.int32)
    wet = part.T[:, :, None] < worn[:, None, :]
    wet &= (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)

    dabs = np.flatnonzero(wet).astype(np.int32)
    top = np.full(height * width, -1, dtype=np.int32)
    top[rows[wet] * width + columns[wet]] = dabs  # of several at one place the last one stays
    top = top.reshape(height, width)
    stroke, rest = np.divmod(top, steps * sides)
    step_at, side_at = np.divmod(rest, sides)
    stroke = np.where(top < 0, np.int32(-1), stroke)
    return Layer(stroke, (step_at * _STEP).astype(np.float32), side[side_at])
