"""Geometry of layers: the planes that a viewer shows, and a result's transform.  No Qt here."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pint
from napari.utils.transforms import Affine

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.components import Dims, ViewerModel
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

__all__ = [
    "View",
    "axis_name",
    "canvas_corners",
    "full_shape",
    "geometry_of",
    "has_label",
    "index_of_part",
    "middle_pixel",
    "result_transform",
    "shown_axes",
    "shown_planes",
    "to_world",
    "visible_part",
]

_TILT = 0.5  # pixels across a plane above which it counts as oblique
_MIN_PIXELS = 16  # shortest side of a part that is worth a run


@dataclass(frozen=True)
class View:
    """Copy of a viewer's dims, which determine the plane that is shown.

    Attributes
    ----------
    ndim : int
        Number of the viewer's axes.
    point : tuple of float
        World coordinates of the slice.
    order : tuple of int
        The axes, the displayed ones last.
    margin_left, margin_right : tuple of float
        Thickness of the slice before and after the point, in world coordinates; empty: zero.
    units : tuple of pint.Unit or None
        Units of the world; None: each layer has its own, as in napari where they disagree.
    ndisplay : int
        Number of displayed axes.
    """

    ndim: int
    point: tuple[float, ...]
    order: tuple[int, ...]
    margin_left: tuple[float, ...] = ()
    margin_right: tuple[float, ...] = ()
    units: tuple[pint.Unit, ...] | None = None
    ndisplay: int = 2

    @classmethod
    def from_dims(cls, dims: Dims | View) -> View:
        """Return the view that a viewer shows now."""
        if isinstance(dims, View):
            return dims
        return cls(
            ndim=dims.ndim,
            point=tuple(dims.point),
            order=tuple(dims.order),
            margin_left=tuple(dims.margin_left),
            margin_right=tuple(dims.margin_right),
            units=dims.units,
            ndisplay=dims.ndisplay,
        )

    def without_thickness(self, axis: int) -> View:
        """Return this view with zero thickness along an axis."""
        left, right = map(list, self._margins)
        left[axis] = right[axis] = 0.0
        return replace(self, margin_left=tuple(left), margin_right=tuple(right))

    @property
    def _margins(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        zero = (0.0,) * self.ndim
        return self.margin_left or zero, self.margin_right or zero

    def on_axes(self, axes: Sequence[int], ndim: int) -> NDArray[np.float64]:
        """Return point and margins on axes of a layer of `ndim`, shape (3, len(axes))."""
        rows = (self.point, *self._margins)
        return np.array([[row[axis - ndim] for axis in axes] for row in rows], float)


def shown_axes(layer: Image | Labels, dims: Dims | View) -> tuple[int, int]:
    """Return the layer's axes that the viewer shows as rows and columns."""
    offset = dims.ndim - layer.ndim  # a layer has the last of the viewer's axes
    axes = [axis - offset for axis in dims.order if axis >= offset]
    return axes[-2], axes[-1]


def full_shape(layer: Image | Labels) -> tuple[int, ...]:
    """Return the shape of a layer's data at level zero."""
    return tuple((layer.data[0] if layer.multiscale else layer.data).shape)


def middle_pixel(layer: Any) -> NDArray[np.intp]:
    """Return the index of a layer's middle pixel at level zero."""
    return np.array(full_shape(layer)[: layer.ndim]) // 2


def axis_name(layer: Image | Labels, axis: int) -> str:
    """Return the name of an axis for messages."""
    return str(layer.axis_labels[axis]) if has_label(layer, axis) else f"axis {axis}"


def has_label(layer: Image | Labels, axis: int) -> bool:
    """Return whether an axis has a label other than napari's default: "-3", "-2", "-1"."""
    return not str(layer.axis_labels[axis]).removeprefix("-").isdecimal()


def shown_planes(layer: Image, view: View) -> dict[int, tuple[int, int]]:
    """Return the planes of a layer that the viewer shows, as napari slices it.

    Parameters
    ----------
    layer : Image
        Grey or RGB(A), of two dimensions or more.
    view : View
        The viewer's.

    Returns
    -------
    dict
        For each hidden axis, the first plane and the one after the last, at level zero: several
        planes where the slice is thick and the layer has a projection mode.

    Raises
    ------
    InputError
        If the viewer shows a volume, a cut across the layer's planes, or nothing of the layer.
    """
    if min(view.ndisplay, layer.ndim) > 2:
        raise InputError(
            f"{layer.name} is displayed in 3D, and a run takes a plane: switch the viewer to 2D."
        )
    shown = shown_axes(layer, view)
    hidden = [axis for axis in range(layer.ndim) if axis not in shown]
    if not hidden:
        return {}
    full = full_shape(layer)
    world = to_world(geometry_of(layer), view.units)
    _check_not_oblique(layer, world, shown, hidden, full)
    across = world.inverse.set_slice(hidden)
    place, *margins = view.on_axes(hidden, layer.ndim)
    points = across(place)
    left, right = (across.linear_matrix @ margin for margin in margins)
    planes = {}
    for axis, point, before, after in zip(hidden, points, left, right, strict=True):
        if str(layer.projection_mode) == "none":
            before = after = 0.0
        found = _plane_range(float(point - before), float(point + after), full[axis])
        if found is None:
            at = np.zeros(layer.ndim)
            at[hidden] = points
            ends = [world(np.where(np.arange(layer.ndim) == axis, end, at))[axis]
                    for end in (0, full[axis] - 1)]  # fmt: skip
            raise InputError(
                f"{layer.name} shows nothing at this point: on {axis_name(layer, axis)} it lies "
                f"from {min(ends):g} to {max(ends):g}, and the viewer is at "
                f"{view.point[axis - layer.ndim]:g}; move the slider there, or the layer here."
            )
        planes[axis] = found
    return planes


def _plane_range(begin: float, end: float, size: int) -> tuple[int, int] | None:
    """Return the first plane of a slice and the one after the last, or None, as napari does.

    A slice without thickness is the nearest plane.  A thick slice includes the plane at its end
    only if the end is at that plane's centre.  A negative scale reverses a slice; it has no plane.
    """
    low, high = round(begin), round(end)
    if high < 0 or low >= size:
        return None
    low, high = max(low, 0), max(high, 0)
    if np.isclose(high, end):
        high += 1
    high = min(high + (low == high), size)
    return (low, high) if low < high else None


def _check_not_oblique(
    layer: Image,
    world: Affine,
    shown: Sequence[int],
    hidden: Sequence[int],
    full: Sequence[int],
) -> None:
    """Refuse a layer whose planes are oblique to the displayed plane of the world."""
    rows = world.inverse.linear_matrix[hidden][:, shown]
    slopes = np.abs(rows @ world.linear_matrix[np.ix_(shown, shown)])
    # Rounding errors of a rotation or registration tilt a plane by far less than half a pixel.
    if (slopes @ [full[axis] - 1 for axis in shown]).max() > _TILT:
        raise InputError(
            f"{layer.name} is rotated or sheared out of its planes, so the plane on the canvas is "
            "oblique in it: set rotate, shear and affine so that they stay in the plane, or show "
            "other axes."
        )


def index_of_part(
    layer: Image,
    shown: tuple[int, int],
    planes: Mapping[int, tuple[int, int]],
    shape: tuple[int, ...],
    factors: tuple[float, ...],
    part: Mapping[int, tuple[int, int]],
) -> tuple[int | slice, ...]:
    """Return the index into a level's data of `shown_planes` and a part of the shown axes.

    `shape` and `factors` are the level's; `part` is in pixels of level zero.  Several planes of a
    hidden axis become a slice.
    """
    index: list[int | slice] = [slice(None)] * len(shape)
    for axis in range(layer.ndim):
        if axis not in shown:
            low, high = planes[axis]
            first = min(round(low / factors[axis]), shape[axis] - 1)
            last = min(round(high / factors[axis]), shape[axis])
            if high - low > 1 and last - first > 1:
                index[axis] = slice(first, last)
            else:  # the centre of a coarse pixel lies between the fine pixels that it covers
                place = int(((low + high) / 2) / factors[axis])
                index[axis] = min(place, shape[axis] - 1)
        elif axis in part:
            begin, end = part[axis]
            first = int(begin / factors[axis])
            last = max(math.ceil(end / factors[axis]), first + 1)
            if (first, last) != (0, shape[axis]):
                index[axis] = slice(first, min(last, shape[axis]))
    return tuple(index)


def canvas_corners(viewer: ViewerModel) -> NDArray[np.float64]:
    """Return the world coordinates of two outer corners of the canvas, shape (2, 2).

    Computed from the camera: napari's ``corner_pixels`` ignore units, and may lag behind the view
    of a multiscale layer.
    """
    camera = viewer.scene.camera
    half = np.array(viewer.canvas.viewbox_size(viewer.layers)) / 2 / camera.zoom
    center = np.array(camera.center[-2:])
    return np.array([center - half, center + half])


def visible_part(
    layer: Image, dims: Dims | View, corners: NDArray[np.float64]
) -> dict[int, tuple[int, int]]:
    """Return the part of a layer that is on the canvas.

    Parameters
    ----------
    layer : Image
        Grey or RGB(A).
    dims : Dims or View
        The viewer's.
    corners : ndarray
        As `canvas_corners` returns them.

    Returns
    -------
    dict
        For each of the two shown axes, begin and end of the part in pixels of level zero.

    Raises
    ------
    InputError
        If the canvas shows fewer than 16 rows or columns of it.
    """
    view = View.from_dims(dims)
    full = full_shape(layer)
    shown = shown_axes(layer, view)
    to_data = to_world(geometry_of(layer), view.units).set_slice(shown).inverse
    pixels = to_data(np.array(list(itertools.product(*corners.T))))
    part = {}
    for number, axis in enumerate(shown):
        # Pixels extend by a half around their centres; 1e-6 absorbs rounding.
        first, last = pixels[:, number].min() + 0.5 + 1e-6, pixels[:, number].max() + 0.5 - 1e-6
        begin, end = max(math.floor(first), 0), min(math.ceil(last), full[axis])
        if not layer.visible or end - begin < min(_MIN_PIXELS, full[axis]):
            raise InputError(
                f"The canvas shows too little of {layer.name}; bring it into view for a draft."
            )
        part[axis] = (begin, end)
    return part


def geometry_of(layer: Image) -> dict[str, Any]:
    """Return the keyword arguments that give a new layer the transform of another."""
    return {
        "scale": np.array(layer.scale),
        "translate": np.array(layer.translate),
        "rotate": np.array(layer.rotate),
        "shear": np.array(layer.shear),
        "affine": np.array(layer.affine.affine_matrix),
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def to_world(geometry: Mapping[str, Any], units: tuple[pint.Unit, ...] | None = None) -> Affine:
    """Return the map from a layer's pixels to the world.

    Parameters
    ----------
    geometry : mapping
        As `geometry_of` returns it.
    units : tuple of pint.Unit, optional
        Units of the world, whose last axes are the layer's; None: the layer's units.
    """
    own = {name: geometry[name] for name in ("scale", "rotate", "shear", "translate")}
    world = Affine(affine_matrix=geometry["affine"]).compose(Affine(**own))
    ndim = world.ndim
    if units is None or len(units) < ndim or tuple(units[-ndim:]) == tuple(geometry["units"]):
        return world
    registry: Any = pint.application_registry
    base = registry.get_base_units
    pairs = zip(geometry["units"], units[-ndim:], strict=True)
    factors = np.array([base(own)[0] / base(new)[0] for own, new in pairs])
    return Affine(
        linear_matrix=factors[:, None] * world.linear_matrix, translate=factors * world.translate
    )


def result_transform(
    geometry: Mapping[str, Any],
    *,
    factors: Sequence[float],
    index: Sequence[int | slice],
    sizes: Sequence[int],
    shape: Sequence[int],
) -> dict[str, Any]:
    """Return the keyword arguments that place a result exactly over a part of a layer.

    Parameters
    ----------
    geometry : mapping
        As `geometry_of` returns it for the layer.
    factors : sequence of float
        For each axis of the layer, pixels of level zero in a pixel of the level.
    index : sequence of int or slice
        Part of the level.
    sizes : sequence of int
        Shape of the level.
    shape : sequence of int
        Shape of the result.  Along an axis where `index` is an integer, the result has one plane,
        or is a stack over the whole axis.

    Notes
    -----
    Pixel centres are at integer coordinates.  A pixel of the result covers f pixels of the layer,
    so its centre is offset by (f - 1) / 2 pixels; the layer's full linear map, rotation and shear
    included, takes that offset to the world.
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
