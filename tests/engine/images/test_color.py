from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from napari_nst.engine.images import color

RNG = np.random.default_rng(0)
MIX = np.array([[0.9, 0.3, 0.0], [0.1, 0.6, 0.4], [0.0, 0.2, 0.8]])
REGULARISER = (0.1 / 255) ** 2  # of the covariances, so that a flat picture has an inverse


def random_colours(height: int, width: int, mean: Any, spread: float = 0.02) -> torch.Tensor:
    """Return correlated colours far from 0 and 1, so that none is clamped."""
    noise = RNG.normal(0, spread, (len(mean), height * width))
    if len(mean) == 3:
        noise = MIX @ noise
    values = noise + np.reshape(mean, (-1, 1))
    assert values.min() > 0.1 and values.max() < 0.9
    return torch.from_numpy(values.reshape(1, len(mean), height, width))


def matrix(image: torch.Tensor) -> Any:
    return image[0].flatten(1).double().numpy()


STYLE, CONTENT = (
    random_colours(20, 30, (0.6, 0.4, 0.45), 0.03),
    random_colours(17, 19, (0.3, 0.5, 0.7)),
)


def test_match_colors_gives_the_mean_and_covariance_of_the_content() -> None:
    found, content = matrix(color.match_colors(STYLE, CONTENT)), matrix(CONTENT)
    np.testing.assert_allclose(found.mean(axis=1), content.mean(axis=1), rtol=1e-10)
    covariance, expected = np.cov(found, bias=True), np.cov(content, bias=True)
    np.testing.assert_allclose(covariance, expected, atol=5 * REGULARISER)
    assert np.abs(expected).max() > 1000 * REGULARISER


def test_match_colors_is_the_smallest_linear_change() -> None:
    # The optimal transport of one Gaussian to another is the symmetric positive definite one.
    style, found = matrix(STYLE), matrix(color.match_colors(STYLE, CONTENT))
    centred = style - style.mean(axis=1, keepdims=True)
    moved = found - found.mean(axis=1, keepdims=True)
    transport, residual, *_ = np.linalg.lstsq(centred.T, moved.T, rcond=None)
    assert np.all(residual < 1e-20)
    np.testing.assert_allclose(transport, transport.T, atol=1e-10)
    assert np.linalg.eigvalsh(transport).min() > 0


def test_the_monge_map_turns_one_covariance_into_another() -> None:
    before, after = (np.cov(matrix(image), bias=True) for image in (STYLE, CONTENT))
    found = color.monge_map(*map(torch.from_numpy, (before, after))).numpy()
    np.testing.assert_allclose(found @ before @ found, after, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found, found.T, atol=1e-10)
    assert np.linalg.eigvalsh(found).min() > 0
    flat = color.monge_map(torch.from_numpy(before), torch.zeros(3, 3, dtype=torch.float64))
    np.testing.assert_allclose(flat, np.zeros((3, 3)), atol=1e-12)


def test_match_colors_of_an_image_to_itself_changes_nothing() -> None:
    torch.testing.assert_close(color.match_colors(STYLE, STYLE), STYLE, rtol=0, atol=1e-10)


def test_match_colors_of_grey_matches_its_luminance() -> None:
    # L' = sigma_C / sigma_S (L - mu_S) + mu_C (arXiv 1606.05897, section 4)
    style, content = random_colours(9, 8, (0.6,), 0.05), random_colours(12, 5, (0.3,))
    s, c = matrix(style), matrix(content)
    ratio = np.sqrt((c.var() + REGULARISER) / (s.var() + REGULARISER))
    expected = ratio * (s - s.mean()) + c.mean()
    np.testing.assert_allclose(
        matrix(color.match_colors(style, content)), expected, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("style", ["flat", "grey", "black", "colourful"])
@pytest.mark.parametrize("content", ["flat", "grey", "black", "colourful"])
def test_match_colors_of_degenerate_images_is_finite(
    style: str, content: str, dtype: torch.dtype
) -> None:
    pictures = {
        "flat": torch.full((1, 3, 9, 9), 0.4),
        "grey": random_colours(9, 9, (0.5,)).expand(1, 3, 9, 9),
        "black": torch.zeros(1, 3, 9, 9),
        "colourful": random_colours(9, 9, (0.5, 0.3, 0.4)),
    }
    given, to = pictures[style].to(dtype), pictures[content].to(dtype)
    found = color.match_colors(given, to)
    assert found.dtype == dtype and found.shape == given.shape
    assert found.isfinite().all()
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    torch.testing.assert_close(found.mean(dim=(2, 3)), to.mean(dim=(2, 3)), rtol=0, atol=2e-3)


@pytest.mark.parametrize("spread", [0.03, 1e-5])
def test_match_colors_in_float32_is_nearly_that_in_float64(spread: float) -> None:
    style = random_colours(20, 30, (0.6, 0.4, 0.45), spread)
    exact = color.match_colors(style.float().double(), CONTENT.float().double())
    found = color.match_colors(style.float(), CONTENT.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=3e-5)


class WithoutFloat64(TorchFunctionMode):
    """Simulate a device without float64: only results of `cpu` may become float64."""

    def __init__(self) -> None:
        super().__init__()
        self.on_cpu: list[torch.Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function is torch.Tensor.cpu:
            self.on_cpu.append(args[0].clone())
            return self.on_cpu[-1]
        if function is torch.Tensor.double:
            assert any(args[0] is tensor for tensor in self.on_cpu)
        return function(*args, **(kwargs or {}))


def test_match_colors_uses_float64_on_the_cpu_only() -> None:
    with WithoutFloat64() as device:
        color.match_colors(STYLE.float(), CONTENT.float())
    assert len(device.on_cpu) == 2


def test_match_colors_clamps_to_the_unit_range() -> None:
    style = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    content = (style > 0.5).float()
    found = color.match_colors(style, content)
    assert float(found.min()) == 0 and float(found.max()) == 1


def test_luminance_is_that_of_bt_601() -> None:
    found = matrix(color.luminance(CONTENT))
    expected = np.array([[0.299, 0.587, 0.114]]) @ matrix(CONTENT)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_grey_is_its_own_luminance() -> None:
    grey = random_colours(5, 6, (0.5,))
    assert torch.equal(color.luminance(grey), grey)
    torch.testing.assert_close(color.luminance(grey.expand(-1, 3, -1, -1)), grey)


def test_luminance_mode_keeps_the_contents_chroma() -> None:
    painted = random_colours(17, 19, (0.45,), 0.03)
    found = color.with_chroma(painted, CONTENT)
    i = np.array([0.596, -0.274, -0.322])  # the chroma of YIQ
    q = np.array([0.211, -0.523, 0.312])
    for axis in (i - i.mean(), q - q.mean()):
        np.testing.assert_allclose(axis @ matrix(found), axis @ matrix(CONTENT), atol=1e-12)
    np.testing.assert_allclose(matrix(color.luminance(found)), matrix(painted), rtol=0, atol=1e-12)


def test_the_restored_colours_are_clamped() -> None:
    painted = torch.tensor([-0.2, 0.3, 1.4]).view(1, 1, 1, 3)
    found = color.with_chroma(painted, torch.zeros(1, 1, 1, 3))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, 0.3, 1.0]))


@pytest.mark.parametrize("mode", ["style", "palette"])
def test_prepare_changes_nothing_in_style_and_palette_mode(mode: Any) -> None:
    content, (style,) = color.prepare(CONTENT, [STYLE], mode)
    assert torch.equal(content, CONTENT) and torch.equal(style, STYLE)


def test_prepare_recolours_every_style_in_match_mode() -> None:
    other = random_colours(6, 6, (0.5, 0.5, 0.4))
    content, styles = color.prepare(CONTENT, [STYLE, other], "match")
    assert torch.equal(content, CONTENT)
    for found, given in zip(styles, (STYLE, other), strict=True):
        assert torch.equal(found, color.match_colors(given, CONTENT))


def test_prepare_returns_one_matched_channel_in_luminance_mode() -> None:
    content, (style,) = color.prepare(CONTENT, [STYLE], "luminance")
    assert torch.equal(content, color.luminance(CONTENT))
    assert style.shape == (1, 1, 20, 30)
    assert float(style.mean()) == pytest.approx(float(content.mean()), rel=1e-9)


@pytest.mark.parametrize("mode", ["style", "palette", "luminance", "match"])
@pytest.mark.parametrize("channels", [(1, 1), (1, 3), (3, 1)])
def test_prepare_converts_grey_and_colour_to_each_other(
    mode: Any, channels: tuple[int, int]
) -> None:
    of_content, of_style = channels
    content, (style,) = color.prepare(CONTENT[:, :of_content], [STYLE[:, :of_style]], mode)
    assert (
        content.shape[1] == style.shape[1] == (1 if mode == "luminance" or of_content == 1 else 3)
    )
    if (mode, channels) == ("style", (1, 3)):
        assert torch.equal(style, color.luminance(STYLE))
    if (mode, channels) == ("style", (3, 1)):
        assert torch.equal(style, STYLE[:, :1].repeat(1, 3, 1, 1))
