"""Nearest labels under the pixels of an image that lies anywhere over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    Places = Sequence[int] | NDArray[np.intp]

__all__ = ["crossing", "nearest", "under"]

_NO_SLOPE = 1e-6  # pixels: less of a shift along a whole side is rounding of a rotation
_BLOCK = 2**20  # pixels of the image whose places in the labels are computed together


def nearest(labels: Any, matrix: ArrayLike, rows: Places, columns: Places) -> NDArray[Any]:
    """Return the label nearest to each pixel of an image, 0 outside of the labels.

    Parameters
    ----------
    labels : array_like
        Of any number of axes; read where the image lies over it.
    matrix : array_like
        Shape (labels.ndim, 3).  The pixel of row r and column c lies at ``matrix @ (r, c, 1)`` of
        the labels.  Halves are rounded to even numbers, as napari rounds them.
    rows, columns : sequence of int
        Of the image.

    Returns
    -------
    ndarray
        Shape (len(rows), len(columns)), dtype of the labels, a copy.
    """
    found = np.zeros((len(rows), len(columns)), labels.dtype)
    for place, values in _parts(labels, _levelled(matrix, rows, columns), rows, columns):
        found[place] = values
    return found


def under(
    labels: Any, matrix: ArrayLike, rows: Places, columns: Places
) -> tuple[NDArray[Any], bool]:
    """Return the part of the labels that an image lies over, and whether it covers the image.

    The part is not copied where the sides of both are parallel.  See `nearest` for the parameters.
    """
    levelled = _levelled(matrix, rows, columns)
    if not _parallel(levelled):
        return nearest(labels, matrix, rows, columns), True
    sides = _sides(labels.shape, levelled, rows, columns)
    if sides is None:
        return np.zeros((0, 0), labels.dtype), False
    places, inside = sides
    return _block(labels, places)[0], all(bool(each.all()) for each in inside)


def crossing(
    shape: Sequence[int], matrix: ArrayLike, rows: Places, columns: Places
) -> tuple[tuple[int | slice, ...], bool, tuple[NDArray[np.intp], NDArray[np.intp]]] | None:
    """Return the index that finds the labels of `nearest`, where there is one.

    Returns
    -------
    index : tuple of int or slice
        Of the labels; it leaves the two axes of the plane.
    transposed : bool
        Whether the second of these is the rows.
    grid : tuple of ndarray
        The rows and columns of the plane.

    None where the image is turned against the labels, or not all of it lies over them.
    """
    levelled = _levelled(matrix, rows, columns)
    sides = [_side(a, b) for a, b, _ in levelled]
    if not _parallel(levelled) or not {0, 1} <= set(sides):
        return None
    found = _sides(shape, levelled, rows, columns)
    if found is None or not all(each.all() for each in found[1]):
        return None
    places, _ = found
    index = tuple(
        int(place[0]) if side is None else slice(None)
        for place, side in zip(places, sides, strict=True)
    )
    first, second = sides.index(0), sides.index(1)
    return index, first > second, (places[first], places[second])


def _levelled(matrix: ArrayLike, rows: Places, columns: Places) -> NDArray[np.float64]:
    """Return a matrix without slopes that come from rounding alone."""
    levelled = np.array(matrix, float)
    longest = np.array([np.abs(rows).max(initial=1), np.abs(columns).max(initial=1)])
    slopes = levelled[:, :2]
    slopes[np.abs(slopes) * longest < _NO_SLOPE] = 0
    return levelled


def _parallel(matrix: NDArray[np.float64]) -> bool:
    """Return whether each axis of the labels follows one side of the image, or none."""
    steps = matrix[:, :2] != 0
    return bool((steps.sum(axis=0) <= 1).all() and (steps.sum(axis=1) <= 1).all())


def _parts(
    labels: Any, matrix: NDArray[np.float64], rows: Places, columns: Places
) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Yield parts of the image, as an index of it, and the labels there."""
    if _parallel(matrix):
        sides = _sides(labels.shape, matrix, rows, columns)
        if sides is not None:
            places, inside = sides
            whole = all(bool(each.all()) for each in inside)
            yield ... if whole else np.ix_(*inside), _parallel_part(labels, matrix, places)
        return
    height = max(_BLOCK // len(columns), 1)
    for begin in range(0, len(rows), height):
        at = [
            np.rint(a * np.array(rows[begin : begin + height])[:, None] + b * np.array(columns) + c)
            for a, b, c in matrix
        ]
        inside = np.logical_and.reduce(
            [(at[axis] >= 0) & (at[axis] < size) for axis, size in enumerate(labels.shape)]
        )
        if not inside.any():
            continue
        within = [each[inside].astype(np.intp) for each in at]
        block, starts = _block(labels, within)
        where = tuple(each - start for each, start in zip(within, starts, strict=True))
        rows_in, columns_in = np.nonzero(inside)
        yield (rows_in + begin, columns_in), block[where]


def _sides(
    shape: Sequence[int],
    matrix: NDArray[np.float64],
    rows: Places,
    columns: Places,
) -> tuple[list[NDArray[np.intp]], list[NDArray[np.bool_]]] | None:
    """Return the places on each axis of the labels, and which rows and columns lie inside.

    None: the image lies beside the labels.
    """
    inside = [np.ones(len(rows), bool), np.ones(len(columns), bool)]
    places: list[NDArray[np.float64]] = []
    for size, (a, b, c) in zip(shape, matrix, strict=True):
        side = _side(a, b)
        step, pixels = ((a, rows), (b, columns))[side or 0]
        places.append(np.rint(step * np.array([0] if side is None else pixels) + c))
        fits = (places[-1] >= 0) & (places[-1] < size)
        if side is not None:
            inside[side] &= fits
        elif not fits.all():
            return None
    if not all(each.any() for each in inside):
        return None
    kept = [
        (place if (side := _side(a, b)) is None else place[inside[side]]).astype(np.intp)
        for place, (a, b, _) in zip(places, matrix, strict=True)
    ]
    return kept, inside


def _side(a: float, b: float) -> int | None:
    """Return which side of the image an axis of the labels follows: 0 is rows, None neither."""
    if a:
        return 0
    return 1 if b else None


def _block(labels: Any, places: list[NDArray[np.intp]]) -> tuple[NDArray[Any], list[int]]:
    """Read the smallest block that holds some places, and say where it starts on each axis."""
    starts = [int(place.min()) for place in places]
    ends = [int(place.max()) + 1 for place in places]
    index = tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))
    return np.asarray(labels[index]), starts


def _parallel_part(
    labels: Any, matrix: NDArray[np.float64], places: list[NDArray[np.intp]]
) -> NDArray[Any]:
    """Return the labels at places of parallel sides: shape of those rows and columns."""
    block, starts = _block(labels, places)
    for axis, (place, start) in enumerate(zip(places, starts, strict=True)):
        local = place - start
        if not np.array_equal(local, np.arange(block.shape[axis])):
            block = block.take(local, axis)
    sides = [_side(a, b) for a, b, _ in matrix]
    order = [sides.index(side) for side in (0, 1) if side in sides]
    rest = [axis for axis, side in enumerate(sides) if side is None]
    block = block.transpose(*rest, *order).reshape([block.shape[axis] for axis in order])
    return block[:, None] if order and 1 not in sides else block
