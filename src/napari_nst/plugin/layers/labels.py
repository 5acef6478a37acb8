"""Labels over the plane of an image.  No Qt here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.errors import InputError
from napari_nst.plugin.layers.geometry import geometry_of, to_world
from napari_nst.plugin.layers.source import LayerSource
from napari_nst.sampling import labels_under, nearest

if TYPE_CHECKING:
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_nst.plugin.layers.arrays import Plane
    from napari_nst.plugin.provenance.origins import Origin

__all__ = ["LabelsPlane", "labels_from_origin", "take_labels", "unique_labels"]

_COUNTABLE = 2**16  # labels below this are marked in a table, ten times as fast as sorting


@dataclass(frozen=True)
class LabelsPlane:
    """Labels over a plane; each `load` reads them again, as they may be painted over.

    Attributes
    ----------
    name : str
        The layer's name when the plane was taken.
    data : array_like
        The layer's data at level zero.
    to_labels : ndarray
        Affine map from homogeneous pixels of the image's level zero to pixels of the labels,
        shape (ndim of the labels, ndim of the image + 1).
    point : tuple of float
        Position in the image on its hidden axes, in pixels of level zero.
    shown : tuple of int
        Axes of the image that are rows and columns of the plane.
    grid : tuple of ndarray
        Rows and columns of the plane, in pixels of level zero.
    source : LayerSource or None
        The layer or file that the data came from.
    origin : Origin or None
        Origin of labels stored with a result, instead of `source`.
    """

    name: str
    data: Any
    to_labels: NDArray[np.float64]
    point: tuple[float, ...]
    shown: tuple[int, int]
    grid: tuple[NDArray[np.intp], NDArray[np.intp]]
    source: LayerSource | None = None
    origin: Origin | None = None

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Affine map from the plane's rows and columns to the labels, as `nearest` takes it."""
        hidden = [axis for axis in range(len(self.point)) if axis not in self.shown]
        start = self.to_labels[:, -1] + self.to_labels[:, hidden] @ np.array(self.point)[hidden]
        return np.column_stack([self.to_labels[:, self.shown], start])

    def at(self, axis: int, place: float) -> LabelsPlane:
        """Return the labels over another plane, at a place on an axis in pixels of level zero."""
        point = tuple(place if a == axis else p for a, p in enumerate(self.point))
        return replace(self, point=point)

    def load(self) -> NDArray[Any]:
        """Return a copy of the labels as they are now, in the shape (H, W) of the image's plane."""
        return nearest(self.data, self.matrix, *self.grid)

    def unique_labels(self) -> list[int]:
        """Return the sorted labels over the image now, with 0 where part of it has no labels."""
        part, covered = labels_under(self.data, self.matrix, *self.grid)
        found = unique_labels(part)
        return found if covered or 0 in found else sorted([0, *found])


def take_labels(layer: Labels, image: Plane) -> LabelsPlane:
    """Return the labels over the plane of an image, by world coordinates.

    Parameters
    ----------
    layer : Labels
        Of any number of dimensions and levels, with any transform.
    image : Plane
        The plane.

    Raises
    ------
    InputError
        If the layer has fewer than two dimensions.
    """
    if layer.ndim < 2:
        raise InputError(f"{layer.name} has {layer.ndim} dimension; it must have at least two.")
    view, ndim = image.view, len(image.factors)
    world = to_world(image.geometry, view.units)
    shown = image.shown
    hidden = [axis for axis in range(ndim) if axis not in shown]
    point = np.zeros(ndim)
    if hidden:
        point[hidden] = world.inverse.set_slice(hidden)(view.on_axes(hidden, ndim)[0])
    # From pixels of the image to world coordinates on the labels' axes, the viewer's last.
    affine = np.zeros((layer.ndim, ndim + 1))
    for axis in range(-layer.ndim, 0):
        affine[axis] = world.affine_matrix[axis - 1] if axis >= -ndim else 0
        if axis < -ndim:
            affine[axis, -1] = view.point[axis]
    to_labels = to_world(geometry_of(layer), view.units).inverse
    matrix = to_labels.linear_matrix @ affine
    matrix[:, -1] += to_labels.translate
    data = layer.data[0] if layer.multiscale else layer.data
    return LabelsPlane(
        name=layer.name,
        data=data,
        to_labels=matrix,
        point=tuple(map(float, point)),
        shown=shown,
        grid=image.grid,
        source=LayerSource.from_layer(layer),
    )


def labels_from_origin(origin: Origin) -> LabelsPlane | None:
    """Return the labels stored in an origin, as the run took them; None if it has none."""
    pixels = origin.stored_labels
    if pixels is None:
        return None
    rows, columns = map(np.arange, pixels.shape)
    return LabelsPlane(
        name=origin.layer,
        data=pixels,
        to_labels=np.eye(2, 3),
        point=(0.0, 0.0),
        shown=(0, 1),
        grid=(rows, columns),
        origin=origin,
    )


def unique_labels(labels: NDArray[Any]) -> list[int]:
    """Return the sorted labels in an array."""
    if labels.size == 0:
        return []
    if labels.min() >= 0 and labels.max() < _COUNTABLE:
        # Row by row, as indexing converts labels to integers of eight bytes.
        rows = labels.reshape(-1, labels.shape[-1])
        seen = np.zeros(int(labels.max()) + 1, bool)
        for row in rows:
            seen[row] = True
        return [int(label) for label in np.flatnonzero(seen)]
    return [int(label) for label in np.unique(labels)]
