"""From napari layers to arrays and back: planes, intensities, geometry.  No Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.transforms import Affine

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image
    from numpy.typing import NDArray

__all__ = ["Plane", "take_plane"]


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
        sides = [
            size for size, i in zip(self.data.shape, self.index, strict=False) if i == slice(None)
        ]
        height, width = sides[:2]
        return (width, height) if self.transposed else (height, width)

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
                ratio[axis] *= self.data.shape[axis] / shape[axis]
        linear = Affine(
            scale=geometry["scale"],
            rotate=geometry["rotate"],
            shear=geometry["shear"],
            ndim=len(ratio),
        ).linear_matrix
        geometry["translate"] = geometry["translate"] + linear @ (start + (ratio - 1) / 2)
        geometry["scale"] = geometry["scale"] * ratio
        return geometry | self.appearance


def take_plane(layer: Image, dims: Dims, longest: int | None = None) -> Plane:
    """Return the plane of a layer that the viewer shows.

    Parameters
    ----------
    layer : Image
        Grey or RGB(A), of any number of dimensions, with one level or several.
    dims : Dims
        The viewer's.
    longest : int, optional
        The longest side worth reading of a multiscale layer; None reads level zero.

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
    shown = _shown_axes(layer, dims)
    data = _level(levels, shown, longest)
    factors = tuple(a / b for a, b in zip(full[:ndim], data.shape[:ndim], strict=True))
    point = np.asarray(layer.world_to_data(dims.point[-ndim:]))
    index: list[int | slice] = [slice(None)] * data.ndim
    for axis in range(ndim):
        if axis not in shown:
            place = round(float(point[axis]) / factors[axis])
            index[axis] = int(np.clip(place, 0, data.shape[axis] - 1))
    low, high = (float(limit) for limit in layer.contrast_limits)
    return Plane(
        name=layer.name,
        data=data,
        index=tuple(index),
        transposed=shown[0] > shown[1],
        rgb=bool(layer.rgb),
        limits=(low, high),
        geometry=_geometry(layer),
        factors=factors,
        appearance={} if layer.rgb else {"colormap": layer.colormap, "gamma": layer.gamma},
    )


def _shown_axes(layer: Image, dims: Dims) -> tuple[int, int]:
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
