"""Share the network and the statistics of styles between runs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from napari_nst.engine.losses.objective import extractor_for
from napari_nst.engine.network.convolutions import FastConvolutions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from napari_nst.engine.images.assignment import Source
    from napari_nst.engine.network.statistics import Statistics
    from napari_nst.engine.network.vgg import FeatureExtractor
    from napari_nst.engine.resources.device import Device
    from napari_nst.networks import ConvolutionMethod
    from napari_nst.settings import StyleTransferSettings

__all__ = ["StyleCache"]

# Entries: more than the scales of a run; colour mode "match" adds new ones for every content.
_MAX_ENTRIES = 16

_NETWORK_SETTINGS = (
    *("style_loss", "network", "weights", "weights_format"),
    *("pooling", "padding", "rescale_pooling"),
)


class StyleCache:
    """Network and style statistics, reused from one run to the next.

    For the planes of a stack and the images of a batch: pass one to each `StyleTransfer`, one run
    after another.  Results have the same bytes as without it.  Other network settings empty it.

    Attributes
    ----------
    networks, computed : int
        How many networks were built, and how often style statistics were computed.
    """

    def __init__(self) -> None:
        self.networks = self.computed = 0
        self._key: tuple[object, ...] | None = None
        self._network: FeatureExtractor | None = None
        self._statistics: dict[tuple[object, ...], dict[Source, Mapping[str, Statistics]]] = {}

    def network(
        self,
        settings: StyleTransferSettings,
        device: Device,
        method: ConvolutionMethod = "direct",
    ) -> FeatureExtractor:
        """Return the network of the settings, with every layer they use.

        Parameters
        ----------
        settings : StyleTransferSettings
            Settings of the new run.
        device : Device
            Device of the network.
        method : {"direct", "nnpack", "winograd"}
            How to compute convolutions.
        """
        layers = (settings.content_layers.active, settings.style_layers.active)
        chosen = tuple(getattr(settings, name) for name in _NETWORK_SETTINGS)
        key = (*chosen, layers, str(device.torch_device), device.dtype, method)
        if self._network is None or key != self._key:
            self._statistics.clear()
            fast = None if method == "direct" else FastConvolutions(method)
            self._network = extractor_for(settings, device.torch_device, device.dtype, fast)
            self._key = key
            self.networks += 1
        return self._network

    def style_statistics(
        self,
        styles: Sequence[Tensor],
        tile: int | None,
        visible: Sequence[Tensor | None] | None = None,
    ) -> dict[Source, Mapping[str, Statistics]]:
        """Return the statistics of whole styles, for an `Objective` to use and to extend.

        Parameters
        ----------
        styles : sequence of Tensor
            At the current scale, in the colours of the run.
        tile : int or None
            Side of the run's tiles: other tiles round sums differently.
        visible : sequence of Tensor or None, optional
            Visible pixels of each style, at any size; None: all of them.
        """
        seen = [_digest(mask) for mask in visible or () if mask is not None]
        shown = [mask is not None for mask in visible or ()]
        shapes = (tuple(style.shape) for style in styles)
        key = (*map(_digest, styles), *shapes, *seen, *shown, tile)
        known = self._statistics.pop(key, None)
        if known is None:
            self.computed += 1
            known = {}
            while len(self._statistics) >= _MAX_ENTRIES:
                del self._statistics[next(iter(self._statistics))]  # the least recently used
        self._statistics[key] = known
        return known


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.cpu().numpy().tobytes()).hexdigest()
