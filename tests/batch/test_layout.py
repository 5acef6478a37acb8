from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from napari_nst.batch.layout import Layout
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Stack(SimpleNamespace):
    def __len__(self) -> int:
        return math.prod(self.leading_shape)


def layout(channels: Any, axes: Sequence[str], *lengths: int, colors: bool = False) -> Layout:
    stack: Any = Stack(
        path="cells.tif",
        leading_axes=tuple(axes),
        leading_shape=lengths,
        channel="c" if "c" in axes else None,
        plane_shape=(8, 8, 3) if colors else (8, 8),
    )
    return Layout.from_stack(stack, channels)


def test_previous_picture_is_in_the_same_channel() -> None:
    found = layout("separate", "tzc", 2, 2, 2)
    assert len(found) == 8
    #        t0z0c0 c1    z1c0 c1 t1z0c0 c1  z1c0 c1
    assert [found.previous(k) for k in range(8)] == [None, None, 0, 1, 0, 1, 4, 5]
    assert [found.channel_of(k) for k in range(8)] == [0, 1] * 4
    assert found.sequence_count == 2
    first = layout("separate", "cz", 2, 3)
    assert [first.previous(k) for k in range(6)] == [None, 0, 1, None, 3, 4]


def test_previous_picture_along_one_axis() -> None:
    assert [layout("separate", "z", 3).previous(k) for k in range(3)] == [None, 0, 1]
    assert layout("separate", "").previous(0) is None
    assert len(layout("separate", "")) == 1


@pytest.mark.parametrize(
    ("channels", "axes", "lengths", "expected"),
    [
        ("separate", "t", (3,), True),
        ("separate", "z", (3,), False),
        ("separate", "tc", (3, 2), True),
        ("together", "tc", (3, 2), True),
        ("separate", "pt", (2, 3), True),
        ("separate", "tp", (3, 2), True),
        ("separate", "tz", (3, 2), False),  # a plane follows another along z
        ("separate", "tz", (3, 1), True),
        ("separate", ["Frames"], (3,), True),
        ("separate", "t", (1,), False),
        ("separate", "", (), False),
    ],
)
def test_pictures_follow_each_other_in_time_along_the_last_axis_of_neighbours(
    channels: Any, axes: Sequence[str], lengths: tuple[int, ...], expected: bool
) -> None:
    assert layout(channels, axes, *lengths).is_in_time == expected


def test_positions_are_not_followed() -> None:
    assert [layout("separate", "pz", 2, 2).previous(k) for k in range(4)] == [None, 0, None, 2]


@pytest.mark.parametrize("axes", ["tzc", "ctz", "tcz"])
def test_channels_together_are_one_picture(axes: str) -> None:
    lengths = {"t": 2, "z": 3, "c": 2}
    found = layout("together", axes, *(lengths[axis] for axis in axes))
    assert len(found) == 6
    planes = [k for n in range(6) for k in found.planes(n)]
    assert sorted(planes) == list(range(12))
    for n in range(6):
        assert [found.channel_of(k) for k in found.planes(n)] == [0, 1]
        assert [found.picture(k) for k in found.planes(n)] == [(n, 0), (n, 1)]
    assert [found.previous(n) for n in range(6)] == [None, 0, 1, 0, 3, 4]
    assert found.sequence_count == 1


def test_single_channel_is_not_joined() -> None:
    assert not layout("together", "zc", 3, 1).together
    assert not layout("together", "").together


def test_colours_of_a_plane_are_together_already() -> None:
    found = layout("together", "z", 3, colors=True)
    assert not found.together and len(found) == 3


@pytest.mark.parametrize(
    ("axes", "lengths", "colors", "message"),
    [
        ("zc", (2, 4), False, "has 4 channels, of which 2 or 3 can be red, green and blue"),
        ("z", (3,), False, "does not say which of its axes has the channels"),
        ("c", (2,), True, "has colours in each channel"),
    ],
)
def test_error_for_channels_that_cannot_be_joined(
    axes: str, lengths: tuple[int, ...], colors: bool, message: str
) -> None:
    with pytest.raises(InputError, match=f"channels is 'together', and cells.tif {message}"):
        layout("together", axes, *lengths, colors=colors)
