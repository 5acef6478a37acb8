"""What a run will cost, reckoned without torch: for the estimate before it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_nst.engine.schedule import Scale, fit, plan
from napari_nst.engine.tiles import SMALLEST_TILE, STYLE_TILE, Cutting
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_nst.networks import Layer
    from napari_nst.settings import StyleTransferSettings

__all__ = [
    "Cost",
    "automatic_size",
    "bytes_needed",
    "cost",
    "fit_style",
    "largest_tile",
    "layers_in_use",
    "scales_for",
]

_FLOAT32, _INDEX = 4, 8  # bytes of a number and of where the pooling found it
_PICTURE = 3 * _FLOAT32  # bytes of a pixel of an image

# Images of the working size that a run has at once: content, style, Adam's state, the gradient,
# what the total variation keeps, and the network's input in its stages.
_IMAGES = 15
_IMAGES_OF_LBFGS = 20  # ten steps and ten changes of the gradient

# What torch takes for itself at its first convolutions, and the weights as they are stored.
_TORCH = 128 * 2**20


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
    """
    scales = scales_for(settings, height, width, device)
    layers = layers_in_use(settings)
    per_pixel = _operations_per_pixel(settings.network, layers)
    pixels = sum(scale.height * scale.width * scale.iterations for scale in scales)
    tile = settings.tile if isinstance(settings.tile, int) else None
    return Cost(per_pixel * pixels, bytes_needed(settings, scales[-1], styles, tile=tile))


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

    Notes
    -----
    Between forward and backward each convolution keeps its output (the ReLU works in place),
    and each max pooling keeps its output and its indices of 8 bytes.  The losses add a gradient
    for every layer in use and the content's own features, and the way back one output of the
    largest convolution.  A style is seen forward only, in tiles, and nothing is kept of it but
    the features in use; still a large one can take more than an evaluation does.

    Measured as the growth of the process on Linux, with the default layers: 337, 853 and
    2524 MiB at 256, 512 and 1024 pixels squared, where this says 317, 772 and 2590.
    """
    layers = layers_in_use(settings)
    plan = NETWORKS[settings.network].upto(layers)
    cutting = Cutting(settings.network, layers)
    kept = sum(_kept_per_pixel(layer, item_size) for layer in plan)
    gradients = sum(_values(layer) * item_size for layer in plan if layer.name in layers)
    targets = settings.content_layers.active
    target = sum(_values(layer) * item_size for layer in plan if layer.name in targets)
    largest = max(map(_values, plan)) * _FLOAT32  # the statistics are summed in float32
    images = _IMAGES + (_IMAGES_OF_LBFGS if settings.optimizer == "lbfgs" else 0)

    pixels = scale.height * scale.width
    fitted = [fit_style(settings, style, scale, index) for index, style in enumerate(styles)]
    of_styles = [math.prod(size) for size in fitted]
    evaluation = (kept + gradients + largest) * cutting.most_read(scale.height, scale.width, tile)
    style_tile = min(STYLE_TILE, tile or STYLE_TILE)
    seen = max((cutting.most_read(*size, style_tile) for size in fitted), default=0)
    forward = _forward_per_pixel(plan, layers, item_size) * seen
    pictures = _PICTURE * (images * pixels + sum(of_styles))
    weights = sum(9 * layer.inputs * layer.channels for layer in plan if layer.kind == "conv")
    return int(_TORCH + weights * item_size + pictures + target * pixels + max(evaluation, forward))


def largest_tile(
    settings: StyleTransferSettings,
    scale: Scale,
    styles: Sequence[tuple[int, int]],
    item_size: int,
    budget: float,
) -> int | None:
    """Return the side of the largest tiles that a budget of bytes allows.

    Parameters
    ----------
    settings, scale, styles, item_size
        As `bytes_needed` takes them.
    budget : float
        Bytes that a run may take.

    Returns
    -------
    int or None
        None where the whole image fits.  The smallest side there is where nothing does.
    """
    if bytes_needed(settings, scale, styles, item_size) <= budget:
        return None
    stride = Cutting(settings.network, layers_in_use(settings)).stride
    # As tiles are made even, only what divides a side of the image in another way is worth a look.
    sides = {
        math.ceil(length / count / stride) * stride
        for length in (scale.height, scale.width)
        for count in range(1, math.ceil(length / SMALLEST_TILE) + 1)
    }
    for side in sorted(sides, reverse=True):
        if (
            SMALLEST_TILE < side < max(scale.height, scale.width)
            and bytes_needed(settings, scale, styles, item_size, side) <= budget
        ):
            return side
    return SMALLEST_TILE


def _values(layer: Layer) -> float:
    """Return the activations of a layer for each pixel of the image."""
    return layer.channels / layer.stride**2


def _kept_per_pixel(layer: Layer, item_size: int) -> float:
    """Return the bytes that a layer keeps for the way back, for each pixel of the image."""
    if layer.kind == "relu":
        return 0
    return _values(layer) * (item_size + (_INDEX if layer.kind == "pool" else 0))


def _forward_per_pixel(plan: Sequence[Layer], layers: Sequence[str], item_size: int) -> float:
    """Return the bytes at the peak of a forward pass, for each pixel of the image.

    That is the features in use so far, what goes into a layer and what comes out.
    """
    peak = in_use = before = 0.0
    for layer in plan:
        here = _values(layer) * item_size
        peak = max(peak, in_use + before + _kept_per_pixel(layer, item_size))
        if layer.name in layers:
            in_use, before = in_use + here, 0.0
        elif layer.kind != "relu":
            before = here
    return peak


def _operations_per_pixel(network: str, layers: Iterable[str]) -> float:
    """Return the operations of one evaluation for each pixel of the image.

    A multiplication and an addition for each weight, once forward and once back.
    """
    return sum(
        2 * 2 * 9 * layer.inputs * layer.channels / layer.stride**2
        for layer in NETWORKS[network].upto(layers)
        if layer.kind == "conv"
    )


def _shortest(settings: StyleTransferSettings) -> int:
    """Return what a short side has at least: two positions of the deepest layer in use."""
    return 2 * NETWORKS[settings.network].upto(layers_in_use(settings))[-1].stride
