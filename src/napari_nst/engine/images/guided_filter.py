"""Edge-preserving smoothing: the guided filter (He, Sun and Tang, TPAMI 2013)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["guided_coefficients", "resampled_rows"]


def guided_coefficients(
    guide: Tensor, image: Tensor, weight: Tensor, radius: int, variance: float
) -> Tensor:
    """Return the slope and the offset of the guided filter at every pixel.

    In a window the filtered image is a linear function of the guide, slope I + offset, with the
    least squares of equations 5 and 6; each pixel has the mean of the windows that contain it
    (equation 8).  Coefficients change slowly: those of a reduced image serve the full size (K. He
    and J. Sun, Fast Guided Filter, arXiv 1505.00996).

    Parameters
    ----------
    guide : Tensor
        Shape (1, 1, H, W).
    image : Tensor
        Shape (1, C, H, W).
    weight : Tensor
        Shape (1, 1, H, W), 0 or more: weight of each pixel in all means.
    radius : int
        Windows are squares of 2 radius + 1 pixels a side.
    variance : float
        Epsilon: an edge counts if the variance of the guide across it is larger.

    Returns
    -------
    Tensor
        Shape (1, 2 C, H, W): slopes, then offsets; 0 where all weights of a window are 0.
    """
    total = _box_mean(weight, radius)

    def mean(values: Tensor) -> Tensor:
        return torch.where(total > 0, _box_mean(weight * values, radius) / total, 0)

    mean_guide, mean_image = mean(guide), mean(image)
    spread = mean(guide.square()) - mean_guide.square()
    slope = (mean(guide * image) - mean_guide * mean_image) / (spread.clamp_min(0) + variance)
    return mean(torch.cat([slope, mean_image - slope * mean_guide], dim=1))


def resampled_rows(image: Tensor, shape: tuple[int, int], rows: slice) -> Tensor:
    """Return some rows of an image that is interpolated bilinearly to a height and width.

    Parameters
    ----------
    image : Tensor
        Shape (1, C, h, w).
    shape : tuple of int
        The height and width of the whole.
    rows : slice
        The rows, with a start and a stop.
    """
    height, width = shape
    places = torch.arange(rows.start, rows.stop, device=image.device, dtype=image.dtype)
    last = image.shape[-2] - 1
    places = ((places + 0.5) * (image.shape[-2] / height) - 0.5).clamp(0, last)
    above = places.long()
    below = (above + 1).clamp_max(last)
    share = (places - above)[:, None]
    found = torch.lerp(image[..., above, :], image[..., below, :], share)
    return functional.interpolate(found, (found.shape[-2], width), mode="bilinear")


def _box_mean(values: Tensor, radius: int) -> Tensor:
    """Return the means of the windows; at the border of the pixels of the image in them."""
    for kernel in ((2 * radius + 1, 1), (1, 2 * radius + 1)):
        padding = (kernel[0] // 2, kernel[1] // 2)
        values = functional.avg_pool2d(values, kernel, 1, padding, count_include_pad=False)
    return values
