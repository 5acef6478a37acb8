"""Lazy projections of thick slices.  No Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["ProjectedArray"]


@dataclass(frozen=True, eq=False)
class ProjectedArray:
    """Layer's data with a thick slice along some axes projected into one plane, lazily.

    Attributes
    ----------
    source : array_like
        The layer's data.
    thick : mapping of int to tuple of int
        For each projected axis, the first plane and the one after the last.
    mode : {"mean", "sum", "max", "min"}
        The layer's projection mode.
    """

    source: Any
    thick: Mapping[int, tuple[int, int]]
    mode: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the projection: float for a mean, a wider integer for a sum."""
        one = np.asarray(getattr(np, self.mode)(np.ones(1, self.source.dtype)))
        return one.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data, with length 1 along each projected axis."""
        return tuple(1 if a in self.thick else n for a, n in enumerate(self.source.shape))

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read a part; the index along projected axes is 0."""
        places = [slice(*self.thick[a]) if a in self.thick else i for a, i in enumerate(index)]
        values = np.asarray(self.source[tuple(places)])
        return np.asarray(getattr(np, self.mode)(values, axis=self.axes_within(index)))

    def axes_within(self, index: tuple[int | slice, ...]) -> tuple[int, ...]:
        """Return the projected axes, counted among the axes that an index leaves."""
        left = [a for a, i in enumerate(index) if a in self.thick or isinstance(i, slice)]
        return tuple(left.index(axis) for axis in sorted(self.thick))
