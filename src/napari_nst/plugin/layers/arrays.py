"""Planes of Image layers: from a layer to the engine's array and back.  No Qt here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from napari_nst.errors import InputError
from napari_nst.plugin.layers.geometry import (
    View,
    geometry_of,
    index_of_part,
    result_transform,
    shown_axes,
    shown_planes,
    to_world,
)
from napari_nst.plugin.layers.projections import ProjectedArray
from napari_nst.plugin.layers.source import LayerSource
from napari_nst.plugin.layers.value_range import (
    DisplayedArray,
    LayerIntensities,
    RangeEstimator,
    check_layer_intensities,
    display_of,
    range_of,
)
from napari_nst.ranges import Range

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.components import Dims
    from napari.layers import Image
    from numpy.typing import NDArray

__all__ = ["Plane", "take_init_image", "take_plane"]

_T = TypeVar("_T")


class _Side(NamedTuple):
    """Shown axis of a plane: the places that it takes, and pixels of level zero in a pixel."""

    axis: int
    places: range
    size: int
    factor: float


@dataclass(frozen=True)
class Plane:
    """Two-dimensional image that a viewer shows of a layer, and its place in the world.

    ``dataclasses.replace(plane, index=...)`` is another plane of the same stack, with the same
    range of values.

    Attributes
    ----------
    name : str
        The layer's name when the plane was taken.
    data : array_like
        The layer's data at one level; lazy arrays are not read yet.  A `ProjectedArray` for a
        thick slice, a `DisplayedArray` with intensities "displayed".
    index : tuple of int or slice
        Index of the plane in `data`.
    transposed : bool
        Whether the viewer shows the plane's two axes in the other order.
    rgb : bool
        Whether the last axis of `data` is colour.
    view : View
        What the viewer showed.
    geometry : dict
        Keyword arguments of a layer in the place of the content's level zero; for a thick slice,
        of one plane with the slice's thickness.
    factors : tuple of float
        For each axis of the layer, pixels of level zero in a pixel of `data`.
    source : LayerSource
        The layer, file or sample that the data came from.
    intensities : {"limits", "percentiles", "displayed"}
        How values become black and white: by the contrast limits, by percentiles of the whole
        layer, or as the viewer displays them, with gamma and colormap.
    range_source : Range, RangeEstimator or None
        Values that become 0 and 1, or what estimates them; None: colours for the engine as is.
    appearance : dict
        Keyword arguments that make a result look like the content: whether it is RGB, contrast
        limits, gamma and colormap.
    """

    name: str
    data: Any
    index: tuple[int | slice, ...]
    transposed: bool
    rgb: bool
    view: View
    geometry: dict[str, Any]
    factors: tuple[float, ...]
    source: LayerSource
    intensities: LayerIntensities
    range_source: Range | RangeEstimator | None
    appearance: dict[str, Any]

    @property
    def range(self) -> Range | None:
        """Values that become 0 and 1, read from the layer if necessary; None: none do."""
        source = self.range_source
        return source.range if isinstance(source, RangeEstimator) else source

    @property
    def limits(self) -> tuple[float, float]:
        """Values that are 0 and 1 to the engine; without a range, those of the dtype."""
        found = self.range or Range.from_dtype(self.data.dtype)
        return found.low, found.high

    @property
    def shown(self) -> tuple[int, int]:
        """Axes of `data` that are rows and columns."""
        return self._in_view(lambda side: side.axis)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the plane in the view."""
        return self._in_view(lambda side: len(side.places))

    @property
    def grid(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of level zero, in the view, that contain the plane's pixel centres."""
        return self._in_view(
            lambda side: ((np.array(side.places) + 0.5) * side.factor).astype(np.intp)
        )

    @property
    def full_shape(self) -> tuple[int, int]:
        """Height and width of the whole plane at level zero, in the view."""
        return self._in_view(lambda side: round(side.size * side.factor))

    @property
    def corners(self) -> NDArray[np.float64]:
        """World coordinates of the plane's two outer corners on the shown axes, shape (2, 2)."""
        low, high = np.zeros(len(self.factors)), np.zeros(len(self.factors))
        for side in self._sides:
            low[side.axis] = side.places.start * side.factor - 0.5
            high[side.axis] = side.places.stop * side.factor - 0.5
        shown = [side.axis for side in self._sides]
        world = to_world(self.geometry, self.view.units)
        return np.array([world(low)[shown], world(high)[shown]])

    @property
    def _sides(self) -> list[_Side]:
        """The two shown axes, in the order of `data`."""
        axes = zip(self.index, self.data.shape, self.factors, strict=False)  # without colours
        return [
            _Side(axis, range(*place.indices(size)), size, factor)
            for axis, (place, size, factor) in enumerate(axes)
            if isinstance(place, slice)
        ]

    @property
    def _alpha(self) -> bool:
        return self.rgb and self.data.shape[-1] == 4

    def _in_view(self, value: Callable[[_Side], _T]) -> tuple[_T, _T]:
        """Return a value of each shown axis, in the order of the view."""
        first, second = map(value, self._sides)
        return (second, first) if self.transposed else (first, second)

    def load(self) -> NDArray[Any]:
        """Read the plane for the engine.

        Returns
        -------
        ndarray
            A copy of shape (H, W), (H, W, 3) or (H, W, 4): float32 in [0, 1] if the plane has a
            `range`, else in the dtype of `data`.

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
        found = self.range
        return plane.copy() if found is None else found.to_unit(plane, alpha=self._alpha)

    def warning(self, pixels: NDArray[Any]) -> str:
        """Return a message if all values lie on one side of the contrast limits; or empty.

        The layer is black or white on the canvas, too.  This happens if another plugin replaces the
        data of a layer: napari keeps the contrast limits.

        Parameters
        ----------
        pixels : ndarray
            The plane as `load` returns it.
        """
        found = self.range_source
        shown = pixels[..., :3] if self.rgb else pixels
        if not isinstance(found, Range) or (shown.max() != 0 and shown.min() != 1):
            return ""
        # The plane is read again, so only if all of it is black or white.
        values = np.asarray(self.data[self.index])
        values = values[..., :3] if self.rgb else values
        low, high = values.min(), values.max()
        if found.low <= high and low <= found.high:
            return ""
        side, color = ("above", "white") if low > found.high else ("below", "black")
        return (
            f"{self.name} is all {color} to the run: its values, {low:.4g} to {high:.4g}, are "
            f"{side} its contrast limits, {found.low:.4g} to {found.high:.4g}.  Reset the limits, "
            "or choose percentiles as Intensities under Advanced."
        )

    def restore(self, picture: NDArray[np.float32]) -> NDArray[Any]:
        """Return an image of the engine as data for a layer like the content's.

        Parameters
        ----------
        picture : ndarray
            Shape (H', W'), (H', W', 3) or (H', W', 4), float32 in [0, 1].

        Returns
        -------
        ndarray
            With the content's number of axes, hidden ones of length one, its dtype and its range
            of values.  With intensities "displayed": RGB, uint8.
        """
        dtype = np.dtype(self.data.dtype)
        found = self.range or Range.from_dtype(dtype)
        values = found.from_unit(picture, dtype, alpha=self._alpha)
        if self.transposed:
            values = values.swapaxes(0, 1)
        for axis, place in enumerate(self.index):
            if isinstance(place, int):
                values = np.expand_dims(values, axis)
        return np.ascontiguousarray(values)

    def layer_kwargs(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return keyword arguments of a result layer: its transform and its appearance.

        Parameters
        ----------
        shape : tuple of int
            Shape of the result's data: as `restore` returns it, or a stack of such planes that is
            as long as the content along axes where `index` has a single place.
        """
        transform = result_transform(
            self.geometry,
            factors=self.factors,
            index=self.index,
            sizes=self.data.shape,
            shape=shape,
        )
        return transform | self.appearance


def take_plane(
    layer: Image,
    dims: Dims | View,
    longest: int | None = None,
    part: Mapping[int, tuple[int, int]] | None = None,
    intensities: LayerIntensities = "limits",
) -> Plane:
    """Return the plane of a layer that the viewer shows; of a thick slice, its projection.

    Parameters
    ----------
    layer : Image
        Grey or RGB(A), of any number of dimensions, with one level or several.
    dims : Dims or View
        The viewer's.
    longest : int, optional
        Longest side of the run, which selects the level of a multiscale layer; None: level zero.
    part : mapping of int to tuple of int, optional
        Part of each shown axis, as `visible_part` returns it; None: all.
    intensities : {"limits", "percentiles", "displayed"}
        See `Plane`.

    Raises
    ------
    InputError
        If the viewer shows no plane of the layer: it is empty or one-dimensional, lies elsewhere,
        is displayed in 3D, or its planes are oblique to the canvas.  If its values are no real
        numbers, or `intensities` is no choice.
    """
    check_layer_intensities(intensities)
    ndim = layer.ndim
    if ndim < 2:
        raise InputError(f"{layer.name} has {ndim} dimension; it must have at least two.")
    levels = list(layer.data) if layer.multiscale else [layer.data]
    full = levels[0].shape
    if 0 in full:
        raise InputError(f"{layer.name} is empty: its shape is {tuple(full)}.")
    view = View.from_dims(dims)
    planes = shown_planes(layer, view)
    shown = shown_axes(layer, view)
    part = part or {axis: (0, full[axis]) for axis in shown}
    if longest is not None:  # scale from the part to the whole
        longest = math.ceil(
            longest * max(full[axis] for axis in shown) / max(b - a for a, b in part.values())
        )
    level = _level(levels, shown, longest)
    data = levels[level]
    factors = tuple(a / b for a, b in zip(full[:ndim], data.shape[:ndim], strict=True))
    index = index_of_part(layer, shown, planes, data.shape, factors, part)
    geometry = geometry_of(layer)
    thick = {axis: index[axis] for axis in planes if isinstance(index[axis], slice)}
    if thick:
        geometry, factors, index, data = _projected(layer, thick, geometry, factors, index, data)
    by = "limits" if intensities == "displayed" else intensities
    range_source = range_of(layer, data, shown, index, by)
    rgb = bool(layer.rgb)
    limits = tuple(float(limit) for limit in layer.contrast_limits)
    appearance = {"rgb": rgb, "contrast_limits": limits, "gamma": layer.gamma}
    if not rgb:
        appearance["colormap"] = layer.colormap
    if intensities == "displayed":
        data, range_source, rgb = DisplayedArray(data, display_of(layer)), None, True
        index += (slice(None),) * (len(data.shape) - len(index))  # the colours of grey values
        appearance = {"rgb": True, "contrast_limits": (0, 255)}
    return Plane(
        name=layer.name,
        data=data,
        index=index,
        transposed=shown[0] > shown[1],
        rgb=rgb,
        view=view,
        geometry=geometry,
        factors=factors,
        source=LayerSource.from_layer(layer, level),
        intensities=intensities,
        range_source=range_source,
        appearance=appearance,
    )


def _projected(
    layer: Image,
    thick: Mapping[int, Any],
    geometry: dict[str, Any],
    factors: tuple[float, ...],
    index: tuple[int | slice, ...],
    data: Any,
) -> tuple[dict[str, Any], tuple[float, ...], tuple[int | slice, ...], ProjectedArray]:
    """Return geometry, factors, index and data of a layer whose thick slice is one plane."""
    axes = range(layer.ndim)
    one_plane = result_transform(
        geometry,
        factors=[factors[axis] if axis in thick else 1 for axis in axes],
        index=[thick.get(axis, slice(None)) for axis in axes],
        sizes=data.shape[: layer.ndim],
        shape=[1 if axis in thick else data.shape[axis] for axis in axes],
    )
    planes = {axis: (place.start, place.stop) for axis, place in thick.items()}
    return (
        one_plane,
        tuple(1.0 if axis in thick else factors[axis] for axis in axes),
        tuple(0 if axis in thick else place for axis, place in enumerate(index)),
        ProjectedArray(data, planes, str(layer.projection_mode)),
    )


def take_init_image(layer: Image, dims: Dims | View, content: Plane) -> Plane:
    """Return the plane of a result that a run continues from.

    Its values have the content's range if both have the same dtype and are both grey or colour.

    Parameters
    ----------
    layer : Image
        The result.
    dims : Dims or View
        The viewer's.
    content : Plane
        Content of the run.
    """
    if content.intensities == "displayed":
        return take_plane(layer, dims, intensities="limits" if layer.rgb else "displayed")
    plane = take_plane(layer, dims)
    alike = plane.rgb == content.rgb and plane.data.dtype == content.data.dtype
    return replace(plane, range_source=content.range_source) if alike else plane


def _level(levels: list[Any], shown: tuple[int, int], longest: int | None) -> int:
    """Return the coarsest level whose longest side is at least `longest`, else level zero."""
    if longest is None:
        return 0
    enough = [
        number
        for number, level in enumerate(levels)
        if max(level.shape[axis] for axis in shown) >= longest
    ]
    return enough[-1] if enough else 0
