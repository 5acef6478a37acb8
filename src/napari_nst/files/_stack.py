"""Read and write stacks in files plane by plane."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_nst.files._common import decoding, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["Stack", "write_stack"]

_CHANNELS = ("c", "ch", "channel", "channels")


class Stack(ABC):
    """Lazy sequence of the planes in a file, in C order of its leading axes.

    Attributes
    ----------
    path : Path
        The file or folder.
    axes : tuple of str
        Names in lower case; "y" and "x" are those of planes, "s" of colours.
    shape : tuple of int
        Lengths of the axes.
    dtype : dtype
        Type of the values, in native byte order.
    sizes : dict of str to float
        Step along each axis, where the file has it.
    units : dict of str to str
        Units of `sizes`, where the file has them.
    channel : str or None
        Name of the channel axis, if any.
    bits : int or None
        Significant bits of a value, if the file declares fewer than the type has.
    """

    path: Path
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    sizes: Mapping[str, float]
    units: Mapping[str, str]
    bits: int | None = None

    @property
    def channel(self) -> str | None:
        """Name of the channel axis, recognised by common names."""
        return next((axis for axis in self.axes if axis in _CHANNELS), None)

    @property
    def leading_axes(self) -> tuple[str, ...]:
        """Names of the axes outside the planes."""
        return self.axes[: -self._plane_ndim]

    @property
    def leading_shape(self) -> tuple[int, ...]:
        """Lengths of `leading_axes`."""
        return self.shape[: -self._plane_ndim]

    @property
    def plane_shape(self) -> tuple[int, ...]:
        """Shape of a plane: (H, W), (H, W, 3) or (H, W, 4)."""
        return self.shape[-self._plane_ndim :]

    @property
    def _plane_ndim(self) -> int:
        return 3 if self.axes[-1] == "s" else 2

    def __len__(self) -> int:
        """Return the number of planes."""
        return math.prod(self.leading_shape)

    def __getitem__(self, k: int) -> NDArray[Any]:
        """Read a plane; raise InputError if it cannot be read."""
        if not 0 <= k < len(self):
            raise IndexError(k)  # ends an iteration
        advice = "save or copy the stack again"
        with decoding(f"Plane {k} of {self.path}", "cannot be read", advice):
            plane = self._read(k)
        return np.ascontiguousarray(plane, dtype=self.dtype)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Iterate over the planes."""
        return (self[k] for k in range(len(self)))

    def __enter__(self) -> Self:
        """Return this stack."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        return

    def check_writable(self) -> None:
        """Raise InputError if `write_stack` cannot write a stack like this, whatever the planes."""
        return

    @abstractmethod
    def _read(self, k: int) -> NDArray[Any]:
        """Read a plane of `plane_shape`."""

    @abstractmethod
    def _write(self, path: Path, planes: Iterable[NDArray[Any]]) -> None:
        """Write planes with the axes, type and metadata of this stack."""


def write_stack(path: Path | str, like: Stack, planes: Iterable[NDArray[Any]]) -> None:
    """Write planes with the format, axes, type, sizes and attributes of another stack.

    The file or folder is written completely or not at all.

    Parameters
    ----------
    path : Path or str
        The destination; an existing file or folder is replaced.
    like : Stack
        The stack whose format and metadata are used.
    planes : iterable of ndarray
        All planes in order, of the type and shape of `like`.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    with write_atomically(Path(path), "name another folder") as scratch:
        like._write(scratch, planes)
