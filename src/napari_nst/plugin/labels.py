"""Labels that lie over an image, and the marks by which a user knows them.  No Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.errors import InputError
from napari_nst.plugin.geometry import place_of, shown_axes

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_nst.plugin.geometry import View
    from napari_nst.plugin.layers import Plane

__all__ = ["LabelsPlane", "present", "shown_labels", "take_labels"]

_COUNTABLE = 2**16  # labels below this are counted, which takes a tenth of the time of sorting


@dataclass(frozen=True)
class LabelsPlane:
    """The labels that lie over a plane, read when they are asked for: again and again.

    Attributes
    ----------
    name : str
        The layer's name when the plane was taken.
    data : array_like
        The layer's data.
    index : tuple of int or slice
        What of the data is the plane.
    transposed : bool
        Whether the viewer shows the plane's axes in the other order.
    grid : tuple of ndarray
        The rows and columns that lie under the pixels of the image's plane.
    """

    name: str
    data: Any
    index: tuple[int | slice, ...]
    transposed: bool
    grid: tuple[NDArray[np.intp], NDArray[np.intp]]

    def load(self) -> NDArray[Any]:
        """Return the labels as they are now: shape (H, W) of the image's plane, a copy."""
        plane = np.asarray(self.data[self.index])
        if self.transposed:
            plane = plane.swapaxes(0, 1)
        return plane[np.ix_(*self.grid)]


def take_labels(layer: Labels, dims: Dims | View, image: Plane) -> LabelsPlane:
    """Return what a layer of labels shows, as it lies over the plane of an image.

    Parameters
    ----------
    layer : Labels
        Of any number of dimensions, with one level or several.
    dims : Dims or View
        The viewer's.
    image : Plane
        Taken from an image at the same point.

    Raises
    ------
    InputError
        If the labels have another height or width than the image.
    """
    data = _finest(layer)
    across, down = _axes(layer, dims)
    shape = (data.shape[across], data.shape[down])
    if shape != image.full_shape:
        raise InputError(
            f"{layer.name} is {shape[1]} x {shape[0]} pixels; labels of {image.name} must be "
            f"{image.full_shape[1]} x {image.full_shape[0]} like it."
        )
    index = place_of(layer, dims, data.shape, (1.0,) * layer.ndim, {})
    return LabelsPlane(layer.name, data, index, across > down, image.grid)


def shown_labels(layer: Labels, dims: Dims | View) -> NDArray[Any]:
    """Return the labels of the plane that the viewer shows, not copied, in the data's order."""
    data = _finest(layer)
    _axes(layer, dims)
    return np.asarray(data[place_of(layer, dims, data.shape, (1.0,) * layer.ndim, {})])


def _finest(layer: Labels) -> Any:
    return layer.data[0] if layer.multiscale else layer.data


def _axes(layer: Labels, dims: Dims | View) -> tuple[int, int]:
    if layer.ndim < 2:
        raise InputError(f"{layer.name} has {layer.ndim} dimension; it must have at least two.")
    return shown_axes(layer, dims)


def present(labels: NDArray[Any]) -> list[int]:
    """Return the labels in an array, in order."""
    if labels.size == 0:
        return []
    if labels.min() >= 0 and labels.max() < _COUNTABLE:
        # Row by row: to count, numpy makes integers of eight bytes of them.
        rows = labels.reshape(-1, labels.shape[-1])
        seen = np.zeros(int(labels.max()) + 1, bool)
        for row in rows:
            seen[row] = True
        return [int(label) for label in np.flatnonzero(seen)]
    return [int(label) for label in np.unique(labels)]
