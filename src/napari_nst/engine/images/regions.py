"""Guidance (Gatys et al., arXiv 1611.07865): what each region weighs at each layer's positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from napari_nst.engine.images.assignment import Region, Source
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Guide", "Regions", "resized_mask"]

# A mask that was resampled is whole where only rounding is missing.
_WHOLE = 1 - 1e-4

# A softened border spans two standard deviations to each side.
_DEVIATIONS = 4


class Guide:
    """What each region of an image weighs at the positions of every layer in use.

    Parameters
    ----------
    masks : Tensor
        Shape (R, H, W), values in [0, 1]: the share of each region in each pixel of the image
        worked at.
    settings : StyleTransferSettings
        The network, its layers in use, and which positions belong to a region.
    softness : float
        The width of the transition between two regions, as a share of the longest side.
    visible : Tensor, optional
        Shape (1, H, W): how much of each pixel can be seen, which the masks hold already.  None:
        all of it.

    Notes
    -----
    The weights w of all regions sum to one wherever a pixel has a region, soft borders included,
    and the features of region r are guided by T = sqrt(w): every position has its full share of
    style, and no seam is left between two regions.  Softening never reaches pixels without a
    region, nor takes from those beside them.

    With ``region_guidance="inside"`` a position weighs 1 where its receptive field lies in the
    region (what would lie outside the image, or cannot be seen, counts as inside) and 0 elsewhere,
    times what can be seen of it.
    """

    def __init__(
        self,
        masks: Tensor,
        settings: StyleTransferSettings,
        softness: float = 0.0,
        visible: Tensor | None = None,
    ) -> None:
        network = NETWORKS[settings.network]
        soft = _soften(masks, softness * max(masks.shape[-2:]))
        self._shares: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}
        for name in settings.style_layers.active:
            layer = network.layer(name)
            # What pooling drops at the end of the image, an average without padding drops too.
            pooled = functional.avg_pool2d(soft[None], layer.stride)[0]
            share = pooled.mean(dim=(-2, -1))
            seen = None
            if visible is not None:
                seen = functional.avg_pool2d(visible[None], layer.stride)[0]
                share = share / seen.mean().clamp_min(torch.finfo(share.dtype).tiny)
            self._shares[name] = share
            if settings.region_guidance == "inside":
                whole = _WHOLE if visible is None else _WHOLE * visible
                pooled = _inside(masks >= whole, layer.receptive_field, layer.stride).to(masks)
                if seen is not None:
                    pooled *= seen
            self._weights[name] = pooled

    def weights(self, layer: str) -> Tensor:
        """Return the weights of all regions at the positions of a layer, shape (R, H', W')."""
        return self._weights[layer]

    def share(self, layer: str) -> Tensor:
        """Return the share of each region in the visible area of a layer, shape (R,).

        Weighting a region's loss by it keeps the balance with the content that a transfer
        without regions has at every position, however many regions there are.
        """
        return self._shares[layer]

    def empty(self, layer: str) -> tuple[int, ...]:
        """Return the regions that have no position left at a layer."""
        left = self._weights[layer].flatten(1).sum(dim=1)
        return tuple(int(index) for index in (left <= 0).nonzero())


@dataclass(frozen=True)
class Regions:
    """The regions of one scale, and what can be seen of content and styles.

    Attributes
    ----------
    regions : sequence of Region
        What takes its style from where.
    content : Guide or None
        The weights of each on the content; None: it is one region, all of it visible.
    sources : mapping of Source to Guide
        The weights of each label that is a source, on its style (one region each), and of each
        style that is one and can be seen only in part.
    visible : Tensor or None
        Shape (1, H, W), values in [0, 1]: what can be seen of the content; None: all of it.
    """

    regions: Sequence[Region]
    content: Guide | None
    sources: Mapping[Source, Guide]
    visible: Tensor | None = None


def resized_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """Resample masks by the share of each pixel that they cover.

    Parameters
    ----------
    mask : Tensor
        Shape (R, H, W), values in [0, 1].
    height, width : int
        The new size.

    Returns
    -------
    Tensor
        Shape (R, height, width); masks that sum to one still do.
    """
    if tuple(mask.shape[-2:]) == (height, width):
        return mask
    return functional.interpolate(mask[None], (height, width), mode="bilinear", antialias=True)[0]


def _soften(masks: Tensor, width: float) -> Tensor:
    """Blur the borders between regions, and leave those to pixels without a region as they are."""
    deviation = width / _DEVIATIONS
    if deviation < 0.25 or len(masks) == 1:  # narrower than a pixel, or with nothing beside it
        return masks
    blurred = _blur(masks, deviation)
    anywhere = masks.sum(dim=0)
    return blurred * (anywhere / blurred.sum(dim=0).clamp_min(torch.finfo(masks.dtype).tiny))


def _blur(masks: Tensor, deviation: float) -> Tensor:
    """Convolve with a Gaussian; the border is replicated."""
    for dim in (-2, -1):
        # Replication cannot reach further than the image.
        radius = min(int(3 * deviation) + 1, masks.shape[dim] - 1)
        places = torch.arange(-radius, radius + 1, device=masks.device, dtype=masks.dtype)
        kernel = torch.exp(-places.square() / (2 * deviation**2))
        kernel = (kernel / kernel.sum()).view(1, 1, -1, 1)
        turned = masks if dim == -2 else masks.mT
        padded = functional.pad(turned[:, None], (0, 0, radius, radius), mode="replicate")
        blurred = functional.conv2d(padded, kernel)[:, 0]
        masks = blurred if dim == -2 else blurred.mT
    return masks


def _inside(whole: Tensor, field: int, stride: int) -> Tensor:
    """Return 1 where a position's receptive field lies in the whole pixels of a region, else 0."""
    outside = (~whole).float()
    for dim in (-2, -1):  # a square is a row of columns
        turned = outside if dim == -1 else outside.mT
        # The field reaches (field - stride) / 2 pixels out of the position's own.
        pooled = functional.max_pool1d(turned, field, stride, padding=(field - stride) // 2)
        outside = pooled if dim == -1 else pooled.mT
    return 1 - outside
