from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from napari_nst.engine.pooling import max_pool, max_unpool


@given(
    st.integers(2, 9),
    st.integers(2, 9),
    st.sampled_from([torch.bfloat16, torch.float32, torch.float64]),
    st.booleans(),
    st.integers(0, 99),
)
def test_maxima_and_their_gradient_are_torchs(
    height: int, width: int, dtype: torch.dtype, on_another_device: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few values, so that there are equal ones among four.
    x = torch.randint(-3, 4, (1, 5, height, width), generator=generator).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = functional.max_pool2d(x, 2)
    gradient = torch.rand(expected.shape, generator=generator).to(dtype)
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    (expected_back,) = torch.autograd.grad(expected, x, gradient)
    with torch.no_grad():
        found, maxima = max_pool(x)
        assert maxima.pooled is None  # on a processor it is not needed
        if on_another_device:
            maxima = maxima._replace(pooled=x)
        assert torch.equal(found, expected)
        back = max_unpool(gradient, maxima)
    assert torch.equal(back, expected_back)
    assert back.dtype == dtype


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_features_stay_channels_last(size: tuple[int, int]) -> None:
    x = torch.rand(1, 16, *size).contiguous(memory_format=torch.channels_last)
    found, maxima = max_pool(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    back = max_unpool(found, maxima)
    assert back.shape == x.shape and back.is_contiguous(memory_format=torch.channels_last)
