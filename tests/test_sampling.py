"""Nearest-neighbour sampling of labels under an affine transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_nst import sampling

LABELS = np.arange(1, 61).reshape(3, 4, 5)


def expected_labels(labels: np.ndarray, matrix: Any, rows: Any, columns: Any) -> np.ndarray:
    """Compute `nearest` pixel by pixel."""
    found = np.zeros((len(rows), len(columns)), labels.dtype)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            position = np.rint(np.array(matrix) @ (row, column, 1)).astype(int)
            if ((position >= 0) & (position < labels.shape)).all():
                found[i, j] = labels[tuple(position)]
    return found


steps = st.sampled_from((0, 0, 1, -1, 0.4, 2.3))


@given(
    matrix=st.lists(st.tuples(steps, steps, st.floats(-3, 6)), min_size=3, max_size=3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_nearest_equals_a_loop_over_pixels(matrix: Any, size: tuple[int, int]) -> None:
    rows, columns = np.arange(size[0]) * 2 + 1, np.arange(size[1])
    found = sampling.nearest(LABELS, matrix, rows, columns)
    np.testing.assert_array_equal(found, expected_labels(LABELS, matrix, rows, columns))
    part, covered = sampling.labels_under(LABELS, matrix, rows, columns)
    assert set(np.unique(found)) <= {0, *np.unique(part)}
    assert covered or 0 in found


@given(
    order=st.permutations([(0, 0), (1, 0), (0, 1)]),
    start=st.tuples(*[st.integers(0, 2)] * 3),
)
def test_plane_index_selects_the_same_labels(order: Any, start: Any) -> None:
    matrix = [(*step, offset) for step, offset in zip(order, start, strict=True)]
    rows, columns = range(3), range(2)
    found = sampling.plane_index(LABELS.shape, matrix, rows, columns)
    expected = expected_labels(LABELS, matrix, rows, columns)
    if found is None:
        assert 0 in expected
    else:
        index, transposed, grid = found
        plane = LABELS[index].T if transposed else LABELS[index]
        np.testing.assert_array_equal(plane[np.ix_(*grid)], expected)


@pytest.mark.parametrize("side", [1500, 3])
def test_nearest_of_a_large_rotated_image_is_computed_in_blocks(side: int) -> None:
    turn = [[0.6, 0.8, 2.0], [-0.8, 0.6, 900.0]]
    labels = np.arange(1, 4_000_001).reshape(2000, 2000)
    found = sampling.nearest(labels, turn, range(side), range(side))
    for row, column in ((0, 0), (side // 2, side - 1), (side - 1, 0), (side - 1, side - 1)):
        position = np.rint(np.array(turn) @ (row, column, 1)).astype(int)
        inside = ((position >= 0) & (position < 2000)).all()
        assert found[row, column] == (labels[tuple(position)] if inside else 0)
