"""Where a layer's pixels are: what of it a viewer shows, and where a result belongs.  No Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.transforms import Affine

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.components import Dims
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

__all__ = [
    "View",
    "geometry_of",
    "place_of",
    "placed",
    "shown_axes",
    "to_world",
    "visible_part",
]

_FEWEST_PIXELS = 16  # of a side, for a part of a picture to be worth a run


@dataclass(frozen=True)
class View:
    """Where a viewer was when a run began: what `take_plane` needs of its dims."""

    ndim: int
    point: tuple[float, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, dims: Dims) -> View:
        """Return where a viewer is now."""
        return cls(dims.ndim, tuple(dims.point), tuple(dims.order))


def shown_axes(layer: Image | Labels, dims: Dims | View) -> tuple[int, int]:
    """Return the layer's two axes that make up the plane, in the order in which they show."""
    offset = dims.ndim - layer.ndim  # a layer's axes are the last of the viewer's
    axes = [axis - offset for axis in dims.order if axis >= offset]
    return axes[-2], axes[-1]


def place_of(
    layer: Image | Labels,
    dims: Dims | View,
    shape: tuple[int, ...],
    factors: tuple[float, ...],
    part: Mapping[int, tuple[int, int]],
) -> tuple[int | slice, ...]:
    """Return what of a level's data the viewer shows, and of its shown axes the part."""
    point = np.asarray(layer.world_to_data(dims.point[-layer.ndim :]))
    index: list[int | slice] = [slice(None)] * len(shape)
    shown = shown_axes(layer, dims)
    for axis in range(layer.ndim):
        if axis not in shown:
            # A coarser level's pixel is centred between those that it stands for.
            place = round((float(point[axis]) + 0.5) / factors[axis] - 0.5)
            index[axis] = int(np.clip(place, 0, shape[axis] - 1))
        elif axis in part:
            begin, end = part[axis]
            first = int(begin / factors[axis])
            last = max(math.ceil(end / factors[axis]), first + 1)
            if (first, last) != (0, shape[axis]):
                index[axis] = slice(first, min(last, shape[axis]))
    return tuple(index)


def visible_part(layer: Image, dims: Dims | View) -> dict[int, tuple[int, int]]:
    """Return the part of a layer that is on the canvas.

    Parameters
    ----------
    layer : Image
        Grey or RGB(A).
    dims : Dims or View
        The viewer's.

    Returns
    -------
    dict
        For each of the two shown axes, where the part begins and ends in pixels of level zero.

    Raises
    ------
    InputError
        If the canvas shows nothing of it, or next to nothing.
    """
    factors = layer.downsample_factors[layer.data_level] if layer.multiscale else None
    full = layer.data[0].shape if layer.multiscale else layer.data.shape
    part = {}
    for axis in shown_axes(layer, dims):
        factor = 1.0 if factors is None else float(factors[axis])
        first, last = layer.corner_pixels[:, axis]
        begin, end = int(first * factor), min(round((last + 1) * factor), full[axis])
        if not layer.visible or end - begin < min(_FEWEST_PIXELS, full[axis]):
            raise InputError(
                f"The canvas shows too little of {layer.name}; bring it into view for a draft."
            )
        part[axis] = (begin, end)
    return part


def geometry_of(layer: Image) -> dict[str, Any]:
    """Return keyword arguments of a layer that lies where another does."""
    return {
        "scale": np.array(layer.scale),
        "translate": np.array(layer.translate),
        "rotate": np.array(layer.rotate),
        "shear": np.array(layer.shear),
        "affine": np.array(layer.affine.affine_matrix),
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def to_world(geometry: Mapping[str, Any]) -> Affine:
    """Return the map from a layer's pixels to the world, given its `geometry_of`."""
    own = {name: geometry[name] for name in ("scale", "rotate", "shear", "translate")}
    return Affine(affine_matrix=geometry["affine"]).compose(Affine(**own))


def placed(
    geometry: Mapping[str, Any],
    factors: Sequence[float],
    index: Sequence[int | slice],
    sizes: Sequence[int],
    shape: Sequence[int],
) -> dict[str, Any]:
    """Return the geometry of a result that covers a part of a layer exactly.

    Parameters
    ----------
    geometry : mapping
        Of the layer's level zero.
    factors : sequence of float
        For each axis of the layer, pixels of level zero in a pixel of the level.
    index : sequence of int or slice
        The part of the level.
    sizes : sequence of int
        The shape of the level.
    shape : sequence of int
        Of the result.  Where it is as long as the level on an axis of which `index` names one
        place, it is a stack, and covers the whole axis.

    Notes
    -----
    Pixel centres are at integer coordinates.  A pixel of the result covers f pixels of the
    content, and the first one's centre is (f - 1) / 2 of them further in; the content's full
    linear map, rotation and shear included, takes that offset to the world.
    """
    ratio = np.array(factors, float)
    start: NDArray[np.float64] = np.zeros(len(ratio))
    for axis in range(len(ratio)):
        place, size = index[axis], sizes[axis]
        if isinstance(place, slice):
            first, last, _ = place.indices(size)
        elif shape[axis] == 1:
            first, last = place, place + 1
        else:
            first, last = 0, size
            if shape[axis] != size:
                raise ValueError(
                    f"Axis {axis} of the result has {shape[axis]} planes; of {size} it must have "
                    "one or all."
                )
        start[axis] = first * ratio[axis]
        ratio[axis] *= (last - first) / shape[axis]
    linear = Affine(
        scale=geometry["scale"],
        rotate=geometry["rotate"],
        shear=geometry["shear"],
        ndim=len(ratio),
    ).linear_matrix
    return dict(geometry) | {
        "translate": geometry["translate"] + linear @ (start + (ratio - 1) / 2),
        "scale": geometry["scale"] * ratio,
    }
