"""What an image is compared with at one scale: the content's features, the styles' statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_nst.engine.assignment import Region, Source
from napari_nst.engine.statistics import Statistics, wide_dtype
from napari_nst.engine.tiles import STYLE_TILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from napari_nst.engine.regions import Regions
    from napari_nst.engine.tiles import Cutting, Tile
    from napari_nst.engine.vgg import FeatureExtractor
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Targets"]


class Targets:
    """The targets of an `Objective`, whose parameters these are.

    Attributes
    ----------
    regions : sequence of Region
        What takes its style from where: one of everything, where there are none.
    energy : mapping of str to Tensor
        For each content layer the sum of its squared features.
    style : mapping of str to list of Statistics or None
        For each style layer the target of each region; None where nothing is left of it.
    """

    def __init__(
        self,
        content: Tensor,
        styles: Sequence[Tensor],
        settings: StyleTransferSettings,
        extractor: FeatureExtractor,
        cutting: Cutting,
        regions: Regions | None,
        tile: int | None,
        known: dict[Source, Mapping[str, Statistics]] | None,
    ) -> None:
        self._settings = settings
        self._extractor = extractor
        self._cutting = cutting
        self._guides = regions
        everything = Region((), tuple(Source(style) for style in range(len(styles))))
        self.regions = regions.regions if regions else (everything,)
        self._sums = {} if known is None else known
        with torch.no_grad():
            self._content = self._features(content, tile)
            wide = wide_dtype(content.device)
            self.energy = {
                layer: features.square().sum(dtype=wide)
                for layer, features in self._content.items()
            }
            for source in sorted({source for region in self.regions for source in region.sources}):
                if source not in self._sums:
                    self._sums[source] = self._source_sums(source, styles[source.style])
        self.blend(settings.style_weights)

    def content(self, layer: str, part: Tile) -> Tensor | None:
        """Return the content's features that a tile owns, None for a layer not compared."""
        features = self._content.get(layer)
        return None if features is None else part.cells(features, self._cutting.strides[layer])

    def weights(self, layer: str, part: Tile) -> Sequence[Tensor | None]:
        """Return the weights of each region at the positions that a tile owns; None: all 1."""
        if self._guides is None:
            return (None,)
        weights = self._guides.content.weights(layer)
        return list(part.cells(weights, self._cutting.strides[layer]))

    def shares(self, layer: str) -> Sequence[Tensor | float]:
        """Return what each region's loss counts: its share of the area."""
        return (1.0,) if self._guides is None else list(self._guides.content.share(layer))

    def blend(self, shares: Sequence[float] | None) -> None:
        """Make each region's target of its sources, by the shares of the styles."""
        self.style: dict[str, list[Statistics | None]] = {}
        for layer in self._settings.style_layers.active:
            empty = self._guides.content.empty(layer) if self._guides else ()
            self.style[layer] = [
                None if index in empty else self._target(region, layer, shares)
                for index, region in enumerate(self.regions)
            ]

    def _target(
        self, region: Region, layer: str, shares: Sequence[float] | None
    ) -> Statistics | None:
        parts, weights = [], []
        for source in region.sources:
            sums = self._sums[source][layer]
            if float(sums.weight) > 0:
                parts.append(sums)
                weights.append(1.0 if shares is None else shares[source.style])
        if not parts:
            return None
        if not sum(weights) > 0:  # a label that only an unused style has is asked for all the same
            weights = [1.0] * len(parts)
        return Statistics.blend(parts, weights)

    def _features(self, content: Tensor, tile: int | None) -> dict[str, Tensor]:
        """Return the content's features, put together from tiles."""
        layers = self._settings.content_layers.active
        parts = self._cutting.tiles(content, tile)
        if len(parts) == 1:
            features = self._extractor(content)
            return {layer: features[layer] for layer in layers}
        height, width = content.shape[-2:]
        whole: dict[str, Tensor] = {}
        for part in parts:
            features = self._extractor(part.read(content))
            for layer in layers:
                stride, value = self._cutting.strides[layer], features[layer]
                if layer not in whole:
                    shape = (*value.shape[:2], height // stride, width // stride)
                    whole[layer] = torch.empty(
                        shape,
                        dtype=value.dtype,
                        device=value.device,
                        memory_format=torch.channels_last,
                    )
                part.cells(whole[layer], stride).copy_(part.owned(value, stride))
        return whole

    def _source_sums(self, source: Source, style: Tensor) -> dict[str, Statistics]:
        """Return the sums of a style, or of a label in it, added up in tiles: of any size."""
        guide = None
        if self._guides is not None and source.label is not None:
            guide = self._guides.sources[source]
        sums: dict[str, Statistics] = {}
        for part in self._cutting.tiles(style, STYLE_TILE):
            features = self._extractor(part.read(style))
            for layer in self._settings.style_layers.active:
                stride = self._cutting.strides[layer]
                weights = None if guide is None else part.cells(guide.weights(layer), stride)[0]
                here = Statistics.of(part.owned(features[layer], stride), weights)
                sums[layer] = sums[layer] + here if layer in sums else here
        return sums
