from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from engine_helpers import total_variation
from on_device import DEVICE
from safetensors.torch import load_file
from torch.nn import functional

import napari_nst
from napari_nst.engine.losses.objective import Objective
from napari_nst.engine.optim.damping import Damping
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

CHOICES: dict[str, Any] = {
    "content_layers": {"conv2_2": 0.7, "relu3_1": 1.3},
    "style_layers": {"relu1_1": 0.5, "relu2_2": 2.0, "relu3_1": 1.0},
    "content_weight": 0.03,
    "style_weight": 4.0,
    "tv_weight": 5.0,
}
BOTH_FORMS = pytest.mark.parametrize("normalize", [False, True], ids=["paper", "normalised"])


pytestmark = pytest.mark.usefixtures("one_thread")


def tensor(image: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].double().to(DEVICE)


@pytest.fixture(scope="module")
def pictures(
    photo: Callable[[int, int], NDArray[np.float32]],
    stripes: Callable[[int, int], NDArray[np.float32]],
) -> dict[str, Tensor]:
    image = tensor(photo(16, 13))
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)).double().to(DEVICE)
    return {
        "image": 0.6 * image + 0.4 * noise,
        "content": image,
        "style": tensor(stripes(12, 17)),
        "other": tensor(stripes(18, 12)).flip(1).transpose(2, 3).contiguous(),
    }


@pytest.fixture(scope="module")
def kernels() -> dict[str, Tensor]:
    file = Path(napari_nst.__file__).parent / "data" / "vgg16_features.safetensors"
    return {name: tensor.double().to(DEVICE) for name, tensor in load_file(file).items()}


def features_of(image: Tensor, kernels: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return VGG-16's features up to relu3_1, from its definition, with a replicated border."""
    mean, std = (
        image.new_tensor(values).view(1, 3, 1, 1)
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    found = {}
    x = (image.expand(-1, 3, -1, -1) - mean) / std
    for name in ("1_1", "1_2", "pool", "2_1", "2_2", "pool", "3_1"):
        if name == "pool":
            x = functional.max_pool2d(x, 2)
            continue
        mode = "replicate" if name == "1_1" else "constant"
        x = functional.pad(x, (1, 1, 1, 1), mode=mode)
        x = functional.conv2d(x, kernels[f"conv{name}.weight"], kernels[f"conv{name}.bias"])
        found[f"conv{name}"] = x
        x = functional.relu(x)
        found[f"relu{name}"] = x
    return found


def second_moment(features: Tensor) -> Tensor:
    matrix = features[0].flatten(1)
    return matrix @ matrix.T / matrix.shape[1]


def reference(
    pictures: dict[str, Tensor],
    kernels: dict[str, Tensor],
    *,
    normalize: bool,
    shares: dict[str, float],
) -> tuple[dict[str, dict[str, float]], Tensor, Tensor]:
    """Return the loss of every layer, the total, and its gradient from autograd."""
    image = pictures["image"].clone().requires_grad_()
    generated = features_of(image, kernels)
    target = features_of(pictures["content"], kernels)
    of_styles = {name: features_of(pictures[name], kernels) for name in shares}
    layers: dict[str, dict[str, float]] = {"content": {}, "style": {}}
    total = torch.zeros((), dtype=torch.float64)
    for layer, weight in CHOICES["content_layers"].items():
        squared = (generated[layer] - target[layer]).square().sum()
        loss = squared / target[layer].square().sum() if normalize else squared / 2
        layers["content"][layer] = float(loss.detach())
        total = total + CHOICES["content_weight"] * weight * loss
    for layer, weight in CHOICES["style_layers"].items():
        whole = sum(shares.values())
        a = sum(
            share / whole * second_moment(of_styles[name][layer]) for name, share in shares.items()
        )
        d = second_moment(generated[layer]) - a
        if normalize:
            loss = d.square().sum() / d.abs().sum() / (a.square().sum() / a.abs().sum())
        else:
            loss = d.square().sum() / (4 * len(d) ** 2)
        layers["style"][layer] = float(loss.detach())
        total = total + CHOICES["style_weight"] * weight * loss
    total = total + CHOICES["tv_weight"] * total_variation(image)
    (gradient,) = torch.autograd.grad(total, image)
    return layers, total.detach(), gradient


def check_close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Compare tensors relative to the largest entry."""
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=tolerance)


@BOTH_FORMS
@pytest.mark.parametrize(
    "shares", [{"style": 1.0}, {"style": 1.0, "other": 3.0}], ids=["one style", "two styles"]
)
def test_losses_and_gradient_match_the_formulas(
    pictures: dict[str, Tensor],
    kernels: dict[str, Tensor],
    normalize: bool,
    shares: dict[str, float],
) -> None:
    settings = StyleTransferSettings(
        **CHOICES, normalize_gradients=normalize, style_weights=tuple(shares.values())
    )
    objective = Objective(pictures["content"], [pictures[name] for name in shares], settings)
    found, gradient = objective.loss_and_gradient(pictures["image"])
    layers, total, expected = reference(pictures, kernels, normalize=normalize, shares=shares)
    assert dict(found.content_layers) == pytest.approx(layers["content"], rel=1e-9)
    assert dict(found.style_layers) == pytest.approx(layers["style"], rel=1e-9)
    assert found.total == pytest.approx(float(total), rel=1e-9)
    check_close(gradient, expected)


@BOTH_FORMS
def test_the_gradient_matches_finite_differences(
    pictures: dict[str, Tensor], normalize: bool
) -> None:
    settings = StyleTransferSettings(**CHOICES, normalize_gradients=normalize)
    objective = Objective(pictures["content"], [pictures["style"]], settings)
    image = pictures["image"]
    gradient = objective.loss_and_gradient(image)[1]
    generator = torch.Generator().manual_seed(1)
    single = torch.zeros_like(image)
    single[0, 1, 0, 0] = 1  # in a corner
    for _ in range(2):
        direction = torch.randn(image.shape, generator=generator).double().to(DEVICE)
        for change in (direction, single):
            step = 1e-6
            above = objective.loss_and_gradient(image + step * change)[0].total
            below = objective.loss_and_gradient(image - step * change)[0].total
            measured = (above - below) / (2 * step)
            assert float((gradient * change).sum()) == pytest.approx(measured, rel=1e-5)


@BOTH_FORMS
def test_the_total_is_the_sum_of_its_weighted_terms(
    pictures: dict[str, Tensor], normalize: bool
) -> None:
    settings = StyleTransferSettings(**CHOICES, normalize_gradients=normalize)
    objective = Objective(pictures["content"], [pictures["style"]], settings)
    found = objective.loss_and_gradient(pictures["image"])[0]
    content, style = found.content_layers, found.style_layers
    assert list(content) == ["conv2_2", "relu3_1"]
    assert list(style) == ["relu1_1", "relu2_2", "relu3_1"]
    assert found.content == pytest.approx(
        0.03 * (0.7 * content["conv2_2"] + 1.3 * content["relu3_1"]), rel=1e-12
    )
    assert found.style == pytest.approx(
        4 * (0.5 * style["relu1_1"] + 2 * style["relu2_2"] + style["relu3_1"]), rel=1e-12
    )
    tv = total_variation(pictures["image"])
    assert found.tv == pytest.approx(5 * float(tv), rel=1e-12)
    assert found.total == found.content + found.style + found.tv
    assert min(found.content, found.style, found.tv) > 0


@pytest.mark.parametrize("choice", ["content_weight", "style_weight", "tv_weight"])
def test_a_weight_scales_only_its_own_term(pictures: dict[str, Tensor], choice: str) -> None:
    def gradient(**changes: float) -> Tensor:
        settings = StyleTransferSettings(**{**CHOICES, **changes})
        objective = Objective(pictures["content"], [pictures["style"]], settings)
        return objective.loss_and_gradient(pictures["image"])[1]

    without, single = gradient(**{choice: 0.0}), gradient()
    triple = gradient(**{choice: 3 * CHOICES[choice]})
    assert (single - without).abs().max() > 0
    check_close(triple - without, 3 * (single - without))


def test_layers_of_weight_zero_are_ignored(pictures: dict[str, Tensor]) -> None:
    plain = StyleTransferSettings(**CHOICES)
    padded = plain.replace(
        style_layers={**CHOICES["style_layers"], "relu5_3": 0.0},
        content_layers={**CHOICES["content_layers"], "relu4_2": 0.0},
    )
    found, expected = (
        Objective(pictures["content"], [pictures["style"]], settings).loss_and_gradient(
            pictures["image"]
        )
        for settings in (padded, plain)
    )
    assert found[0].total == expected[0].total
    assert "relu5_3" not in found[0].style_layers
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("missing", ["content_layers", "style_layers"])
def test_content_or_style_layers_may_be_empty(pictures: dict[str, Tensor], missing: str) -> None:
    settings = StyleTransferSettings(**{**CHOICES, missing: {}, "tv_weight": 0})
    objective = Objective(pictures["content"], [pictures["style"]], settings)
    found, gradient = objective.loss_and_gradient(pictures["image"])
    assert found.total == (found.style if missing == "content_layers" else found.content) > 0
    assert gradient.abs().max() > 0


@BOTH_FORMS
def test_losses_are_zero_at_the_targets(pictures: dict[str, Tensor], normalize: bool) -> None:
    settings = StyleTransferSettings(**CHOICES, normalize_gradients=normalize)
    content, style = pictures["content"], pictures["style"]
    found = Objective(content, [style], settings).loss_and_gradient(content)[0]
    assert found.content == 0 < found.style
    found = Objective(style, [style], settings).loss_and_gradient(style)[0]
    assert found.content == 0
    assert found.style < 1e-12  # not exactly 0: blending rounds the sums


def test_style_weights_are_equal_by_default_and_normalised(
    pictures: dict[str, Tensor],
) -> None:
    totals = [
        Objective(
            pictures["content"],
            [pictures["style"], pictures["other"]],
            StyleTransferSettings(**CHOICES, style_weights=shares),
        )
        .loss_and_gradient(pictures["image"])[0]
        .total
        for shares in (None, (1, 1), (0.2, 0.2))
    ]
    assert totals[1:] == pytest.approx([totals[0]] * 2, rel=1e-12)


@BOTH_FORMS
def test_a_grey_image_equals_three_equal_channels(
    pictures: dict[str, Tensor], normalize: bool
) -> None:
    settings = StyleTransferSettings(**CHOICES, normalize_gradients=normalize)
    grey = {name: picture[:, :1] for name, picture in pictures.items()}
    three = {name: picture.repeat(1, 3, 1, 1) for name, picture in grey.items()}
    (found, gradient), (expected, of_three) = (
        Objective(kind["content"], [kind["style"]], settings).loss_and_gradient(kind["image"])
        for kind in (grey, three)
    )
    assert gradient.shape == grey["image"].shape
    assert found.total == pytest.approx(expected.total, rel=1e-12)
    check_close(gradient, of_three.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("style_loss", ["gram", "gram+moments", "wasserstein"])
def test_damping_changes_neither_losses_nor_constant_gradients(
    pictures: dict[str, Tensor], style_loss: str
) -> None:
    settings = StyleTransferSettings(**CHOICES, style_loss=style_loss)
    objective = Objective(pictures["content"], [pictures["style"]], settings)
    exact, gradient = objective.loss_and_gradient(pictures["image"])
    damping = Damping()
    for _ in range(3):
        losses, found = objective.loss_and_gradient(pictures["image"], damping=damping)
        damping.commit()
        assert losses.total == exact.total
        check_close(found, gradient, 1e-5)  # means are in float32
    quantities = {
        "gram": ["gram"],
        "gram+moments": ["gram", "moments"],
        "wasserstein": [],
    }[style_loss]
    layers = CHOICES["style_layers"]
    assert set(damping.tensors) == {f"{layer}.0.{name}" for layer in layers for name in quantities}


@pytest.mark.parametrize("style_loss", ["gram", "gram+moments"])
def test_damping_averages_style_gradients_only(
    style_loss: str, pictures: dict[str, Tensor]
) -> None:
    # The paper's gradients are linear in the target: the second of two evaluations at the same
    # features has the gradient of a weighted mean of both targets.
    chosen = {**CHOICES, "style_layers": {"relu2_2": 1.0}, "normalize_gradients": False}
    settings = StyleTransferSettings(**chosen, style_loss=style_loss)
    damping = Damping()
    exact = []
    for name in ("style", "other"):
        objective = Objective(pictures["content"], [pictures[name]], settings)
        exact.append(objective.loss_and_gradient(pictures["image"])[1])
        _, found = objective.loss_and_gradient(pictures["image"], damping=damping)
        damping.commit()
    of_first = 0.6 * (0.9 * 0.1) / (1 - 0.9**2)
    check_close(found, of_first * exact[0] + (1 - of_first) * exact[1], 1e-5)
    assert torch.linalg.norm(found - exact[1]) > 0.1 * torch.linalg.norm(exact[1] - exact[0])


def test_damping_does_not_depend_on_tiles(
    pictures: dict[str, Tensor], photo: Callable[[int, int], NDArray[np.float32]]
) -> None:
    content = tensor(photo(70, 50))
    objective = Objective(content, [pictures["style"]], StyleTransferSettings(**CHOICES))
    whole, tiled = Damping(), Damping()
    for image in (content, content.flip(3), content.flip(2)):
        losses, gradient = objective.loss_and_gradient(image, damping=whole)
        tiled_losses, found = objective.loss_and_gradient(image, 32, damping=tiled)
        assert tiled_losses.total == pytest.approx(losses.total, rel=1e-12)
        assert torch.linalg.norm(found - gradient) < 1e-6 * torch.linalg.norm(gradient)
        whole.commit()
        tiled.commit()


def test_evaluating_changes_neither_the_image_nor_the_objective(
    pictures: dict[str, Tensor],
) -> None:
    image = pictures["image"].clone()
    objective = Objective(
        pictures["content"], [pictures["style"]], StyleTransferSettings(**CHOICES)
    )
    first = objective.loss_and_gradient(image)
    second = objective.loss_and_gradient(image)
    assert torch.equal(image, pictures["image"])
    assert not image.requires_grad and image.grad is None
    assert not first[1].requires_grad
    assert torch.equal(first[1], second[1])


def test_float32_agrees_with_float64(pictures: dict[str, Tensor]) -> None:
    settings = StyleTransferSettings(**CHOICES)
    (wide, expected), (narrow, found) = (
        Objective(
            pictures["content"].to(dtype), [pictures["style"].to(dtype)], settings
        ).loss_and_gradient(pictures["image"].to(dtype))
        for dtype in (torch.float64, torch.float32)
    )
    assert found.dtype == torch.float32
    assert narrow.total == pytest.approx(wide.total, rel=1e-4)
    assert (found.double() - expected).norm() < 1e-3 * expected.norm()


def test_losses_are_immutable_and_show_their_terms(
    pictures: dict[str, Tensor],
) -> None:
    objective = Objective(
        pictures["content"], [pictures["style"]], StyleTransferSettings(**CHOICES)
    )
    found: Any = objective.loss_and_gradient(pictures["image"])[0]
    for term in ("total", "content", "style", "tv"):
        assert f"{term}={getattr(found, term):.6g}" in repr(found)
        with pytest.raises(AttributeError):
            setattr(found, term, 0.0)
    with pytest.raises(TypeError):
        found.style_layers["relu1_1"] = 0.0
