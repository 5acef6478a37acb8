"""Max pooling and its way back, with no more kept than where the maxima were."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["Maxima", "max_pool", "max_unpool"]

_SPAN = 2**15  # positions that 16 bits can tell apart beside their sign


class Maxima(NamedTuple):
    """Where the maxima of windows of 2 x 2 were.

    Attributes
    ----------
    places : Tensor
        Shape (1, N, H // 2, W // 2): of each maximum, in a strip of rows or in its window.  The 8
        bytes that torch has for each would be more than the features themselves.
    shape : torch.Size
        Of what was pooled.
    """

    places: Tensor
    shape: torch.Size


def max_pool(x: Tensor) -> tuple[Tensor, Maxima]:
    """Return the maxima of windows of 2 x 2, and where they were.

    Parameters
    ----------
    x : Tensor
        Shape (1, N, H, W), channels last in memory.  A last row or column that fills no window is
        left out.
    """
    height, width = x.shape[-2:]
    if not _in_strips(x):
        found = functional.max_pool2d(x, 2)
        corners = torch.zeros_like(found, dtype=torch.uint8)
        for corner in (3, 2, 1, 0):  # of equal ones the first, as in torch
            corners.masked_fill_(_corner(x, corner) == found, corner)
        return found, Maxima(corners, x.shape)
    shape = (*x.shape[:-2], height // 2, width // 2)
    kind = torch.int16 if 2 * width <= _SPAN else torch.int32
    found, places = (
        torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
        for dtype in (x.dtype, kind)
    )
    for rows, windows in _strips(height, width):
        maxima, indices = functional.max_pool2d(x[..., rows, :], 2, return_indices=True)
        found[..., windows, :] = maxima
        places[..., windows, :] = indices
    return found, Maxima(places, x.shape)


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
    places, (*_, height, width) = maxima
    found = torch.empty(
        maxima.shape,
        dtype=gradient.dtype,
        device=gradient.device,
        memory_format=torch.channels_last,
    )
    if not _in_strips(gradient):
        found.zero_()
        for corner in range(4):
            _corner(found, corner).copy_(gradient.masked_fill(places != corner, 0))
        return found
    for rows, windows in _strips(height, width):
        found[..., rows, :] = functional.max_unpool2d(
            gradient[..., windows, :],
            places[..., windows, :].long(),
            [2, 2],
            output_size=(rows.stop - rows.start, width),
        )
    return found


def _in_strips(x: Tensor) -> bool:
    """Return whether it is done some rows at a time: on a processor, whose cache holds them."""
    return x.device.type == "cpu"


def _corner(x: Tensor, corner: int) -> Tensor:
    """Return one of four of all windows, from left to right and from above."""
    height, width = x.shape[-2:]
    down, right = divmod(corner, 2)
    return x[..., down : height // 2 * 2 : 2, right : width // 2 * 2 : 2]


def _strips(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Yield the rows of what is pooled, some at a time, and those of their windows.

    The last ones take a row along that fills no window.
    """
    count = max(_SPAN // (2 * width), 1)
    for first in range(0, height // 2, count):
        last = min(first + count, height // 2)
        stop = height if last == height // 2 else 2 * last
        yield slice(2 * first, stop), slice(first, last)
