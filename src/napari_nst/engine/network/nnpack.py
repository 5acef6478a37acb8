"""Winograd's convolution of NNPACK, which torch brings on Linux (x86-64).

torch itself does not use it where oneDNN is available.  It computes in blocks that stay in the
cache, so that large images of few channels gain, too; but it needs channels first in memory, and
much room for its intermediate results.  Both are kept small by strips of rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NNPACK_BYTES", "NnpackConvolution", "is_nnpack_available"]

NNPACK_BYTES = 64 * 2**20
"""Room for the intermediate results of a strip; more is not faster."""

# Tiles of 8 x 8 values for 6 x 6 outputs, in float32, of all channels in and out.
_BYTES_PER_VALUE = 4 * 64 / 36


class NnpackConvolution:
    """Convolution with zero padding of 1, and its gradient with respect to the input.

    Images have the shape (1, channels, H, W) and are channels last in memory.

    Parameters
    ----------
    weight : Tensor
        Shape (out, in, 3, 3), float32, on a processor.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.contiguous()
        self._transposed = weight.flip(2, 3).transpose(0, 1).contiguous()
        self._no_bias = weight.new_zeros(weight.shape[1])

    def __call__(self, image: Tensor, bias: Tensor) -> Tensor:
        """Return the convolution of an image, plus the bias of shape (out,)."""
        return _convolve(image, self._weight, bias)

    def gradient(self, gradient: Tensor) -> Tensor:
        """Return the gradient at the input from that at the output."""
        return _convolve(gradient, self._transposed, self._no_bias)


def is_nnpack_available() -> bool:
    """Return whether this torch and this processor have NNPACK."""
    functions: Any = torch  # private functions, which another version may lack
    available = getattr(functions, "_nnpack_available", None)
    convolution = getattr(functions, "_nnpack_spatial_convolution", None)
    # The convolution fails until this function has been called once.
    return convolution is not None and available is not None and bool(available())


def _convolve(image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    functions: Any = torch
    _, inside, height, width = image.shape
    outside = weight.shape[0]
    result = torch.empty((1, outside, height, width), memory_format=torch.channels_last)
    source, target = (each[0].permute(1, 2, 0) for each in (image, result))
    row_bytes = _BYTES_PER_VALUE * (inside + outside) * width
    rows = max(int(NNPACK_BYTES / row_bytes), 1)
    rows = -(-height // -(-height // rows))  # strips of equal height
    for first in range(0, height, rows):
        last = min(first + rows, height)
        above, below = max(first - 1, 0), min(last + 1, height)
        strip = torch.empty((1, inside, below - above, width))
        # As matrices: torch transposes these in a quarter of the time that it takes for images.
        strip[0].flatten(1).copy_(source[above:below].reshape(-1, inside).mT)
        found = functions._nnpack_spatial_convolution(strip, weight, bias, [1, 1])
        inner = found[0].flatten(1)[:, (first - above) * width : (last - above) * width]
        target[first:last].view(-1, outside).copy_(inner.mT)
    return result
