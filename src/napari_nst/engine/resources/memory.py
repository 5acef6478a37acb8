"""Tiles, and a history of L-BFGS, that fit into memory: chosen before a run, less during it."""

from __future__ import annotations

import traceback
import warnings
from typing import TYPE_CHECKING, TypeVar

from napari_nst.engine.resources import costs
from napari_nst.engine.resources import device as compute
from napari_nst.engine.resources.tiles import SMALLEST_TILE
from napari_nst.errors import OutOfMemoryError, StyleTransferWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.engine.resources.device import Device
    from napari_nst.settings import StyleTransferSettings

__all__ = ["MemoryPlan"]

T = TypeVar("T")

# Times what a run needs: if so much is free it may keep memory for its speed's sake.
_ROOMY = 4


class MemoryPlan:
    """The side of the tiles of each scale, and the length of the history of L-BFGS.

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
    tile_sizes : sequence of int or None, optional
        The tiles of a run that is done again; by default they are chosen.
    history : int, optional
        The pairs that L-BFGS remembers in a run that is done again; by default chosen.
    regions : int
        How many regions the labels make.
    output : tuple of int, optional
        Height and width of the result, where it is not of the size worked at.

    Attributes
    ----------
    tile_sizes : list of int or None
        For each scale; None: the whole image at once.
    history : int or None
        The pairs of a step and a change of the gradient that L-BFGS remembers; None for Adam.
    ample_memory : bool
        Whether there is several times the memory that the run needs.

    Warns
    -----
    StyleTransferWarning
        If the whole history does not fit.

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
        tile_sizes: Sequence[int | None] | None = None,
        *,
        history: int | None = None,
        regions: int = 0,
        output: tuple[int, int] | None = None,
    ) -> None:
        self._settings, self._scales, self._device = settings, scales, device
        limit = settings.memory_limit
        free = device.free_bytes if limit is None else limit * 2**30
        budget = costs.SHARE_OF_FREE * free
        item, last = device.dtype.itemsize, scales[-1]
        pairs = history or costs.LBFGS_HISTORY
        if settings.optimizer == "lbfgs" and history is None:
            pairs = costs.lbfgs_history(settings, last, styles, item, budget, regions, output)
        self.history = pairs if settings.optimizer == "lbfgs" else None
        if tile_sizes is not None:
            self.tile_sizes = list(tile_sizes)
        elif settings.tile == "auto":
            self.tile_sizes = [
                costs.largest_tile(settings, scale, styles, item, budget, pairs, regions, output)
                for scale in scales
            ]
        else:
            self.tile_sizes = [costs.asked_tile(settings)] * len(scales)
        needed = costs.bytes_needed(
            settings, last, styles, item, self.tile_sizes[-1], pairs, regions, output
        )
        self.ample_memory = _ROOMY * needed <= free
        there_is = f"{free / 2**30:.1f} GiB are free"
        if limit is not None:
            there_is = f"memory_limit is {limit:g} GiB"
        if needed > free:
            raise OutOfMemoryError(
                f"Working at {last.width} x {last.height} pixels needs about "
                f"{needed / 2**30:.1f} GiB of memory, and {there_is}; choose a smaller size."
            )
        if history is None and pairs < costs.LBFGS_HISTORY:
            warnings.warn(
                f"L-BFGS remembers {pairs} steps instead of {costs.LBFGS_HISTORY} at "
                f"{last.width} x {last.height} pixels, for {there_is}.",
                StyleTransferWarning,
                stacklevel=2,
            )

    def run_with_oom_retry(
        self,
        index: int,
        work: Callable[[int | None], T],
        spare: Callable[[], bool] | None = None,
    ) -> T:
        """Do something in the tiles of a scale, in smaller ones where memory runs out.

        Parameters
        ----------
        index : int
            The scale, from 0.
        work : callable
            Takes the side of the tiles.
        spare : callable, optional
            Gives up memory, and returns whether there was any to give up: asked where the tiles
            are as small as they can be, or are not to be changed.

        Raises
        ------
        RuntimeError
            Whatever else `work` raises; or that memory ran out, where nothing is left to try.
        """
        scale = self._scales[index]
        while True:
            side = self.tile_sizes[index]
            smaller = (side or max(scale.height, scale.width)) // 2
            stuck = self._settings.tile == "off" or smaller < SMALLEST_TILE
            try:
                return work(side)
            except RuntimeError as error:
                if not compute.is_out_of_memory(error):
                    raise
                # The frames of the failed attempt hold its tensors.
                traceback.clear_frames(error.__traceback__)
                if stuck and not (spare and spare()):
                    raise
            self._device.empty_cache()
            if not stuck:
                self.tile_sizes[index] = smaller
