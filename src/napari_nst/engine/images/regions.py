"""Guidance channels of regions at every style layer (Gatys et al., arXiv 1611.07865)."""

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

__all__ = ["WHOLE", "Guide", "Regions", "resized_mask", "soften"]

WHOLE = 1 - 1e-4
"""A resampled mask counts as 1 from this value on; the difference is rounding."""

# Standard deviations across a softened border, two on each side.
_DEVIATIONS = 4


class Guide:
    """Weights of each region of an image at the positions of every style layer.

    Parameters
    ----------
    masks : Tensor
        Shape (R, H, W), values in [0, 1]: the share of each region in each pixel.
    settings : StyleTransferSettings
        Settings with the network, its layers and `region_guidance`.
    softness : float
        The width of the transition between two regions, as a share of the longest side.
    visible : Tensor, optional
        Shape (1, H, W): visibility of each pixel; the masks are already multiplied by it.  None:
        all pixels are visible.

    Notes
    -----
    The weights w of all regions sum to one at every pixel of a region, soft borders included, and
    the features of region r are multiplied by T = sqrt(w).  So no position loses style, and no
    seam remains between two regions.  Softening neither spreads to pixels without a region nor
    weakens those beside them.

    With ``region_guidance="inside"`` a position has weight 1 if its receptive field lies inside
    the region and 0 elsewhere, times its visibility.  Everything outside the image or invisible
    counts as inside.
    """

    def __init__(
        self,
        masks: Tensor,
        settings: StyleTransferSettings,
        softness: float = 0.0,
        visible: Tensor | None = None,
    ) -> None:
        network = NETWORKS[settings.network]
        soft = soften(masks, softness * max(masks.shape[-2:]))
        self._shares: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}
        for name in settings.style_layers.active:
            layer = network.layer(name)
            # Average pooling without padding drops the same pixels at the border as the network.
            pooled = functional.avg_pool2d(soft[None], layer.stride)[0]
            share = pooled.mean(dim=(-2, -1))
            seen = None
            if visible is not None:
                seen = functional.avg_pool2d(visible[None], layer.stride)[0]
                share = share / seen.mean().clamp_min(torch.finfo(share.dtype).tiny)
            self._shares[name] = share
            if settings.region_guidance == "inside":
                whole = WHOLE if visible is None else WHOLE * visible
                pooled = _inside(masks >= whole, layer.receptive_field, layer.stride).to(masks)
                if seen is not None:
                    pooled *= seen
            self._weights[name] = pooled

    def weights(self, layer: str) -> Tensor:
        """Return the weights of all regions at the positions of a layer, shape (R, H', W')."""
        return self._weights[layer]

    def share(self, layer: str) -> Tensor:
        """Return the share of each region in the visible area of a layer, shape (R,).

        As weights of the regions' losses they keep the balance of style and content independent
        of the number of regions.
        """
        return self._shares[layer]

    def empty(self, layer: str) -> tuple[int, ...]:
        """Return the indices of the regions without any position at a layer."""
        left = self._weights[layer].flatten(1).sum(dim=1)
        return tuple(int(index) for index in (left <= 0).nonzero())


@dataclass(frozen=True)
class Regions:
    """The regions at one scale, and the visibility of content and styles.

    Attributes
    ----------
    regions : sequence of Region
        The regions and their style sources.
    content : Guide or None
        Weights of the regions on the content; None: one region, all of it visible.
    sources : mapping of Source to Guide
        Weights of each source on its style, one region each; whole styles that are fully visible
        have none.
    visible : Tensor or None
        Shape (1, H, W), values in [0, 1]: visibility of the content; None: all of it.
    """

    regions: Sequence[Region]
    content: Guide | None
    sources: Mapping[Source, Guide]
    visible: Tensor | None = None


def resized_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """Resample masks, as shares of each pixel.

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


def soften(masks: Tensor, width: float) -> Tensor:
    """Blur the borders between regions, but not the borders to pixels without a region.

    Parameters
    ----------
    masks : Tensor
        Shape (R, H, W), values in [0, 1]: the share of each region in each pixel.
    width : float
        Width of the transition in pixels.
    """
    deviation = width / _DEVIATIONS
    if deviation < 0.25 or len(masks) == 1:  # narrower than a pixel, or a single region
        return masks
    blurred = _blur(masks, deviation)
    anywhere = masks.sum(dim=0)
    return blurred * (anywhere / blurred.sum(dim=0).clamp_min(torch.finfo(masks.dtype).tiny))


def _blur(masks: Tensor, deviation: float) -> Tensor:
    """Convolve with a Gaussian, with replicated borders."""
    for dim in (-2, -1):
        # Replicated padding must be narrower than the image.
        radius = min(int(3 * deviation) + 1, masks.shape[dim] - 1)
        offsets = torch.arange(-radius, radius + 1, device=masks.device, dtype=masks.dtype)
        kernel = torch.exp(-offsets.square() / (2 * deviation**2))
        kernel = (kernel / kernel.sum()).view(1, 1, -1, 1)
        turned = masks if dim == -2 else masks.mT
        padded = functional.pad(turned[:, None], (0, 0, radius, radius), mode="replicate")
        blurred = functional.conv2d(padded, kernel)[:, 0]
        masks = blurred if dim == -2 else blurred.mT
    return masks


def _inside(whole: Tensor, field: int, stride: int) -> Tensor:
    """Return 1 where the receptive field of a position covers only whole pixels, else 0."""
    outside = (~whole).float()
    for dim in (-2, -1):  # the pooling window is separable
        turned = outside if dim == -1 else outside.mT
        # The field extends (field - stride) / 2 pixels beyond the cell of a position.
        pooled = functional.max_pool1d(turned, field, stride, padding=(field - stride) // 2)
        outside = pooled if dim == -1 else pooled.mT
    return 1 - outside
