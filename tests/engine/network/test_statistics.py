from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nst.engine.network.statistics import PositionWeights, Statistics, feature_gradient
from napari_nst.engine.resources.precision import wide_dtype
from napari_nst.engine.resources.strips import strips

RNG = np.random.default_rng(0)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 6))
features = arrays(np.float64, shapes, elements=st.floats(-10, 10, width=32))


def statistics(array: Any) -> Statistics:
    return Statistics.from_features(torch.from_numpy(np.ascontiguousarray(array)))


def check_equal(one: Statistics, other: Statistics) -> None:
    """Check that statistics agree up to rounding in float64."""
    assert one.weight == pytest.approx(other.weight, rel=1e-12)
    for name in ("feature_sum", "outer_sum"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-12, atol=1e-11)


@settings(max_examples=30)
@given(features)
def test_sums_match_numpy(f: Any) -> None:
    matrix = f.reshape(len(f), -1)
    found = statistics(f)
    assert float(found.weight) == matrix.shape[1]
    np.testing.assert_allclose(found.feature_sum, matrix.sum(axis=1), rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(found.outer_sum, matrix @ matrix.T, rtol=1e-12, atol=1e-11)


@settings(max_examples=30)
@given(features, st.data())
def test_sums_of_two_parts_add_up_to_the_whole(f: Any, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, f.shape[2] - 1))
    check_equal(statistics(f[:, :, :cut]) + statistics(f[:, :, cut:]), statistics(f))


@settings(max_examples=20)
@given(features, st.integers(1, 4))
def test_scaling_by_k_equals_k_copies(f: Any, copies: int) -> None:
    check_equal(statistics(f).scaled(copies), statistics(np.tile(f, (1, copies, 1))))


@settings(max_examples=20)
@given(features, st.floats(0.1, 10))
def test_means_do_not_depend_on_the_weight(f: Any, factor: float) -> None:
    plain, scaled = statistics(f), statistics(f).scaled(factor)
    for name in ("mean", "second_moment", "covariance"):
        torch.testing.assert_close(
            getattr(scaled, name), getattr(plain, name), rtol=1e-12, atol=1e-11
        )


def test_mean_second_moment_and_covariance_match_numpy() -> None:
    f = RNG.normal(2, 3, (4, 7, 6))
    matrix = f.reshape(4, -1)
    found = statistics(f)
    np.testing.assert_allclose(found.mean, matrix.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.second_moment, matrix @ matrix.T / 42, rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(matrix, bias=True), rtol=1e-11, atol=1e-12)


def test_the_standard_deviation_matches_numpy_and_is_never_0() -> None:
    f = RNG.normal(2, 3, (4, 7, 6))
    f[1] = 0
    f[2] = 1e4  # its variance is a difference of two large numbers
    expected = np.sqrt(f.reshape(4, -1).var(axis=1) + 1e-8)
    np.testing.assert_allclose(statistics(f).std[:2], expected[:2], rtol=1e-9)
    assert 0 < float(statistics(f).std[2]) < 1e-2
    np.testing.assert_allclose(statistics(f).std[3], expected[3], rtol=1e-9)


@pytest.mark.parametrize(
    ("channels", "positions"), [(4, 42), (6, 3), (5, 1), (1, 9)], ids=lambda n: str(n)
)
def test_the_root_of_the_covariance_matches_scipy(channels: int, positions: int) -> None:
    f = RNG.normal(2, 3, (channels, 1, positions))
    f[:1] *= channels == 1  # a dead channel
    found = statistics(f)
    covariance = np.cov(f.reshape(channels, -1), bias=True).reshape(channels, channels)
    regular = covariance + 1e-4 * np.eye(channels)  # singular with few positions
    np.testing.assert_allclose(found.regular_covariance, regular, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-10, atol=1e-12)
    root = found.covariance_root
    np.testing.assert_allclose(root @ root, regular, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(root, scipy.linalg.sqrtm(regular), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(root, root.mT, rtol=0, atol=1e-12)


def test_a_blend_has_the_statistics_of_the_mixture() -> None:
    # 6 and 4 positions: 2 copies of one and 6 of the other are 12 and 24, a mixture of 1 : 2.
    one, other = RNG.normal(1, 2, (3, 2, 3)), RNG.normal(-4, 1, (3, 2, 2))
    population = np.concatenate(
        [np.tile(one.reshape(3, -1), 2), np.tile(other.reshape(3, -1), 6)], axis=1
    )
    blend = Statistics.blend([statistics(one), statistics(other)], [1, 2])
    np.testing.assert_allclose(blend.mean, population.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(blend.second_moment, population @ population.T / 36, rtol=1e-12)
    np.testing.assert_allclose(blend.covariance, np.cov(population, bias=True), rtol=1e-11)


def test_a_blend_of_two_flat_colours_is_not_flat() -> None:
    dark, bright = np.zeros((1, 2, 2)), np.full((1, 3, 3), 2.0)
    assert float(statistics(dark).covariance) == float(statistics(bright).covariance) == 0
    assert float(Statistics.blend([statistics(dark), statistics(bright)], [1, 1]).covariance) == 1


@settings(max_examples=20)
@given(features, st.lists(st.floats(0.1, 9), min_size=1, max_size=4))
def test_a_blend_of_one_style_with_itself_is_that_style(f: Any, shares: list[float]) -> None:
    blend = Statistics.blend([statistics(f)] * len(shares), shares)
    torch.testing.assert_close(
        blend.second_moment, statistics(f).second_moment, rtol=1e-12, atol=1e-11
    )
    torch.testing.assert_close(blend.mean, statistics(f).mean, rtol=1e-12, atol=1e-11)
    assert float(blend.weight) == pytest.approx(1)


def test_a_style_of_share_0_is_ignored() -> None:
    one, other = statistics(RNG.normal(size=(3, 4, 4))), statistics(RNG.normal(size=(3, 2, 5)))
    check_equal(Statistics.blend([one, other], [3, 0]), one.scaled(1 / 16))


def test_a_blend_needs_one_share_for_each_style() -> None:
    part = statistics(np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="zip"):
        Statistics.blend([part, part], [1])


@pytest.mark.parametrize("with_first", [True, False])
def test_the_feature_gradient_matches_autograd(with_first: bool) -> None:
    f = torch.from_numpy(RNG.normal(size=(1, 4, 3, 5))).requires_grad_()
    first = torch.from_numpy(RNG.normal(size=4))
    second = torch.from_numpy(RNG.normal(size=(4, 4)))
    second = second + second.mT
    sums = Statistics.from_features(f)
    value = (second * sums.outer_sum).sum() + (first * sums.feature_sum).sum() * with_first
    (expected,) = torch.autograd.grad(value, f)
    found = feature_gradient(f.detach(), first if with_first else None, second)
    assert found.shape == f.shape
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [5, 32])  # oneDNN is used for multiples of 16
@pytest.mark.parametrize("cropped", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("with_first", [True, False])
def test_the_feature_gradient_is_added_in_place(
    dtype: torch.dtype, channels: int, cropped: bool, weighted: bool, with_first: bool
) -> None:
    size = (1, channels, 7, 9)
    f, there = (
        torch.from_numpy(RNG.normal(size=size))
        .to(dtype)
        .contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )
    first = torch.from_numpy(RNG.normal(size=channels)) if with_first else None
    second = torch.from_numpy(RNG.normal(size=(channels, channels))) / channels
    second = second + second.mT
    weights = torch.from_numpy(RNG.random((7, 9))) if weighted else None
    before, inner = there.clone(), (..., slice(1, 6), slice(2, 8)) if cropped else (...,)
    w = None if weights is None else weights[inner[1:]]
    positions = None if w is None else PositionWeights.from_mask(w)
    alone = 2 * second @ f[inner].double().flatten(2)[0]
    alone = (alone if first is None else alone + first[:, None]).reshape(f[inner].shape)
    expected = before[inner].double() + (alone if w is None else alone * w)
    found = feature_gradient(f[inner], first, second, positions, onto=there[inner])
    assert found.data_ptr() == there[inner].data_ptr()
    precision = 4 * torch.finfo(dtype).eps * float(expected.abs().max())
    torch.testing.assert_close(there[inner].double(), expected, rtol=0, atol=precision)
    if cropped:
        there[inner] = before[inner]
        assert torch.equal(there, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_sums_in_strips_are_close_to_float64(dtype: torch.dtype) -> None:
    f = torch.from_numpy(RNG.normal(size=(1, 64, 150, 131)))  # five megabytes in float32
    f = f.to(dtype).contiguous(memory_format=torch.channels_last)
    assert len(list(strips(f))) == 2
    matrix = f.double().flatten(2)[0]
    sums = Statistics.from_features(f)
    exact = matrix @ matrix.mT
    # Ten thousand products, summed in float32 in an order that depends on the CPU.
    assert float((sums.outer_sum - exact).norm() / exact.norm()) < 2e-6
    torch.testing.assert_close(sums.feature_sum, matrix.sum(dim=1), rtol=0, atol=2e-4)
    weights = torch.from_numpy(RNG.random((150, 131)))
    guided = Statistics.from_features(f, PositionWeights.from_mask(weights))
    exact = matrix * weights.flatten() @ matrix.mT
    assert float((guided.outer_sum - exact).norm() / exact.norm()) < 1e-6


def test_the_memory_layout_does_not_matter() -> None:
    plain = torch.from_numpy(RNG.normal(size=(1, 5, 4, 6)))
    last = plain.contiguous(memory_format=torch.channels_last)
    assert last.stride() != plain.stride()
    check_equal(Statistics.from_features(last), Statistics.from_features(plain))
    first, second = torch.from_numpy(RNG.normal(size=5)), torch.eye(5, dtype=torch.float64)
    gradient = feature_gradient(last, first, second)
    torch.testing.assert_close(
        gradient, feature_gradient(plain, first, second), rtol=1e-12, atol=1e-12
    )
    # The backward pass of the network needs no copy.
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_sums_are_float64_and_gradients_have_the_dtype_of_the_features(dtype: torch.dtype) -> None:
    f = torch.full((1, 2, 30, 30), 3.0, dtype=dtype)
    sums = Statistics.from_features(f)
    assert sums.feature_sum is not None
    assert {sums.feature_sum.dtype, sums.outer_sum.dtype} == {torch.float64}
    assert sums.feature_sum.tolist() == [2700, 2700]
    assert sums.outer_sum.tolist() == [[8100, 8100], [8100, 8100]]
    assert feature_gradient(f, sums.feature_sum / 2700, sums.outer_sum / 8100).dtype == dtype


def test_wide_dtype_is_float64_except_on_apple_gpus() -> None:
    assert wide_dtype(torch.device("cpu")) == torch.float64
    assert wide_dtype(torch.device("cuda")) == torch.float64
    assert wide_dtype(torch.device("mps")) == torch.float32
