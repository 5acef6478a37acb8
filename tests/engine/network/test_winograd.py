"""Winograd's convolution, compared with torch's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from napari_nst.engine.network import winograd
from napari_nst.engine.network.winograd import WinogradConvolution


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    return found.contiguous(memory_format=layout)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 23),
    width=st.integers(1, 23),
    in_channels=st.integers(1, 5),
    out_channels=st.integers(1, 5),
    strip_bytes=st.sampled_from([1, 20_000, 2**22]),
)
def test_results_in_float64_equal_those_of_torch(
    height: int, width: int, in_channels: int, out_channels: int, strip_bytes: int
) -> None:
    image = random(1, in_channels, height, width)
    weight = random(out_channels, in_channels, 3, 3, seed=1)
    bias, gradient = random(out_channels, seed=2), random(1, out_channels, height, width, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_STRIP_BYTES", strip_bytes)
        convolution = WinogradConvolution(weight)
        found = convolution(image, bias)
        found_gradient = convolution.gradient(gradient)
    torch.testing.assert_close(found, functional.conv2d(image, weight, bias, padding=1))
    expected = functional.conv_transpose2d(gradient, weight, padding=1)
    torch.testing.assert_close(found_gradient, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [64, 512])
def test_rounding_errors_in_float32_are_small(channels: int) -> None:
    weight = random(channels, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
    image, bias = random(1, channels, 37, 30, seed=1).relu(), random(channels, seed=2)
    exact = functional.conv2d(image, weight, bias, padding=1)
    exact_gradient = functional.conv_transpose2d(image, weight, padding=1)
    convolution = WinogradConvolution(weight.float())
    narrow = image.float().contiguous(memory_format=torch.channels_last)
    for found, expected in (
        (convolution(narrow, bias.float()), exact),
        (convolution.gradient(narrow), exact_gradient),
    ):
        error = (found.double() - expected).norm() / expected.norm()
        assert error < 1e-5


def test_inputs_are_unchanged_and_results_are_repeatable() -> None:
    weight, bias = random(8, 8, 3, 3, dtype=torch.float32), random(8, dtype=torch.float32)
    image = random(1, 8, 40, 41, dtype=torch.float32)
    before = image.clone()
    convolution = WinogradConvolution(weight)
    first, second = convolution(image, bias), convolution(image, bias)
    assert torch.equal(first, second)
    assert torch.equal(convolution.gradient(image), convolution.gradient(image))
    assert torch.equal(image, before)
