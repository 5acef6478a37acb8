"""Stacks in files: planes that are read one at a time, and written in the same manner."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_nst.atomic import atomic_write
from napari_nst.errors import InputError
from napari_nst.files._common import detail

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["Stack", "write_stack"]

_CHANNELS = ("c", "ch", "channel", "channels")


class Stack(ABC):
    """The planes of a file, in the order of its axes: a sequence that reads what is asked for.

    Attributes
    ----------
    path : Path
        The file or folder.
    axes : tuple of str
        Their names, lower case; "y" and "x" are the planes', "s" is that of colours.
    shape : tuple of int
        Of the whole, along the axes.
    dtype : dtype
        Of the values, in native byte order.
    sizes : dict of str to float
        The length of a step along an axis, where the file says it.
    units : dict of str to str
        Its unit, where the file says it.
    channel : str or None
        The name of the axis along which the channels lie, if one does.
    bits : int or None
        The significant bits of a value, where the file names fewer than its type has.
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
        """The name of the axis of the channels; by the names that are in use."""
        return next((axis for axis in self.axes if axis in _CHANNELS), None)

    @property
    def leading_axes(self) -> tuple[str, ...]:
        """The axes that the planes lie along."""
        return tuple(axis for axis in self.axes if axis not in ("y", "x", "s"))

    @property
    def plane_shape(self) -> tuple[int, ...]:
        """Of a plane: height, width and, of colours, their number."""
        by_axis = dict(zip(self.axes, self.shape, strict=True))
        return tuple(by_axis[axis] for axis in ("y", "x", "s") if axis in by_axis)

    @property
    def leading(self) -> tuple[int, ...]:
        """The lengths of the axes that the planes lie along."""
        by_axis = dict(zip(self.axes, self.shape, strict=True))
        return tuple(by_axis[axis] for axis in self.leading_axes)

    def __len__(self) -> int:
        """Return the number of planes."""
        return math.prod(self.leading)

    def __getitem__(self, k: int) -> NDArray[Any]:
        """Read a plane.

        Raises
        ------
        IndexError
            If there is no such plane.
        InputError
            If it cannot be read.
        """
        if not 0 <= k < len(self):
            raise IndexError(k)  # the end of an iteration
        try:
            plane = self._read(k)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # decoders fail on damaged files with whatever they find
            raise InputError(
                f"Plane {k} of {self.path} cannot be read ({detail(error)}): save or copy the "
                "stack again."
            ) from error
        return np.ascontiguousarray(plane, dtype=self.dtype)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Read one plane after the other."""
        return (self[k] for k in range(len(self)))

    def __enter__(self) -> Self:
        """Return the stack, to be closed in the end."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        return

    @abstractmethod
    def _read(self, k: int) -> NDArray[Any]:
        """Return a plane: (y, x) or (y, x, s)."""

    @abstractmethod
    def _write(self, path: Path, planes: Iterable[NDArray[Any]]) -> None:
        """Write a stack of the same axes, type and metadata, whose planes are others."""


def write_stack(path: Path | str, like: Stack, planes: Iterable[NDArray[Any]]) -> None:
    """Write a stack as another is: its format, axes, type, physical sizes and attributes.

    The stack is written beside its destination, plane by plane, and moved there when it is whole.

    Parameters
    ----------
    path : Path or str
        Where to; what is there is replaced.
    like : Stack
        The stack that it is to be like.
    planes : iterable of ndarray
        All of its planes, in order, of that stack's type and shape.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    path = Path(path)
    try:
        with atomic_write(path) as scratch:
            like._write(scratch, planes)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} cannot be written ({detail(error)}): name another folder."
        ) from error
