"""Labels carried along the motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_nst.stacks.labels import CarriedLabels, carry_labels
from napari_nst.stacks.motion import Motion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[np.integer]


def shift(rows: float, columns: float, shape: tuple[int, int] = (12, 16)) -> Motion:
    """Return the motion of a whole image, down and to the right."""
    flow = np.full((*shape, 2), (-rows, -columns), np.float32)
    return Motion(flow, np.ones(shape, bool), np.ones(shape, np.float32))


@pytest.fixture
def labels() -> NDArray[np.uint16]:
    """One label in the first of four planes."""
    stack = np.zeros((4, 12, 16), np.uint16)
    stack[0, 2:5, 3:7] = 700
    return stack


def test_labels_move_by_whole_pixels(labels: Labels) -> None:
    found = carry_labels(labels[0], shift(2, 3))
    np.testing.assert_array_equal(found, np.roll(labels[0], (2, 3), axis=(0, 1)))
    assert found.dtype == labels.dtype


def test_the_motion_is_resampled_to_the_size_of_the_labels(labels: Labels) -> None:
    found = carry_labels(labels[0], shift(1, 1.5, (6, 8)))
    np.testing.assert_array_equal(found, np.roll(labels[0], (2, 3), axis=(0, 1)))


def test_labels_of_one_plane_follow_the_motion(labels: Labels) -> None:
    asked = list[tuple[int, int]]()

    def motion(earlier: int, later: int) -> Motion:
        asked.append((earlier, later))
        return shift(1, 2)

    carried = CarriedLabels(labels, lambda k: k - 1 if k else None, motion)
    assert len(carried) == 4
    for k in (3, 0, 1, 2, 3):  # also a later one first, as in a run that is resumed
        expected = np.roll(labels[0], (k, 2 * k), axis=(0, 1))
        np.testing.assert_array_equal(carried[k], expected)
    assert asked == [(0, 1), (1, 2), (2, 3), (0, 1), (1, 2), (2, 3)]


def test_labels_that_are_painted_later_are_used_from_there_on(labels: Labels) -> None:
    labels[2, 8:, 8:] = 3
    carried = CarriedLabels(labels, lambda k: k - 1 if k else None, lambda *_: shift(1, 0))
    np.testing.assert_array_equal(carried[1], np.roll(labels[0], 1, axis=0))
    np.testing.assert_array_equal(carried[2], labels[2])
    np.testing.assert_array_equal(carried[3][9:, 8:], 3)
    assert 700 not in carried[3]


def test_planes_before_the_first_labels_have_none(labels: Labels) -> None:
    carried = CarriedLabels(labels[::-1], lambda k: k - 1 if k else None, lambda *_: shift(1, 0))
    for k in range(3):
        assert not carried[k].any()
    np.testing.assert_array_equal(carried[3], labels[0])
