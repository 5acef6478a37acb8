"""Loss and gradient of an image at one scale of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from napari_nst.engine.losses import terms as losses
from napari_nst.engine.losses.structure import StructureSums
from napari_nst.engine.losses.targets import Targets
from napari_nst.engine.losses.temporal import temporal_term
from napari_nst.engine.losses.values import Losses
from napari_nst.engine.losses.variation import add_variation
from napari_nst.engine.network import weights
from napari_nst.engine.network.statistics import Statistics, feature_gradient
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.engine.resources.precision import wide_dtype
from napari_nst.engine.resources.tiles import TileGrid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from napari_nst.engine.images.assignment import Source
    from napari_nst.engine.images.regions import Regions
    from napari_nst.engine.images.reliability import TemporalTarget
    from napari_nst.engine.network.convolutions import FastConvolutions
    from napari_nst.engine.network.vgg import ForwardTape
    from napari_nst.engine.optim.damping import Damping
    from napari_nst.engine.resources.tiles import Tile
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Objective", "extractor_for"]


class Objective:
    """Targets at one scale, and the loss and gradient of an image against them.

    Parameters
    ----------
    content : Tensor
        Shape (1, 3, H, W), or (1, 1, H, W) for grey; values in [0, 1].
    styles : sequence of Tensor
        Shape (1, 3, H_i, W_i) or (1, 1, H_i, W_i): the style images at this scale.
    settings : StyleTransferSettings
        Layers, weights and form of the losses.
    extractor : FeatureExtractor or None
        The network; None: load the one that the settings name, in the content's dtype and on its
        device.
    regions : Regions or None
        Regions of the content with their style sources, and visibility; None: one region with all
        styles.
    tile : int or None
        Side of the tiles in which the content's features are computed; None: the whole image.
    temporal : TemporalTarget or None
        Target of the temporal loss.
    kept : Tensor or None
        Shape (H, W), bool: pixels that stay the content's, so they say nothing about how much of
        its structure an image keeps.
    style_statistics : dict of Source to statistics, or None
        Cache of the styles' statistics; missing ones are computed and added.
    on_tile : callable or None
        Called before each tile; an exception aborts.
    """

    def __init__(
        self,
        content: Tensor,
        styles: Sequence[Tensor],
        settings: StyleTransferSettings,
        extractor: FeatureExtractor | None = None,
        *,
        regions: Regions | None = None,
        temporal: TemporalTarget | None = None,
        kept: Tensor | None = None,
        tile: int | None = None,
        style_statistics: dict[Source, Mapping[str, Statistics]] | None = None,
        on_tile: Callable[[], object] | None = None,
    ) -> None:
        self.settings = settings
        self._extractor = extractor or extractor_for(settings, content.device, content.dtype)
        self._grid = TileGrid(settings.network, settings.layers_in_use)
        self._temporal = temporal
        self._zero = content.new_zeros(())
        self._not_measured = content.new_full((), math.nan)
        self._visible = regions.visible if regions else None
        self._area: float = content.shape[-2] * content.shape[-1]  # visible pixels
        if self._visible is not None:
            self._area = float(self._visible.sum(dtype=wide_dtype(content.device)))
        self._targets = Targets(
            content,
            styles,
            settings,
            self._extractor,
            self._grid,
            regions,
            kept,
            tile,
            style_statistics,
            on_tile or _nothing,
        )

    @property
    def dropped(self) -> Sequence[Sequence[str]]:
        """For each region, the layers where it or its sources have no position."""
        layers = self.settings.style_layers.active
        count = len(self._targets.regions)
        return [
            [layer for layer in layers if self._targets.style[layer][index] is None]
            for index in range(count)
        ]

    def set_weights(self, settings: StyleTransferSettings) -> None:
        """Replace the weights; layers and form of the losses must not change."""
        self.settings = settings
        self._targets.blend(settings.style_weights)

    @torch.no_grad()
    def loss_and_gradient(
        self,
        image: Tensor,
        tile: int | None = None,
        on_tile: Callable[[], object] | None = None,
        damping: Damping | None = None,
        content_factor: Tensor | None = None,
        measure_structure: bool = False,
    ) -> tuple[Losses, Tensor]:
        """Return the losses of an image, and the gradient of their total.

        Parameters
        ----------
        image : Tensor
            Of the content's shape; values in [0, 1].
        tile : int or None
            Side of the tiles in pixels; None: the whole image at once.
        on_tile : callable or None
            Called before each tile; an exception aborts the evaluation.
        damping : Damping or None
            Damping of the style gradients, for style losses that support it; None: exact
            gradients.  The losses are always exact.
        content_factor : Tensor or None
            Factor of the content weight, shape (); None: 1.
        measure_structure : bool
            Measure `Losses.kept_structure`.

        Returns
        -------
        Losses
            Term by term and layer by layer.
        Tensor
            d(total)/d(image), in the image's shape and dtype.

        Notes
        -----
        Style losses are functions of sums over the whole image.  So there are two passes over
        the tiles: the first computes the sums; in the second each tile computes the gradient at
        its features in closed form, and adds the gradient at the pixels it reads to the image's.
        This is exact.  A single tile needs one pass.
        """
        image = image.detach()
        on_tile = on_tile or _nothing
        factor = image.new_ones(()) if content_factor is None else content_factor
        structure = StructureSums(self._targets.structures if measure_structure else {})
        parts = self._grid.tiles(image, tile)
        if len(parts) == 1:
            on_tile()
            tape = self._extractor.record_tape(image)
            terms = self._style_terms(self._sums(tape.features, parts[0]), damping)
            gradient, content, tv = self._backward(tape, image, parts[0], terms, factor, structure)
            temporal = self._add_temporal(image, gradient)
            return self._losses(content, terms, tv, temporal, factor, structure), gradient

        sums: dict[str, list[Statistics]] = {}
        for part in parts:
            on_tile()
            _add(sums, self._sums(self._extractor(part.read(image)), part))
        terms = self._style_terms(sums, damping)
        gradient = torch.zeros_like(image)
        contents, variations = [], []
        for part in parts:
            on_tile()
            tape = self._extractor.record_tape(part.read(image))
            here, content, tv = self._backward(tape, image, part, terms, factor, structure)
            part.read(gradient).add_(here)
            contents.append(content)
            variations.append(tv)
        total = {
            layer: torch.stack([content[layer] for content in contents]).sum(dim=0)
            for layer in contents[0]
        }
        variation = torch.stack(variations).sum(dim=0)
        temporal = self._add_temporal(image, gradient)
        return self._losses(total, terms, variation, temporal, factor, structure), gradient

    def _losses(
        self,
        content: Mapping[str, Tensor],
        terms: Mapping[str, _LayerTerm],
        tv: Tensor,
        temporal: Tensor,
        factor: Tensor,
        structure: StructureSums,
    ) -> Losses:
        style = {layer: term.value for layer, term in terms.items()}
        agreement = structure.agreement() if structure else self._not_measured
        settings = self.settings
        return Losses.from_terms(content, style, tv, temporal, factor, agreement, settings)

    def _add_temporal(self, image: Tensor, gradient: Tensor) -> Tensor:
        """Add the gradient of the temporal loss; return the unweighted loss.

        It is a sum over pixels, so it needs no tiles.
        """
        if self._temporal is None:
            return self._zero
        count = image.shape[1] * self._area
        term = temporal_term(image, self._temporal)
        gradient.add_(term.gradient, alpha=self.settings.temporal_weight / count)
        return term.value / count

    def _sums(self, features: Mapping[str, Tensor], part: Tile) -> dict[str, list[Statistics]]:
        """Return the statistics of each region at each layer, over the interior of a tile."""
        style_loss = self.settings.style_loss
        exact = style_loss in losses.FLOAT64_STYLE_LOSSES
        means = style_loss in losses.MEAN_STYLE_LOSSES
        return {
            layer: [
                Statistics.from_features(
                    part.interior(features[layer], self._grid.strides[layer]),
                    weights,
                    exact=exact,
                    means=means,
                )
                for weights in self._targets.weights(layer, part)
            ]
            for layer in self.settings.style_layers.active
        }

    def _style_terms(
        self, sums: Mapping[str, Sequence[Statistics]], damping: Damping | None
    ) -> dict[str, _LayerTerm]:
        """Return the style loss of each layer with its gradient for each region."""
        style_loss = losses.STYLE_TERMS[self.settings.style_loss, self.settings.normalize_gradients]
        terms = {}
        for layer, of_regions in sums.items():
            values: list[Tensor] = []
            gradients: list[_StyleGradient | None] = []
            shares, targets = self._targets.shares[layer], self._targets.style[layer]
            for index, (own, target) in enumerate(zip(of_regions, targets, strict=True)):
                if target is None:
                    gradients.append(None)
                    continue
                damp = losses.no_damping
                if damping is not None:
                    finest = self._grid.strides[layer] == 1
                    damp = partial(damping, f"{layer}.{index}", finest=finest)
                term = style_loss(own, target, damp)
                share = shares[index]
                values.append(term.value if share == 1 else share * term.value)
                weight = self.settings.style_weight * self.settings.style_layers[layer]
                scale = share * weight / own.weight
                gradients.append(_StyleGradient(term.mean_gradient, term.moment_gradient, scale))
            terms[layer] = _LayerTerm(_sum(values, of_regions[0].outer_sum), gradients)
        return terms

    def _backward(
        self,
        tape: ForwardTape,
        image: Tensor,
        part: Tile,
        terms: Mapping[str, _LayerTerm],
        factor: Tensor,
        structure: StructureSums,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return a tile's gradient at the pixels it reads, content losses, total variation.

        The structure of the tile's interior is added to `structure`.
        """
        content: dict[str, Tensor] = {}

        def add(layer: str, features: Tensor, gradient: Tensor) -> None:
            stride = self._grid.strides[layer]
            owned, onto = part.interior(features, stride), part.interior(gradient, stride)
            self._add_content(layer, owned, onto, part, content, factor)
            structure.add(layer, owned, part.rows.cells(stride), part.columns.cells(stride))
            if layer in terms:
                weights = self._targets.weights(layer, part)
                for own, term in zip(weights, terms[layer].gradients, strict=True):
                    if term is not None:
                        of_mean, of_moment, scale = term
                        feature_gradient(owned, of_mean, of_moment, own, scale=scale, onto=onto)

        gradient = tape.gradient(add)
        seen = None if self._visible is None else part.read(self._visible)
        count = image.shape[1] * self._area
        weight = self.settings.tv_weight / count
        variation = add_variation(gradient, part.read(image), part, weight, seen)
        return gradient, content, variation / count

    def _add_content(
        self,
        layer: str,
        features: Tensor,
        onto: Tensor,
        part: Tile,
        content: dict[str, Tensor],
        factor: Tensor,
    ) -> None:
        """Add the gradient of a layer's content loss at the features; store the loss."""
        if not self._targets.has_content(layer):
            return
        target = self._targets.content(layer, part)
        seen = self._targets.seen(layer, part)
        if self.settings.normalize_gradients:
            energy = self._targets.energy[layer]
            term = losses.relative_content_term(features, target, energy, seen)
        else:
            term = losses.content_term(features, target, seen)
        content[layer] = term.value
        weight = self.settings.content_weight * self.settings.content_layers[layer]
        onto.addcmul_(term.gradient, factor.to(onto.dtype), value=weight)


class _StyleGradient(NamedTuple):
    """A region's weighted style gradient: with respect to the means, and the factor of both."""

    of_mean: Tensor | None
    of_moment: Tensor
    scale: float


@dataclass(frozen=True)
class _LayerTerm:
    """A layer's style loss, and the gradient of each region; None for an empty region."""

    value: Tensor
    gradients: Sequence[_StyleGradient | None]


def _sum(values: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return the sum of scalars; without any, a zero of the dtype and device of a tensor."""
    return sum(values[1:], start=values[0]) if values else like.new_zeros(())


def _add(sums: dict[str, list[Statistics]], more: Mapping[str, Sequence[Statistics]]) -> None:
    for layer, of_regions in more.items():
        before = sums.get(layer)
        sums[layer] = (
            [a + b for a, b in zip(before, of_regions, strict=True)] if before else [*of_regions]
        )


def _nothing() -> None:
    pass


def extractor_for(
    settings: StyleTransferSettings,
    device: torch.device | str,
    dtype: torch.dtype,
    fast_convolutions: FastConvolutions | None = None,
) -> FeatureExtractor:
    """Load the network that the settings name, up to the deepest layer in use."""
    loaded = weights.load(settings.network, settings.weights, settings.weights_format)
    return FeatureExtractor(
        settings.network,
        loaded.tensors,
        settings.layers_in_use,
        pooling=settings.pooling,
        padding=settings.padding,
        rescale_pooling=settings.rescale_pooling,
        normalization=loaded.normalization,
        device=device,
        dtype=dtype,
        fast_convolutions=fast_convolutions,
    )
