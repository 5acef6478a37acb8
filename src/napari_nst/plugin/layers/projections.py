"""Thick slices: arrays whose planes are projected where they are read.  No Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Projected"]


@dataclass(frozen=True, eq=False)
class Projected:
    """A layer's data with a thick slice of some axes projected into one plane, lazily.

    Attributes
    ----------
    source : array_like
        The layer's data.
    thick : mapping of int to tuple of int
        For each axis that is projected, the first plane and the one after the last.
    mode : {"mean", "sum", "max", "min"}
        The layer's projection mode.
    """

    source: Any
    thick: Mapping[int, tuple[int, int]]
    mode: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the projection: floats of a mean, wider integers of a sum."""
        one = np.asarray(getattr(np, self.mode)(np.ones(1, self.source.dtype)))
        return one.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The data's own, with one plane on each axis that is projected."""
        return tuple(1 if a in self.thick else n for a, n in enumerate(self.source.shape))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.source.shape)

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read a part: of the axes that are projected the index names the one place, 0."""
        places = [slice(*self.thick[a]) if a in self.thick else i for a, i in enumerate(index)]
        values = np.asarray(self.source[tuple(places)])
        return np.asarray(getattr(np, self.mode)(values, axis=self.axes_within(index)))

    def axes_within(self, index: tuple[int | slice, ...]) -> tuple[int, ...]:
        """Return the axes that are projected, counted in what an index leaves of the data."""
        kept = [a for a, i in enumerate(index) if a in self.thick or isinstance(i, slice)]
        return tuple(kept.index(axis) for axis in sorted(self.thick))
