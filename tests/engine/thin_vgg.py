"""VGG networks with few channels: the geometry of VGG at a hundredth of the cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.engine.network.weights import Weights
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from torch import Tensor

    from napari_nst.settings import StyleTransferSettings

CHANNELS = {64: 4, 128: 5, 256: 6, 512: 7, 3: 3}


def weights(network: str, seed: int = 0) -> dict[str, Tensor]:
    """Return random weights that keep the size of activations."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for layer in NETWORKS[network].layers.values():
        if layer.kind == "conv":
            shape = (CHANNELS[layer.out_channels], CHANNELS[layer.in_channels], 3, 3)
            kernel = torch.randn(shape, generator=generator, dtype=torch.float64)
            found[f"{layer.name}.weight"] = kernel * (2 / kernel[0].numel()) ** 0.5
            bias = torch.randn(shape[0], generator=generator, dtype=torch.float64)
            found[f"{layer.name}.bias"] = 0.1 * bias + 0.1
    return found


def extractor(
    settings: StyleTransferSettings, dtype: torch.dtype = torch.float64
) -> FeatureExtractor:
    """Return the thin network with the layers, pooling and padding of the settings."""
    return FeatureExtractor(
        settings.network,
        weights(settings.network),
        settings.layers_in_use,
        pooling=settings.pooling,
        padding=settings.padding,
        rescale_pooling=settings.rescale_pooling,
        dtype=dtype,
    )


def load(network: str, *_: Any) -> Weights:
    """Return such weights as `napari_nst.engine.network.weights.load` would."""
    tensors = {name: tensor.float() for name, tensor in weights(network).items()}
    return Weights(network, tensors, "thin", "0" * 64)


def picture(seed: int, height: int, width: int, **options: Any) -> Tensor:
    """Return noise over a gradient, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand((1, 3, height, width), generator=generator, dtype=torch.float64)
    return (0.6 * noise + 0.4 * torch.linspace(0, 1, width, dtype=torch.float64)).to(**options)
