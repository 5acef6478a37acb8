"""Keep the colours of invisible pixels, transparent or missing, out of all results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_nst.engine.images.regions import resized_mask

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["fill_hidden", "premultiplied_correction"]


def fill_hidden(image: Tensor, visible: Tensor) -> Tensor:
    """Fill invisible pixels with the colours of the visible pixels around them.

    Push-pull (Gortler et al., The Lumigraph, SIGGRAPH 1996, section 3.4.2): in a pyramid each
    pixel is the mean of its four finer pixels, weighted by their visibility; invisible pixels are
    then filled from the next coarser level.

    Parameters
    ----------
    image : Tensor
        Shape (1, C, H, W).
    visible : Tensor
        Shape (1, H, W), values in [0, 1], above 0 somewhere.

    Returns
    -------
    Tensor
        The filled image; pixels of visibility above 0 are unchanged.
    """
    weight = visible[None].to(image)
    colors = torch.where(weight > 0, image, 0)
    levels = [(colors, weight)]
    while max(weight.shape[-2:]) > 1:
        summed = functional.avg_pool2d(colors * weight, 2, ceil_mode=True)
        weight = functional.avg_pool2d(weight, 2, ceil_mode=True)
        colors = torch.where(weight > 0, summed / weight, 0)
        levels.append((colors, weight))
    found, _ = levels.pop()
    while levels:
        colors, weight = levels.pop()
        coarser = functional.interpolate(found, colors.shape[-2:], mode="bilinear")
        if levels:
            found = coarser.lerp_(colors, weight)
        else:
            found = torch.where(weight > 0, colors, coarser)
    return found


def premultiplied_correction(image: Tensor, visible: Tensor, height: int, width: int) -> Tensor:
    """Return the correction of an image resampled without alpha to one resampled with it.

    Colours are multiplied by alpha, averaged and divided by the average alpha (Porter and Duff,
    Compositing Digital Images, SIGGRAPH 1984), so that visibility is the weight of a pixel.
    The averages are bilinear: bicubic weights can be negative, and the quotient would have poles.

    Parameters
    ----------
    image : Tensor
        Shape (1, C, H, W).
    visible : Tensor
        Shape (1, H, W), values in [0, 1].
    height, width : int
        The new size.

    Returns
    -------
    Tensor
        Shape (1, C, height, width); 0 where nothing is visible and, up to rounding, where
        everything is.
    """
    weight = visible.to(image)
    parts = torch.cat([image[0] * weight, image[0], weight])
    resampled = resized_mask(parts, height, width)
    channels = image.shape[1]
    summed, plain, seen = resampled[:channels], resampled[channels:-1], resampled[-1:]
    return torch.where(seen > 0, summed / seen - plain, 0)[None]
