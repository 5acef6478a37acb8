"""How much of the content's structure an image keeps: the agreement of self-similarities.

The self-similarity of an image is the matrix of cosine similarities between the features of its
positions (Shechtman and Irani, "Matching local self-similarities across images and videos", 2007;
as a content loss: Kolkin et al., arXiv 1904.12785, section 2.2).  It says which parts of a picture
are alike, whatever their colours and strokes, so it is comparable between contents and styles.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from napari_nst.engine.network.statistics import TINY
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from napari_nst.settings import StyleTransferSettings

__all__ = ["Structure", "StructureSums", "structure_layers"]

_CELLS = 32
"""Most cells along a side: objects, not texture, and as many comparisons at every size."""

_FLAT = 1e-3
"""Norm of the similarities below which a content has no structure."""

_RIDGE = 1e-10
"""Share of the content's energy that is rounding: cells that differ from the mean by less are like
no other cell."""


def structure_layers(settings: StyleTransferSettings) -> dict[str, float]:
    """Return the layers whose self-similarities are compared, and their weights.

    The content layers have one half, and the deepest style layer, which sees whole objects, the
    other.  Empty with L-BFGS, whose content weight is constant.
    """
    if settings.optimizer != "adam":
        return {}
    content = settings.content_layers
    total = sum(content[layer] for layer in content.active)
    weights = {layer: content[layer] / total for layer in content.active}
    if settings.style_layers.active:
        deepest = NETWORKS[settings.network].layers_up_to(settings.style_layers.active)[-1].name
        weights = {layer: weight / 2 for layer, weight in weights.items()}
        weights[deepest] = weights.get(deepest, 0.0) + 1 / 2
    return weights


class Structure:
    """The content's self-similarity at a layer, and its agreement with that of an image.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the layer.
    like : Tensor
        Its device and data type are those of the features.
    weights : Tensor, optional
        Weights of the positions, shape (H, W), 0 or more; None: all 1.
    """

    def __init__(self, shape: tuple[int, int], like: Tensor, weights: Tensor | None = None) -> None:
        height, width = shape
        side = math.ceil(max(height, width) / _CELLS)
        self._weights = weights
        self._rows = _membership(height, side, like)
        self._columns = _membership(width, side, like).mT.contiguous()
        area = self._add_up(like.new_ones((1, height, width)), slice(None), slice(None))
        seen = area
        if weights is not None:
            seen = self._add_up(weights[None].to(like.dtype), slice(None), slice(None))
        weights = seen.flatten()
        self._inverse = 1 / weights.clamp_min(TINY)
        self._share = 1 / max(float(weights.sum()), TINY)
        pairs = (weights / area.max()).clamp(0, 1)
        self._pairs = torch.outer(pairs, pairs).fill_diagonal_(0)

    def set_content(self, sums: Tensor, weight: float = 1.0) -> None:
        """Take the content's features, as sums over the cells, and a weight of its agreement."""
        self._weight = weight
        energy = (sums.flatten(1) * self._inverse).square().sum(dim=0).mean()
        self._ridge = math.sqrt(max(_RIDGE * float(energy), TINY))
        own = self._similarities(sums)
        level = float((own.square() * self._pairs).sum().sqrt())
        self._is_flat = level < _FLAT
        content = own.div_(max(level, _FLAT)).flatten()
        # The image's similarities, which each comparison replaces, and the content's.
        self._both = torch.stack([content, content * weight])

    def sums(self, features: Tensor, rows: slice, columns: slice) -> Tensor:
        """Return the sums of features over the cells, for `agreement`; those of tiles add up.

        Parameters
        ----------
        features : Tensor
            Features of the positions in `rows` and `columns`, shape (1, C, H', W').
        rows, columns : slice
            Their place in the layer.

        Returns
        -------
        Tensor
            Shape (C, cells down, cells across), float32.
        """
        values = features[0]
        if self._weights is not None:
            values = values * self._weights[rows, columns].to(values.dtype)
        return self._add_up(values, rows, columns)

    def agreement(self, sums: Tensor) -> Tensor:
        """Return the cosine of an image's self-similarity and the content's, times the weight.

        Parameters
        ----------
        sums : Tensor
            Sums of the image's features over the cells.

        Returns
        -------
        Tensor
            Shape (), from -1 to 1 times the weight: 1 for the content itself.  A content without
            structure, such as one of a single colour, is always kept: 1.
        """
        if self._is_flat:
            return sums.new_full((), self._weight)
        own = self._similarities(sums, out=self._both[0].view_as(self._pairs))
        square, product = self._both.mv((own * self._pairs).flatten())
        agreement: Tensor = product * square.clamp_min_(TINY).rsqrt_()
        return agreement

    def _add_up(self, values: Tensor, rows: slice, columns: slice) -> Tensor:
        """Return sums (C, cells down, cells across) of values (C, H', W')."""
        # Products of matrices, because adding by index is not deterministic on a GPU.
        down = self._rows[:, rows] @ values
        return (down @ self._columns[columns]).float()

    def _similarities(self, sums: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the cosine similarities of all pairs of cells, shape (N, N)."""
        sums = sums.flatten(1)
        means = (sums * self._inverse).sub_(sums.sum(dim=1, keepdim=True), alpha=self._share)
        unit = means.div_(torch.linalg.vector_norm(means, dim=0).add_(self._ridge))
        return torch.mm(unit.mT, unit, out=out)


class StructureSums:
    """Sums of an image's features over the cells of `Structure`, added up over tiles.

    Parameters
    ----------
    structures : mapping of str to Structure
        The content's structure at each layer to compare; empty: nothing is measured.
    """

    def __init__(self, structures: Mapping[str, Structure]) -> None:
        self._structures = structures
        self._sums: dict[str, Tensor] = {}

    def add(self, layer: str, features: Tensor, rows: slice, columns: slice) -> None:
        """Add the features of a part of a layer; other layers are ignored."""
        if layer in self._structures:
            sums = self._structures[layer].sums(features, rows, columns)
            self._sums[layer] = self._sums[layer] + sums if layer in self._sums else sums

    def set_content(self, weights: Mapping[str, float]) -> None:
        """Make the image whose features were added the content, with weights of the layers."""
        for layer, sums in self._sums.items():
            self._structures[layer].set_content(sums, weights[layer])

    def __bool__(self) -> bool:
        """Return whether there are any sums."""
        return bool(self._sums)

    def agreement(self) -> Tensor:
        """Return the sum of the layers' agreements, shape ()."""
        parts = [self._structures[layer].agreement(sums) for layer, sums in self._sums.items()]
        return sum(parts[1:], start=parts[0])


def _membership(length: int, side: int, like: Tensor) -> Tensor:
    """Return which positions belong to which cell, shape (cells, length), 0 or 1."""
    positions = torch.arange(length, device=like.device) // side
    cells = torch.arange(math.ceil(length / side), device=like.device)
    return (cells[:, None] == positions).to(like.dtype)
