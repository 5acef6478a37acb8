"""Choose the sizes at which content and styles are optimised, without importing torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_nst.engine.optim.schedule import STROKE_SIDE, Scale, fit, make_scales
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from napari_nst.settings import StyleTransferSettings

__all__ = ["automatic_size", "scales_for", "style_size"]


def automatic_size(device: str) -> int:
    """Return the longest side, in pixels, that takes a kind of device minutes and not hours."""
    return STROKE_SIDE if device.startswith("cpu") else 1024


def scales_for(
    settings: StyleTransferSettings, height: int, width: int, device: str
) -> tuple[Scale, ...]:
    """Return the scales of a run on a content image of this size, coarsest first."""
    min_side = _min_side(settings)
    longest = settings.size
    if longest == "auto":
        longest = min(max(height, width), automatic_size(device))
    elif longest is None:
        longest = max(height, width)
    height, width = fit(height, width, longest, min_side)
    style_side = STROKE_SIDE if settings.strokes_relative_to == "pixels" else None
    return make_scales(height, width, settings.iterations, settings.scales, min_side, style_side)


def style_size(
    settings: StyleTransferSettings, style: tuple[int, int], scale: Scale, index: int = 0
) -> tuple[int, int]:
    """Return the height and width of a style image at a scale.

    Parameters
    ----------
    settings : StyleTransferSettings
        All settings of the run.
    style : tuple of int
        Height and width of the style image as given.
    scale : Scale
        The size of the content.
    index : int
        Index of the style, from 0: each can have its own `style_scale`.

    Notes
    -----
    If strokes are relative to the picture, the longest side is the content's times `style_scale`.
    Beside a narrow content such a style would have many times the content's pixels; it gets at
    most twice as many (times `style_scale` squared), a limit that a square style reaches beside
    a content of aspect ratio 2:1.

    If strokes are relative to pixels, the longest side is `Scale.style_side` times `style_scale`,
    whatever the size of the content, so that contents of all sizes get the same strokes.
    """
    scales = settings.style_scale
    style_scale = scales[index] if isinstance(scales, tuple) else scales
    if scale.style_side is not None:
        longest = scale.style_side * style_scale
    else:
        longest = max(scale.height, scale.width) * style_scale
        pixels = 2 * scale.height * scale.width * style_scale**2
        longest = min(longest, math.sqrt(pixels * max(style) / min(style)))
    return fit(*style, longest, _min_side(settings))


def _min_side(settings: StyleTransferSettings) -> int:
    """Return the shortest side allowed, in pixels: two positions of the deepest layer in use."""
    return 2 * NETWORKS[settings.network].layers_up_to(settings.layers_in_use)[-1].stride
