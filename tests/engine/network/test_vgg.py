from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torchvision
from torch.nn import functional

from napari_nst.engine.network import vgg
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.errors import InputError
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    Weights = dict[str, Tensor]

MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)


def named(modules: torch.nn.Sequential) -> Iterator[tuple[str, torch.nn.Module]]:
    """Yield torchvision's modules with the names of their layers."""
    block, index = 1, 0
    for module in modules:
        if isinstance(module, torch.nn.Conv2d):
            index += 1
            yield f"conv{block}_{index}", module
        elif isinstance(module, torch.nn.ReLU):
            yield f"relu{block}_{index}", module
        else:
            yield f"pool{block}", module
            block, index = block + 1, 0


def torchvision_network(network: str) -> torch.nn.Sequential:
    """Return torchvision's network with random weights that keep the size of activations."""
    with torch.device("meta"):  # the classifier would need half a gigabyte
        modules = getattr(torchvision.models, network)(weights=None).features
    modules = modules.to_empty(device="cpu").double()
    generator = torch.Generator().manual_seed(1)
    for parameter in modules.parameters():
        fan_in = parameter[0].numel() if parameter.ndim == 4 else 100
        parameter.data.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
    return modules.requires_grad_(False)


def weights_of(modules: torch.nn.Sequential) -> Weights:
    return {
        f"{name}.{part}": parameter.detach().clone()
        for name, module in named(modules)
        for part, parameter in module.named_parameters()
    }


@pytest.fixture(scope="module")
def vgg16() -> torch.nn.Sequential:
    return torchvision_network("vgg16")


@pytest.fixture(scope="module")
def weights(vgg16: torch.nn.Sequential) -> Weights:
    return weights_of(vgg16)


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(1, 3, 39, 45, generator=torch.Generator().manual_seed(2)).double()


def reference(
    modules: torch.nn.Sequential,
    image: Tensor,
    pool: Callable[[Tensor], Tensor],
    padding: str = "zero",
) -> dict[str, Tensor]:
    """Return the features of every layer, computed out of place."""
    x = (image - MEAN) / STD
    features = {}
    for name, module in named(modules):
        if isinstance(module, torch.nn.Conv2d):
            replicate = padding == "replicate" and name == "conv1_1"
            x = functional.pad(x, (1, 1, 1, 1), mode="replicate" if replicate else "constant")
            x = functional.conv2d(x, module.weight, module.bias)
        elif isinstance(module, torch.nn.ReLU):
            x = x.clamp(min=0)
        else:
            x = pool(x)
        features[name] = x
    return features


def check_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Check that features agree up to rounding in float64, and are not all 0."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert value.abs().max() > 1e-3, f"{name} is dead"
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_every_layer_matches_torchvision(network: str, image: Tensor) -> None:
    modules = torchvision_network(network)
    expected, x = {}, (image - MEAN) / STD
    for name, module in named(modules):
        x = module(x.clone())  # its ReLUs work in place
        expected[name] = x
    extract = FeatureExtractor(
        network, weights_of(modules), expected, padding="zero", dtype=torch.float64
    )
    check_equal(extract(image), expected)


@pytest.mark.parametrize(("rescale", "gain"), [(True, 2.0), (False, 1.0)])
def test_average_pooling_is_the_mean_of_four_pixels_optionally_rescaled(
    vgg16: torch.nn.Sequential, weights: Weights, image: Tensor, rescale: bool, gain: float
) -> None:
    def pool(x: Tensor) -> Tensor:
        x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
        corners = x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]
        return corners * gain / 4

    expected = reference(vgg16, image, pool)
    extract = FeatureExtractor(
        "vgg16",
        weights,
        expected,
        pooling="average",
        padding="zero",
        rescale_pooling=rescale,
        dtype=torch.float64,
    )
    check_equal(extract(image), expected)


def test_replicate_padding_affects_only_the_first_convolution(
    vgg16: torch.nn.Sequential, weights: Weights, image: Tensor
) -> None:
    expected = reference(vgg16, image, lambda x: functional.max_pool2d(x, 2), "replicate")
    extract = FeatureExtractor("vgg16", weights, expected, padding="replicate", dtype=torch.float64)
    check_equal(extract(image), expected)


@pytest.mark.parametrize(
    "layers", [("conv2_1",), ("relu2_1",), ("conv2_1", "relu2_1"), ("relu1_2", "pool1")]
)
def test_features_do_not_depend_on_the_other_layers_in_use(
    vgg16: torch.nn.Sequential, weights: Weights, image: Tensor, layers: tuple[str, ...]
) -> None:
    every = reference(vgg16, image, lambda x: functional.max_pool2d(x, 2))
    extract = FeatureExtractor("vgg16", weights, layers, padding="zero", dtype=torch.float64)
    check_equal(extract(image), {name: every[name] for name in layers})


def test_a_relu_does_not_overwrite_a_convolution_in_use(weights: Weights, image: Tensor) -> None:
    extract = FeatureExtractor("vgg16", weights, ("conv1_2", "relu1_2"), dtype=torch.float64)
    features = extract(image)
    assert features["conv1_2"].min() < 0
    assert torch.equal(features["conv1_2"].clamp(min=0), features["relu1_2"])


def test_features_are_in_the_order_of_the_network(weights: Weights, image: Tensor) -> None:
    extract = FeatureExtractor(
        "vgg16", weights, ("relu2_1", "pool1", "conv1_1"), dtype=torch.float64
    )
    assert list(extract(image)) == ["conv1_1", "pool1", "relu2_1"]


def test_layers_beyond_the_deepest_in_use_are_not_computed(weights: Weights, image: Tensor) -> None:
    first = {key: value for key, value in weights.items() if key.startswith("conv1_")}
    extract = FeatureExtractor("vgg16", first, ("relu1_2",), dtype=torch.float64)
    # Five poolings of 2 x 2 pixels would raise.
    assert extract(image[..., :2, :2])["relu1_2"].shape == (1, 64, 2, 2)


def test_a_grey_image_equals_three_equal_channels(weights: Weights, image: Tensor) -> None:
    extract = FeatureExtractor("vgg16", weights, ("relu2_2",), dtype=torch.float64)
    grey = image[:, :1].clone()
    tapes = [extract.record_tape(pixels) for pixels in (grey, grey.repeat(1, 3, 1, 1))]
    features, expected = (tape.features["relu2_2"] for tape in tapes)
    torch.testing.assert_close(features, expected, rtol=1e-12, atol=1e-12)
    found, three = (tape.gradient(add_square_gradient) for tape in tapes)
    torch.testing.assert_close(found, three.sum(dim=1, keepdim=True), rtol=1e-9, atol=1e-9)


def add_square_gradient(layer: str, features: Tensor, gradient: Tensor) -> None:
    """Add the gradient of the sum of squares."""
    gradient.add_(features, alpha=2)


def test_fused_relus_change_neither_features_nor_gradient(
    weights: Weights, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, with cuDNN's function replaced by its definition."""
    convolved: list[int] = []

    def fused(x: Tensor, weight: Tensor, bias: Tensor, *geometry: Any) -> Tensor:
        convolved.append(len(weight))
        return functional.conv2d(x, weight, bias, *geometry).relu_()

    for pooling in ("max", "average"):
        for layers in (("relu1_2", "relu3_1"), ("conv1_1", "pool1", "relu2_2"), ("conv2_1",)):
            found = []
            for has_fused in (False, True):
                monkeypatch.setattr(vgg, "_has_fused_convolutions", lambda *_, it=has_fused: it)
                monkeypatch.setattr(torch, "cudnn_convolution_relu", fused)
                network: Any = {"pooling": pooling, "dtype": torch.float64}
                tape = FeatureExtractor("vgg16", weights, layers, **network).record_tape(image)
                features = dict(tape.features)
                found.append((features, tape.gradient(add_square_gradient)))
            check_equal(found[1][0], found[0][0])
            torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-12, atol=1e-12)
    assert convolved.count(64) > 4 and convolved.count(128) > 4


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("padding", ["zero", "replicate"])
@pytest.mark.parametrize(
    "layers",
    [
        ("relu3_1",),
        ("relu1_1", "relu2_1", "relu3_2"),
        ("conv1_1", "conv1_2", "conv2_2"),  # with their ReLUs and pooling not in use
        ("relu1_2", "pool1", "conv2_1", "relu2_1"),
        ("pool1", "pool2"),
    ],
    ids=" ".join,
)
def test_the_gradient_matches_autograd(
    vgg16: torch.nn.Sequential,
    weights: Weights,
    image: Tensor,
    layers: tuple[str, ...],
    pooling: Any,
    padding: Any,
) -> None:
    pools: dict[str, Callable[[Tensor], Tensor]] = {
        "max": lambda x: functional.max_pool2d(x, 2),
        "average": lambda x: 2 * functional.avg_pool2d(x, 2),
    }
    pixels = image.clone().requires_grad_()
    every = reference(vgg16, pixels, pools[pooling], padding)
    torch.autograd.backward(torch.stack([every[name].square().sum() for name in layers]).sum())
    assert pixels.grad is not None
    extract = FeatureExtractor(
        "vgg16", weights, layers, pooling=pooling, padding=padding, dtype=torch.float64
    )
    tape = extract.record_tape(image)
    check_equal(tape.features, {name: every[name].detach() for name in layers})
    order: list[str] = []

    def add(layer: str, features: Tensor, gradient: Tensor) -> None:
        order.append(layer)
        add_square_gradient(layer, features, gradient)

    found = tape.gradient(add)
    assert order == list(reversed(layers))
    assert tape.features == {}  # freed on the way
    scale = pixels.grad.abs().max()
    torch.testing.assert_close(found / scale, pixels.grad / scale, rtol=0, atol=1e-12)


def test_the_backward_pass_frees_features_layer_by_layer(weights: Weights, image: Tensor) -> None:
    extract = FeatureExtractor(
        "vgg16", weights, ("relu1_1", "relu2_1", "relu3_1"), dtype=torch.float64
    )
    tape = extract.record_tape(image)
    references = {name: weakref.ref(features) for name, features in tape.features.items()}

    def add(layer: str, features: Tensor, gradient: Tensor) -> None:
        alive = [name for name, weak in references.items() if weak() is not None]
        assert alive[-1] == layer

    tape.gradient(add)
    assert all(weak() is None for weak in references.values())


def test_weights_and_image_are_not_changed(weights: Weights, image: Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in weights.items()}
    extract = FeatureExtractor("vgg16", weights, ("relu2_1",), dtype=torch.float64)
    pixels = image.clone()
    assert extract.record_tape(pixels).gradient(add_square_gradient).abs().sum() > 0
    assert all(tensor.grad is None for tensor in weights.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights.items())
    assert torch.equal(pixels, image)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_convolutions_are_computed_in_the_requested_precision(
    weights: Weights, image: Tensor, dtype: torch.dtype
) -> None:
    exact: Any = FeatureExtractor("vgg16", weights, ("conv2_1",), dtype=torch.float64)
    extract = FeatureExtractor("vgg16", weights, ("conv2_1",), dtype=dtype)
    found = extract(image.float())["conv2_1"]
    assert found.dtype == dtype
    expected = exact(image.float().double())["conv2_1"]
    error = (found.double() - expected).norm() / expected.norm()
    assert error < 4 * torch.finfo(dtype).eps + 1e-7  # the image itself is float32


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_an_unknown_layer_raises(network: str, weights: Weights) -> None:
    with pytest.raises(InputError, match=rf"^{network} has no layer 'relu6_1'; "):
        FeatureExtractor(network, weights, ("relu1_1", "relu6_1"))


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_numbers_of_channels_match_torchvision(network: str) -> None:
    with torch.device("meta"):
        modules = getattr(torchvision.models, network)(weights=None).features
    for name, module in named(modules):
        if isinstance(module, torch.nn.Conv2d):
            layer = NETWORKS[network].layer(name)
            assert (layer.in_channels, layer.out_channels) == (
                module.in_channels,
                module.out_channels,
            )
