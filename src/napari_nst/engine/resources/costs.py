"""What a run will cost, reckoned without torch: for the estimate before it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import psutil

from napari_nst.engine.optim.schedule import Scale, fit, plan
from napari_nst.engine.resources import activations
from napari_nst.engine.resources.tiles import SMALLEST_TILE, STYLE_TILE, Cutting
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_nst.settings import StyleTransferSettings

__all__ = [
    "LBFGS_HISTORY",
    "SHARE_OF_FREE",
    "SHORTEST_HISTORY",
    "Cost",
    "asked_tile",
    "automatic_size",
    "bytes_needed",
    "cost",
    "fit_style",
    "largest_tile",
    "layers_in_use",
    "lbfgs_history",
    "scales_for",
]

LBFGS_HISTORY = 10
"""Pairs of a step and a change of the gradient that L-BFGS remembers."""

SHORTEST_HISTORY = 3
"""Pairs that it has at least: Nocedal and Wright (Numerical Optimization, section 7.2) give 3 to
20 as what practice finds enough."""

SHARE_OF_FREE = 0.8
"""Of the memory that is free; the rest is for the reckoning's error, and for other programs."""

_FLOAT32 = 4  # bytes
_PICTURE = 3 * _FLOAT32  # bytes of a pixel of an image

# Images of the working size that a run has during an evaluation: content, image, gradient and
# Adam's two moments and average; or, for L-BFGS, the image, the gradient and the direction of the
# last step that was accepted.
_HELD = 6

# Those of the result's size that come on top between two evaluations: the image to show or to
# deliver, and the array that it becomes.  The gradient is gone by then.
_DELIVERED = 2

# Images of the size of a tile that its evaluation has: the tile and its gradient, the network's
# input before and after its border is replicated, the four differences of the total variation
# and what is on their way back.
_SEEN = 10

# Masks of each region while they are made: as painted, blurred along one axis and along both,
# and padded for it.
_PAINTED = 5

# A tile that costs about three times what the whole image would: before tiles become smaller
# than this, the history of L-BFGS becomes shorter.
_TILE_BESIDE_HISTORY = 256

# What torch takes for itself at its first convolutions, and the weights as they are stored.
_TORCH = 144 * 2**20

# What lies unused between features in the heap, for each byte of an activation: those of deep
# layers come and go there, and leave holes.  Measured as what the process grows by beyond the rest.
_HOLES = 24 * 2**20


@dataclass(frozen=True)
class Cost:
    """What a run takes.

    Attributes
    ----------
    operations : float
        Floating-point operations of all evaluations, forward and backward.
    memory : int
        Bytes at the peak.
    """

    operations: float
    memory: int


def cost(
    settings: StyleTransferSettings,
    height: int,
    width: int,
    device: str,
    styles: Iterable[tuple[int, int]] = (),
    *,
    regions: int = 0,
    free: int | None = None,
) -> Cost:
    """Return what a run on a content image of this size takes.

    Parameters
    ----------
    settings : StyleTransferSettings
        Every choice.
    height, width : int
        Of the content.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"mps"``; it decides the size where that is "auto".
    styles : iterable of tuple of int
        Height and width of each style image: they take memory.
    regions : int
        How many regions the labels make.
    free : int or None
        Bytes that are free on the device.  None: what the machine has free, and for a graphics
        card without a `memory_limit` as much as it takes, for only torch can ask it.

    Notes
    -----
    With ``tile="auto"`` the memory is that of the tiles, and of the history of L-BFGS, that a run
    which began now would choose.
    """
    scales = scales_for(settings, height, width, device)
    last, styles = scales[-1], list(styles)
    # The images as they came, where they are not of the size worked at.
    shapes = [(height, width, last.height, last.width)]
    shapes += [
        (*style, *fit_style(settings, style, last, index)) for index, style in enumerate(styles)
    ]
    given = _PICTURE * sum(h * w for h, w, *fitted in shapes if (h, w) != tuple(fitted))

    item_size = 2 if settings.precision == "bfloat16" else _FLOAT32
    output = (height, width) if settings.output_size == "content" else None
    tile, history = asked_tile(settings), LBFGS_HISTORY
    tiles = [tile] * len(scales)
    if settings.memory_limit is not None:
        free = int(settings.memory_limit * 2**30)
    elif free is None and not device.startswith("cuda"):
        free = int(psutil.virtual_memory().available)
    if free is not None:
        budget = SHARE_OF_FREE * free - given
        history = lbfgs_history(settings, last, styles, item_size, budget, regions, output)
        if settings.tile == "auto":
            asked = (styles, item_size, budget, history, regions, output)
            tile = largest_tile(settings, last, *asked)
            if tile is not None:
                tiles = [largest_tile(settings, scale, *asked) for scale in scales]
    memory = bytes_needed(settings, last, styles, item_size, tile, history, regions, output)
    operations = sum(map(partial(_operations, settings), scales, tiles))
    return Cost(operations, memory + given)


def asked_tile(settings: StyleTransferSettings) -> int | None:
    """Return the side of the tiles that settings ask for; None where they name none."""
    return settings.tile if isinstance(settings.tile, int) else None


def scales_for(
    settings: StyleTransferSettings, height: int, width: int, device: str
) -> tuple[Scale, ...]:
    """Return the sizes that a run on a content image of this size goes through."""
    shortest = _shortest(settings)
    longest = settings.size
    if longest == "auto":
        longest = min(max(height, width), automatic_size(device))
    elif longest is None:
        longest = max(height, width)
    height, width = fit(height, width, longest, shortest)
    return plan(height, width, settings.iterations, settings.scales, shortest)


def automatic_size(device: str) -> int:
    """Return the longest side that a kind of device takes minutes for, not hours."""
    return 512 if device.startswith("cpu") else 1024


def layers_in_use(settings: StyleTransferSettings) -> tuple[str, ...]:
    """Return the layers that have a weight."""
    return (*settings.content_layers.active, *settings.style_layers.active)


def fit_style(
    settings: StyleTransferSettings, style: tuple[int, int], scale: Scale, index: int = 0
) -> tuple[int, int]:
    """Return the height and width of a style image at a scale.

    Parameters
    ----------
    settings : StyleTransferSettings
        Every choice.
    style : tuple of int
        Height and width of the image as it was given.
    scale : Scale
        The size worked at.
    index : int
        Which of the styles it is, from 0: each can have its own `style_scale`.

    Notes
    -----
    Its longest side is the content's times `style_scale`, so that strokes keep their size.
    Against a narrow content that would be many times the content's pixels: it has at most
    twice as many (times `style_scale` squared), which a square style meets at an aspect ratio
    of 2:1.
    """
    scales = settings.style_scale
    style_scale = scales[index] if isinstance(scales, tuple) else scales
    longest = max(scale.height, scale.width) * style_scale
    pixels = 2 * scale.height * scale.width * style_scale**2
    longest = min(longest, math.sqrt(pixels * max(style) / min(style)))
    return fit(*style, longest, _shortest(settings))


def bytes_needed(
    settings: StyleTransferSettings,
    scale: Scale,
    styles: Iterable[tuple[int, int]] = (),
    item_size: int = 4,
    tile: int | None = None,
    history: int = LBFGS_HISTORY,
    regions: int = 0,
    output: tuple[int, int] | None = None,
) -> int:
    """Return about how much memory a run takes at its peak.

    Parameters
    ----------
    settings : StyleTransferSettings
        Every choice.
    scale : Scale
        The largest size worked at.
    styles : iterable of tuple of int
        Height and width of each style image, as it was given.
    item_size : int
        Bytes of one activation.
    tile : int or None
        The side of the tiles; None: the whole image at once.
    history : int
        Pairs that L-BFGS remembers; Adam has none.
    regions : int
        How many regions the labels make; each is taken to have its labels on every style.
    output : tuple of int, optional
        Height and width of the result, where it is not of the size worked at.

    Notes
    -----
    What the features take says `activations.evaluation`.  A style is seen forward only, in tiles,
    and nothing is kept of it but the features in use; still a large one can take more than an
    evaluation does.

    What does not shrink with the tiles is the images: with Adam the six that a run holds and the
    style, 7 times the image's own float32 size, and the content's features.  L-BFGS has
    two images more for each pair that it remembers, and each region has its weights at the
    positions of every style layer.

    Measured as the growth of the process on Linux, with the default layers, in float32 and in
    bfloat16: 0.83 and 0.74 of what this says at 256 pixels squared, 0.91 and 0.94 at 512, 0.93 and
    0.92 at 1024, 1.13 and 1.00 in tiles of 512 there and 1.04 and 1.00 at 2048.  Where memory is
    plenty the process grows by up to a fifth more, for speed (see
    `napari_nst.engine.resources.allocator`).
    """
    layers = layers_in_use(settings)
    plan = NETWORKS[settings.network].upto(layers)
    cutting = Cutting(settings.network, layers)
    height, width = scale.height, scale.width
    pixels = height * width
    fitted = [fit_style(settings, style, scale, index) for index, style in enumerate(styles)]
    of_styles = sum(math.prod(size) for size in fitted)
    read = cutting.most_read(height, width, tile)

    steps = NETWORKS[settings.network].steps(layers, settings.pooling)
    features = activations.evaluation(steps, item_size, bool(regions))
    evaluation = (features + _PICTURE * _SEEN) * read
    style_tile = min(STYLE_TILE, tile or STYLE_TILE)
    seen = max((cutting.most_read(*size, style_tile) for size in fitted), default=0)
    forward = activations.forward(steps, item_size) * seen
    shown = max(pixels, math.prod(output or (0, 0)))
    delivered = _PICTURE * (_DELIVERED * shown - pixels)
    painted = _FLOAT32 * _PAINTED * regions * pixels

    alone = read == pixels
    targets = [layer for layer in plan if layer.name in settings.content_layers.active]
    target = sum(
        activations.target(activations.values(layer) * pixels, item_size, alone)
        for layer in targets
    )
    styled = [layer for layer in plan if layer.name in settings.style_layers.active]
    guides = regions * sum(_FLOAT32 / layer.stride**2 for layer in styled) * (pixels + of_styles)
    images = _HELD + (2 * history if settings.optimizer == "lbfgs" else 0)
    pictures = _PICTURE * (images * pixels + of_styles)
    weights = item_size * sum(9 * c.in_channels * c.out_channels for c in plan if c.kind == "conv")
    passing = max(evaluation, forward, delivered, painted)
    own = _TORCH + _HOLES * item_size + weights
    return int(own + pictures + guides + target + passing)


def lbfgs_history(
    settings: StyleTransferSettings,
    scale: Scale,
    styles: Sequence[tuple[int, int]],
    item_size: int,
    budget: float,
    regions: int = 0,
    output: tuple[int, int] | None = None,
) -> int:
    """Return how many pairs L-BFGS can remember within a budget of bytes.

    Parameters
    ----------
    settings, scale, styles, item_size, regions, output
        As `bytes_needed` takes them.
    budget : float
        Bytes that a run may take.

    Returns
    -------
    int
        `LBFGS_HISTORY`, or as many as fit beside the tiles that were asked for, with
        ``tile="auto"`` beside tiles of 256 pixels; `SHORTEST_HISTORY` at least.
    """
    tile = _TILE_BESIDE_HISTORY if settings.tile == "auto" else asked_tile(settings)
    for history in range(LBFGS_HISTORY, SHORTEST_HISTORY, -1):
        needed = bytes_needed(settings, scale, styles, item_size, tile, history, regions, output)
        if needed <= budget:
            return history
    return SHORTEST_HISTORY


def largest_tile(
    settings: StyleTransferSettings,
    scale: Scale,
    styles: Sequence[tuple[int, int]],
    item_size: int,
    budget: float,
    history: int = LBFGS_HISTORY,
    regions: int = 0,
    output: tuple[int, int] | None = None,
) -> int | None:
    """Return the side of the largest tiles that a budget of bytes allows.

    Parameters
    ----------
    settings, scale, styles, item_size, history, regions, output
        As `bytes_needed` takes them.
    budget : float
        Bytes that a run may take.

    Returns
    -------
    int or None
        None where the whole image fits.  The smallest side there is where nothing does.
    """

    def fits(tile: int | None) -> bool:
        needed = bytes_needed(settings, scale, styles, item_size, tile, history, regions, output)
        return needed <= budget

    if fits(None):
        return None
    stride = Cutting(settings.network, layers_in_use(settings)).stride
    # As tiles are made even, only what divides a side of the image in another way is worth a look.
    sides = {
        math.ceil(length / count / stride) * stride
        for length in (scale.height, scale.width)
        for count in range(1, math.ceil(length / SMALLEST_TILE) + 1)
    }
    longest = max(scale.height, scale.width)
    for side in sorted(sides, reverse=True):
        if SMALLEST_TILE < side < longest and fits(side):
            return side
    return SMALLEST_TILE


def _operations(settings: StyleTransferSettings, scale: Scale, tile: int | None) -> float:
    """Return the operations of all evaluations at a scale.

    A multiplication and an addition for each weight, once forward and once back.  Tiles go
    forward twice, and so does the halo that each of them reads.
    """
    layers = layers_in_use(settings)
    forward = sum(
        2 * 9 * layer.in_channels * layer.out_channels / layer.stride**2
        for layer in NETWORKS[settings.network].upto(layers)
        if layer.kind == "conv"
    )
    read = Cutting(settings.network, layers).all_read(scale.height, scale.width, tile)
    passes = 2 if read == scale.height * scale.width else 3
    return passes * forward * read * scale.iterations


def _shortest(settings: StyleTransferSettings) -> int:
    """Return what a short side has at least: two positions of the deepest layer in use."""
    return 2 * NETWORKS[settings.network].upto(layers_in_use(settings))[-1].stride
