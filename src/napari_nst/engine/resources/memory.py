"""Fit a run into memory: choose tile and history sizes before it, reduce them when it runs out."""

from __future__ import annotations

import traceback
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from napari_nst.engine.optim.schedule import LBFGS_HISTORY
from napari_nst.engine.out_of_memory import is_out_of_memory
from napari_nst.engine.resources.peak_memory import USABLE_SHARE
from napari_nst.engine.resources.tiles import SMALLEST_TILE
from napari_nst.errors import OutOfMemoryError, StyleTransferWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.engine.resources.device import Device
    from napari_nst.engine.resources.peak_memory import Workload

__all__ = ["MemoryPlan"]

T = TypeVar("T")

# With this many times the needed memory free, a run may keep freed memory for speed.
_AMPLE = 4


class MemoryPlan:
    """Tile sizes of every scale, and the history size of L-BFGS.

    Parameters
    ----------
    workload : Workload
        The run at its last scale.
    scales : sequence of Scale
        The scales of the run.
    device : Device
        The device of the run.
    tile_sizes : sequence of int or None, optional
        Tile sizes of a run that is repeated; chosen by default.
    history_size : int, optional
        History size of a run that is repeated; chosen by default.

    Attributes
    ----------
    tile_sizes : list of int or None
        Side of the tiles at each scale, in pixels; None: the whole image at once.
    history_size : int or None
        History size of L-BFGS; None for Adam.
    ample_memory : bool
        Whether several times the needed memory is free.

    Warns
    -----
    StyleTransferWarning
        If the default history does not fit.

    Raises
    ------
    OutOfMemoryError
        If the run needs more memory than is free, or than `memory_limit` allows.
    """

    def __init__(
        self,
        workload: Workload,
        scales: Sequence[Scale],
        device: Device,
        tile_sizes: Sequence[int | None] | None = None,
        history_size: int | None = None,
    ) -> None:
        settings, last = workload.settings, workload.scale
        self._settings, self._scales, self._device = settings, scales, device
        limit = settings.memory_limit
        free = device.free_bytes if limit is None else limit * 2**30
        budget = USABLE_SHARE * free
        history = history_size or LBFGS_HISTORY
        if settings.optimizer == "lbfgs" and history_size is None:
            history = workload.max_history(budget)
        self.history_size = history if settings.optimizer == "lbfgs" else None
        if tile_sizes is not None:
            self.tile_sizes = list(tile_sizes)
        elif settings.tile == "auto":
            at_scales = (replace(workload, scale=scale) for scale in scales)
            self.tile_sizes = [each.max_tile(budget, history) for each in at_scales]
        else:
            self.tile_sizes = [workload.requested_tile] * len(scales)
        needed = workload.bytes_needed(self.tile_sizes[-1], history)
        self.ample_memory = _AMPLE * needed <= free
        available = f"{free / 2**30:.1f} GiB are free"
        if limit is not None:
            available = f"memory_limit is {limit:g} GiB"
        if needed > free:
            raise OutOfMemoryError(
                f"Working at {last.width} x {last.height} pixels needs about "
                f"{needed / 2**30:.1f} GiB of memory, and {available}; choose a smaller size."
            )
        if history_size is None and history < LBFGS_HISTORY:
            warnings.warn(
                f"L-BFGS remembers {history} steps instead of {LBFGS_HISTORY} at "
                f"{last.width} x {last.height} pixels, because {available}.",
                StyleTransferWarning,
                stacklevel=2,
            )

    def run_with_oom_retry(
        self,
        index: int,
        work: Callable[[int | None], T],
        release_memory: Callable[[], bool] | None = None,
    ) -> T:
        """Call a function with the tile size of a scale, and retry when memory runs out.

        Parameters
        ----------
        index : int
            Index of the scale, from 0.
        work : callable
            Takes the tile size.  After it ran out of memory the tile size is halved.
        release_memory : callable, optional
            Frees memory and returns whether it freed any.  Called if the tile size cannot be
            halved.

        Raises
        ------
        RuntimeError
            Whatever `work` raises, out of memory only if nothing is left to try.
        """
        scale = self._scales[index]
        while True:
            tile = self.tile_sizes[index]
            smaller = (tile or max(scale.height, scale.width)) // 2
            is_smallest = self._settings.tile == "off" or smaller < SMALLEST_TILE
            try:
                return work(tile)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                # The frames of the failed attempt hold its tensors.
                traceback.clear_frames(error.__traceback__)
                if is_smallest and not (release_memory and release_memory()):
                    raise
            self._device.empty_cache()
            if not is_smallest:
                self.tile_sizes[index] = smaller
