"""What several runs have in common: the network, and the statistics of the styles."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from napari_nst.engine.losses.objective import extractor_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from napari_nst.engine.images.assignment import Source
    from napari_nst.engine.losses.statistics import Statistics
    from napari_nst.engine.network.vgg import FeatureExtractor
    from napari_nst.engine.resources.device import Device
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Shared"]

# Of the sizes of styles that are kept: more than a run has, and colour mode "match" makes new
# ones for every content.
_MOST = 16

_NETWORK = (
    *("style_loss", "network", "weights", "weights_format"),
    *("pooling", "padding", "rescale_pooling"),
)


class Shared:
    """Keeps from one run to the next what the next would compute again, to the same bytes.

    For the planes of a stack and the pictures of a batch: hand one to each `StyleTransfer`, one
    run after another.  It follows the settings: with another network it begins anew.

    Attributes
    ----------
    networks, computed : int
        How often a network was made, and how often the statistics of styles were, so far.
    """

    def __init__(self) -> None:
        self.networks = self.computed = 0
        self._key: tuple[object, ...] | None = None
        self._network: FeatureExtractor | None = None
        self._sums: dict[tuple[object, ...], dict[Source, Mapping[str, Statistics]]] = {}

    def network(self, settings: StyleTransferSettings, device: Device) -> FeatureExtractor:
        """Return the network the settings name, with every layer they use.

        Parameters
        ----------
        settings : StyleTransferSettings
            Of the run that begins.
        device : Device
            Where it is computed.
        """
        layers = (settings.content_layers.active, settings.style_layers.active)
        chosen = tuple(getattr(settings, name) for name in _NETWORK)
        key = (*chosen, layers, str(device.torch_device), device.dtype)
        if self._network is None or key != self._key:
            self._sums.clear()
            self._network = extractor_for(settings, device.torch_device, device.dtype)
            self._key = key
            self.networks += 1
        return self._network

    def sums(
        self,
        styles: Sequence[Tensor],
        tile: int | None,
        visible: Sequence[Tensor | None] | None = None,
    ) -> dict[Source, Mapping[str, Statistics]]:
        """Return what is known of whole styles, for an `Objective` to use and to add to.

        Parameters
        ----------
        styles : sequence of Tensor
            At the scale at work, in the colours of the run.
        tile : int or None
            Of the run: sums of other tiles are rounded otherwise.
        visible : sequence of Tensor or None, optional
            What can be seen of each style, at any size; None: all of it.
        """
        seen = [_digest(mask) for mask in visible or () if mask is not None]
        shown = [mask is not None for mask in visible or ()]
        shapes = (tuple(style.shape) for style in styles)
        key = (*map(_digest, styles), *shapes, *seen, *shown, tile)
        known = self._sums.pop(key, None)
        if known is None:
            self.computed += 1
            known = {}
            while len(self._sums) >= _MOST:
                del self._sums[next(iter(self._sums))]  # the one that was not used for longest
        self._sums[key] = known
        return known


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.cpu().numpy().tobytes()).hexdigest()
