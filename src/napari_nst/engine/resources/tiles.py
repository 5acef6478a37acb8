"""Tiles of an image whose features and gradients equal those of the whole image.

A tile's interior is a rectangle of pixels, and the cells of each layer in it.  The tile reads a
halo around it, as wide as the receptive field of the deepest layer extends beyond a cell.  Corners
lie on multiples of the deepest stride, so that pooling windows are those of the whole image; the
network pads only at the border of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

__all__ = ["SMALLEST_TILE", "STYLE_TILE", "Span", "Tile", "TileGrid"]

# Pixels per side: smaller tiles would be mostly halo.
SMALLEST_TILE = 64

# Side of the tiles of style images: the halo costs little, and memory stays bounded.
STYLE_TILE = 1024


@dataclass(frozen=True)
class Span:
    """A tile along one axis: interior, pixels read, and the length of the image."""

    start: int
    stop: int
    read_start: int
    read_stop: int
    length: int

    def cells(self, stride: int) -> slice:
        """Return the cells of the interior, as indices of the whole layer."""
        # Pooling drops the cells that the end of the image cuts.
        return slice(self.start // stride, self.stop // stride)

    def inside(self, stride: int) -> slice:
        """Return the cells of the interior, as indices of the tile's own layer."""
        offset = self.read_start // stride
        return slice(self.start // stride - offset, self.stop // stride - offset)


@dataclass(frozen=True)
class Tile:
    """A part of an image, evaluated separately."""

    rows: Span
    columns: Span

    def read(self, image: Tensor) -> Tensor:
        """Return a view of the pixels it reads."""
        rows, columns = self.rows, self.columns
        return image[..., rows.read_start : rows.read_stop, columns.read_start : columns.read_stop]

    def cells(self, whole: Tensor, stride: int) -> Tensor:
        """Return a view of the interior in a layer of the whole image."""
        return whole[..., self.rows.cells(stride), self.columns.cells(stride)]

    def interior(self, features: Tensor, stride: int) -> Tensor:
        """Return a view of the interior in the features of the pixels it reads."""
        return features[..., self.rows.inside(stride), self.columns.inside(stride)]

    @property
    def is_whole(self) -> bool:
        """Whether the interior is the whole image."""
        return all(span.stop - span.start == span.length for span in (self.rows, self.columns))


class TileGrid:
    """Cuts images into tiles for the layers in use of a network.

    Parameters
    ----------
    network : str
        ``"vgg16"`` or ``"vgg19"``.
    layers : iterable of str
        The layers in use.

    Attributes
    ----------
    strides : mapping of str to int
        Stride of every layer up to the deepest in use.
    stride : int
        Stride of the deepest layer.
    halo : int
        Pixels that a tile reads beyond its interior: ceil((R - s) / 2 / s) * s with the
        receptive field R and the stride s of the deepest layer.
    """

    def __init__(self, network: str, layers: Iterable[str]) -> None:
        needed = NETWORKS[network].layers_up_to(layers)
        self.strides = {layer.name: layer.stride for layer in needed}
        self.stride = needed[-1].stride
        reach = (needed[-1].receptive_field - self.stride) / 2
        self.halo = math.ceil(reach / self.stride) * self.stride

    def tiles(self, image: Tensor, size: int | None) -> tuple[Tile, ...]:
        """Return the tiles of an image, row by row.

        Parameters
        ----------
        image : Tensor
            Shape (..., H, W).
        size : int or None
            Maximum side of a tile, rounded to a multiple of the deepest stride; None: the whole
            image.  Tiles are as even as possible: a sliver has the same halo.
        """
        rows, columns = (self._spans(length, size) for length in image.shape[-2:])
        return tuple(Tile(row, column) for row in rows for column in columns)

    def max_tile_pixels(self, height: int, width: int, size: int | None) -> int:
        """Return the number of pixels that the largest tile of an image reads."""
        read = [
            max(span.read_stop - span.read_start for span in self._spans(length, size))
            for length in (height, width)
        ]
        return math.prod(read)

    def total_tile_pixels(self, height: int, width: int, size: int | None) -> int:
        """Return the number of pixels that all tiles of an image read, in total."""
        read = [
            sum(span.read_stop - span.read_start for span in self._spans(length, size))
            for length in (height, width)
        ]
        return math.prod(read)

    def _spans(self, length: int, size: int | None) -> list[Span]:
        side = length
        if size is not None:
            count = math.ceil(length / max(size // self.stride * self.stride, self.stride))
            side = math.ceil(length / count / self.stride) * self.stride
        corners = [*range(0, length, side), length]
        return [
            Span(start, stop, max(start - self.halo, 0), min(stop + self.halo, length), length)
            for start, stop in pairwise(corners)
        ]
