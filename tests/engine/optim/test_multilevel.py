from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.engine.optim.multilevel import LEVELS, keep_detail_, precondition_

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def halving(side: int) -> Array:
    """Return the transpose of bilinear interpolation to twice the size, with zeros around."""
    matrix = np.zeros((side // 2, side))
    for row in range(side // 2):
        for column, weight in enumerate((0.25, 0.75, 0.75, 0.25), start=2 * row - 1):
            if 0 <= column < side:
                matrix[row, column] = weight
    return matrix


def precondition_in_numpy(step: Array, share: float) -> Array:
    """Add coarser and coarser versions of a step, as sums over a pyramid."""
    rows, columns = np.eye(step.shape[-2]), np.eye(step.shape[-1])
    found = step.copy()
    for level in range(1, LEVELS + 1):
        if min(len(rows), len(columns)) < 2:
            break
        rows, columns = halving(len(rows)) @ rows, halving(len(columns)) @ columns
        coarse = rows @ step @ columns.T
        found += share * 2.0**-level * (rows.T @ coarse @ columns)
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 41), st.integers(1, 41), st.sampled_from([1, 3]), st.floats(0, 4), st.integers(0)
)
def test_the_preconditioner_matches_numpy(
    height: int, width: int, channels: int, share: float, seed: int
) -> None:
    step = np.random.default_rng(seed).normal(size=(1, channels, height, width))
    found = torch.from_numpy(step.copy())
    assert precondition_(found, share) is found
    np.testing.assert_allclose(found.numpy(), precondition_in_numpy(step, share), atol=1e-12)


def test_preconditioned_steps_descend_and_amplify_patches_more_than_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, 64, 64, generator=generator, dtype=torch.float64)
    patch = torch.ones_like(noise)
    gains = []
    for step in (noise, patch):
        along = float((precondition_(step.clone(), 0.5) * step).sum())
        gains.append(along / float(step.square().sum()))
    assert gains[0] > 1
    assert gains[1] > 5 * gains[0]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 41), st.integers(2, 41), st.sampled_from([1, 3]), st.integers(0))
def test_detail_is_what_is_left_without_the_image_at_half_its_size(
    height: int, width: int, channels: int, seed: int
) -> None:
    step = np.random.default_rng(seed).normal(size=(1, channels, height, width))
    found = torch.from_numpy(step.copy())
    assert keep_detail_(found) is found
    rows, columns = halving(height), halving(width)
    coarse = rows @ step @ columns.T / 4
    np.testing.assert_allclose(found.numpy(), step - rows.T @ coarse @ columns, atol=1e-12)
    assert 0 <= float((found * torch.from_numpy(step)).sum()) <= np.square(step).sum()


@pytest.mark.parametrize(("period", "smallest", "largest"), [(2, 0.9, 1), (64, 0, 0.02)])
def test_detail_has_the_finest_waves_and_not_those_that_half_the_size_can_show(
    period: int, smallest: float, largest: float
) -> None:
    wave = torch.cos(2 * torch.pi * torch.arange(128) / period).expand(1, 1, 128, 128)
    kept = keep_detail_(wave.double().clone())[..., 8:-8, 8:-8]
    share = float(kept.abs().max() / wave.abs().max())
    assert smallest <= share <= largest


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_image_one_pixel_high_is_unchanged(share: float) -> None:
    assert precondition_(torch.full((1, 3, 1, 9), 0.25), share).eq(0.25).all()
    assert keep_detail_(torch.full((1, 3, 1, 9), 0.25)).eq(0.25).all()
