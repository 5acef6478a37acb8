"""A restyled stack on disk: filled plane by plane, and still there after a kill."""

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

__all__ = ["PlaneStore"]

_ARRAY, _NOTE = "planes.npy", "planes.json"


class PlaneStore:
    """An array in a file, and beside it a note of which planes are done.

    A plane's data are on the disk before the note says so, and the note is replaced in one go: a
    process that is killed at any moment leaves a store that can be gone on with.

    Parameters
    ----------
    path : path-like
        A folder, which is made if it is not there.
    shape : sequence of int
        Of the whole result.
    dtype : dtype-like
        Of its values.
    axis : int
        Along which the planes lie.
    identity : mapping of str to object
        What the result is of; anything that JSON can say.

    Attributes
    ----------
    path : Path
        The folder.
    array : memmap
        The result; planes that are not done are zero.
    axis : int
        Along which the planes lie, from 0.
    notes : dict of int to object
        For each plane that is done what was said of it.

    Raises
    ------
    InputError
        If the folder holds the planes of something else, or there is no room.
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
        shape = tuple(int(side) for side in shape)
        if not -len(shape) <= axis < len(shape):
            raise InputError(
                f"axis is {axis}, and the shape {shape} has {len(shape)} axes; it must be one of "
                "them."
            )
        self.axis = axis % len(shape)
        self._about = {
            "shape": list(shape),
            "dtype": np.dtype(dtype).str,
            "axis": self.axis,
            "identity": json.loads(json.dumps(dict(identity))),
        }
        self.notes: dict[int, Any] = {}
        try:
            if (self.path / _NOTE).exists():
                self.array = self._open()
            else:
                self.array = self._make(shape, np.dtype(dtype))
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be used for the planes ({error.strerror or error}): make room "
                "there, or name another folder."
            ) from error

    @property
    def finished(self) -> set[int]:
        """The planes that are done."""
        return set(self.notes)

    @property
    def complete(self) -> bool:
        """Whether all planes are done."""
        return bool(len(self.notes) == self.array.shape[self.axis])

    def plane(self, k: int) -> NDArray[Any]:
        """Return a plane, a copy in memory."""
        return np.array(self.array[self._place(k)])

    def put(self, k: int, plane: NDArray[Any], note: Any = None) -> None:
        """Write a plane, and then note that it is done.

        Parameters
        ----------
        k : int
            Which, from 0.
        plane : ndarray
            Of the shape without `axis`; what is float in [0, 1] is no concern of the store.
        note : object, optional
            Something to say of it, that JSON can say.

        Raises
        ------
        InputError
            If there is no such plane, or it has another shape.
        """
        wanted = tuple(np.delete(self.array.shape, self.axis).tolist())
        if not 0 <= k < self.array.shape[self.axis] or np.shape(plane) != wanted:
            raise InputError(
                f"Plane {k} has shape {np.shape(plane)}; the store in {self.path} has planes 0 to "
                f"{self.array.shape[self.axis] - 1} of shape {wanted}."
            )
        self.array[self._place(k)] = plane
        self.array.flush()
        self._note(self.notes | {int(k): note})

    def _place(self, k: int) -> tuple[slice | int, ...]:
        return (*(slice(None),) * self.axis, k)

    def _open(self) -> np.memmap[Any, Any]:
        """Open what is there, if it is of the same."""
        text = (self.path / _NOTE).read_text(encoding="utf-8")
        try:
            found = json.loads(text)
            notes = {int(k): note for k, note in found.pop("finished").items()}
        except (ValueError, AttributeError, KeyError, TypeError):
            raise InputError(
                f"{self.path / _NOTE} is not the note of a stack; delete the folder, or name "
                "another."
            ) from None
        for name, was, wish in _differences(found, self._about):
            raise InputError(
                f"{self.path} holds the planes of something else: its {name} is {abridged(was)}, "
                f"not {abridged(wish)}; delete the folder, or name another."
            )
        try:
            array = np.lib.format.open_memmap(self.path / _ARRAY, mode="r+")
        except ValueError as error:
            raise InputError(
                f"{self.path / _ARRAY} is damaged ({error}); delete the folder, or name another."
            ) from None
        if list(array.shape) != found["shape"] or array.dtype.str != found["dtype"]:
            raise InputError(
                f"{self.path / _ARRAY} is not the array that the note beside it is of; delete the "
                "folder, or name another."
            )
        self.notes = notes
        return array

    def _make(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.memmap[Any, Any]:
        """Make the file; a kill before the note is there leaves nothing that counts."""
        self.path.mkdir(parents=True, exist_ok=True)
        needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        free = shutil.disk_usage(self.path).free
        # A file with holes can be larger than its disk: writing to it would end the process.
        if needed > free:
            raise InputError(
                f"{self.path} has room for {free / 2**30:.1f} GiB, and the planes take "
                f"{needed / 2**30:.1f} GiB; name a folder on another disk."
            )
        array = np.lib.format.open_memmap(self.path / _ARRAY, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):  # so that nobody else takes the room meanwhile
            with (self.path / _ARRAY).open("r+b") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, array.offset + needed)
                except OSError as error:
                    if error.errno == errno.ENOSPC:
                        raise  # other errors: this file system cannot reserve room
        array.flush()
        self._note({})
        return array

    def _note(self, notes: dict[int, Any]) -> None:
        finished = {str(k): notes[k] for k in sorted(notes)}
        text = json.dumps(self._about | {"finished": finished}, indent=1)
        with atomic_write(self.path / _NOTE) as scratch:
            scratch.write_text(text, encoding="utf-8")
        self.notes = notes


def _differences(found: Any, wanted: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs in two trees of JSON: its name, and the two values."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            inner = f"{name}.{key}".removeprefix(".").removeprefix("identity.")
            yield from _differences(found.get(key), wanted.get(key), inner)
    elif found != wanted:
        yield name, found, wanted
