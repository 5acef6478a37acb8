"""What the values of an Image layer mean to a run: the three choices of intensities.  No Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_nst.errors import InputError
from napari_nst.intensities import Display, Range, visible_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari.layers import Image
    from numpy.typing import NDArray

__all__ = [
    "Displayed",
    "Intensities",
    "Sample",
    "channel_axis",
    "check_intensities",
    "display_of",
    "range_of",
]

Intensities = Literal["limits", "percentiles", "displayed"]

# What is read to find percentiles, so that a stack on a disk is not read as a whole.
_PLANES = 8
_SIDE = 2048  # of a plane that is read as a whole; of a larger one, a grid of windows
_WINDOWS = 4  # in each direction

_CHANNELS = ("c", "ch", "channel", "channels")  # labels of an axis, in lower case


def check_intensities(choice: str) -> None:
    """Refuse a word that is none of the choices.

    Raises
    ------
    InputError
        Says which there are.
    """
    if choice not in get_args(Intensities):
        offered = ", ".join(get_args(Intensities))
        raise InputError(f"intensities is {choice!r}; it must be one of {offered}.")


@dataclass(frozen=True, eq=False)
class Displayed:
    """A layer's data as the screen shows them: an array of colours, computed where it is read.

    Attributes
    ----------
    source : array_like
        The layer's data.
    display : Display
        Its contrast limits, gamma and colormap.
    """

    source: Any
    display: Display

    dtype = np.dtype(np.uint8)  # of what is made of it

    @property
    def shape(self) -> tuple[int, ...]:
        """The data's own, and three for the colours of grey values."""
        shape = tuple(self.source.shape)
        return (*shape, 3) if self.display.table else shape

    @property
    def ndim(self) -> int:
        """How many axes there are, the colours' among them."""
        return len(self.shape)

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read a part, with all its colours."""
        if self.display.table:
            index = index[: self.ndim - 1]
        return self.display.show(np.asarray(self.source[index]))


def display_of(layer: Image) -> Display:
    """Return how a layer is shown now."""
    low, high = (float(limit) for limit in layer.contrast_limits)
    table = ""
    if not layer.rgb:
        colors = np.asarray(layer.colormap.map(np.linspace(0, 1, 256)), float)
        shown = colors[:, :3] * colors[:, 3:]  # on black
        table = np.rint(shown.clip(0, 1) * 255).astype(np.uint8).tobytes().hex()
    return Display((low, high), float(layer.gamma), table)


@dataclass(frozen=True, eq=False)
class Sample:
    """What the range of a whole layer is judged by; it is read when the range is asked for.

    Of many planes eight are looked at, evenly spaced, and of large planes a grid of windows.

    Attributes
    ----------
    data : array_like
        Of one level.
    shown : tuple of int
        The two axes of a plane.
    rgb : bool
        Whether the last axis is colour: then one range is for all colours that can be seen,
        without alpha.
    percentiles : bool
        Whether the range is that of percentiles, or of the extremes.
    channel : tuple of int or None
        The axis of channels and the one whose values count; None: all values count.
    """

    data: Any
    shown: tuple[int, int]
    rgb: bool
    percentiles: bool = True
    channel: tuple[int, int] | None = None

    def at(self, axis: int, place: int) -> Sample:
        """Return the sample for the planes at a place on an axis; one of channels has its own."""
        if self.channel is None or self.channel[0] != axis:
            return self
        return replace(self, channel=(axis, place))

    @cached_property
    def range(self) -> Range:
        """The range of the values, the same for every plane of the channel."""
        parts = (np.asarray(self.data[i]) for i in self._places())
        values = np.concatenate(
            [visible_values(part) if self.rgb else part.ravel() for part in parts]
        )
        return Range.of_percentiles(values) if self.percentiles else Range.of_extremes(values)

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
            yield from self._windows(index)

    def _windows(self, index: list[int | slice]) -> Iterator[tuple[int | slice, ...]]:
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
    """Return the axis of a layer whose label says that it is one of channels."""
    labels = [str(label).lower() for label in layer.axis_labels]
    return next((axis for axis, label in enumerate(labels) if label in _CHANNELS), None)


def range_of(
    layer: Image,
    data: Any,
    shown: tuple[int, int],
    index: Sequence[int | slice],
    choice: Intensities,
) -> Range | Sample | None:
    """Return the range of a layer's intensities, or what it is to be judged by.

    Parameters
    ----------
    layer : Image
        Grey or RGB(A).
    data : array_like
        Of the level that is read.
    shown : tuple of int
        The two axes of a plane.
    index : sequence of int or slice
        What of the data is the plane: each channel has percentiles of its own.
    choice : {"limits", "percentiles"}
        By what.

    Returns
    -------
    Range, Sample or None
        None: the values are colours that the engine takes as they are: 8 bits without a sign, and
        with limits as wide as the type.  All others are taken by their contrast limits,
        by which the canvas shows colours just as it does grey values.

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
        return Range.of_dtype(dtype)
    axis = channel_axis(layer)
    place = None if axis is None else index[axis]
    channel = (axis, place) if axis is not None and isinstance(place, int) else None
    if choice == "percentiles":
        return Sample(data, shown, bool(layer.rgb), channel=channel)
    if layer.rgb and dtype == np.uint8 and (low, high) == (0, 255):
        return None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return Sample(data, shown, bool(layer.rgb), percentiles=False, channel=channel)
    return Range(low, high)
