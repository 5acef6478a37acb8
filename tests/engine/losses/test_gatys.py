"""The paper's settings (examples/gatys-2015.json) against its equations, in numpy and float64.

Only the features are the engine's; tests/engine/network/test_vgg.py tests them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from engine_helpers import total_variation

from napari_nst.engine.losses.objective import Objective
from napari_nst.engine.network import weights
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.networks import NETWORKS
from napari_nst.own_presets import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from napari_nst.settings import StyleTransferSettings

Array = Any
Features = dict[str, Array]

EXAMPLES = Path(__file__).parents[3] / "examples"
CONTENT = ("relu4_2",)
STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

pytestmark = pytest.mark.usefixtures("one_thread")


# Equations


def matrix(features: Array) -> Array:
    """Return F, of N filters and M positions."""
    return features.reshape(features.shape[1], -1)


def content_loss(f: Array, p: Array) -> float:  # (1)
    return float(((f - p) ** 2).sum() / 2)


def content_gradient(f: Array, p: Array) -> Array:  # (2)
    return f - p


def gram(f: Array) -> Array:  # (3)
    return np.einsum("ik,jk->ij", f, f)


def style_loss(f: Array, s: Array) -> float:  # (4), each Gram matrix with its own M
    n = len(f)
    return float(((gram(f) / f.shape[1] - gram(s) / s.shape[1]) ** 2).sum() / (4 * n**2))


def style_gradient(f: Array, s: Array) -> Array:  # (6)
    n, m = f.shape
    return (f.T @ (gram(f) / m - gram(s) / s.shape[1])).T / (n**2 * m)


# Networks and images


@pytest.fixture(scope="module")
def vgg19(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a file of a random VGG-19 whose 3 x 3 kernels are constant."""
    generator, state = torch.Generator().manual_seed(3), {}
    network = NETWORKS["vgg19"]
    for name in network.convolutions:
        layer = network.layer(name)
        # Stored once for all nine values: the file stays small.
        kernel = torch.randn(layer.out_channels, layer.in_channels, 1, 1, generator=generator)
        kernel *= (2 / (9 * layer.in_channels)) ** 0.5
        state[f"{name}.weight"] = kernel.expand(-1, -1, 3, 3)
        state[f"{name}.bias"] = 0.1 * torch.randn(layer.out_channels, generator=generator)
    file = tmp_path_factory.mktemp("weights") / "vgg19.pth"
    torch.save(state, file)
    return str(file)


@pytest.fixture(scope="module", params=["vgg16", "vgg19"])
def paper(request: pytest.FixtureRequest) -> StyleTransferSettings:
    settings = read_settings(EXAMPLES / "gatys-2015.json")
    if request.param == "vgg16":
        return settings.replace(network="vgg16")
    return settings.replace(weights=request.getfixturevalue("vgg19"))


@pytest.fixture(scope="module")
def pictures(
    photo: Callable[[int, int], Array], stripes: Callable[[int, int], Array]
) -> dict[str, Tensor]:
    """Return images of odd sizes; content and style differ in size."""
    noise = torch.rand(1, 3, 37, 46, generator=torch.Generator().manual_seed(0)).double()
    content, style = (
        torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None].double()
        for picture in (photo(37, 46), stripes(51, 34))
    )
    return {"image": noise, "content": content, "style": style}


@pytest.fixture(scope="module")
def extract(paper: StyleTransferSettings) -> FeatureExtractor:
    return FeatureExtractor(
        paper.network,
        weights.load(paper.network, paper.weights).tensors,
        (*CONTENT, *STYLE),
        pooling="average",
        padding="zero",
        rescale_pooling=False,
        dtype=torch.float64,
    )


@pytest.fixture(scope="module")
def features(extract: FeatureExtractor, pictures: Mapping[str, Tensor]) -> dict[str, Features]:
    return {
        name: {layer: matrix(value.numpy()) for layer, value in extract(picture).items()}
        for name, picture in pictures.items()
    }


def objective(settings: StyleTransferSettings, pictures: Mapping[str, Tensor]) -> Objective:
    return Objective(pictures["content"], [pictures["style"]], settings)


def test_the_content_has_a_thousandth_of_the_weight_of_the_style() -> None:
    paper = read_settings(EXAMPLES / "gatys-2015.json")
    scale = 255 * 0.226  # from a network fed 0-255 to one fed by deviations of ImageNet
    ratio = paper.content_weight / paper.style_weight
    assert ratio == pytest.approx(1e-3 / scale**2, rel=1e-3)
    assert set(paper.style_layers.values()) == {0.2}


@pytest.mark.parametrize("tv_weight", [0.0, 300.0])
def test_every_term_matches_the_paper(
    paper: StyleTransferSettings,
    pictures: Mapping[str, Tensor],
    features: Mapping[str, Features],
    tv_weight: float,
) -> None:
    settings = paper.replace(tv_weight=tv_weight)
    found, _ = objective(settings, pictures).loss_and_gradient(pictures["image"])
    f, p, s = (features[name] for name in ("image", "content", "style"))

    content = {layer: content_loss(f[layer], p[layer]) for layer in CONTENT}
    assert dict(found.content_layers) == pytest.approx(content, rel=1e-10)
    style = {layer: style_loss(f[layer], s[layer]) for layer in STYLE}
    assert dict(found.style_layers) == pytest.approx(style, rel=1e-10)
    assert min(*content.values(), *style.values()) > 0

    alpha, beta, w = paper.content_weight, paper.style_weight, 1 / len(STYLE)
    variation = tv_weight * float(total_variation(pictures["image"]))
    assert found.content == pytest.approx(alpha * sum(content.values()), rel=1e-10)
    assert found.style == pytest.approx(beta * sum(w * e for e in style.values()), rel=1e-10)  # (5)
    assert found.tv == pytest.approx(variation, rel=1e-10)
    total = alpha * sum(content.values()) + beta * sum(w * e for e in style.values())  # (7)
    assert found.total == pytest.approx(total + variation, rel=1e-10)


def balanced(paper: StyleTransferSettings, pictures: Mapping[str, Tensor]) -> StyleTransferSettings:
    """Return the settings with three terms of equal size, so that an error in any of them shows."""
    settings = paper.replace(content_weight=1, tv_weight=1)
    found, _ = objective(settings, pictures).loss_and_gradient(pictures["image"])
    return settings.replace(
        content_weight=found.style / found.content, tv_weight=found.style / found.tv
    )


def test_the_gradient_is_the_papers_backpropagated_to_the_pixels(
    paper: StyleTransferSettings,
    pictures: Mapping[str, Tensor],
    extract: FeatureExtractor,
    features: Mapping[str, Features],
) -> None:
    settings = balanced(paper, pictures).replace(tv_weight=0)
    _, found = objective(settings, pictures).loss_and_gradient(pictures["image"])
    f, p, s = (features[name] for name in ("image", "content", "style"))
    gradients = {layer: style_gradient(f[layer], s[layer]) / len(STYLE) for layer in STYLE}
    for layer in CONTENT:
        gradients[layer] = settings.content_weight * content_gradient(f[layer], p[layer])
    # In (2) and (6) the gradient is 0 where F is 0; autograd's ReLU does that here.
    image = pictures["image"].clone().requires_grad_()
    values = extract(image)
    torch.autograd.backward(
        [values[layer] for layer in gradients],
        [torch.from_numpy(g).reshape(values[layer].shape) for layer, g in gradients.items()],
    )
    assert image.grad is not None
    scale = float(image.grad.abs().max())
    torch.testing.assert_close(found, image.grad, rtol=0, atol=1e-10 * scale)


def test_the_gradient_matches_finite_differences_of_the_total(
    paper: StyleTransferSettings, pictures: Mapping[str, Tensor]
) -> None:
    measured = objective(balanced(paper, pictures), pictures)
    image, step = pictures["image"], 1e-6
    _, gradient = measured.loss_and_gradient(image)
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        direction = torch.randn(image.shape, generator=generator, dtype=image.dtype)
        above, below = (
            measured.loss_and_gradient(image + sign * step * direction)[0].total for sign in (1, -1)
        )
        slope = float((gradient * direction).sum())
        assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-5)
