"""VGG as a feature extractor with frozen weights, up to the last layer in use.

The backward pass does not use autograd.  With frozen weights it needs only the outputs of ReLUs
and the positions of maxima, half of what autograd stores; gradients are accumulated in place.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch.nn import functional

from napari_nst.engine.network.pooling import Maxima, max_pool, max_unpool
from napari_nst.engine.resources.precision import wide_dtype
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from torch import Tensor

    from napari_nst.engine.network.convolutions import Convolution, FastConvolutions
    from napari_nst.networks import NetworkStep

    _Kept: TypeAlias = Tensor | Maxima | torch.Size

__all__ = ["CAFFE", "TORCHVISION", "FeatureExtractor", "ForwardTape", "Normalization"]


class Normalization(NamedTuple):
    """Normalisation of RGB in [0, 1]: subtract the mean, divide by the deviation."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


TORCHVISION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Normalisation of torchvision's weights."""

CAFFE = Normalization((123.68 / 255, 116.779 / 255, 103.939 / 255), (1.0, 1.0, 1.0))
"""Normalisation of the VGG team's own weights (their model cards: the mean pixel is 103.939,
116.779, 123.68 as BGR in 0-255).  The factor 255 and the order of the channels are folded into the
first convolution.  The mean is not: as a bias it would also apply to the zero padding."""

# Average pooling gives smaller activations than max pooling; this factor keeps them at the level of
# the training (crowsonkb, style-transfer-pytorch, measured there).
_AVERAGE_POOLING_GAIN = 2


class ForwardTape:
    """Features of an image, and the backward pass to its pixels, which can run once.

    Attributes
    ----------
    features : dict of str to Tensor
        As `FeatureExtractor` returns them.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        image: Tensor,
        features: dict[str, Tensor],
        kept: list[_Kept],
    ) -> None:
        self.features = features
        self._extractor = extractor
        self._channels, self._dtype = image.shape[1], image.dtype
        self._kept = kept

    def gradient(self, add: Callable[[str, Tensor, Tensor], None]) -> Tensor:
        """Return the gradient of a loss at the image; frees the features layer by layer.

        Parameters
        ----------
        add : callable
            Takes a layer, its features, and their gradient from deeper layers, and adds the
            loss's gradient at this layer in place.  Called for every layer in use, deepest first.

        Returns
        -------
        Tensor
            In the image's shape and dtype.
        """
        with _reproducible(self._extractor.device):
            return self._gradient(add)

    def _gradient(self, add: Callable[[str, Tensor, Tensor], None]) -> Tensor:
        extractor = self._extractor
        gradient: Tensor | None = None
        for step in reversed(extractor.steps):
            if step.used:
                features = self.features.pop(step.layer.name)
                if gradient is None:
                    gradient = torch.zeros_like(features)
                add(step.layer.name, features, gradient)
                del features
            assert gradient is not None  # the deepest layer is in use
            gradient = extractor.backward(step, self._kept.pop(), gradient)
        assert gradient is not None
        return extractor.at_pixels(gradient, self._channels, self._dtype)


class FeatureExtractor:
    """A VGG network up to the deepest layer in use, with frozen weights.

    Parameters
    ----------
    network : str
        ``"vgg16"`` or ``"vgg19"``.
    weights : mapping of str to Tensor
        ``"conv1_1.weight"`` of shape (out, in, 3, 3), ``"conv1_1.bias"`` of shape (out,), and so
        on for every convolution up to the deepest layer in use.
    layers : iterable of str
        Layers whose features are returned.
    pooling : {"max", "average"}
        Between the blocks.  Gatys et al. (arXiv 1508.06576, section "Methods") prefer average
        pooling; the weights were trained with max pooling.
    padding : {"zero", "replicate"}
        Padding of the first convolution.  The others pad with zeros, as in the training;
        replicating the border once removes most of the frame that zeros leave (crowsonkb,
        style-transfer-pytorch).
    rescale_pooling : bool
        Multiply average pooling by 2, so that deeper layers get activations as large as in the
        training.  The paper does not.
    normalization : Normalization
        Normalisation of the image for these weights.
    device, dtype
        Device and dtype of the convolutions.
    fast_convolutions : FastConvolutions, optional
        Computes convolutions of some sizes; by default all are direct.

    Attributes
    ----------
    layers : frozenset of str
        The layers in use.
    steps : tuple of NetworkStep
        The operations of the forward pass.
    device : torch.device
        The device of the convolutions.
    fast_convolutions : FastConvolutions or None
        As given.

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
        fast_convolutions: FastConvolutions | None = None,
    ) -> None:
        self.layers = frozenset(layers)
        self.steps = NETWORKS[network].steps(self.layers, pooling)
        self._pooling = pooling
        self._padding = padding
        self._pooling_divisor = 4 // _AVERAGE_POOLING_GAIN if rescale_pooling else 4
        self._weights = {
            # One conversion: the tensors are memory-mapped, and this is their only copy.
            f"{step.layer.name}.{part}": weights[f"{step.layer.name}.{part}"]
            .to(device, dtype, memory_format=_layout(part))
            .requires_grad_(False)
            for step in self.steps
            if step.kind == "conv"
            for part in ("weight", "bias")
        }
        self.fast_convolutions = fast_convolutions
        self.device = torch.device(device)
        self._dtype = dtype
        fused = _has_fused_convolutions(self.device, dtype)
        self._fused = _fused_relus(self.steps) if fused else {}
        wide = wide_dtype(self.device)
        self._mean, self._deviation = (
            torch.tensor(numbers, device=device, dtype=wide).view(1, 3, 1, 1)
            for numbers in normalization
        )

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Return the features of an image.

        Parameters
        ----------
        image : Tensor
            Shape (1, 3, H, W), or (1, 1, H, W) for a grey image, which is expanded to three
            channels.  Values in [0, 1].

        Returns
        -------
        dict of str to Tensor
            Shape (1, N, H', W') for each layer in use, in the order of the network.
        """
        with _reproducible(self.device):
            return self._forward(image, None)

    def record_tape(self, image: Tensor) -> ForwardTape:
        """Return the features of an image with the tape for the backward pass."""
        kept: list[_Kept] = []
        with _reproducible(self.device):
            return ForwardTape(self, image, self._forward(image, kept), kept)

    def _forward(self, image: Tensor, kept: list[_Kept] | None) -> dict[str, Tensor]:
        """Return the features; append the data for the backward pass of each step to `kept`."""
        deviation = self._deviation.to(image.dtype)
        x = ((image.expand(-1, 3, -1, -1) - self._mean.to(image.dtype)) / deviation).to(self._dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        features: dict[str, Tensor] = {}
        for index, step in enumerate(self.steps):
            keep: _Kept = x.shape
            if step.kind == "conv":
                x = self._convolve(x, step.layer.name, with_relu=index in self._fused)
            elif index in self._fused.values():
                keep = x
            elif step.kind == "relu":
                x = keep = x.relu_() if step.in_place else functional.relu(x)
            elif self._pooling == "max":
                x, keep = max_pool(x)
            else:
                x = functional.avg_pool2d(x, 2, divisor_override=self._pooling_divisor)
            if step.used:
                features[step.layer.name] = x
            if kept is not None:
                kept.append(keep)
        return features

    def _convolve(self, x: Tensor, name: str, with_relu: bool) -> Tensor:
        padding = 1
        if name == "conv1_1" and self._padding == "replicate":
            x, padding = functional.pad(x, (1, 1, 1, 1), mode="replicate"), 0
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        if with_relu:
            found: Tensor = torch.cudnn_convolution_relu(
                x, weight, bias, (1, 1), (padding, padding), (1, 1), 1
            )
            return found
        if padding and (convolution := self._fast(name, x)) is not None:
            return convolution(x, bias)
        return functional.conv2d(x, weight, bias, padding=padding)

    def _fast(self, name: str, x: Tensor) -> Convolution | None:
        """Return a fast convolution for an image or a gradient, if there is one for its size."""
        if self.fast_convolutions is None:
            return None
        return self.fast_convolutions.convolution(name, self._weights[f"{name}.weight"], x)

    def backward(self, step: NetworkStep, kept: _Kept, gradient: Tensor) -> Tensor:
        """Return the gradient at the input of a step; the one at the output is overwritten."""
        if step.kind == "conv":
            return self._convolve_back(step.layer.name, gradient)
        if step.kind == "relu":
            assert isinstance(kept, torch.Tensor)
            # In place; the derivative at 0 is 0.
            torch.ops.aten.threshold_backward(gradient, kept, 0, grad_input=gradient)
            return gradient
        if isinstance(kept, Maxima):
            return max_unpool(gradient, kept)
        assert isinstance(kept, torch.Size)
        found = functional.interpolate(gradient.div_(self._pooling_divisor), scale_factor=2)
        below, right = kept[-2] - found.shape[-2], kept[-1] - found.shape[-1]
        if below or right:  # rows and columns outside the pooling windows
            found = functional.pad(found, (0, right, 0, below))
        return found.contiguous(memory_format=torch.channels_last)

    def at_pixels(self, gradient: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
        """Return the gradient at the image from that at the normalised input."""
        found = gradient.to(dtype, memory_format=torch.contiguous_format)
        found = found / self._deviation.to(dtype)
        return found if channels == 3 else found.sum(dim=1, keepdim=True)

    def _convolve_back(self, name: str, gradient: Tensor) -> Tensor:
        # The gradient at the input of a convolution is the transposed convolution.
        weight = self._weights[f"{name}.weight"]
        if name != "conv1_1" or self._padding != "replicate":
            if (convolution := self._fast(name, gradient)) is not None:
                return convolution.gradient(gradient)
            return functional.conv_transpose2d(gradient, weight, padding=1)
        found = functional.conv_transpose2d(gradient, weight)
        # The gradient at a replicated pixel belongs to the original one.
        found[..., 1, :].add_(found[..., 0, :])
        found[..., -2, :].add_(found[..., -1, :])
        found[..., 1].add_(found[..., 0])
        found[..., -2].add_(found[..., -1])
        return found[..., 1:-1, 1:-1]


@contextlib.contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Make cuDNN deterministic within this context, which costs no time here.

    By default it sums float32 gradients in a varying order (measured on an H200).
    """
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    if device.type == "cuda":
        cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def _has_fused_convolutions(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether the device has cuDNN, which fuses bias and ReLU with a convolution.

    Separately they are two more passes over the features: half of the time of a convolution of 64
    channels on an H200.  The results are the same in float32; cuDNN does not fuse in float64.
    """
    on_cuda = device.type == "cuda" and torch.version.hip is None and dtype != torch.float64
    return on_cuda and bool(torch.backends.cudnn.is_available())  # type: ignore[no-untyped-call]


def _fused_relus(steps: Sequence[NetworkStep]) -> dict[int, int]:
    """Return a mapping from indices of convolutions to those of their ReLUs.

    There may be a max pooling in between, with which a ReLU commutes: see `Network.steps`.
    """
    found = {}
    for index, step in enumerate(steps):
        if step.kind == "conv" and not step.used:
            after = index + 1
            if after < len(steps) and steps[after].kind == "pool":
                after += 1
            if after < len(steps) and steps[after].kind == "relu":
                found[index] = after
    return found


def _layout(part: str) -> torch.memory_format:
    return torch.channels_last if part == "weight" else torch.contiguous_format
