r"""Steps of patches as well as of pixels, and steps of detail alone.

The loss is stiff at fine scales and flat at coarse ones.  The fine scales limit the length of a
step, so changing the colour of a patch pixel by pixel takes many steps; moving patches as well
takes fewer.  Where the patches are right already, only detail should move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LEVELS", "keep_detail_", "precondition_"]

LEVELS = 4
"""Number of halvings: the coarsest patches have sides of 16 pixels."""

# Bilinear interpolation to twice the size, along one axis: 1/4, 3/4, 3/4, 1/4.
_FAR, _NEAR = 0.25, 0.75


def _kernel(like: Tensor) -> Tensor:
    """Return the kernel of bilinear interpolation to twice the size, shape (1, 1, 4, 4).

    It is filled on the device, because a copy would wait for a GPU.
    """
    kernel = like.new_full((1, 1, 4, 4), _FAR * _FAR)
    kernel[..., 1:3, :].fill_(_NEAR * _FAR)
    kernel[..., 1:3].fill_(_NEAR * _FAR)
    kernel[..., 1:3, 1:3].fill_(_NEAR * _NEAR)
    return kernel


def precondition_(step: Tensor, share: float) -> Tensor:
    r"""Add coarser versions of a step to it, in place.

    Parameters
    ----------
    step : Tensor
        Shape (1, C, H, W), of a floating-point dtype; it is overwritten.
    share : float
        Share of the coarser versions; 0 leaves the step unchanged.

    Returns
    -------
    Tensor
        The step: x becomes

        .. math:: S x = x + s \sum_{k=1}^{4} 2^{-k} U^k (U^T)^k x

        where U is bilinear interpolation to twice the size, with zeros around.

    Notes
    -----
    The preconditioner of Bramble, Pasciak and Xu (Parallel multilevel preconditioners,
    Mathematics of Computation 55, 1990, 1-22), weighted so that for noise each size moves a pixel
    by about the same amount.  It is symmetric and positive definite: a descent direction stays one.
    """
    if share == 0:
        return step
    kernel = _kernel(step)
    # Channels are separate; an image of one pixel has no coarser version.
    sizes = [step.view(-1, 1, *step.shape[-2:])]
    while len(sizes) <= LEVELS and min(sizes[-1].shape[-2:]) > 1:
        sizes.append(_reduced(sizes[-1], kernel))
    found = sizes.pop()
    while sizes:
        finer = sizes.pop()
        found = finer.add_(_enlarged(found, finer, kernel), alpha=0.5 if sizes else 0.5 * share)
    return step


def keep_detail_(step: Tensor) -> Tensor:
    r"""Remove from a step what the image at half its size would show, in place.

    Parameters
    ----------
    step : Tensor
        Shape (1, C, H, W), of a floating-point dtype; it is overwritten.

    Returns
    -------
    Tensor
        The step: x becomes

        .. math:: F x = x - \frac{1}{4} U U^T x

        where U is bilinear interpolation to twice the size, with zeros around.

    Notes
    -----
    Symmetric and positive semidefinite: a descent direction stays one.  A constant becomes zero,
    but not within three pixels of the border.
    """
    pixels = step.view(-1, 1, *step.shape[-2:])
    if min(pixels.shape[-2:]) > 1:
        kernel = _kernel(step)
        pixels.sub_(_enlarged(_reduced(pixels, kernel), pixels, kernel), alpha=0.25)
    return step


def _reduced(image: Tensor, kernel: Tensor) -> Tensor:
    """Return the transpose of `_enlarged`: half the size."""
    return functional.conv2d(image, kernel, stride=2, padding=1)


def _enlarged(image: Tensor, finer: Tensor, kernel: Tensor) -> Tensor:
    """Interpolate an image bilinearly to the size of a finer one."""
    odd = [side % 2 for side in finer.shape[-2:]]
    return functional.conv_transpose2d(image, kernel, stride=2, padding=1, output_padding=odd)
