from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from napari_nst.engine.network import pooling
from napari_nst.engine.network.pooling import max_pool, max_unpool


@given(
    st.integers(2, 9),
    # The widest: strips of a single row, and indices beyond int16.
    st.integers(2, 9) | st.sampled_from([2**13, 2**14 - 1, 2**14, 2**14 + 1, 2**15 + 3]),
    st.sampled_from([torch.bfloat16, torch.float32, torch.float64]),
    st.sampled_from(["cpu", "cuda", "mps"]),
    st.integers(0, 99),
)
def test_maxima_and_their_gradient_match_torch(
    height: int, width: int, dtype: torch.dtype, device_type: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few values, so that windows have several maxima.
    x = torch.randint(-3, 4, (1, 5, height, width), generator=generator).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = functional.max_pool2d(x, 2)
    gradient = torch.rand(expected.shape, generator=generator).to(dtype)
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    (expected_gradient,) = torch.autograd.grad(expected, x, gradient)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooling, "_device_type", lambda x: device_type)
        found, maxima = max_pool(x)
        found_gradient = max_unpool(gradient, maxima)
    assert torch.equal(found, expected)
    assert torch.equal(found_gradient, expected_gradient)
    assert found_gradient.dtype == dtype


@pytest.mark.parametrize("width", [600, 2**14 + 2])
def test_pooling_in_strips_matches_torch(width: int) -> None:
    x = torch.rand(1, 3, 131, width).contiguous(memory_format=torch.channels_last)
    expected, where = functional.max_pool2d(x, 2, return_indices=True)
    found, maxima = max_pool(x)
    assert torch.equal(found, expected)
    found_gradient = max_unpool(found, maxima)
    assert torch.equal(
        found_gradient, functional.max_unpool2d(found, where, [2, 2], output_size=x.shape)
    )


@pytest.mark.parametrize("device_type", ["cpu", "cuda", "mps"])
@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_features_stay_channels_last_and_indices_are_narrow(
    size: tuple[int, int], device_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooling, "_device_type", lambda x: device_type)
    x = torch.rand(1, 16, *size).contiguous(memory_format=torch.channels_last)
    found, maxima = max_pool(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert maxima.indices.is_contiguous(memory_format=torch.channels_last)
    assert maxima.indices.element_size() <= (2 if device_type == "cpu" else 4)  # torch's own: 8
    found_gradient = max_unpool(found, maxima)
    assert found_gradient.shape == x.shape and found_gradient.is_contiguous(
        memory_format=torch.channels_last
    )
