"""The targets of one run at one scale, and the loss and gradient of an image against them."""

from __future__ import annotations

from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from napari_nst.engine import losses, weights
from napari_nst.engine.costs import layers_in_use
from napari_nst.engine.statistics import Statistics, feature_gradient, wide_dtype
from napari_nst.engine.vgg import FeatureExtractor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from napari_nst.engine.losses import ContentTerm
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Losses", "Objective"]


class Losses:
    """The losses of one image, term by term and layer by layer.

    The numbers are fetched from the device when one of them is first read, so that a run whose
    losses nobody looks at never waits for its GPU.

    Attributes
    ----------
    content_layers, style_layers : mapping of str to float
        The loss of each layer, before any weight.
    content, style, tv : float
        The terms as they enter the total: alpha * sum w_l L_l, beta * sum w_l E_l, and the
        weighted total variation.
    total : float
        Their sum.
    """

    def __init__(
        self,
        content: Mapping[str, Tensor],
        style: Mapping[str, Tensor],
        tv: Tensor,
        settings: StyleTransferSettings,
    ) -> None:
        self._names = (tuple(content), tuple(style))
        self._values = torch.stack([v.to(tv) for v in (*content.values(), *style.values(), tv)])
        self._settings = settings

    @cached_property
    def _numbers(self) -> list[float]:
        return [float(value) for value in self._values.tolist()]

    @property
    def content_layers(self) -> Mapping[str, float]:
        """The content loss of each layer, unweighted."""
        return MappingProxyType(dict(zip(self._names[0], self._numbers, strict=False)))

    @property
    def style_layers(self) -> Mapping[str, float]:
        """The style loss of each layer, unweighted."""
        numbers = self._numbers[len(self._names[0]) : -1]
        return MappingProxyType(dict(zip(self._names[1], numbers, strict=True)))

    @property
    def content(self) -> float:
        """The weighted content term."""
        layers = self._settings.content_layers
        total = sum(layers[name] * value for name, value in self.content_layers.items())
        return self._settings.content_weight * total

    @property
    def style(self) -> float:
        """The weighted style term."""
        layers = self._settings.style_layers
        total = sum(layers[name] * value for name, value in self.style_layers.items())
        return self._settings.style_weight * total

    @property
    def tv(self) -> float:
        """The weighted total variation."""
        return self._settings.tv_weight * self._numbers[-1]

    @property
    def total(self) -> float:
        """What is minimised: the sum of the three terms."""
        return self.content + self.style + self.tv

    def __repr__(self) -> str:
        """Show the total and its three terms."""
        return (
            f"Losses(total={self.total:.6g}, content={self.content:.6g}, "
            f"style={self.style:.6g}, tv={self.tv:.6g})"
        )


class Objective:
    """What an image is compared with at one scale, and how well it does.

    Parameters
    ----------
    content : Tensor
        Shape (1, 3, H, W), or (1, 1, H, W) for grey; values in [0, 1].
    styles : sequence of Tensor
        Shape (1, 3, H_i, W_i) or (1, 1, H_i, W_i): the style images at this scale.
    settings : StyleTransferSettings
        The layers, the weights and the form of the losses.
    extractor : FeatureExtractor or None
        The network to use, if it is there already; None: the one the settings name, in the
        content's dtype and on its device.
    """

    def __init__(
        self,
        content: Tensor,
        styles: Sequence[Tensor],
        settings: StyleTransferSettings,
        extractor: FeatureExtractor | None = None,
    ) -> None:
        self.settings = settings
        self._extractor = extractor or extractor_for(settings, content.device, content.dtype)
        self._content: dict[str, Tensor] = {}
        self._energy: dict[str, Tensor] = {}
        with torch.no_grad():
            features = self._extractor(content)
            wide = wide_dtype(content.device)
            for layer in settings.content_layers.active:
                self._content[layer] = features[layer]
                self._energy[layer] = features[layer].square().sum(dtype=wide)
            del features
            self._styles = [self._statistics(style) for style in styles]
            self._targets = self._blend()

    def steer(self, settings: StyleTransferSettings) -> None:
        """Go on with other weights; layers and the form of the losses stay what they are."""
        self.settings = settings
        self._targets = self._blend()

    def loss_and_gradient(self, image: Tensor) -> tuple[Losses, Tensor]:
        """Return the losses of an image, and the gradient of their total.

        Parameters
        ----------
        image : Tensor
            Of the content's shape; values in [0, 1], though nothing here depends on it.

        Returns
        -------
        Losses
            Term by term and layer by layer.
        Tensor
            d(total)/d(image), in the image's shape and dtype.
        """
        image = image.detach().requires_grad_()
        features = self._extractor(image)
        tv = losses.total_variation(image)
        content: dict[str, Tensor] = {}
        style: dict[str, Tensor] = {}
        form = (self.settings.style_loss, self.settings.normalize_gradients)
        style_loss = losses.STYLE_TERMS[form]
        with torch.no_grad():
            gradients: dict[str, Tensor] = {}
            for layer, value in features.items():
                parts = []
                if layer in self._content:
                    term = self._content_term(layer, value)
                    content[layer] = term.value
                    factor = self.settings.content_weight * self.settings.content_layers[layer]
                    parts.append(term.gradient.mul_(factor))
                if layer in self._targets:
                    sums = Statistics.of(value)
                    style_term = style_loss(sums, self._targets[layer])
                    style[layer] = style_term.value
                    factor = self.settings.style_weight * self.settings.style_layers[layer]
                    first = None if style_term.first is None else factor * style_term.first
                    parts.append(feature_gradient(value, first, factor * style_term.second))
                gradients[layer] = parts[0] if len(parts) == 1 else parts[0].add_(parts[1])
        # One backward pass for everything: the losses' gradients enter at the features.
        torch.autograd.backward(
            [*features.values(), tv],
            [*gradients.values(), torch.full_like(tv, self.settings.tv_weight)],
        )
        assert image.grad is not None
        return Losses(content, style, tv.detach(), self.settings), image.grad

    def _statistics(self, style: Tensor) -> dict[str, Statistics]:
        features = self._extractor(style)
        return {
            layer: Statistics.of(features[layer]) for layer in self.settings.style_layers.active
        }

    def _blend(self) -> dict[str, Statistics]:
        shares = self.settings.style_weights or (1.0,) * len(self._styles)
        return {
            layer: Statistics.blend([style[layer] for style in self._styles], shares)
            for layer in self.settings.style_layers.active
        }

    def _content_term(self, layer: str, features: Tensor) -> ContentTerm:
        if self.settings.normalize_gradients:
            target, energy = self._content[layer], self._energy[layer]
            return losses.relative_content_term(features, target, energy)
        return losses.content_term(features, self._content[layer])


def extractor_for(
    settings: StyleTransferSettings, device: torch.device | str, dtype: torch.dtype
) -> FeatureExtractor:
    """Return the network the settings name, with every layer they use."""
    return FeatureExtractor(
        settings.network,
        weights.load(settings.network, settings.weights).tensors,
        layers_in_use(settings),
        pooling=settings.pooling,
        padding=settings.padding,
        rescale_pooling=settings.rescale_pooling,
        device=device,
        dtype=dtype,
    )
