"""Max pooling and its way back, with no more kept than where the maxima were."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Maxima", "max_pool", "max_unpool"]


class Maxima(NamedTuple):
    """Where the maxima of windows of 2 x 2 were.

    Attributes
    ----------
    indices : Tensor
        Shape (1, N, H // 2, W // 2): of each maximum in its channel.
    shape : torch.Size
        Of what was pooled.
    pooled : Tensor or None
        What was pooled, on devices whose way back needs it.
    """

    indices: Tensor
    shape: torch.Size
    pooled: Tensor | None


def max_pool(x: Tensor) -> tuple[Tensor, Maxima]:
    """Return the maxima of windows of 2 x 2, and where they were.

    Parameters
    ----------
    x : Tensor
        Shape (1, N, H, W).  A last row or column that fills no window is left out.
    """
    found, indices = functional.max_pool2d(x, 2, return_indices=True)
    return found, Maxima(indices, x.shape, None if x.device.type == "cpu" else x)


def max_unpool(gradient: Tensor, maxima: Maxima) -> Tensor:
    """Return the gradient at what was pooled, from that at the maxima.

    Parameters
    ----------
    gradient : Tensor
        Shape (1, N, H // 2, W // 2), channels last in memory.
    maxima : Maxima
        Where they were.

    Notes
    -----
    As windows do not overlap, it is their gradient where they were and zero elsewhere.  On a
    processor torch's unpooling writes that in a third of the time of its pooling's way back, and
    does not ask for what was pooled.
    """
    if maxima.pooled is None:
        return functional.max_unpool2d(gradient, maxima.indices, [2, 2], output_size=maxima.shape)
    found: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
        gradient, maxima.pooled, [2, 2], [2, 2], [0, 0], [1, 1], False, maxima.indices
    )
    return found
