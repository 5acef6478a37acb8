"""Division of a stack into chunks that are cross-faded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_nst.batch.chunks import automatic_length, blend, check_length, chunks_of
from napari_nst.batch.layout import Layout
from napari_nst.errors import InputError


def layout(**lengths: int) -> Layout:
    channel = "c" if "c" in lengths else None
    return Layout(tuple(lengths), tuple(lengths.values()), channel)


def test_a_chunk_begins_early_and_fades_in_over_the_pictures_that_it_shares() -> None:
    first, second = chunks_of(layout(t=12), 6)
    assert first.pictures == tuple(range(6))
    assert second.pictures == tuple(range(3, 12))
    assert first.shares == pytest.approx((1, 1, 1, 0.75, 0.5, 0.25))
    assert second.shares == pytest.approx((0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1))
    assert [second.before(layout(t=12), k) for k in range(3)] == [None, 0, 1]
    long = chunks_of(layout(t=100), 50)
    assert [chunk.pictures for chunk in long] == [tuple(range(50)), tuple(range(42, 100))]


@given(count=st.integers(1, 60), length=st.integers(2, 70), channels=st.integers(1, 3))
def test_shares_of_a_picture_sum_to_one(count: int, length: int, channels: int) -> None:
    stack = layout(t=count, c=channels)
    chunks = chunks_of(stack, length)
    shares = np.zeros(len(stack))
    for chunk in chunks:
        np.add.at(shares, list(chunk.pictures), chunk.shares)
        assert list(chunk.pictures) == sorted(set(chunk.pictures))
    np.testing.assert_allclose(shares, 1)
    assert all(len(chunk.pictures) <= 2 * length for chunk in chunks)


def test_a_short_rest_joins_the_last_chunk() -> None:
    assert [len(chunk.pictures) for chunk in chunks_of(layout(z=24), 10)] == [10, 5 + 14]
    assert [len(chunk.pictures) for chunk in chunks_of(layout(z=25), 10)] == [10, 5 + 10, 5 + 5]


def test_each_channel_has_its_own_chunks() -> None:
    stack = layout(t=12, c=2)
    chunks = chunks_of(stack, 6)
    assert [chunk.pictures[0] for chunk in chunks] == [0, 6, 1, 7]
    for chunk in chunks:
        assert len({stack.channel_of(n) for n in chunk.pictures}) == 1
        for position, n in enumerate(chunk.pictures[1:], start=1):
            before = chunk.before(stack, position)
            assert before is not None and chunk.pictures[before] == n - 2


def test_a_stack_whose_sequences_branch_is_one_chunk() -> None:
    stack = layout(t=8, z=8)
    (chunk,) = chunks_of(stack, 6)
    assert chunk.pictures == tuple(range(64))
    assert [chunk.before(stack, k) for k in range(64)] == [stack.previous(k) for k in range(64)]


def test_length_0_does_not_divide() -> None:
    (chunk,) = chunks_of(layout(t=6, c=2), 0)
    assert chunk.pictures == tuple(range(12)) and set(chunk.shares) == {1}


@pytest.mark.parametrize(
    ("lengths", "tasks", "expected"),
    [
        ({"t": 100}, 1, 0),
        ({"t": 100}, 3, 34),
        ({"t": 100}, 50, 16),  # not shorter
        ({"t": 16}, 4, 0),
        ({"t": 100, "c": 2}, 4, 50),
        ({"t": 10, "c": 2}, 2, 16),  # a task for each channel
        ({"t": 8, "z": 8}, 4, 0),
    ],
)
def test_a_stack_is_divided_for_the_workers_without_a_job(
    lengths: dict[str, int], tasks: int, expected: int
) -> None:
    assert automatic_length(layout(**lengths), tasks) == expected


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int16", "float32"])
def test_blends_have_the_type_of_the_planes(dtype: Any) -> None:
    first, second = np.array([0, 1, 1], dtype), np.array([0, 1, 0], dtype)
    mixed = blend([first, second], [0.8, 0.2])
    assert mixed.dtype == dtype
    np.testing.assert_allclose(mixed, [0, 1, 0.8 if dtype == "float32" else 1])
    if dtype == "uint8":
        np.testing.assert_array_equal(
            blend([np.array([200], dtype), np.array([101], dtype)], [0.4, 0.6]), [141]
        )


@pytest.mark.parametrize("length", [-1, 1, "none", 2.5])
def test_an_invalid_length_raises(length: Any) -> None:
    for valid in (None, 0, 2, 1000):
        check_length(valid)
    with pytest.raises(InputError, match=f"chunk is '?{length}'?; it must be 2 planes or more"):
        check_length(length)
