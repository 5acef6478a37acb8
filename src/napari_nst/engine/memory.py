"""The tiles in which each scale fits into memory, chosen before a run and halved during it."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, TypeVar

from napari_nst.engine import compute, costs
from napari_nst.engine.tiles import SMALLEST_TILE
from napari_nst.errors import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_nst.engine.compute import Device
    from napari_nst.engine.schedule import Scale
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Tiling"]

T = TypeVar("T")

# Of the memory that is free; the rest is for the reckoning's error, and for other programs.
_SHARE = 0.8


class Tiling:
    """The side of the tiles of each scale.

    Parameters
    ----------
    settings : StyleTransferSettings
        Every choice.
    scales : sequence of Scale
        The sizes worked at.
    styles : sequence of tuple of int
        Height and width of each style image, as it was given.
    device : Device
        Where the run is.
    sides : sequence of int or None, optional
        The tiles of a run that is done again; by default they are chosen.

    Attributes
    ----------
    sides : list of int or None
        For each scale; None: the whole image at once.

    Raises
    ------
    OutOfMemoryError
        If the run would need more memory than there is, or than it may have.
    """

    def __init__(
        self,
        settings: StyleTransferSettings,
        scales: Sequence[Scale],
        styles: Sequence[tuple[int, int]],
        device: Device,
        sides: Sequence[int | None] | None = None,
    ) -> None:
        self._settings, self._scales, self._device = settings, scales, device
        limit = settings.memory_limit
        free = device.free_bytes if limit is None else limit * 2**30
        item = device.dtype.itemsize
        if sides is not None:
            self.sides = list(sides)
        elif settings.tile == "auto":
            self.sides = [
                costs.largest_tile(settings, scale, styles, item, _SHARE * free) for scale in scales
            ]
        else:
            self.sides = [None if settings.tile == "off" else settings.tile] * len(scales)
        last = scales[-1]
        needed = costs.bytes_needed(settings, last, styles, item, self.sides[-1])
        if needed > free:
            there_is = f"{free / 2**30:.1f} GiB are free"
            if limit is not None:
                there_is = f"memory_limit is {limit:g} GiB"
            raise OutOfMemoryError(
                f"Working at {last.width} x {last.height} pixels needs about "
                f"{needed / 2**30:.1f} GiB of memory, and {there_is}; choose a smaller size."
            )

    def fitting(self, index: int, work: Callable[[int | None], T]) -> T:
        """Do something in the tiles of a scale, in smaller ones where memory runs out.

        Parameters
        ----------
        index : int
            The scale, from 0.
        work : callable
            Takes the side of the tiles.

        Raises
        ------
        RuntimeError
            Whatever else `work` raises; or that memory ran out, where the tiles are as small
            as they can be, or switched off.
        """
        scale = self._scales[index]
        while True:
            side = self.sides[index]
            smaller = (side or max(scale.height, scale.width)) // 2
            try:
                return work(side)
            except RuntimeError as error:
                stuck = self._settings.tile == "off" or smaller < SMALLEST_TILE
                if stuck or not compute.is_out_of_memory(error):
                    raise
                # The frames of the failed attempt hold its tensors.
                traceback.clear_frames(error.__traceback__)
            self._device.let_go()
            self.sides[index] = smaller
