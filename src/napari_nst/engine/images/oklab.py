"""OKLab: lightness and two chroma coordinates with nearly uniform hues.

B. Ottosson, A perceptual color space for image processing (2020), with the matrices of its
revision of January 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["from_oklab", "to_oklab"]

_LMS_FROM_RGB = torch.tensor(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    dtype=torch.float64,
)
_LAB_FROM_ROOTS = torch.tensor(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    dtype=torch.float64,
)
_RGB_FROM_LMS = torch.linalg.inv(_LMS_FROM_RGB)
_ROOTS_FROM_LAB = torch.linalg.inv(_LAB_FROM_ROOTS)

# Halvings of the interval that contains the largest chroma in the gamut: with 10, colours on both
# sides of its border differ by up to 0.0014.
_HALVINGS = 16

# Linear values this far outside [0, 1] are rounding errors.
_TOLERANCE = 1e-5


def to_oklab(image: Tensor) -> Tensor:
    """Return the OKLab coordinates of an image.

    Parameters
    ----------
    image : Tensor
        Shape (1, 3, H, W): sRGB, values in [0, 1].

    Returns
    -------
    Tensor
        Shape (1, 3, H, W): lightness L in [0, 1], and the chroma coordinates a and b.
    """
    linear = torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055).pow(2.4))
    return _mixed(_LAB_FROM_ROOTS, _mixed(_LMS_FROM_RGB, linear).pow(1 / 3))


def from_oklab(lab: Tensor) -> Tensor:
    """Return the sRGB image of OKLab coordinates, shape (1, 3, H, W), values in [0, 1].

    A color that sRGB does not have gets the largest chroma that it has at the same lightness and
    hue; clamping its channels would change both.
    """
    linear = _linear(lab)
    outside = ((linear < -_TOLERANCE) | (linear > 1 + _TOLERANCE)).any(dim=1).flatten()
    indices = outside.nonzero().squeeze(1)
    colors = lab.flatten(2)[..., indices]
    gray, chroma = colors[:, :1], colors[:, 1:]
    low = torch.zeros_like(gray)
    for halving in range(1, _HALVINGS + 1):
        share = low + 0.5**halving
        found = _linear(torch.cat([gray, share * chroma], dim=1))
        inside = ((found >= 0) & (found <= 1)).all(dim=1, keepdim=True)
        low = torch.where(inside, share, low)
    linear.flatten(2)[..., indices] = _linear(torch.cat([gray, low * chroma], dim=1))
    linear = linear.clamp(0, 1)
    return torch.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * linear.pow(1 / 2.4) - 0.055
    ).clamp_(0, 1)


def _linear(lab: Tensor) -> Tensor:
    """Return linear sRGB values, which may lie outside [0, 1]."""
    return _mixed(_RGB_FROM_LMS, _mixed(_ROOTS_FROM_LAB, lab).pow(3))


def _mixed(matrix: Tensor, image: Tensor) -> Tensor:
    """Return the products of a matrix with the channels of every pixel, shape (1, 3, ...)."""
    return torch.einsum("ij,nj...->ni...", matrix.to(image), image)
