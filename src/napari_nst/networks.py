"""What VGG-16 and VGG-19 are: layer names, strides, receptive fields, costs.  No torch here.

A convolution's output is ``conv4_2``, the same after its ReLU ``relu4_2``, and the pooling that
ends block 4 ``pool4`` (Simonyan and Zisserman, arXiv 1409.1556, table 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

from napari_nst.errors import InputError, abridged

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["NETWORKS", "Layer", "Network", "Step"]

_CHANNELS = (64, 128, 256, 512, 512)


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes
    ----------
    name : str
        For example ``"conv4_2"``, ``"relu4_2"`` or ``"pool4"``.
    in_channels, out_channels : int
        Channels that go in and come out.
    stride : int
        Pixels of the image between two neighbouring positions of this layer.
    receptive_field : int
        Side, in pixels of the image, of the square one position sees.
    """

    name: str
    in_channels: int
    out_channels: int
    stride: int
    receptive_field: int

    @property
    def kind(self) -> str:
        """What the layer does: ``"conv"``, ``"relu"`` or ``"pool"``."""
        return self.name[:4]


@dataclass(frozen=True)
class Step:
    """What is computed at once on the way through a network.

    Attributes
    ----------
    layer : Layer
        What it computes; after a pooling that came first, a ReLU has that one's layer.
    kind : str
        ``"conv"``, ``"relu"`` or ``"pool"``.
    used : bool
        Whether what comes out of it are the features of a layer in use, by the layer's name.
    in_place : bool
        Whether it may overwrite what goes in: nobody uses that.
    """

    layer: Layer
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
    def layers(self) -> Mapping[str, Layer]:
        """Every layer by its name, in the order in which the network computes them."""
        return MappingProxyType({layer.name: layer for layer in self._build()})

    @property
    def convolutions(self) -> tuple[str, ...]:
        """The names of the convolutions, in order."""
        return tuple(name for name, layer in self.layers.items() if layer.kind == "conv")

    def layer(self, name: str) -> Layer:
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

    def upto(self, names: Iterable[str]) -> tuple[Layer, ...]:
        """Return the layers that must be computed to have all of these, in order.

        Parameters
        ----------
        names : iterable of str
            Layers in use.  Nothing beyond the deepest of them is returned.
        """
        wanted = {self.layer(name).name for name in names}
        order = list(self.layers)
        last = max((order.index(name) for name in wanted), default=-1)
        return tuple(self.layers[name] for name in order[: last + 1])

    def steps(self, names: Collection[str], pooling: str) -> tuple[Step, ...]:
        """Return how to compute layers, in order.

        Parameters
        ----------
        names : collection of str
            Layers in use.
        pooling : {"max", "average"}
            Between the blocks.

        Notes
        -----
        The largest of four numbers, none below 0, is the same whether what is negative is made 0
        before the largest is taken or after.  So where nobody uses a ReLU's own features it comes
        after the max pooling: it has a fourth of the work there, and what was pooled need not be
        kept for the way back.
        """
        order = [(layer.kind, layer, layer.name in names) for layer in self.upto(names)]
        for index, (before, pool) in enumerate(pairwise(list(order))):
            if pooling == "max" and pool[0] == "pool" and not before[2]:
                order[index : index + 2] = [("pool", pool[1], False), ("relu", *pool[1:])]
        steps: list[Step] = []
        for kind, layer, used in order:
            in_place = kind == "relu" and not steps[-1].used
            steps.append(Step(layer, kind, used, in_place))
        return tuple(steps)

    def _build(self) -> Iterator[Layer]:
        stride, field, inputs = 1, 1, 3
        for block, (count, channels) in enumerate(
            zip(self.blocks, _CHANNELS, strict=True), start=1
        ):
            for index in range(1, count + 1):
                field += 2 * stride  # a 3 x 3 kernel reaches one position further on each side
                for kind in ("conv", "relu"):
                    yield Layer(f"{kind}{block}_{index}", inputs, channels, stride, field)
                    inputs = channels
            field += stride  # 2 x 2 pooling
            stride *= 2
            yield Layer(f"pool{block}", channels, channels, stride, field)


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "vgg16": Network("vgg16", (2, 2, 3, 3, 3)),
        "vgg19": Network("vgg19", (2, 2, 4, 4, 4)),
    }
)
