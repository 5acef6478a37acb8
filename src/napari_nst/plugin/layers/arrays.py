"""From napari layers to arrays and back: planes, their intensities, their place.  No Qt here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.errors import InputError
from napari_nst.intensities import Range
from napari_nst.plugin.layers.geometry import (
    View,
    geometry_of,
    place_of,
    placed,
    shown_axes,
    shown_planes,
    to_world,
)
from napari_nst.plugin.layers.intensities import (
    Displayed,
    Intensities,
    Sample,
    check_intensities,
    display_of,
    range_of,
)
from napari_nst.plugin.layers.projections import Projected
from napari_nst.plugin.layers.source import LayerSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari.components import Dims
    from napari.layers import Image
    from numpy.typing import NDArray

__all__ = [
    "Intensities",
    "Plane",
    "View",
    "shown_axes",
    "take_plane",
    "take_start",
]


@dataclass(frozen=True)
class Plane:
    """The two-dimensional image that a layer shows, and where it belongs.

    Another plane of the same stack is ``dataclasses.replace(plane, index=...)``: its intensities
    mean the same.

    Attributes
    ----------
    name : str
        The layer's name when the plane was taken.
    data : array_like
        The layer's data (of one level, if it has several), not read yet where it is lazy.  Of a
        thick slice a `Projected`, and as displayed a `Displayed` array, which are computed from
        them where they are read.
    index : tuple of int or slice
        What of the data is the plane.
    transposed : bool
        Whether the viewer shows the plane's axes in the other order.
    rgb : bool
        Whether the last axis of the data is colour.
    view : View
        What the viewer showed then.
    geometry : dict
        Keyword arguments of a layer that lies where the content's level zero does; where a thick
        slice is projected, of one plane as thick.
    factors : tuple of float
        For each axis of the layer, pixels of level zero in a pixel of `data`.
    source : LayerSource
        The layer, file or sample that the data came from.
    intensities : {"limits", "percentiles", "displayed"}
        What a value means: by the contrast limits, by percentiles of the whole layer, or as it
        is displayed, colormap and gamma included.
    span : Range, Sample or None
        The values that are 0 and 1, or what they are to be judged by; None: the values are
        colours that the engine takes as they are.
    look : dict
        Keyword arguments that make a result look like the content: whether it is colour, and
        its contrast limits.
    appearance : dict
        The rest of them: gamma, and the colormap of a grey layer.
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
    intensities: Intensities
    span: Range | Sample | None
    look: dict[str, Any]
    appearance: dict[str, Any]

    @property
    def range(self) -> Range | None:
        """The values that are 0 and 1, read from the layer if they have to be.

        None: the values are taken as they are.
        """
        return self.span.range if isinstance(self.span, Sample) else self.span

    @property
    def limits(self) -> tuple[float, float]:
        """The values that are 0 and 1; of colours taken as they are, by their type."""
        found = self.range or Range.of_dtype(self.data.dtype)
        return found.low, found.high

    @property
    def shown(self) -> tuple[int, int]:
        """The axes of the data that are rows and columns."""
        first, second = self._shown(a for a, i in enumerate(self.index[: len(self.factors)])
                                    if _is_slice(i))  # fmt: skip
        return first, second

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
        world = to_world(self.geometry, self.view.units)
        return np.array([world(low)[shown], world(high)[shown]])

    @property
    def _slices(self) -> list[tuple[slice, int]]:
        """What of the two shown axes is the plane, and their lengths, in the data's order."""
        sides = zip(self.index, self.data.shape, strict=True)
        return [(place, size) for place, size in sides if isinstance(place, slice)][:2]

    @property
    def _alpha(self) -> bool:
        return self.rgb and self.data.shape[-1] == 4

    def _shown(self, pair: Iterable[Any]) -> Iterable[Any]:
        """Return what belongs to the data's two axes in the order in which they show."""
        return reversed(list(pair)) if self.transposed else list(pair)

    def load(self) -> NDArray[Any]:
        """Read the plane as the engine takes it.

        Returns
        -------
        ndarray
            Shape (H, W), (H, W, 3) or (H, W, 4), a copy: float32 in [0, 1] by `range`; colours
            that are taken as they are, and what is displayed, in the dtype of `data`.

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
            dtype and range of intensities.  As displayed: colours, uint8.
        """
        dtype = np.dtype(self.data.dtype)
        found = self.range or Range.of_dtype(dtype)
        values = found.from_unit(picture, dtype, alpha=self._alpha)
        if self.transposed:
            values = values.swapaxes(0, 1)
        for axis, place in enumerate(self.index):
            if isinstance(place, int):
                values = np.expand_dims(values, axis)
        return np.ascontiguousarray(values)

    def layer_kwargs(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return what places a result layer exactly over the content, and how it appears.

        Parameters
        ----------
        shape : tuple of int
            Of the result's data: as `restore` returns it, or of a stack of such planes, as long
            as the content along the axes of which the plane is one place.
        """
        where = placed(self.geometry, self.factors, self.index, self.data.shape, shape)
        return where | self.appearance


def take_plane(
    layer: Image,
    dims: Dims | View,
    longest: int | None = None,
    part: Mapping[int, tuple[int, int]] | None = None,
    intensities: Intensities = "limits",
) -> Plane:
    """Return the plane of a layer that the viewer shows: of a thick slice, its projection.

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
    intensities : {"limits", "percentiles", "displayed"}
        What a value means; see `Plane`.

    Raises
    ------
    InputError
        If the viewer shows no plane of the layer: it is empty or one-dimensional, lies elsewhere,
        is displayed in 3D, or its planes are oblique to the canvas.  If its values are no real
        numbers, or `intensities` is no choice.
    """
    check_intensities(intensities)
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
    if longest is not None:  # of the part; of the whole, in proportion
        longest = math.ceil(
            longest * max(full[axis] for axis in shown) / max(b - a for a, b in part.values())
        )
    level = _level(levels, shown, longest)
    data = levels[level]
    factors = tuple(a / b for a, b in zip(full[:ndim], data.shape[:ndim], strict=True))
    index, geometry = place_of(layer, shown, planes, data.shape, factors, part), geometry_of(layer)
    thick = {axis: index[axis] for axis in planes if _is_slice(index[axis])}
    if thick:
        geometry, factors, index, data = _projected(layer, thick, geometry, factors, index, data)
    how = "limits" if intensities == "displayed" else intensities
    span = range_of(layer, data, shown, index, how)
    limits = tuple(float(limit) for limit in layer.contrast_limits)
    look: dict[str, Any] = {"rgb": bool(layer.rgb), "contrast_limits": limits}
    appearance = {"gamma": layer.gamma} | ({} if layer.rgb else {"colormap": layer.colormap})
    if intensities == "displayed":
        data, span = Displayed(data, display_of(layer)), None
        index += (slice(None),) * (data.ndim - len(index))  # the colours of grey values
        look, appearance = {"rgb": True, "contrast_limits": (0, 255)}, {}
    return Plane(
        name=layer.name,
        data=data,
        index=index,
        transposed=shown[0] > shown[1],
        rgb=look["rgb"],
        view=view,
        geometry=geometry,
        factors=factors,
        source=LayerSource.from_layer(layer, level),
        intensities=intensities,
        span=span,
        look=look,
        appearance=appearance,
    )


def _projected(
    layer: Image,
    thick: Mapping[int, Any],
    geometry: dict[str, Any],
    factors: tuple[float, ...],
    index: tuple[int | slice, ...],
    data: Any,
) -> tuple[dict[str, Any], tuple[float, ...], tuple[int | slice, ...], Projected]:
    """Return a layer's geometry, factors, index and data with a thick slice as one plane."""
    axes = range(layer.ndim)
    one_plane = placed(
        geometry,
        [factors[axis] if axis in thick else 1 for axis in axes],
        [thick.get(axis, slice(None)) for axis in axes],
        data.shape[: layer.ndim],
        [1 if axis in thick else data.shape[axis] for axis in axes],
    )
    return (
        one_plane,
        tuple(1.0 if axis in thick else factors[axis] for axis in axes),
        tuple(0 if axis in thick else place for axis, place in enumerate(index)),
        Projected(
            data, {a: (i.start, i.stop) for a, i in thick.items()}, str(layer.projection_mode)
        ),
    )


def take_start(layer: Image, dims: Dims | View, content: Plane) -> Plane:
    """Return the plane of a result that a run goes on from.

    Its values mean what the content's do, if they are of the same kind and type.

    Parameters
    ----------
    layer : Image
        The result.
    dims : Dims or View
        The viewer's.
    content : Plane
        Of the run.
    """
    if content.intensities == "displayed":
        return take_plane(layer, dims, intensities="limits" if layer.rgb else "displayed")
    plane = take_plane(layer, dims)
    alike = plane.rgb == content.rgb and plane.data.dtype == content.data.dtype
    return replace(plane, span=content.span) if alike else plane


def _is_slice(place: int | slice) -> bool:
    return isinstance(place, slice)


def _level(levels: list[Any], shown: tuple[int, int], longest: int | None) -> int:
    """Return the smallest level that is not smaller than what will be worked at."""
    if longest is None:
        return 0
    enough = [
        number
        for number, level in enumerate(levels)
        if max(level.shape[axis] for axis in shown) >= longest
    ]
    return enough[-1] if enough else 0
