"""VGG as a feature extractor: frozen weights, stopped at the last layer in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch.nn import functional

from napari_nst.engine.statistics import wide_dtype
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

__all__ = ["CAFFE", "TORCHVISION", "FeatureExtractor", "Normalization"]


class Normalization(NamedTuple):
    """What a network wants of RGB in [0, 1]: less the mean, over the deviation."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


TORCHVISION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What torchvision's weights were trained on."""

CAFFE = Normalization((123.68 / 255, 116.779 / 255, 103.939 / 255), (1.0, 1.0, 1.0))
"""What the VGG team's own weights were trained on (their model cards: the mean pixel is
103.939, 116.779, 123.68 as BGR in 0-255), the factor of 255 and the order of the channels being
folded into the first convolution.  The mean is not: as a bias it would also be subtracted from
the zeros around the image, which are added after it."""

# Average pooling shrinks what max pooling passes on; this factor keeps the activations at the
# level the network knows (crowsonkb, style-transfer-pytorch, measured there).
_AVERAGE_POOLING_GAIN = 2.0


class FeatureExtractor:
    """The part of a VGG network that some layers need, its weights frozen.

    Parameters
    ----------
    network : str
        ``"vgg16"`` or ``"vgg19"``.
    weights : mapping of str to Tensor
        ``"conv1_1.weight"`` of shape (out, in, 3, 3), ``"conv1_1.bias"`` of shape (out,), and so
        on for every convolution up to the deepest layer in use.
    layers : iterable of str
        The layers whose features are wanted.
    pooling : {"max", "average"}
        Between the blocks.  Gatys et al. (arXiv 1508.06576, section "Methods") prefer average
        pooling; the weights were trained with max pooling.
    padding : {"zero", "replicate"}
        What surrounds the image for the first convolution.  The others pad with zeros, as they
        were trained; replicating the border once removes most of the frame that zeros leave
        (crowsonkb, style-transfer-pytorch).
    rescale_pooling : bool
        Multiply average pooling by 2, so that deeper layers see activations of the size they
        were trained with.  The paper does not.
    normalization : Normalization
        What the weights want of the image.
    device, dtype
        Where, and how precisely, the convolutions are computed.

    Raises
    ------
    InputError
        If the network lacks one of the layers.
    """

    def __init__(
        self,
        network: str,
        weights: Mapping[str, Tensor],
        layers: Iterable[str],
        *,
        pooling: Literal["max", "average"] = "max",
        padding: Literal["zero", "replicate"] = "replicate",
        rescale_pooling: bool = True,
        normalization: Normalization = TORCHVISION,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.layers = frozenset(layers)
        self._plan = NETWORKS[network].upto(self.layers)
        self._pooling = pooling
        self._padding = padding
        self._pooling_gain = _AVERAGE_POOLING_GAIN if rescale_pooling else 1.0
        self._weights = {
            # In one go: the tensors are mapped from their file, and this is their only copy.
            f"{layer.name}.{part}": weights[f"{layer.name}.{part}"]
            .to(device, dtype, memory_format=_layout(part))
            .requires_grad_(False)
            for layer in self._plan
            if layer.kind == "conv"
            for part in ("weight", "bias")
        }
        self._dtype = dtype
        wide = wide_dtype(torch.device(device))
        self._mean, self._deviation = (
            torch.tensor(numbers, device=device, dtype=wide).view(1, 3, 1, 1)
            for numbers in normalization
        )

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Return the features of an image.

        Parameters
        ----------
        image : Tensor
            Shape (1, 3, H, W), or (1, 1, H, W) for a grey image, which all three channels of
            the network then see.  Values in [0, 1].

        Returns
        -------
        dict of str to Tensor
            Shape (1, N, H', W') per layer asked for, in the order of the network.
        """
        deviation = self._deviation.to(image.dtype)
        x = ((image.expand(-1, 3, -1, -1) - self._mean.to(image.dtype)) / deviation).to(self._dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        features: dict[str, Tensor] = {}
        for layer in self._plan:
            if layer.kind == "conv":
                x = self._convolve(x, layer.name)
            elif layer.kind == "pool":
                x = self._pool(x)
            elif f"conv{layer.name[4:]}" in self.layers:
                x = functional.relu(x)  # the convolution's own output is wanted: leave it whole
            else:
                x = x.relu_()
            if layer.name in self.layers:
                features[layer.name] = x
        return features

    def _convolve(self, x: Tensor, name: str) -> Tensor:
        padding = 1
        if name == "conv1_1" and self._padding == "replicate":
            x, padding = functional.pad(x, (1, 1, 1, 1), mode="replicate"), 0
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.conv2d(x, weight, bias, padding=padding)

    def _pool(self, x: Tensor) -> Tensor:
        if self._pooling == "max":
            return functional.max_pool2d(x, 2)
        return functional.avg_pool2d(x, 2) * self._pooling_gain


def _layout(part: str) -> torch.memory_format:
    return torch.channels_last if part == "weight" else torch.contiguous_format
