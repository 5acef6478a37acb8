"""The losses of one image as numbers, term by term and layer by layer."""

from __future__ import annotations

from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import torch

from napari_nst.engine.resources.precision import wide_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from napari_nst.settings import StyleTransferSettings

__all__ = ["Losses"]


class _Others(NamedTuple):
    """Values after the losses of the layers."""

    tv: float
    temporal: float
    content_factor: float
    kept_structure: float


class Losses:
    """The losses of one image, term by term and layer by layer.

    The numbers are copied from the device when one is first read, so a run does not wait for a GPU
    if its losses are not read.

    Parameters
    ----------
    values : Tensor
        Unweighted losses of the content layers and style layers, in the settings' order, the
        total variation, and the temporal loss; then the factor of the content weight, and the
        agreement with the content's structure.
    settings : StyleTransferSettings
        Weights of the losses.
    """

    def __init__(self, values: Tensor, settings: StyleTransferSettings) -> None:
        self.values = values
        self._settings = settings

    @classmethod
    def from_terms(
        cls,
        content: Mapping[str, Tensor],
        style: Mapping[str, Tensor],
        tv: Tensor,
        temporal: Tensor,
        content_factor: Tensor,
        agreement: Tensor,
        settings: StyleTransferSettings,
    ) -> Losses:
        """Gather the unweighted losses, the factor of the content weight and the agreement."""
        parts = [content[layer] for layer in settings.content_layers.active]
        parts += [style[layer] for layer in settings.style_layers.active]
        wide = wide_dtype(tv.device)
        parts += [tv, temporal, content_factor, agreement]
        return cls(torch.stack(parts).to(wide), settings)

    @cached_property
    def _numbers(self) -> list[float]:
        return [float(value) for value in self.values.tolist()]

    @property
    def _others(self) -> _Others:
        return _Others(*self._numbers[-len(_Others._fields) :])

    @property
    def content_layers(self) -> Mapping[str, float]:
        """The content loss of each layer, unweighted."""
        names = self._settings.content_layers.active
        return MappingProxyType(dict(zip(names, self._numbers, strict=False)))

    @property
    def style_layers(self) -> Mapping[str, float]:
        """The style loss of each layer, unweighted."""
        numbers = self._numbers[len(self._settings.content_layers.active) : -len(_Others._fields)]
        return MappingProxyType(dict(zip(self._settings.style_layers.active, numbers, strict=True)))

    @property
    def content(self) -> float:
        """The weighted content term, factor * alpha * sum w_l L_l."""
        layers = self._settings.content_layers
        total = sum(layers[name] * value for name, value in self.content_layers.items())
        return self.content_factor * self._settings.content_weight * total

    @property
    def style(self) -> float:
        """The weighted style term, beta * sum w_l E_l."""
        layers = self._settings.style_layers
        total = sum(layers[name] * value for name, value in self.style_layers.items())
        return self._settings.style_weight * total

    @property
    def tv(self) -> float:
        """The weighted total variation."""
        return self._settings.tv_weight * self._others.tv

    @property
    def temporal(self) -> float:
        """The weighted temporal loss; 0 without a target."""
        return self._settings.temporal_weight * self._others.temporal

    @property
    def content_factor(self) -> float:
        """Factor of the content weight at this evaluation (`optim.content_factor`)."""
        return self._others.content_factor

    @property
    def kept_structure(self) -> float:
        """Agreement with the content's structure, -1 to 1; NaN where it was not measured."""
        return self._others.kept_structure

    @property
    def agreement(self) -> Tensor:
        """`kept_structure` on the device of the run, shape ()."""
        return self.values[-1]  # the last of `_Others`

    @property
    def total(self) -> float:
        """The sum of the four terms."""
        return self.content + self.style + self.tv + self.temporal

    def __repr__(self) -> str:
        """Show the total and its terms."""
        return (
            f"Losses(total={self.total:.6g}, content={self.content:.6g}, "
            f"style={self.style:.6g}, tv={self.tv:.6g}, temporal={self.temporal:.6g})"
        )
