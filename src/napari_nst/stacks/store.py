"""Result of a stack, filled plane by plane, in memory or on disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.atomic import atomic_write
from napari_nst.errors import InputError, abridged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

__all__ = ["PlaneArray", "PlaneStore"]

_ARRAY, _NOTE = "planes.npy", "planes.json"


class PlaneArray:
    """Result of a stack in memory.

    Parameters
    ----------
    shape : sequence of int
        Shape of the whole result.
    dtype : dtype-like
        Data type of the result.
    axis : int
        Axis along which the planes lie.

    Attributes
    ----------
    array : ndarray
        The result; unfinished planes are zero.
    axis : int
        Axis along which the planes lie, from 0.
    notes : dict of int to object
        Note of each finished plane.
    header : object
        Note about all planes.

    Raises
    ------
    InputError
        If there is no such axis.
    """

    array: NDArray[Any]

    def __init__(self, shape: Sequence[int], dtype: DTypeLike, axis: int) -> None:
        if not -len(shape) <= axis < len(shape):
            raise InputError(
                f"axis is {axis}, and the shape {tuple(shape)} has {len(shape)} axes; it must be "
                "one of them."
            )
        self.axis = axis % len(shape)
        self.notes: dict[int, Any] = {}
        self.header: Any = None
        self.array = self._make_array(tuple(int(side) for side in shape), np.dtype(dtype))

    @property
    def finished(self) -> set[int]:
        """The finished planes."""
        return set(self.notes)

    @property
    def complete(self) -> bool:
        """Whether all planes are finished."""
        return bool(len(self.notes) == self.array.shape[self.axis])

    def plane(self, k: int) -> NDArray[Any]:
        """Return a copy of a plane."""
        return np.array(self.array[self.place(k)])

    def put(self, k: int, plane: NDArray[Any], note: Any = None, header: Any = None) -> None:
        """Write a plane and mark it as finished.

        Parameters
        ----------
        k : int
            Index of the plane.
        plane : ndarray
            Its values; of the result's shape without `axis`.
        note, header : object, optional
            Notes about this plane and about all planes, as JSON.

        Raises
        ------
        InputError
            If there is no such plane, or it has another shape.
        """
        wanted = tuple(np.delete(self.array.shape, self.axis).tolist())
        if not 0 <= k < self.array.shape[self.axis] or np.shape(plane) != wanted:
            raise InputError(
                f"Plane {k} has shape {np.shape(plane)}; the result has planes 0 to "
                f"{self.array.shape[self.axis] - 1} of shape {wanted}."
            )
        self.array[self.place(k)] = plane
        self._commit(self.notes | {int(k): note}, self.header if header is None else header)

    def place(self, k: int) -> tuple[slice | int, ...]:
        """Return the index of a plane in the array."""
        return (*(slice(None),) * self.axis, k)

    def _make_array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.zeros(shape, dtype)

    def _commit(self, notes: dict[int, Any], header: Any) -> None:
        self.notes, self.header = notes, header


class PlaneStore(PlaneArray):
    """Result of a stack on disk, as a memory-mapped array and a JSON file with the notes.

    A plane is on disk before the notes, which are replaced atomically: a run that is killed at any
    moment can be continued.

    Parameters
    ----------
    path : PathLike
        Folder; created if missing.
    shape, dtype, axis
        As for `PlaneArray`.
    identity : mapping of str to object
        What the result is made of, as JSON; a store of something else is refused.

    Attributes
    ----------
    path : Path
        The folder.

    Raises
    ------
    InputError
        If the folder holds the planes of something else, or the disk is full.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: Sequence[int],
        dtype: DTypeLike,
        axis: int,
        identity: Mapping[str, Any],
    ) -> None:
        self.path = Path(path)
        self._identity = json.loads(json.dumps(dict(identity)))
        super().__init__(shape, dtype, axis)

    def _make_array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        self._about = {
            "shape": list(shape),
            "dtype": dtype.str,
            "axis": self.axis,
            "identity": self._identity,
        }
        try:
            return self._open() if (self.path / _NOTE).exists() else self._make(shape, dtype)
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be used for the planes ({error.strerror or error}): make room "
                "there, or name another folder."
            ) from error

    def _commit(self, notes: dict[int, Any], header: Any) -> None:
        self.array.flush()  # type: ignore[attr-defined]
        self._write_notes(notes, header)
        super()._commit(notes, header)

    def _open(self) -> np.memmap[Any, Any]:
        """Open the existing array, if it is of the same stack."""
        text = (self.path / _NOTE).read_text(encoding="utf-8")
        try:
            found = json.loads(text)
            notes = {int(k): note for k, note in found.pop("finished").items()}
            header = found.pop("header", None)
        except (ValueError, AttributeError, KeyError, TypeError):
            raise InputError(
                f"{self.path / _NOTE} is not the note of a stack; delete the folder, or name "
                "another."
            ) from None
        for name, was, wanted in _differences(found, self._about):
            raise InputError(
                f"{self.path} holds the planes of something else: its {name} is {abridged(was)}, "
                f"not {abridged(wanted)}; delete the folder, or name another."
            )
        try:
            array = np.lib.format.open_memmap(self.path / _ARRAY, mode="r+")
        except ValueError as error:
            raise InputError(
                f"{self.path / _ARRAY} is damaged ({error}); delete the folder, or name another."
            ) from None
        if list(array.shape) != found["shape"] or array.dtype.str != found["dtype"]:
            raise InputError(
                f"{self.path / _ARRAY} does not match the note beside it; delete the folder, or "
                "name another."
            )
        self.notes, self.header = notes, header
        return array

    def _make(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.memmap[Any, Any]:
        """Create the array and then the notes, without which the array does not count."""
        self.path.mkdir(parents=True, exist_ok=True)
        needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        free = shutil.disk_usage(self.path).free
        # A sparse file can be larger than its disk: writing to it would kill the process.
        if needed > free:
            raise InputError(
                f"{self.path} has room for {free / 2**30:.1f} GiB, and the planes take "
                f"{needed / 2**30:.1f} GiB; name a folder on another disk."
            )
        array = np.lib.format.open_memmap(self.path / _ARRAY, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):  # reserve the space
            with (self.path / _ARRAY).open("r+b") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, array.offset + needed)
                except OSError as error:
                    if error.errno == errno.ENOSPC:
                        raise  # other errors: this file system cannot reserve room
        array.flush()
        self._write_notes({}, None)
        return array

    def _write_notes(self, notes: dict[int, Any], header: Any) -> None:
        finished = {str(k): notes[k] for k in sorted(notes)}
        text = json.dumps(self._about | {"header": header, "finished": finished}, indent=1)
        with atomic_write(self.path / _NOTE) as scratch:
            scratch.write_text(text, encoding="utf-8")


def _differences(found: Any, wanted: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield name and both values of each difference between two JSON objects."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            inner = f"{name}.{key}".removeprefix(".").removeprefix("identity.")
            yield from _differences(found.get(key), wanted.get(key), inner)
    elif found != wanted:
        yield name, found, wanted
