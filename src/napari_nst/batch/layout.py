"""Arrangement of a stack: which planes are one picture, and which pictures are neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from napari_nst.axes import is_time
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from napari_nst.files import Stack

__all__ = ["Channels", "Layout"]

Channels: TypeAlias = Literal["separate", "together"]

_MAX_COLOURS = 3  # red, green and blue
# Axes along which consecutive planes are unrelated: positions, tiles of a mosaic, scenes.
_UNRELATED = ("p", "position", "m", "mosaic", "r", "tile", "scene")


@dataclass(frozen=True)
class Layout:
    """The pictures in a stack: one per plane, or one for all channels of a position.

    Attributes
    ----------
    axes : tuple of str
        Names of the leading axes.
    lengths : tuple of int
        Lengths of the leading axes.
    channel : str or None
        Name of the channel axis, if any.
    together : bool
        Whether the channels are red, green and blue of one picture.
    """

    axes: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    channel: str | None = None
    together: bool = False

    @classmethod
    def from_stack(cls, stack: Stack, channels: Channels) -> Layout:
        """Return the layout of a stack.

        Raises
        ------
        InputError
            If its channels cannot be the colours of one picture.
        """
        layout = cls(stack.leading_axes, stack.leading_shape, stack.channel, channels == "together")
        prefix = f"channels is 'together', and {stack.path}"
        grey = len(stack.plane_shape) == 2  # colours of a plane are together in any case
        if layout.together and layout.channel is None and len(stack) > 1 and grey:
            raise InputError(
                f"{prefix} does not say which of its axes has the channels: choose 'separate', or "
                "name the axis 'C' in the file."
            )
        if not layout.together or layout.channel_count == 1:
            return cls(layout.axes, layout.lengths, layout.channel)
        if len(stack.plane_shape) == 3:
            raise InputError(f"{prefix} has colours in each channel: choose 'separate'.")
        if layout.channel_count > _MAX_COLOURS:
            raise InputError(
                f"{prefix} has {layout.channel_count} channels, of which 2 or 3 can be red, green "
                "and blue: choose 'separate', or save 2 or 3 of them."
            )
        return layout

    @property
    def channel_count(self) -> int:
        """Number of channels; 1 without a channel axis."""
        return 1 if self.channel is None else self.lengths[self.axes.index(self.channel)]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return math.prod(self.lengths) // (self.channel_count if self.together else 1)

    @property
    def sequence_count(self) -> int:
        """Number of pictures without a previous picture."""
        return sum(self.previous(n) is None for n in range(len(self)))

    @property
    def is_in_time(self) -> bool:
        """Whether pictures follow their previous pictures in time."""
        followed = [
            axis
            for axis, length in zip(self.axes, self.lengths, strict=True)
            if length > 1 and self._is_followed(axis)
        ]
        return bool(followed) and is_time(followed[-1])

    def planes(self, n: int) -> tuple[int, ...]:
        """Return the indices in the stack of the planes of picture `n`."""
        if not self.together or self.channel is None:
            return (n,)
        axis = self.axes.index(self.channel)
        others = np.delete(self.lengths, axis)
        index = [int(i) for i in np.unravel_index(n, tuple(others))]
        return tuple(
            int(np.ravel_multi_index((*index[:axis], c, *index[axis:]), self.lengths))
            for c in range(self.channel_count)
        )

    def picture(self, k: int) -> tuple[int, int]:
        """Return the picture that contains plane `k`, and the index of the plane in it."""
        if not self.together or self.channel is None:
            return k, 0
        axis = self.axes.index(self.channel)
        index = [int(i) for i in np.unravel_index(k, self.lengths)]
        c = index.pop(axis)
        others = tuple(np.delete(self.lengths, axis))
        return int(np.ravel_multi_index(index, others)) if index else 0, c

    def channel_of(self, k: int) -> int:
        """Return the channel of plane `k`."""
        if self.channel is None:
            return 0
        return int(np.unravel_index(k, self.lengths)[self.axes.index(self.channel)])

    def previous(self, n: int) -> int | None:
        """Return the previous picture along the last axis; None if there is none.

        At the start of an axis, the previous picture along the axis before it.  Channels and
        positions are not followed.
        """
        index = [int(i) for i in np.unravel_index(self.planes(n)[0], self.lengths)]
        for axis in reversed(range(len(index))):
            if index[axis] and self._is_followed(self.axes[axis]):
                index[axis] -= 1
                return self.picture(int(np.ravel_multi_index(index, self.lengths)))[0]
        return None

    def sequences(self) -> tuple[tuple[int, ...], ...]:
        """Return the pictures as sequences of neighbours; none if sequences branch."""
        by_last: dict[int | None, tuple[int, ...]] = {}
        for n in range(len(self)):
            previous = self.previous(n)
            if previous is not None and previous not in by_last:
                return ()
            by_last[n] = (*(by_last.pop(previous) if previous is not None else ()), n)
        return tuple(sorted(by_last.values()))

    def _is_followed(self, axis: str) -> bool:
        """Return whether consecutive pictures along an axis are neighbours."""
        return axis != self.channel and axis not in _UNRELATED
