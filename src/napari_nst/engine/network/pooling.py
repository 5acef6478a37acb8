"""Max pooling and its gradient, storing only the positions of the maxima."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["Maxima", "max_pool", "max_unpool"]

_SPAN = 2**15  # positions that int16 can index


class Maxima(NamedTuple):
    """Positions of the maxima in windows of 2 x 2.

    Attributes
    ----------
    indices : Tensor
        Shape (1, N, H // 2, W // 2), int16 or int32: position of each maximum in its strip of
        rows (on a CPU) or in its channel.  torch's int64 would need more memory than the features.
    shape : torch.Size
        Shape of the input of the pooling.
    """

    indices: Tensor
    shape: torch.Size


def max_pool(x: Tensor) -> tuple[Tensor, Maxima]:
    """Return the maxima of windows of 2 x 2, and their positions.

    Parameters
    ----------
    x : Tensor
        Shape (1, N, H, W), channels last in memory.  An odd last row or column is ignored.
    """
    height, width = x.shape[-2:]
    if _device_type(x) != "cpu":
        found, indices = functional.max_pool2d(x, 2, return_indices=True)
        found = found.contiguous(memory_format=torch.channels_last)
        return found, Maxima(indices.to(torch.int32), x.shape)
    shape = (*x.shape[:-2], height // 2, width // 2)
    kind = torch.int16 if 2 * width <= _SPAN else torch.int32
    found, indices = (
        torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
        for dtype in (x.dtype, kind)
    )
    for rows, windows in _strips(height, width):
        maxima, where = functional.max_pool2d(x[..., rows, :], 2, return_indices=True)
        found[..., windows, :] = maxima
        indices[..., windows, :] = where
    return found, Maxima(indices, x.shape)


def max_unpool(gradient: Tensor, maxima: Maxima) -> Tensor:
    """Return the gradient at the input of a max pooling from the gradient at its output.

    Parameters
    ----------
    gradient : Tensor
        Shape (1, N, H // 2, W // 2), channels last in memory.
    maxima : Maxima
        The positions of the maxima.

    Notes
    -----
    Windows do not overlap, so it is the output's gradient at the maxima and zero elsewhere.  On a
    CPU torch's unpooling takes a third of the time of its pooling's gradient.
    """
    indices, (*_, height, width) = maxima
    device = _device_type(gradient)
    if device not in ("cpu", "cuda"):
        # On Apple's GPUs torch's own gradient reads the input, not the indices.
        found = gradient.new_zeros((*maxima.shape[:-2], height * width))
        found.scatter_(-1, indices.long().flatten(-2), gradient.flatten(-2))
        return found.view(maxima.shape).contiguous(memory_format=torch.channels_last)
    found = torch.empty(
        maxima.shape,
        dtype=gradient.dtype,
        device=gradient.device,
        memory_format=torch.channels_last,
    )
    if device == "cuda":
        # torch reads only shape and layout of the input, which is not stored: pass the result.
        geometry = ([2, 2], [2, 2], [0, 0], [1, 1], False)
        torch.ops.aten.max_pool2d_with_indices_backward.grad_input(
            gradient, found, *geometry, indices.long(), grad_input=found
        )
        return found
    for rows, windows in _strips(height, width):
        found[..., rows, :] = functional.max_unpool2d(
            gradient[..., windows, :],
            indices[..., windows, :].long(),
            [2, 2],
            output_size=(rows.stop - rows.start, width),
        )
    return found


def _device_type(x: Tensor) -> str:
    """Return the type of a tensor's device; tests replace it."""
    return x.device.type


def _strips(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of input rows and output rows; the last strip includes an odd last row.

    On a CPU the temporary results of a strip stay in the cache.
    """
    count = max(_SPAN // (2 * width), 1)
    for first in range(0, height // 2, count):
        last = min(first + count, height // 2)
        stop = height if last == height // 2 else 2 * last
        yield slice(2 * first, stop), slice(first, last)
