"""The targets at one scale: features of the content and statistics of the styles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_nst.engine.images.assignment import shares_of, whole_image_region
from napari_nst.engine.losses.structure import Structure, StructureSums, structure_layers
from napari_nst.engine.losses.terms import FLOAT64_STYLE_LOSSES
from napari_nst.engine.network.statistics import PositionWeights, Statistics
from napari_nst.engine.resources.activations import HALVED_ABOVE
from napari_nst.engine.resources.precision import wide_dtype
from napari_nst.engine.resources.tiles import STYLE_TILE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from napari_nst.engine.images.assignment import Region, Source
    from napari_nst.engine.images.regions import Regions
    from napari_nst.engine.network.vgg import FeatureExtractor
    from napari_nst.engine.resources.tiles import Tile, TileGrid
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Targets"]


class Targets:
    """Targets of an `Objective`; the parameters are those of the objective.

    Attributes
    ----------
    regions : sequence of Region
        The regions of the content; without labels one that is the whole image.
    shares : mapping of str to sequence of float
        For each style layer the weight of each region's loss: its share of the visible area.
    energy : mapping of str to float
        For each content layer the sum of its squared features, weighted by visibility.
    style : mapping of str to list of Statistics or None
        For each style layer the target of each region; None for an empty region.
    structures : mapping of str to Structure
        The content's structure at the layers of `structure_layers`.
    """

    def __init__(
        self,
        content: Tensor,
        styles: Sequence[Tensor],
        settings: StyleTransferSettings,
        extractor: FeatureExtractor,
        grid: TileGrid,
        regions: Regions | None,
        kept: Tensor | None,
        tile: int | None,
        style_statistics: dict[Source, Mapping[str, Statistics]] | None,
        on_tile: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._extractor = extractor
        self._grid = grid
        self._guide = regions.content if regions else None
        self._sources = regions.sources if regions else {}
        self._on_tile = on_tile
        self._style_tile = min(STYLE_TILE, tile or STYLE_TILE)
        self._weights: dict[tuple[str, Tile], list[PositionWeights]] = {}
        self.shares: dict[str, Sequence[float]] = {
            layer: self._guide.share(layer).tolist() if self._guide else (1.0,)
            for layer in settings.style_layers.active
        }
        self.regions = regions.regions if regions else (whole_image_region(len(styles)),)
        self._sums = {} if style_statistics is None else style_statistics
        with torch.no_grad():
            self._take_content(content, tile, regions.visible if regions else None, kept)
            for source in sorted({source for region in self.regions for source in region.sources}):
                if source not in self._sums:
                    self._sums[source] = self._source_sums(source, styles[source.style])
        self.blend(settings.style_weights)

    def content(self, layer: str, part: Tile) -> Tensor:
        """Return the content's features at a content layer in the interior of a tile."""
        return part.cells(self._content[layer], self._grid.strides[layer])

    def has_content(self, layer: str) -> bool:
        """Return whether a layer is a content layer in use."""
        return layer in self._content

    def seen(self, layer: str, part: Tile) -> Tensor | None:
        """Return the visibility of a content layer in the interior of a tile.

        Shape (H', W'); None: everything is visible.
        """
        seen = self._seen.get(layer)
        return None if seen is None else part.cells(seen, self._grid.strides[layer])[0]

    def weights(self, layer: str, part: Tile) -> Sequence[PositionWeights | None]:
        """Return the weights of each region in the interior of a tile; None: all 1.

        They are selected once for each tile, because selecting waits for a GPU.
        """
        if self._guide is None:
            return (None,)
        found = self._weights.get((layer, part))
        if found is None:
            masks = part.cells(self._guide.weights(layer), self._grid.strides[layer])
            found = self._weights[layer, part] = [*map(PositionWeights.from_mask, masks)]
        return found

    def blend(self, shares: Sequence[float] | None) -> None:
        """Blend each region's target from its sources, by the shares of the styles."""
        self.style: dict[str, list[Statistics | None]] = {}
        for layer in self._settings.style_layers.active:
            empty = self._guide.empty(layer) if self._guide else ()
            self.style[layer] = [
                None if index in empty else self._target(region, layer, shares)
                for index, region in enumerate(self.regions)
            ]

    def _target(
        self, region: Region, layer: str, shares: Sequence[float] | None
    ) -> Statistics | None:
        sources = [source for source in region.sources if self._sums[source][layer].weight > 0]
        if not sources:
            return None
        parts = [self._sums[source][layer] for source in sources]
        return Statistics.blend(parts, shares_of(sources, shares))

    def _take_content(
        self, content: Tensor, tile: int | None, visible: Tensor | None, kept: Tensor | None
    ) -> None:
        """Compute the content's features, tile by tile, their energy and structure."""
        height, width = content.shape[-2:]
        wide = wide_dtype(content.device)
        layers = self._settings.content_layers.active
        self._content: dict[str, Tensor] = {}
        self._seen: dict[str, Tensor] = {}
        if visible is not None:
            self._seen = {
                layer: functional.avg_pool2d(visible[None], self._grid.strides[layer])[0]
                for layer in layers
            }
        energy = {layer: torch.zeros((), dtype=wide, device=content.device) for layer in layers}
        self.structures: dict[str, Structure] = {}
        structure = StructureSums(self.structures)
        compared = structure_layers(self._settings)
        free = _free(visible, kept)
        for part in self._grid.tiles(content, tile) if layers else ():
            self._on_tile()
            features = self._extractor(part.read(content))
            for layer in compared:
                stride = self._grid.strides[layer]
                if layer not in self.structures:
                    weights = None if free is None else functional.avg_pool2d(free, stride)[0]
                    shape = (height // stride, width // stride)
                    self.structures[layer] = Structure(shape, features[layer], weights)
                owned = part.interior(features[layer], stride)
                cells = part.rows.cells(stride), part.columns.cells(stride)
                structure.add(layer, owned, *cells)
            for layer in layers:
                stride, value = self._grid.strides[layer], features[layer]
                owned = part.interior(value, stride)
                squared, seen = owned.square(), self.seen(layer, part)
                if seen is not None:
                    squared *= seen.to(squared.dtype)
                energy[layer] += squared.sum(dtype=wide)
                if part.is_whole:
                    self._content[layer] = value
                    continue
                if layer not in self._content:
                    shape = (*value.shape[:2], height // stride, width // stride)
                    self._content[layer] = _empty(shape, value)
                part.cells(self._content[layer], stride).copy_(owned)
            del features, value, owned, squared  # before the next tile's need memory
        structure.set_content(compared)
        self.energy = {layer: float(value) for layer, value in energy.items()}

    def _source_sums(self, source: Source, style: Tensor) -> dict[str, Statistics]:
        """Return the statistics of a style, or of a label in it, added up over tiles."""
        guide = self._sources.get(source)
        sums: dict[str, Statistics] = {}
        exact = self._settings.style_loss in FLOAT64_STYLE_LOSSES
        for part in self._grid.tiles(style, self._style_tile):
            self._on_tile()
            features = self._extractor(part.read(style))
            for layer in self._settings.style_layers.active:
                stride = self._grid.strides[layer]
                weights = None
                if guide is not None:
                    mask = part.cells(guide.weights(layer), stride)[0]
                    weights = PositionWeights.from_mask(mask)
                owned = part.interior(features[layer], stride)
                here = Statistics.from_features(owned, weights, exact=exact)
                sums[layer] = sums[layer] + here if layer in sums else here
            del features  # before the next tile's need memory
        return sums


def _free(visible: Tensor | None, kept: Tensor | None) -> Tensor | None:
    """Return the share of each pixel that is visible and can change, (1, H, W); None: all."""
    if kept is None:
        return visible
    free = 1 - kept[None].float()
    return free if visible is None else free * visible


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Allocate a content layer's features, in float16 if they are large.

    They are most of the memory of a large image, and 11 bits are enough for a picture.
    """
    many = like.dtype == torch.float32 and math.prod(shape) * like.element_size() > HALVED_ABOVE
    dtype = torch.float16 if many else like.dtype
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=torch.channels_last)
