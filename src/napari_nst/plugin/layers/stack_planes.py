"""Planes of a layer along an axis, and labels over them, read one by one.  No Qt here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_nst.errors import InputError
from napari_nst.plugin.layers.value_range import RangeEstimator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_nst.plugin.layers.arrays import Plane
    from napari_nst.plugin.layers.labels import LabelsPlane

__all__ = ["LabelsAlong", "PlanesAlong"]


class PlanesAlong:
    """Lazy sequence of the planes of a layer along an axis."""

    def __init__(self, plane: Plane, axis: int) -> None:
        self._plane, self._axis = plane, axis
        self._planes: dict[int, Plane] = {}

    def __len__(self) -> int:
        """Return the number of planes."""
        return int(self._plane.data.shape[self._axis])

    def __getitem__(self, k: int) -> NDArray[Any]:
        """Read a plane for the engine."""
        if not 0 <= k < len(self):
            raise IndexError(k)
        return self.plane(k).load()

    def plane(self, k: int) -> Plane:
        """Return a plane without reading it; along channels, each has its own range."""
        if k not in self._planes:
            whole, axis = self._plane, self._axis
            index = tuple(k if a == axis else place for a, place in enumerate(whole.index))
            source = whole.range_source
            if isinstance(source, RangeEstimator):
                source = source.at(axis, k)
            self._planes[k] = replace(whole, index=index, range_source=source)
        return self._planes[k]


class LabelsAlong:
    """Lazy sequence of the labels over each plane of a layer along an axis."""

    def __init__(self, labels: LabelsPlane, content: Plane, axis: int) -> None:
        self._labels, self._axis, self._name = labels, axis, content.name
        self._count = int(content.data.shape[axis])
        self._factor = content.factors[axis]

    def __len__(self) -> int:
        """Return the number of planes."""
        return self._count

    def __getitem__(self, k: int) -> NDArray[Any]:
        """Read the labels over a plane."""
        return self._over(k).load()

    def check_ends(self, *, carried: bool = False) -> None:
        """Raise InputError if the first or the last plane has no label.

        Only the first needs one if the run carries labels from plane to plane.
        """
        paint = "paint on every plane"
        if carried:
            paint = "paint on it, and later planes have its labels, moved along"
        for k in (0,) if carried else (0, self._count - 1):
            if not any(self._over(k).unique_labels()):
                raise InputError(
                    f"{self._labels.name} has no label over plane {k + 1} of {self._count} of "
                    f"{self._name}: {paint}, or choose a 2D Labels layer for all."
                )

    def _over(self, k: int) -> LabelsPlane:
        centre = (k + 0.5) * self._factor - 0.5  # in pixels of level zero
        return self._labels.at(self._axis, centre)
