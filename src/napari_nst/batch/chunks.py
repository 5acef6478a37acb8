"""Chunks of a stack: runs of neighbouring pictures that are made independently and cross-faded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.errors import InputError, abridged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_nst.batch.layout import Layout

__all__ = ["Chunk", "automatic_length", "blend", "check_length", "chunks_of"]

_OVERLAP = 8  # pictures that two neighbouring chunks share, or half a chunk
_SHORTEST = 16  # pictures of an automatic chunk: the overlap is made twice


@dataclass(frozen=True)
class Chunk:
    """Pictures that one task makes.

    Attributes
    ----------
    pictures : tuple of int
        Indices of the pictures, in order.
    shares : tuple of float
        Share of each picture in the result: less than 1 where two chunks overlap.
    """

    pictures: tuple[int, ...]
    shares: tuple[float, ...]

    def before(self, layout: Layout, position: int) -> int | None:
        """Return the position of the picture before a picture; None if the chunk has none."""
        previous = layout.previous(self.pictures[position])
        return None if previous is None else self.positions.get(previous)

    @cached_property
    def positions(self) -> dict[int, int]:
        """Position of each picture in the chunk."""
        return {n: position for position, n in enumerate(self.pictures)}


def check_length(length: int | None) -> None:
    """Raise InputError unless a length of chunks is None, 0, or 2 or more."""
    if length is not None and (not isinstance(length, int) or length < 0 or length == 1):
        raise InputError(
            f"chunk is {abridged(length)}; it must be 2 planes or more, or 0 for whole stacks."
        )


def chunks_of(layout: Layout, length: int) -> tuple[Chunk, ...]:
    """Divide a stack into chunks.

    Parameters
    ----------
    layout : Layout
        Layout of the stack.
    length : int
        Pictures of a chunk, without those that it shares with the chunk before it: 8, but at most
        half of `length`.  The last chunk of a sequence has `length` / 2 to 3 `length` / 2 pictures.
        0: one chunk with all pictures.

    Notes
    -----
    A stack whose sequences branch (depths in each of several times) is one chunk.
    """
    sequences = layout.sequences() if length else ()
    if not sequences:
        count = len(layout)
        return (Chunk(tuple(range(count)), (1.0,) * count),)
    return tuple(chunk for sequence in sequences for chunk in _divide(sequence, length))


def automatic_length(layout: Layout, tasks: int) -> int:
    """Return the length of chunks that divides a stack into a number of tasks, or nearly so.

    No chunk is shorter than 16 pictures; 0: the stack is not divided.
    """
    sequences = layout.sequences()
    if not sequences or tasks < 2:
        return 0
    longest = max(map(len, sequences))
    length = max(math.ceil(longest / math.ceil(tasks / len(sequences))), _SHORTEST)
    return length if length < longest or len(sequences) > 1 else 0


def blend(planes: Sequence[NDArray[Any]], shares: Sequence[float]) -> NDArray[Any]:
    """Return the weighted sum of planes, in their type."""
    if len(planes) == 1:
        return planes[0]
    dtype = planes[0].dtype
    mixed = sum(
        share * plane.astype(np.float64) for share, plane in zip(shares, planes, strict=True)
    )
    return np.asarray(mixed if dtype.kind == "f" else np.rint(mixed)).astype(dtype)


def _divide(sequence: tuple[int, ...], length: int) -> Iterator[Chunk]:
    count = len(sequence)
    starts = [s for s in range(0, count, length) if s == 0 or 2 * (count - s) >= length]
    overlap = min(_OVERLAP, length // 2)
    rising = tuple((n + 1) / (overlap + 1) for n in range(overlap))
    for start, stop in zip(starts, [*starts[1:], count], strict=True):
        head = rising if start else ()
        tail = rising[::-1] if stop < count else ()
        shares = (*head, *(1.0,) * (stop - start - len(tail)), *tail)
        yield Chunk(sequence[start - len(head) : stop], shares)
