"""How the planes of a stack lie: which are channels of one place, and which are neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from napari_nst.files import Stack

__all__ = ["Channels", "Layout"]

Channels: TypeAlias = Literal["separate", "together"]

_MOST_TOGETHER = 3  # red, green and blue
# Axes along which one plane says nothing of the next: positions, tiles of a mosaic, scenes.
_APART = ("p", "position", "m", "mosaic", "r", "tile", "scene")


@dataclass(frozen=True)
class Layout:
    """The pictures that a stack's planes are: one each, or the channels of a place together.

    Attributes
    ----------
    axes : tuple of str
        The axes that the planes lie along.
    lengths : tuple of int
        Their lengths.
    channel : str or None
        Which of them is that of the channels.
    together : bool
        Whether the channels of a place are the red, green and blue of one picture.
    """

    axes: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    channel: str | None = None
    together: bool = False

    @classmethod
    def from_stack(cls, stack: Stack, channels: Channels) -> Layout:
        """Return how the planes of a stack lie.

        Raises
        ------
        InputError
            If its channels cannot be the colours of one picture.
        """
        layout = cls(stack.leading_axes, stack.leading, stack.channel, channels == "together")
        said = f"channels is 'together', and {stack.path}"
        if layout.together and layout.channel is None and len(stack) > 1:
            raise InputError(
                f"{said} does not say which of its axes has the channels: choose 'separate', or "
                "name the axis 'C' in the file."
            )
        if not layout.together or layout.count_channels == 1:
            return cls(layout.axes, layout.lengths, layout.channel)
        if len(stack.plane_shape) == 3:
            raise InputError(f"{said} has colours in each channel: choose 'separate'.")
        if layout.count_channels > _MOST_TOGETHER:
            raise InputError(
                f"{said} has {layout.count_channels} channels, of which 2 or 3 can be red, green "
                "and blue: choose 'separate', or save the ones that are meant."
            )
        return layout

    @property
    def count_channels(self) -> int:
        """The number of channels, 1 without an axis of them."""
        return 1 if self.channel is None else self.lengths[self.axes.index(self.channel)]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return math.prod(self.lengths) // (self.count_channels if self.together else 1)

    @property
    def rows(self) -> int:
        """The number of pictures that no other comes before."""
        return sum(self.before(n) is None for n in range(len(self)))

    def planes(self, n: int) -> tuple[int, ...]:
        """Return the planes of a picture, by their numbers in the stack."""
        if not self.together or self.channel is None:
            return (n,)
        axis = self.axes.index(self.channel)
        others = np.delete(self.lengths, axis)
        place = [int(i) for i in np.unravel_index(n, tuple(others))]
        return tuple(
            int(np.ravel_multi_index((*place[:axis], c, *place[axis:]), self.lengths))
            for c in range(self.count_channels)
        )

    def picture(self, k: int) -> tuple[int, int]:
        """Return the picture that a plane is of, and which of its planes it is."""
        if not self.together or self.channel is None:
            return k, 0
        axis = self.axes.index(self.channel)
        place = [int(i) for i in np.unravel_index(k, self.lengths)]
        c = place.pop(axis)
        others = tuple(np.delete(self.lengths, axis))
        return int(np.ravel_multi_index(place, others)) if place else 0, c

    def channel_of(self, k: int) -> int:
        """Return the channel of a plane."""
        if self.channel is None:
            return 0
        return int(np.unravel_index(k, self.lengths)[self.axes.index(self.channel)])

    def before(self, n: int) -> int | None:
        """Return the picture whose neighbour a picture is: one step back along the last axis.

        Where that axis begins, it is a step along the one before it; channels and positions have
        no neighbours.  None: there is nothing before it.
        """
        place = [int(i) for i in np.unravel_index(self.planes(n)[0], self.lengths)]
        for axis in reversed(range(len(place))):
            apart = self.axes[axis] == self.channel or self.axes[axis] in _APART
            if place[axis] and not apart:
                place[axis] -= 1
                return self.picture(int(np.ravel_multi_index(place, self.lengths)))[0]
        return None
