"""Estimate the time and memory of a run without importing torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psutil

from napari_nst.engine.optim.schedule import LBFGS_HISTORY
from napari_nst.engine.optim.sizes import scales_for, style_size
from napari_nst.engine.resources.peak_memory import IMAGE_BYTES, USABLE_SHARE, Workload
from napari_nst.engine.resources.tiles import TileGrid
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Cost", "estimate"]


@dataclass(frozen=True)
class Cost:
    """Computing effort and peak memory of a run.

    Attributes
    ----------
    operations : float
        Floating-point operations of all evaluations, forward and backward.
    memory : int
        Peak memory in bytes.
    """

    operations: float
    memory: int


def estimate(
    settings: StyleTransferSettings,
    height: int,
    width: int,
    device: str,
    styles: Iterable[tuple[int, int]] = (),
    *,
    regions: int = 0,
    temporal: bool = False,
    free: int | None = None,
) -> Cost:
    """Return the estimated cost of a run.

    Parameters
    ----------
    settings : StyleTransferSettings
        All settings of the run.
    height, width : int
        Size of the content image.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"mps"``; it decides the working size if that is "auto".
    styles : iterable of tuple of int
        Height and width of each style image.
    regions : int
        Number of regions.
    temporal : bool
        Whether there is a temporal loss.
    free : int or None
        Free bytes on the device.  None: the free main memory; for a GPU without a
        `memory_limit`, unlimited, because only torch can query it.

    Notes
    -----
    With ``tile="auto"`` the estimate assumes the tile sizes and the history size of L-BFGS that a
    run would choose now.
    """
    scales = scales_for(settings, height, width, device)
    last, styles = scales[-1], tuple(styles)
    # Images whose size differs from the working size are in memory at both sizes.
    sizes = [((height, width), (last.height, last.width))]
    sizes += [(style, style_size(settings, style, last, k)) for k, style in enumerate(styles)]
    originals = IMAGE_BYTES * sum(h * w for (h, w), working in sizes if (h, w) != working)

    item_size = 2 if settings.precision == "bfloat16" else 4
    workload = Workload(
        settings,
        last,
        styles,
        item_size=item_size,
        regions=regions,
        temporal=temporal,
        output_size=(height, width) if settings.output_size == "content" else None,
        fast_convolutions=device == "cpu" and item_size == 4,
    )
    history = LBFGS_HISTORY
    tiles = [workload.requested_tile] * len(scales)
    if settings.memory_limit is not None:
        free = int(settings.memory_limit * 2**30)
    elif free is None and not device.startswith("cuda"):
        free = int(psutil.virtual_memory().available)
    if free is not None:
        budget = USABLE_SHARE * free - originals
        history = workload.max_history(budget)
        if settings.tile == "auto":
            tiles = [replace(workload, scale=s).max_tile(budget, history) for s in scales]
    operations = sum(map(_operations, [settings] * len(scales), scales, tiles))
    return Cost(operations, workload.bytes_needed(tiles[-1], history) + originals)


def _operations(settings: StyleTransferSettings, scale: Scale, tile: int | None) -> float:
    """Return the floating-point operations of all evaluations at a scale.

    Each weight takes a multiplication and an addition, forward and backward.  Tiles take a second
    forward pass, and each also computes its halo.
    """
    layers = NETWORKS[settings.network].layers_up_to(settings.layers_in_use)
    forward = sum(
        2 * 9 * layer.in_channels * layer.out_channels / layer.stride**2
        for layer in layers
        if layer.kind == "conv"
    )
    pixels = TileGrid(settings.network, settings.layers_in_use).total_tile_pixels(
        scale.height, scale.width, tile
    )
    passes = 2 if pixels == scale.height * scale.width else 3
    return passes * forward * pixels * scale.iterations
