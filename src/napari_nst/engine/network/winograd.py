"""Winograd's convolution for kernels of 3 x 3: 2.25 products per output instead of 9.

It beats direct convolutions of many channels; of few channels on large images its intermediate
results, which do not stay in the cache, cost more than it saves.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308, section 4.3),
F(4 x 4, 3 x 3).  From a tile d of 6 x 6 inputs and a kernel g, the 4 x 4 outputs are
``A^T [(G g G^T) * (B^T d B)] A``.  Over all channels the products in the middle are 36 products of
matrices.  The weights are frozen, so ``G g G^T`` is computed once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["WinogradConvolution"]

_OUT, _IN = 4, 6  # side of a tile of outputs, and of inputs
_PRODUCTS = _IN**2

_INPUT = (  # B^T
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = (  # G
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUT = (  # A^T
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)

# Images are processed in strips of rows, so that transformed tiles stay in the cache.  Strips of
# deep layers are larger: each one reads all kernels, which do not fit into the cache.
_STRIP_BYTES = 4 * 2**20
_STRIP_BYTES_PER_KERNEL_BYTE = 0.25


class WinogradConvolution:
    """Convolution with zero padding of 1, and its gradient with respect to the input.

    Images have the shape (1, channels, H, W) and are channels last in memory.

    Parameters
    ----------
    weight : Tensor
        Shape (out, in, 3, 3), float32 or float64, on a processor.
    """

    def __init__(self, weight: Tensor) -> None:
        dtype = weight.dtype
        g = torch.tensor(_KERNEL, dtype=torch.float64)
        kernels = torch.einsum("iu,kcuv,jv->ijck", g, weight.double(), g)
        self._kernels = kernels.flatten(0, 1).to(dtype).contiguous()  # (36, in, out)
        # A transformation of both sides of a tile is one matrix for the tile as a vector.
        b, a = (torch.tensor(rows, dtype=torch.float64) for rows in (_INPUT, _OUTPUT))
        self._input, self._output = (torch.kron(m, m).to(dtype) for m in (b, a))

    def __call__(self, image: Tensor, bias: Tensor) -> Tensor:
        """Return the convolution of an image, plus the bias of shape (out,)."""
        inside, outside = self._kernels.shape[1:]
        source = _rows_first(image)
        height, width, _ = source.shape
        result = torch.empty(
            (1, outside, height, width), dtype=image.dtype, memory_format=torch.channels_last
        )
        target = _rows_first(result)
        across = -(-width // _OUT)
        rows = self._strip_rows(height, across)
        tiles = rows // _OUT * across
        strip = image.new_zeros((rows + 2, across * _OUT + 2, inside))
        windows = _windows(strip, _IN)
        gathered = image.new_empty((_PRODUCTS, tiles * inside))
        transformed = torch.empty_like(gathered)
        products = image.new_empty((_PRODUCTS, tiles, outside))
        outputs = image.new_empty((_OUT**2, tiles * outside))
        by_rows = outputs.view(_OUT, _OUT, -1, across, outside).permute(2, 0, 3, 1, 4)
        for first, last in _strips(height, rows):
            above, below = max(first - 1, 0), min(last + 1, height)
            begin = above - first + 1
            strip[:begin] = 0
            strip[begin : begin + below - above, 1 : width + 1] = source[above:below]
            strip[begin + below - above :] = 0
            gathered.view(windows.shape).copy_(windows)
            torch.mm(self._input, gathered, out=transformed)
            torch.bmm(transformed.view(_PRODUCTS, tiles, inside), self._kernels, out=products)
            torch.mm(self._output, products.view(_PRODUCTS, -1), out=outputs)
            whole = target[first : first + rows]
            if whole.shape[0] == rows and width % _OUT == 0:
                torch.add(by_rows, bias, out=whole.view(by_rows.shape))
            else:
                pixels = by_rows.reshape(rows, across * _OUT, outside)
                torch.add(pixels[: last - first, :width], bias, out=target[first:last])
        return result

    def gradient(self, gradient: Tensor) -> Tensor:
        """Return the gradient at the input from that at the output: the transposed operations."""
        inside, outside = self._kernels.shape[1:]
        source = _rows_first(gradient)
        height, width, _ = source.shape
        across = -(-width // _OUT)
        rows = self._strip_rows(height, across)
        tiles = rows // _OUT * across
        padded_height = -(-height // rows) * rows
        padded = gradient.new_zeros((padded_height + 2, across * _OUT + 2, inside))
        strip = gradient.new_zeros((rows, across * _OUT, outside))
        windows = _windows(strip, _OUT)
        gathered = gradient.new_empty((_OUT**2, tiles * outside))
        transformed = gradient.new_empty((_PRODUCTS, tiles * outside))
        products = gradient.new_empty((_PRODUCTS, tiles, inside))
        inputs = gradient.new_empty((_PRODUCTS, tiles * inside))
        by_tile = inputs.view(_IN, _IN, -1, across, inside)
        for first, last in _strips(height, rows):
            strip[: last - first, :width] = source[first:last]
            strip[last - first :] = 0
            gathered.view(windows.shape).copy_(windows)
            torch.mm(self._output.mT, gathered, out=transformed)
            torch.bmm(transformed.view(_PRODUCTS, tiles, outside), self._kernels.mT, out=products)
            torch.mm(self._input.mT, products.view(_PRODUCTS, -1), out=inputs)
            # Tiles overlap by two pixels: add them in four parts, each without overlap.
            overlapping = _windows(padded[first : first + rows + 2], _IN)
            for down in (slice(_OUT), slice(_OUT, _IN)):
                for right in (slice(_OUT), slice(_OUT, _IN)):
                    overlapping[down, right] += by_tile[down, right]
        inner = padded[1 : height + 1, 1 : width + 1].contiguous()
        return inner.permute(2, 0, 1)[None]

    def _strip_rows(self, height: int, across: int) -> int:
        """Return the rows of a strip, a multiple of 4, for a number of tiles in a row."""
        size = self._kernels.element_size()
        room = max(_STRIP_BYTES, self._kernels.numel() * size * _STRIP_BYTES_PER_KERNEL_BYTE)
        row_bytes = _PRODUCTS * across * max(self._kernels.shape[1:]) * size
        return _OUT * min(max(int(room // row_bytes), 1), -(-height // _OUT))


def _rows_first(image: Tensor) -> Tensor:
    """View an image of shape (1, channels, H, W) as (H, W, channels)."""
    return image[0].permute(1, 2, 0)


def _windows(image: Tensor, side: int) -> Tensor:
    """View an image (H, W, channels) as windows every 4 pixels.

    The shape is (side, side, windows down, windows across, channels).
    """
    down, across = (length // _OUT for length in image.shape[:2])
    of_row, of_column, of_channel = image.stride()
    return image.as_strided(
        (side, side, down, across, image.shape[2]),
        (of_row, of_column, _OUT * of_row, _OUT * of_column, of_channel),
    )


def _strips(height: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield the first row of each strip, and the row after its last."""
    for first in range(0, height, rows):
        yield first, min(first + rows, height)
