"""The frames of a film as a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.files._film_index import read_index
from napari_nst.files._film_reader import FilmReader
from napari_nst.files._film_write import check_film_writable, write_film
from napari_nst.files._stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FilmStack"]


class FilmStack(Stack):
    """The frames of a film as they are shown, in RGB of 8 bits.

    Frames are upright, and their pixels are those that are stored, even if they are not square.
    The two fields of an interlaced frame stay interleaved.  Films with more bits are rounded, and
    transparency is ignored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index = read_index(path)
        self._reader = FilmReader(path, self._index)
        self.axes = ("frame", "y", "x", "s")
        self.shape = (len(self._index.stamps), self._index.height, self._index.width, 3)
        self.dtype = np.dtype(np.uint8)
        self.sizes, self.units = {}, {}

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def check_writable(self) -> None:
        """Check that a film with this size and sound can be encoded."""
        check_film_writable(self.path, self._index)

    def _read(self, k: int) -> NDArray[Any]:
        return self._reader.read(k)

    def _write(self, path: Path, planes: Iterable[NDArray[Any]]) -> None:
        write_film(path, self.path, self._index, planes)
