"""Layers, strides and receptive fields of VGG."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs

from napari_nst.errors import InputError
from napari_nst.networks import NETWORKS

CONFIGURATIONS = {"vgg16": cfgs["D"], "vgg19": cfgs["E"]}


def one_channel_twin(network: str, layer: str) -> nn.Sequential:
    """Return the network up to a layer, with one channel, positive weights and average pooling.

    The gradient is then nonzero at every pixel of the receptive field.
    """
    modules: list[nn.Module] = []
    block, index = 1, 0
    for entry in CONFIGURATIONS[network]:
        if entry == "M":
            name = f"pool{block}"
            modules.append(nn.AvgPool2d(2))
            block, index = block + 1, 0
        else:
            index += 1
            name = f"relu{block}_{index}"
            convolution = nn.Conv2d(1, 1, 3, padding=1, bias=False)
            nn.init.constant_(convolution.weight, 1 / 9)
            modules += [convolution, nn.ReLU()]
        if name == layer:
            return nn.Sequential(*modules).double()
    raise AssertionError(layer)


def receptive_rows(twin: nn.Sequential, size: int, position: int) -> tuple[int, int]:
    """Return the first and the last row of pixels that a position depends on."""
    image = torch.ones(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(twin(image)[0, 0, position, position], image)
    rows = gradient[0, 0].abs().sum(dim=1).nonzero().flatten()
    return int(rows[0]), int(rows[-1])


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        ("vgg16", "relu1_1"),
        ("vgg16", "relu1_2"),
        ("vgg16", "pool1"),
        ("vgg16", "relu3_1"),
        ("vgg16", "pool3"),
        ("vgg16", "relu4_2"),
        ("vgg16", "relu5_1"),
        ("vgg19", "relu3_4"),
        ("vgg19", "relu5_1"),
    ],
)
def test_stride_and_receptive_field_match_those_of_a_gradient(network: str, layer: str) -> None:
    expected = NETWORKS[network].layer(layer)
    twin = one_channel_twin(network, layer)
    position = expected.receptive_field // expected.stride // 2 + 1  # clear of the border
    size = 2 * expected.receptive_field + 4 * expected.stride
    first, last = receptive_rows(twin, size, position)
    assert first > 0 and last < size - 1
    assert last - first + 1 == expected.receptive_field
    assert receptive_rows(twin, size, position + 1) == (
        first + expected.stride,
        last + expected.stride,
    )


@pytest.mark.parametrize(
    ("network", "layer", "stride", "field"),
    [
        ("vgg16", "conv1_1", 1, 3),
        ("vgg16", "relu1_2", 1, 5),
        ("vgg16", "pool1", 2, 6),
        ("vgg16", "relu2_2", 2, 14),
        ("vgg16", "relu3_3", 4, 40),
        ("vgg16", "relu4_3", 8, 92),
        ("vgg16", "relu5_1", 16, 132),
        ("vgg16", "relu5_3", 16, 196),
        ("vgg16", "pool5", 32, 212),
        ("vgg19", "relu4_2", 8, 84),
        ("vgg19", "relu5_1", 16, 156),
        ("vgg19", "conv5_4", 16, 252),
    ],
)
def test_known_strides_and_receptive_fields(
    network: str, layer: str, stride: int, field: int
) -> None:
    found = NETWORKS[network].layer(layer)
    assert (found.stride, found.receptive_field) == (stride, field)


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_convolutions_have_the_channels_of_torchvisions_configuration(network: str) -> None:
    channels = [entry for entry in CONFIGURATIONS[network] if entry != "M"]
    layers = [NETWORKS[network].layer(name) for name in NETWORKS[network].convolutions]
    assert [layer.out_channels for layer in layers] == channels
    assert [layer.in_channels for layer in layers] == [3, *channels[:-1]]


@pytest.mark.parametrize(("network", "number"), [("vgg16", 13), ("vgg19", 16)])
def test_each_convolution_has_a_relu_and_a_network_five_poolings(network: str, number: int) -> None:
    kinds = [layer.kind for layer in NETWORKS[network].layers.values()]
    assert kinds.count("conv") == kinds.count("relu") == number
    assert kinds.count("pool") == 5
    assert NETWORKS[network].name == network


def test_layers_up_to_stops_at_the_deepest_layer() -> None:
    network = NETWORKS["vgg16"]
    names = [layer.name for layer in network.layers_up_to(("relu2_1", "conv1_1"))]
    assert names == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1", "relu2_1"]
    assert network.layers_up_to(()) == ()


@pytest.mark.parametrize("name", ["conv3_4", "relu6_1", "", "Relu1_1", "pool6"])
def test_an_unknown_layer_raises_a_message_with_the_network_and_its_layers(name: str) -> None:
    for ask in (NETWORKS["vgg16"].layer, lambda name: NETWORKS["vgg16"].layers_up_to([name])):
        with pytest.raises(InputError) as caught:
            ask(name)
        assert str(caught.value) == (
            f"vgg16 has no layer {name!r}; its layers are conv1_1, relu1_1, ... relu5_3."
        )


def test_networks_are_immutable() -> None:
    networks: Any = NETWORKS
    with pytest.raises(TypeError):
        networks["vgg11"] = networks["vgg16"]
    with pytest.raises(TypeError):
        networks["vgg16"].layers["relu1_1"] = None
    with pytest.raises(AttributeError):
        networks["vgg16"].layer("relu1_1").stride = 2


def steps(names: set[str], pooling: str = "max") -> list[str]:
    """Return the steps as text: ``!`` marks steps in place, ``*`` features in use."""
    return [
        f"{step.kind} {step.layer.name}{'!' * step.in_place}{'*' * step.used}"
        for step in NETWORKS["vgg16"].steps(names, pooling)
    ]


def test_an_unused_relu_follows_the_max_pooling() -> None:
    assert steps({"relu1_1", "relu2_1"}) == [
        "conv conv1_1",
        "relu relu1_1!*",
        "conv conv1_2",
        "pool pool1",
        "relu pool1!",
        "conv conv2_1",
        "relu relu2_1!*",
    ]


def test_the_features_of_a_pooling_are_taken_after_its_relu() -> None:
    assert steps({"pool1"})[-3:] == ["conv conv1_2", "pool pool1", "relu pool1!*"]
    assert steps({"pool1", "relu1_2"})[-2:] == ["relu relu1_2!*", "pool pool1*"]


def test_a_convolution_in_use_is_not_overwritten() -> None:
    assert steps({"conv1_1", "pool1"})[:2] == ["conv conv1_1*", "relu relu1_1"]
    assert steps({"conv1_2", "pool1"})[2:] == ["conv conv1_2*", "pool pool1", "relu pool1!*"]


def test_average_pooling_follows_the_relu() -> None:
    found = steps({"relu2_1"}, "average")
    assert found[2:5] == ["conv conv1_2", "relu relu1_2!", "pool pool1"]
