"""The layers of VGG-16 and VGG-19: names, channels, strides, receptive fields; without torch.

A convolution's output is ``conv4_2``, the same after its ReLU ``relu4_2``, and the pooling that
ends block 4 ``pool4`` (Simonyan and Zisserman, arXiv 1409.1556, table 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from napari_nst.errors import InputError, abridged

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = [
    "NETWORKS",
    "ConvolutionMethod",
    "Network",
    "NetworkLayer",
    "NetworkStep",
    "method_for_size",
]

ConvolutionMethod = Literal["direct", "nnpack", "winograd"]
"""How convolutions in float32 are computed on a processor."""

# Below these sizes direct convolutions are as fast.  Chosen by measurements on an AMD EPYC (Zen 5),
# with AVX-512 and with AVX2.
_NNPACK_CHANNELS, _NNPACK_PIXELS = 128, 48**2
_WINOGRAD_CHANNELS, _WINOGRAD_PIXELS = 256, 16**2

_CHANNELS = (64, 128, 256, 512, 512)


@dataclass(frozen=True)
class NetworkLayer:
    """One layer of a network.

    Attributes
    ----------
    name : str
        For example ``"conv4_2"``, ``"relu4_2"`` or ``"pool4"``.
    in_channels, out_channels : int
        Numbers of channels.
    stride : int
        Pixels of the image between neighbouring positions of this layer.
    receptive_field : int
        Side of the square of image pixels that one position depends on.
    """

    name: str
    in_channels: int
    out_channels: int
    stride: int
    receptive_field: int

    @property
    def kind(self) -> str:
        """The type of the layer: ``"conv"``, ``"relu"`` or ``"pool"``."""
        return self.name[:4]


@dataclass(frozen=True)
class NetworkStep:
    """One operation of a forward pass.

    Attributes
    ----------
    layer : NetworkLayer
        The layer of its output; a ReLU that follows its pooling has the layer of the pooling.
    kind : str
        ``"conv"``, ``"relu"`` or ``"pool"``.
    used : bool
        Whether its output is the features of a layer in use.
    in_place : bool
        Whether it may overwrite its input, which nothing else uses.
    """

    layer: NetworkLayer
    kind: str
    used: bool
    in_place: bool


@dataclass(frozen=True)
class Network:
    """A VGG network up to its last convolution block.

    Attributes
    ----------
    name : str
        ``"vgg16"`` or ``"vgg19"``.
    blocks : tuple of int
        The number of convolutions in each of the five blocks.
    """

    name: str
    blocks: tuple[int, ...]

    @cached_property
    def layers(self) -> Mapping[str, NetworkLayer]:
        """Every layer by its name, in the order in which the network computes them."""
        return MappingProxyType({layer.name: layer for layer in self._build()})

    @property
    def convolutions(self) -> tuple[str, ...]:
        """The names of the convolutions, in order."""
        return tuple(name for name, layer in self.layers.items() if layer.kind == "conv")

    def layer(self, name: str) -> NetworkLayer:
        """Return the layer with this name.

        Raises
        ------
        InputError
            If the network has no such layer.
        """
        try:
            return self.layers[name]
        except KeyError:
            choices = "conv1_1, relu1_1, ... " + list(self.layers)[-2]
            raise InputError(
                f"{self.name} has no layer {abridged(name)}; its layers are {choices}."
            ) from None

    def layers_up_to(self, names: Iterable[str]) -> tuple[NetworkLayer, ...]:
        """Return all layers up to the deepest of some, in the order of computation.

        Parameters
        ----------
        names : iterable of str
            Names of layers.
        """
        wanted = {self.layer(name).name for name in names}
        order = list(self.layers)
        last = max((order.index(name) for name in wanted), default=-1)
        return tuple(self.layers[name] for name in order[: last + 1])

    def steps(self, names: Collection[str], pooling: str) -> tuple[NetworkStep, ...]:
        """Return the operations of a forward pass, in order.

        Parameters
        ----------
        names : collection of str
            Names of the layers in use.
        pooling : {"max", "average"}
            The pooling between blocks.

        Notes
        -----
        ReLU and max pooling commute: max(relu(x)) = relu(max(x)).  A ReLU whose features are not
        in use therefore follows the max pooling, where it has a fourth of the work, and the input
        of the pooling is not needed for the backward pass.
        """
        order = [(layer.kind, layer, layer.name in names) for layer in self.layers_up_to(names)]
        for index, (before, pool) in enumerate(pairwise(list(order))):
            if pooling == "max" and pool[0] == "pool" and not before[2]:
                order[index : index + 2] = [("pool", pool[1], False), ("relu", *pool[1:])]
        steps: list[NetworkStep] = []
        for kind, layer, used in order:
            in_place = kind == "relu" and not steps[-1].used
            steps.append(NetworkStep(layer, kind, used, in_place))
        return tuple(steps)

    def _build(self) -> Iterator[NetworkLayer]:
        stride, field, inputs = 1, 1, 3
        for block, (count, channels) in enumerate(
            zip(self.blocks, _CHANNELS, strict=True), start=1
        ):
            for index in range(1, count + 1):
                field += 2 * stride  # a 3 x 3 kernel reaches one position further on each side
                for kind in ("conv", "relu"):
                    yield NetworkLayer(f"{kind}{block}_{index}", inputs, channels, stride, field)
                    inputs = channels
            field += stride  # 2 x 2 pooling
            stride *= 2
            yield NetworkLayer(f"pool{block}", channels, channels, stride, field)


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "vgg16": Network("vgg16", (2, 2, 3, 3, 3)),
        "vgg19": Network("vgg19", (2, 2, 4, 4, 4)),
    }
)


def method_for_size(method: ConvolutionMethod, channels: int, pixels: int) -> ConvolutionMethod:
    """Return how a convolution of 3 x 3 is computed where a method is the fastest of the machine.

    Parameters
    ----------
    method : {"direct", "nnpack", "winograd"}
        "nnpack" includes Winograd's algorithm for small images of many channels.
    channels : int
        The smaller of the numbers of channels of input and output.
    pixels : int
        Positions of the input.
    """
    if method == "nnpack" and channels >= _NNPACK_CHANNELS and pixels >= _NNPACK_PIXELS:
        return "nnpack"
    if method != "direct" and channels >= _WINOGRAD_CHANNELS and pixels >= _WINOGRAD_PIXELS:
        return "winograd"
    return "direct"
