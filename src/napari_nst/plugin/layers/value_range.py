"""Range of a layer's values that becomes black and white: three choices.  No Qt here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_nst.errors import InputError
from napari_nst.ranges import Display, Range, visible_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari.layers import Image
    from numpy.typing import NDArray

__all__ = [
    "DisplayedArray",
    "LayerIntensities",
    "RangeEstimator",
    "channel_axis",
    "check_layer_intensities",
    "display_of",
    "range_of",
]

LayerIntensities = Literal["limits", "percentiles", "displayed"]

# Limits on the data read for percentiles: a stack on disk may not fit memory.
_PLANES = 8
_SIDE = 2048  # longest side of a plane that is read whole; of larger ones, a grid of windows
_WINDOWS = 4  # in each direction

_CHANNELS = ("c", "ch", "channel", "channels")  # axis labels in lower case


def check_layer_intensities(choice: str) -> None:
    """Raise InputError with the choices if a choice is unknown."""
    if choice not in get_args(LayerIntensities):
        offered = ", ".join(get_args(LayerIntensities))
        raise InputError(f"intensities is {choice!r}; it must be one of {offered}.")


@dataclass(frozen=True, eq=False)
class DisplayedArray:
    """Layer's data as the viewer displays them, computed lazily: an array of RGB colours.

    Attributes
    ----------
    source : array_like
        The layer's data.
    display : Display
        Its contrast limits, gamma and colormap.
    """

    source: Any
    display: Display

    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data, with a last axis of three colours for grey data."""
        shape = tuple(self.source.shape)
        return (*shape, 3) if self.display.table else shape

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read a part, with all colours."""
        if self.display.table:
            index = index[: len(self.source.shape)]
        return self.display.show(np.asarray(self.source[index]))


def display_of(layer: Image) -> Display:
    """Return a layer's contrast limits, gamma and colormap."""
    low, high = (float(limit) for limit in layer.contrast_limits)
    table = ""
    if not layer.rgb:
        colors = np.asarray(layer.colormap.map(np.linspace(0, 1, 256)), float)
        shown = colors[:, :3] * colors[:, 3:]  # on black
        table = np.rint(shown.clip(0, 1) * 255).astype(np.uint8).tobytes().hex()
    return Display((low, high), float(layer.gamma), table)


@dataclass(frozen=True, eq=False)
class RangeEstimator:
    """Estimates the range of a whole layer from a sample, which is read on demand.

    The sample has at most eight evenly spaced planes, and a grid of windows of large planes.

    Attributes
    ----------
    data : array_like
        The layer's data at one level.
    shown : tuple of int
        The two axes of a plane.
    rgb : bool
        Whether the last axis is colour: then all visible colours share a range, without alpha.
    percentiles : bool
        Whether to use percentiles 0.1 and 99.9 rather than the extremes.
    channel : tuple of int or None
        Axis of channels and the index of the channel to read; None: all values count.
    """

    data: Any
    shown: tuple[int, int]
    rgb: bool
    percentiles: bool = True
    channel: tuple[int, int] | None = None

    def at(self, axis: int, place: int) -> RangeEstimator:
        """Return the estimator for the planes at an index on an axis: channels have their own."""
        if self.channel is None or self.channel[0] != axis:
            return self
        return replace(self, channel=(axis, place))

    @cached_property
    def range(self) -> Range:
        """Range of the values, the same for every plane of the channel."""
        parts = (np.asarray(self.data[i]) for i in self._places())
        values = np.concatenate(
            [visible_values(part) if self.rgb else part.ravel() for part in parts]
        )
        return Range.from_percentiles(values) if self.percentiles else Range.from_extremes(values)

    def _places(self) -> Iterator[tuple[int | slice, ...]]:
        shape = self.data.shape
        channels = () if self.channel is None else self.channel[:1]
        others = [a for a in range(len(shape) - self.rgb) if a not in (*self.shown, *channels)]
        lengths = tuple(shape[axis] for axis in others)
        count = math.prod(lengths)
        for plane in np.unique(np.linspace(0, count - 1, min(_PLANES, count)).round().astype(int)):
            index: list[int | slice] = [slice(None)] * len(shape)
            for axis, place in zip(others, np.unravel_index(plane, lengths), strict=True):
                index[axis] = int(place)
            if self.channel is not None:
                index[self.channel[0]] = self.channel[1]
            yield from self._indices(index)

    def _indices(self, index: list[int | slice]) -> Iterator[tuple[int | slice, ...]]:
        first, second = (list(_windows(self.data.shape[axis])) for axis in self.shown)
        for rows in first:
            for columns in second:
                index[self.shown[0]], index[self.shown[1]] = rows, columns
                yield tuple(index)


def _windows(size: int) -> Iterator[slice]:
    if size <= _SIDE:
        yield slice(None)
        return
    width = _SIDE // _WINDOWS
    for start in np.linspace(0, size - width, _WINDOWS).round().astype(int):
        yield slice(int(start), int(start) + width)


def channel_axis(layer: Image) -> int | None:
    """Return the axis of a layer that is labelled as channels, or None."""
    labels = [str(label).lower() for label in layer.axis_labels]
    return next((axis for axis, label in enumerate(labels) if label in _CHANNELS), None)


def range_of(
    layer: Image,
    data: Any,
    shown: tuple[int, int],
    index: Sequence[int | slice],
    choice: LayerIntensities,
) -> Range | RangeEstimator | None:
    """Return the range of a layer's values, or an estimator of it.

    Parameters
    ----------
    layer : Image
        Grey or RGB(A).
    data : array_like
        The level that the run reads.
    shown : tuple of int
        The two axes of a plane.
    index : sequence of int or slice
        Index of the plane: each channel has its own percentiles.
    choice : {"limits", "percentiles"}
        Source of the range.

    Returns
    -------
    Range, RangeEstimator or None
        None for colours that the engine takes as is: uint8 with contrast limits 0 and 255.  All
        other values, colours too, are rescaled by their contrast limits, as on the canvas.

    Raises
    ------
    InputError
        If the values are no real numbers.
    """
    dtype = np.dtype(data.dtype)
    if dtype.kind not in "biuf":
        raise InputError(
            f"{layer.name} has dtype {dtype}; it must be of booleans, integers or real numbers."
        )
    low, high = (float(limit) for limit in layer.contrast_limits)
    if dtype.kind == "b":
        return Range.from_dtype(dtype)
    axis = channel_axis(layer)
    place = None if axis is None else index[axis]
    channel = (axis, place) if axis is not None and isinstance(place, int) else None
    if choice == "percentiles":
        return RangeEstimator(data, shown, bool(layer.rgb), channel=channel)
    if layer.rgb and dtype == np.uint8 and (low, high) == (0, 255):
        return None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return RangeEstimator(data, shown, bool(layer.rgb), percentiles=False, channel=channel)
    return Range(low, high)
