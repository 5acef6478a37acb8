"""Colours at the content's places, in the style's palette.

The colour step of Neural Neighbor Style Transfer (Kolkin et al., arXiv 2203.13215): the low
frequencies of the chroma are an affine map of the content's, with the mean and the covariance of
the style's.  Lightness, and fine variations of the chroma, are those of the optimised image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_nst.engine.images.assignment import shares_of, whole_image_region
from napari_nst.engine.images.color import monge_map
from napari_nst.engine.images.guided_filter import guided_coefficients, resampled_rows
from napari_nst.engine.images.oklab import from_oklab, to_oklab
from napari_nst.engine.images.pictures import resize
from napari_nst.engine.images.regions import soften
from napari_nst.engine.network.statistics import PositionWeights, Statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_nst.engine.images.assignment import Assignment, Region, Source
    from napari_nst.engine.images.labels import Labels
    from napari_nst.engine.images.pictures import Picture
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Palette"]

# Longest side at which chroma is compared and filtered, in pixels.
_REDUCED = 256

# Radius of the filter, as a share of the longest side.
_RADIUS = 0.02

# Variance of the lightness from which on an edge of it is an edge of the colours.
_EDGE_VARIANCE = 5e-3

# Added to the covariance of the content's chroma: the square of a difference that is hardly
# visible.  Without it the noise of a grey picture would get all colours of the style.
_REGULARISER = 0.005**2

_STRIP_PIXELS = 2**18  # that are converted at a time, to save memory


@dataclass(frozen=True)
class Palette:
    """Low frequencies of the chroma of a result, at a reduced size.

    Attributes
    ----------
    chroma : Tensor
        Shape (1, 2, h, w), float32, on the CPU: a and b of OKLab.
    weight : Tensor
        Shape (1, 1, h, w): weight of each pixel, 0 where it is hidden or keeps its colour.
    """

    chroma: Tensor
    weight: Tensor

    @classmethod
    def from_pictures(
        cls,
        content: Picture,
        styles: Sequence[Picture],
        content_labels: Labels | None,
        style_labels: Sequence[Labels | None] | None,
        assignment: Assignment | None,
        settings: StyleTransferSettings,
    ) -> Palette:
        """Return the content's chroma, mapped to the palettes of its regions' styles.

        Parameters
        ----------
        content, styles, content_labels, style_labels, assignment
            As in `Inputs`; the content in colour.
        settings : StyleTransferSettings
            Settings with the shares of the styles and the softness of the regions.
        """
        size = _reduced_size(content)
        image = content.resize(content.filled, size)
        if assignment is None or content_labels is None:
            regions: tuple[Region, ...] = (whole_image_region(len(styles)),)
            masks = _weight(content, None)
        else:
            regions = assignment.regions
            masks = torch.stack([content_labels.mask(region.labels) for region in regions])
            masks = _weight(content, masks)
        sources = {source for region in regions for source in region.sources}
        of_sources = {one: _source_statistics(one, styles, style_labels) for one in sources}
        chroma = to_oklab(image.double())[:, 1:]
        mapped = torch.zeros_like(chroma)
        soft = soften(masks, settings.region_softness * max(size)).double()
        shares = soft / soft.sum(dim=0).clamp_min(torch.finfo(soft.dtype).tiny)
        for region, mask, share in zip(regions, masks, shares, strict=True):
            before = _statistics(chroma, mask)
            after = Statistics.blend(
                [of_sources[source] for source in region.sources],
                shares_of(region.sources, settings.style_weights),
            )
            regular = before.covariance + _REGULARISER * torch.eye(2, dtype=chroma.dtype)
            centred = chroma - before.mean.view(1, 2, 1, 1)
            moved = torch.einsum("ij,njhw->nihw", monge_map(regular, after.covariance), centred)
            mapped += share * (moved + after.mean.view(1, 2, 1, 1))
        return cls(mapped.float(), masks.sum(dim=0)[None, None])

    def apply_(self, image: Tensor, visible: Tensor | None = None) -> Tensor:
        """Give an image these low frequencies of the chroma, in place.

        Parameters
        ----------
        image : Tensor
            Shape (1, 3, H, W) of any size, values in [0, 1].
        visible : Tensor, optional
            Shape (1, H, W), values in [0, 1]: visibility of each pixel.  None: all 1.

        Returns
        -------
        Tensor
            The image.  Where sRGB lacks a colour, its chroma is smaller.
        """
        # The filter is linear in the image for one guide: the filtered chroma of the image is
        # subtracted and this one is added in one step.
        chroma, weight = self.chroma.to(image.device), self.weight.to(image.device)
        height, width = shape = image.shape[-2], image.shape[-1]
        lab = to_oklab(resize(image, chroma.shape[-2], chroma.shape[-1], visible))
        radius = max(round(_RADIUS * max(chroma.shape[-2:])), 1)
        coefficients = guided_coefficients(
            lab[:, :1], chroma - lab[:, 1:], weight, radius, _EDGE_VARIANCE
        )
        step = max(_STRIP_PIXELS // width, 1)
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            lab = to_oklab(image[..., rows, :])
            slope, offset = resampled_rows(coefficients, shape, rows).chunk(2, dim=1)
            lab[:, 1:] += slope * lab[:, :1] + offset
            image[..., rows, :] = from_oklab(lab)
        return image


def _reduced_size(picture: Picture) -> tuple[int, int]:
    """Return the height and width at which the chroma of an image is compared."""
    factor = min(1, _REDUCED / max(picture.shape))
    height, width = (max(round(length * factor), 1) for length in picture.shape)
    return height, width


def _weight(picture: Picture, masks: Tensor | None) -> Tensor:
    """Return masks (R, H, W), or one of the whole image, at the reduced size, by visibility."""
    size, cpu = _reduced_size(picture), torch.device("cpu")
    if masks is not None:
        return picture.masks_at(masks, size, cpu)
    visible = picture.visible_at(size, cpu)
    return torch.ones((1, *size)) if visible is None else visible


def _source_statistics(
    source: Source, styles: Sequence[Picture], style_labels: Sequence[Labels | None] | None
) -> Statistics:
    """Return the statistics of the chroma of a style, or of one label on it."""
    picture, mask = styles[source.style], None
    own = None if source.label is None else (style_labels or ())[source.style]
    if own is not None and source.label is not None:
        mask = own.mask((source.label,))[None]
    image = picture.resize(picture.filled, _reduced_size(picture)).expand(-1, 3, -1, -1)
    return _statistics(to_oklab(image.double())[:, 1:], _weight(picture, mask)[0])


def _statistics(chroma: Tensor, weight: Tensor) -> Statistics:
    return Statistics.from_features(chroma, PositionWeights.from_mask(weight.double()))
