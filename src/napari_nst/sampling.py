"""Sample labels at the pixels of an image that is placed over them by an affine transform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    Positions = Sequence[int] | NDArray[np.intp]

__all__ = ["labels_under", "nearest", "plane_index"]

_ROUNDING_ERROR = 1e-6  # pixels of shift along a whole side of the image
_BLOCK = 2**20  # pixels whose positions are computed at once


def nearest(labels: Any, matrix: ArrayLike, rows: Positions, columns: Positions) -> NDArray[Any]:
    """Return the label nearest to each pixel of an image, 0 outside the labels.

    Parameters
    ----------
    labels : array_like
        Labels with any number of axes; only the part under the image is read.
    matrix : array_like
        Shape (labels.ndim, 3).  The pixel of row r and column c lies at ``matrix @ (r, c, 1)`` of
        the labels, rounded half to even as in napari.
    rows, columns : sequence of int
        Rows and columns of the image.

    Returns
    -------
    ndarray
        Shape (len(rows), len(columns)), with the dtype of the labels, a copy.
    """
    found = np.zeros((len(rows), len(columns)), labels.dtype)
    for index, values in _parts(labels, _without_rounding(matrix, rows, columns), rows, columns):
        found[index] = values
    return found


def labels_under(
    labels: Any, matrix: ArrayLike, rows: Positions, columns: Positions
) -> tuple[NDArray[Any], bool]:
    """Return the labels under an image, and whether they cover all of it.

    See `nearest` for the parameters.  The result is a view if the axes of both are parallel.
    """
    cleaned = _without_rounding(matrix, rows, columns)
    if not _parallel(cleaned):
        return nearest(labels, matrix, rows, columns), True
    sides = _sides(labels.shape, cleaned, rows, columns)
    if sides is None:
        return np.zeros((0, 0), labels.dtype), False
    positions, inside = sides
    return _block(labels, positions)[0], all(bool(each.all()) for each in inside)


def plane_index(
    shape: Sequence[int], matrix: ArrayLike, rows: Positions, columns: Positions
) -> tuple[tuple[int | slice, ...], bool, tuple[NDArray[np.intp], NDArray[np.intp]]] | None:
    """Return the plane of the labels that an image lies in, for plain indexing.

    Returns
    -------
    index : tuple of int or slice
        Index of the plane in the labels.
    transposed : bool
        Whether the rows of the image follow the second axis of the plane.
    grid : tuple of ndarray
        The rows and columns of the plane.

    None if the image is rotated against the labels or not covered by them.
    """
    cleaned = _without_rounding(matrix, rows, columns)
    sides = [_side(a, b) for a, b, _ in cleaned]
    if not _parallel(cleaned) or not {0, 1} <= set(sides):
        return None
    found = _sides(shape, cleaned, rows, columns)
    if found is None or not all(each.all() for each in found[1]):
        return None
    positions, _ = found
    index = tuple(
        int(along[0]) if side is None else slice(None)
        for along, side in zip(positions, sides, strict=True)
    )
    first, second = sides.index(0), sides.index(1)
    return index, first > second, (positions[first], positions[second])


def _without_rounding(
    matrix: ArrayLike, rows: Positions, columns: Positions
) -> NDArray[np.float64]:
    """Return a matrix with slopes that are rounding errors set to 0."""
    cleaned = np.array(matrix, float)
    longest = np.array([np.abs(rows).max(initial=1), np.abs(columns).max(initial=1)])
    slopes = cleaned[:, :2]
    slopes[np.abs(slopes) * longest < _ROUNDING_ERROR] = 0
    return cleaned


def _parallel(matrix: NDArray[np.float64]) -> bool:
    """Return whether each axis of the labels is parallel to one side of the image or to none."""
    steps = matrix[:, :2] != 0
    return bool((steps.sum(axis=0) <= 1).all() and (steps.sum(axis=1) <= 1).all())


def _parts(
    labels: Any, matrix: NDArray[np.float64], rows: Positions, columns: Positions
) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Yield indices of parts of the image, and the labels there."""
    if _parallel(matrix):
        sides = _sides(labels.shape, matrix, rows, columns)
        if sides is not None:
            positions, inside = sides
            covered = all(bool(each.all()) for each in inside)
            yield ... if covered else np.ix_(*inside), _parallel_part(labels, matrix, positions)
        return
    height = max(_BLOCK // len(columns), 1)
    for begin in range(0, len(rows), height):
        positions = [
            np.rint(a * np.array(rows[begin : begin + height])[:, None] + b * np.array(columns) + c)
            for a, b, c in matrix
        ]
        inside = np.logical_and.reduce(
            [
                (along >= 0) & (along < size)
                for along, size in zip(positions, labels.shape, strict=True)
            ]
        )
        if not inside.any():
            continue
        positions = [along[inside].astype(np.intp) for along in positions]
        block, starts = _block(labels, positions)
        index = tuple(along - start for along, start in zip(positions, starts, strict=True))
        rows_inside, columns_inside = np.nonzero(inside)
        yield (rows_inside + begin, columns_inside), block[index]


def _sides(
    shape: Sequence[int],
    matrix: NDArray[np.float64],
    rows: Positions,
    columns: Positions,
) -> tuple[list[NDArray[np.intp]], list[NDArray[np.bool_]]] | None:
    """Return the positions on each axis of the labels, and which rows and columns lie inside.

    None if the image lies outside the labels.
    """
    inside = [np.ones(len(rows), bool), np.ones(len(columns), bool)]
    positions: list[NDArray[np.float64]] = []
    for size, (a, b, c) in zip(shape, matrix, strict=True):
        side = _side(a, b)
        step, pixels = ((a, rows), (b, columns))[side or 0]
        positions.append(np.rint(step * np.array([0] if side is None else pixels) + c))
        exists = (positions[-1] >= 0) & (positions[-1] < size)
        if side is not None:
            inside[side] &= exists
        elif not exists.all():
            return None
    if not all(each.any() for each in inside):
        return None
    sides = [_side(a, b) for a, b, _ in matrix]
    return [
        (along if side is None else along[inside[side]]).astype(np.intp)
        for along, side in zip(positions, sides, strict=True)
    ], inside


def _side(a: float, b: float) -> int | None:
    """Return the side of the image parallel to an axis: 0 for rows, 1 for columns, or None."""
    if a:
        return 0
    return 1 if b else None


def _block(labels: Any, positions: list[NDArray[np.intp]]) -> tuple[NDArray[Any], list[int]]:
    """Return the smallest block that contains some positions, and its start on each axis."""
    starts = [int(along.min()) for along in positions]
    ends = [int(along.max()) + 1 for along in positions]
    index = tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))
    return np.asarray(labels[index]), starts


def _parallel_part(
    labels: Any, matrix: NDArray[np.float64], positions: list[NDArray[np.intp]]
) -> NDArray[Any]:
    """Return the labels at positions along parallel axes, as (rows, columns)."""
    block, starts = _block(labels, positions)
    for axis, (along, start) in enumerate(zip(positions, starts, strict=True)):
        local = along - start
        if not np.array_equal(local, np.arange(block.shape[axis])):
            block = block.take(local, axis)
    sides = [_side(a, b) for a, b, _ in matrix]
    order = [sides.index(side) for side in (0, 1) if side in sides]
    rest = [axis for axis, side in enumerate(sides) if side is None]
    block = block.transpose(*rest, *order).reshape([block.shape[axis] for axis in order])
    return block[:, None] if order and 1 not in sides else block
