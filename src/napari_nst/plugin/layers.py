"""From napari layers to arrays and back: planes, intensities, geometry.  No Qt here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.transforms import Affine

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari.components import Dims
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

__all__ = ["Plane", "View", "place_of", "shown_axes", "take_plane", "visible_part"]

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


@dataclass(frozen=True)
class Plane:
    """The two-dimensional image that a layer shows, and where it belongs.

    Attributes
    ----------
    name : str
        The layer's name when the plane was taken.
    data : array_like
        The layer's data (of one level, if it has several), not read yet where it is lazy.
    index : tuple of int or slice
        What of the data is the plane.
    transposed : bool
        Whether the viewer shows the plane's axes in the other order.
    rgb : bool
        Whether the last axis of the data is colour.
    limits : tuple of float
        The contrast limits: what a grey value means.
    geometry : dict
        Keyword arguments of a layer that lies where the content's level zero does.
    factors : tuple of float
        For each axis of the layer, pixels of level zero in a pixel of `data`.
    appearance : dict
        Keyword arguments that make a result look like the content: the colormap, for a grey
        layer.
    """

    name: str
    data: Any
    index: tuple[int | slice, ...]
    transposed: bool
    rgb: bool
    limits: tuple[float, float]
    geometry: dict[str, Any]
    factors: tuple[float, ...]
    appearance: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the plane as the viewer shows it."""
        height, width = self._shown(len(range(*place.indices(n))) for place, n in self._slices)
        return height, width

    @property
    def grid(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The rows and columns of level zero, as it is shown, that the plane's pixels lie in."""
        factors = [f for f, i in zip(self.factors, self.index, strict=False) if _is_slice(i)]
        rows, columns = self._shown(
            ((np.arange(*place.indices(n)) + 0.5) * factor).astype(np.intp)
            for (place, n), factor in zip(self._slices, factors, strict=True)
        )
        return rows, columns

    @property
    def full_shape(self) -> tuple[int, int]:
        """Height and width of the whole plane at level zero, as the viewer shows it."""
        height, width = self._shown(
            round(size * factor)
            for size, factor, i in zip(self.data.shape, self.factors, self.index, strict=False)
            if _is_slice(i)
        )
        return height, width

    @property
    def corners(self) -> NDArray[np.float64]:
        """The world's coordinates of the two outer corners of the plane, on the shown axes."""
        low, high = np.zeros(len(self.factors)), np.zeros(len(self.factors))
        shown = [axis for axis, place in enumerate(self.index[: len(low)]) if _is_slice(place)]
        for axis, (place, size) in zip(shown, self._slices, strict=True):
            first, last, _ = place.indices(size)
            low[axis] = first * self.factors[axis] - 0.5
            high[axis] = last * self.factors[axis] - 0.5
        own = {name: self.geometry[name] for name in ("scale", "rotate", "shear", "translate")}
        to_world = Affine(affine_matrix=self.geometry["affine"]).compose(Affine(**own))
        return np.array([to_world(low)[shown], to_world(high)[shown]])

    @property
    def _slices(self) -> list[tuple[slice, int]]:
        """What of the two shown axes is the plane, and their lengths, in the data's order."""
        sides = zip(self.index, self.data.shape, strict=True)
        return [(place, size) for place, size in sides if isinstance(place, slice)][:2]

    def _shown(self, pair: Iterable[Any]) -> Iterable[Any]:
        """Return what belongs to the data's two axes in the order in which they show."""
        return reversed(list(pair)) if self.transposed else list(pair)

    def load(self) -> NDArray[Any]:
        """Read the plane as the engine takes it.

        Returns
        -------
        ndarray
            Shape (H, W), float32 in [0, 1] by the contrast limits, for a grey layer; for a
            colour layer (H, W, 3) or (H, W, 4) in the layer's own dtype.

        Raises
        ------
        InputError
            If the plane is empty.
        """
        plane = np.asarray(self.data[self.index])
        if plane.size == 0:
            raise InputError(f"{self.name} is empty: its shape is {tuple(self.data.shape)}.")
        if self.transposed:
            plane = plane.swapaxes(0, 1)
        if self.rgb:
            return plane.copy()
        low, high = self.limits
        # What is brighter or darker than the limits looks like them; NaN stays for the engine.
        unit = (plane.astype(np.float64) - low) / (high - low)
        return np.clip(unit, 0, 1).astype(np.float32)

    def restore(self, picture: NDArray[np.float32]) -> NDArray[Any]:
        """Return a picture of the engine as data for a layer like the content's.

        Parameters
        ----------
        picture : ndarray
            Shape (H', W'), (H', W', 3) or (H', W', 4), float32 in [0, 1].

        Returns
        -------
        ndarray
            With as many axes as the content, those not shown of length one; in the content's
            dtype and range of intensities.
        """
        dtype = np.dtype(self.data.dtype).newbyteorder("=")
        values: NDArray[Any]
        if self.rgb:
            values = picture * np.iinfo(dtype).max if dtype.kind == "u" else picture
        else:
            low, high = self.limits
            values = low + picture.astype(np.float64) * (high - low)
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            values = np.rint(values).clip(info.min, info.max)
        if self.transposed:
            values = values.swapaxes(0, 1)
        for axis, place in enumerate(self.index):
            if isinstance(place, int):
                values = np.expand_dims(values, axis)
        return np.ascontiguousarray(values, dtype=dtype)

    def layer_kwargs(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return what places a result layer exactly over the content.

        Parameters
        ----------
        shape : tuple of int
            Of the result's data, as `restore` returns it.

        Notes
        -----
        Pixel centres are at integer coordinates.  A pixel of the result covers f pixels of the
        content, and the first one's centre is (f - 1) / 2 of them further in; the content's full
        linear map, rotation and shear included, takes that offset to the world.
        """
        geometry = dict(self.geometry)
        ratio = np.array(self.factors)
        start = np.zeros(len(ratio))
        for axis, place in enumerate(self.index[: len(ratio)]):
            if isinstance(place, int):
                start[axis] = place * ratio[axis]
            else:
                first, last, _ = place.indices(self.data.shape[axis])
                start[axis] = first * ratio[axis]
                ratio[axis] *= (last - first) / shape[axis]
        linear = Affine(
            scale=geometry["scale"],
            rotate=geometry["rotate"],
            shear=geometry["shear"],
            ndim=len(ratio),
        ).linear_matrix
        geometry["translate"] = geometry["translate"] + linear @ (start + (ratio - 1) / 2)
        geometry["scale"] = geometry["scale"] * ratio
        return geometry | self.appearance


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


def take_plane(
    layer: Image,
    dims: Dims | View,
    longest: int | None = None,
    part: Mapping[int, tuple[int, int]] | None = None,
) -> Plane:
    """Return the plane of a layer that the viewer shows.

    Parameters
    ----------
    layer : Image
        Grey or RGB(A), of any number of dimensions, with one level or several.
    dims : Dims or View
        The viewer's.
    longest : int, optional
        The longest side worth reading of a multiscale layer; None reads level zero.
    part : mapping of int to tuple of int, optional
        What to take of each shown axis, as `visible_part` returns it; None: all.

    Raises
    ------
    InputError
        If the layer shows no plane: it is empty, or one-dimensional.
    """
    ndim = layer.ndim
    if ndim < 2:
        raise InputError(f"{layer.name} has {ndim} dimension; it must have at least two.")
    levels = list(layer.data) if layer.multiscale else [layer.data]
    full = levels[0].shape
    if 0 in full:
        raise InputError(f"{layer.name} is empty: its shape is {tuple(full)}.")
    shown = shown_axes(layer, dims)
    part = part or {axis: (0, full[axis]) for axis in shown}
    if longest is not None:  # of the part; of the whole, in proportion
        longest = math.ceil(
            longest * max(full[axis] for axis in shown) / max(b - a for a, b in part.values())
        )
    data = _level(levels, shown, longest)
    factors = tuple(a / b for a, b in zip(full[:ndim], data.shape[:ndim], strict=True))
    low, high = (float(limit) for limit in layer.contrast_limits)
    return Plane(
        name=layer.name,
        data=data,
        index=place_of(layer, dims, data.shape, factors, part),
        transposed=shown[0] > shown[1],
        rgb=bool(layer.rgb),
        limits=(low, high),
        geometry=_geometry(layer),
        factors=factors,
        appearance={} if layer.rgb else {"colormap": layer.colormap, "gamma": layer.gamma},
    )


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
            place = round(float(point[axis]) / factors[axis])
            index[axis] = int(np.clip(place, 0, shape[axis] - 1))
        elif axis in part:
            begin, end = part[axis]
            first = int(begin / factors[axis])
            last = max(math.ceil(end / factors[axis]), first + 1)
            if (first, last) != (0, shape[axis]):
                index[axis] = slice(first, min(last, shape[axis]))
    return tuple(index)


def _is_slice(place: int | slice) -> bool:
    return isinstance(place, slice)


def shown_axes(layer: Image | Labels, dims: Dims | View) -> tuple[int, int]:
    """Return the layer's two axes that make up the plane, in the order in which they show."""
    offset = dims.ndim - layer.ndim  # a layer's axes are the last of the viewer's
    axes = [axis - offset for axis in dims.order if axis >= offset]
    return axes[-2], axes[-1]


def _level(levels: list[Any], shown: tuple[int, int], longest: int | None) -> Any:
    """Return the smallest level that is not smaller than what will be worked at."""
    if longest is None:
        return levels[0]
    enough = [level for level in levels if max(level.shape[axis] for axis in shown) >= longest]
    return enough[-1] if enough else levels[0]


def _geometry(layer: Image) -> dict[str, Any]:
    return {
        "scale": np.array(layer.scale),
        "translate": np.array(layer.translate),
        "rotate": np.array(layer.rotate),
        "shear": np.array(layer.shear),
        "affine": np.array(layer.affine.affine_matrix),
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }
