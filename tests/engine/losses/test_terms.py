from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from engine_helpers import finite_differences
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_nst.engine.losses import terms as losses
from napari_nst.engine.network.statistics import Statistics, feature_gradient

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = Any  # float64; hypothesis evaluates annotations
values = st.floats(-100, 100, width=32)
features = arrays(np.float64, array_shapes(min_dims=3, max_dims=3, max_side=5), elements=values)

GENERATED, CONTENT, STYLE = (
    np.random.default_rng(0).normal(0.3, 1, (4, 3, 5)),
    np.random.default_rng(1).normal(0.3, 1, (4, 3, 5)),
    np.random.default_rng(2).normal(-0.1, 2, (4, 2, 3)),
)


def check_close(actual: torch.Tensor, expected: Array, rtol: float = 1e-12) -> None:
    """Compare up to rounding in float64, relative to the largest entry."""
    expected = np.asarray(expected, np.float64)
    scale = max(float(np.abs(expected).max()), 1e-300)
    np.testing.assert_allclose(actual.detach().numpy() / scale, expected / scale, atol=rtol)


def gram_in_numpy(f: Array) -> Array:
    """Return the Gram matrix of equation 3."""
    f = f.reshape(f.shape[0], -1)
    n, m = f.shape
    return np.array(
        [[sum(f[i, k] * f[j, k] for k in range(m)) for j in range(n)] for i in range(n)]
    )


def moment_in_numpy(f: Array) -> Array:
    return gram_in_numpy(f) / f[0].size


# Equations in numpy


def content_in_numpy(f: Array, p: Array) -> float:
    return 0.5 * float(((f - p) ** 2).sum())


def relative_content_in_numpy(f: Array, p: Array) -> float:
    return float(((f - p) ** 2).sum() / (p**2).sum())


def gram_loss_in_numpy(f: Array, a: Array) -> float:
    difference = moment_in_numpy(f) - moment_in_numpy(a)
    return float((difference**2).sum()) / (4 * f.shape[0] ** 2)


def relative_gram_in_numpy(f: Array, a: Array) -> float:
    target = moment_in_numpy(a)
    difference = moment_in_numpy(f) - target
    numerator = (difference**2).sum() / np.abs(difference).sum()
    return float(numerator / ((target**2).sum() / np.abs(target).sum()))


@settings(max_examples=30)
@given(features)
def test_outer_sums_are_gram_matrices_of_equation_3(f: Array) -> None:
    check_close(Statistics.from_features(torch.from_numpy(f)).outer_sum, gram_in_numpy(f))


@settings(max_examples=30)
@given(st.data(), array_shapes(min_dims=3, max_dims=4, max_side=4))
def test_content_term_is_equation_1_with_equation_2(
    data: st.DataObject, shape: tuple[int, ...]
) -> None:
    f, p = (data.draw(arrays(np.float64, shape, elements=values)) for _ in range(2))
    term = losses.content_term(torch.from_numpy(f), torch.from_numpy(p))
    check_close(term.value, content_in_numpy(f, p))
    check_close(term.gradient, f - p)


def gram_loss(f: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    return losses.gram_term(Statistics.from_features(f), Statistics.from_features(a)).value


def test_gram_term_is_equation_4_if_the_sizes_agree() -> None:
    n, m = 4, 15
    f, a = gram_in_numpy(GENERATED), gram_in_numpy(CONTENT)
    expected = ((f - a) ** 2).sum() / (4 * n**2 * m**2)
    found = gram_loss(torch.from_numpy(GENERATED), torch.from_numpy(CONTENT))
    check_close(found, expected)


@settings(max_examples=30)
@given(
    st.data(),
    st.integers(1, 4),
    array_shapes(min_dims=2, max_dims=2, max_side=4),
    array_shapes(min_dims=2, max_dims=2, max_side=4),
)
def test_gram_term_divides_each_gram_matrix_by_its_own_size(
    data: st.DataObject, channels: int, size: tuple[int, int], other: tuple[int, int]
) -> None:
    f = data.draw(arrays(np.float64, (channels, *size), elements=values))
    a = data.draw(arrays(np.float64, (channels, *other), elements=values))
    found = gram_loss(torch.from_numpy(f)[None], torch.from_numpy(a)[None])
    largest = max(np.abs(f).max(), np.abs(a).max(), 1e-30)
    assert float(found) == pytest.approx(gram_loss_in_numpy(f, a), rel=1e-9, abs=1e-12 * largest**4)


def test_gram_term_of_a_repeated_image_is_zero() -> None:
    f = torch.from_numpy(GENERATED)
    assert float(gram_loss(f, f.repeat(1, 2, 3))) == pytest.approx(0, abs=1e-28)


@settings(max_examples=30)
@given(
    arrays(
        np.float64,
        st.tuples(st.just(1), st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 5)),
        elements=st.floats(0, 1, width=32),
    )
)
def test_total_variation_sums_squared_differences_over_nine_points(image: Array) -> None:
    _, channels, height, width = image.shape
    total = 0.0
    for c, y, x in np.ndindex(channels, height, width):
        down, right = min(y + 1, height - 1), min(x + 1, width - 1)
        here, beside = image[0, c, y, x], image[0, c, y, right]
        below, across = image[0, c, down, x], image[0, c, down, right]
        total += ((beside - here) ** 2 + (below - here) ** 2) / 3
        total += ((across - here) ** 2 + (beside - below) ** 2) / 12
    padded = np.pad(image, ((0, 0), (0, 0), (0, 1), (0, 1)), mode="edge")
    found = losses.variation_term(torch.from_numpy(padded)).value
    assert float(found) == pytest.approx(2 * total, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("size", [(1, 3, 5, 7), (1, 1, 2, 2), (1, 3, 2, 9)])
def test_the_variation_term_has_the_gradient_of_autograd(size: tuple[int, ...]) -> None:
    padded = torch.from_numpy(np.random.default_rng(3).random(size)).requires_grad_()
    corner, right = padded[..., :-1, :-1], padded[..., :-1, 1:]
    below, opposite = padded[..., 1:, :-1], padded[..., 1:, 1:]
    straight = (right - corner).square().sum() + (below - corner).square().sum()
    diagonal = (opposite - corner).square().sum() + (right - below).square().sum()
    expected = 2 * (straight / 3 + diagonal / 12)
    (gradient,) = torch.autograd.grad(expected, padded)
    before = padded.detach().clone()
    term = losses.variation_term(padded.detach())
    torch.testing.assert_close(term.value, expected.detach(), rtol=1e-13, atol=0)
    torch.testing.assert_close(term.gradient, gradient, rtol=1e-12, atol=1e-13)
    assert torch.equal(padded.detach(), before)


def relative_content_term(f: torch.Tensor, p: torch.Tensor) -> losses.ContentTerm:
    return losses.relative_content_term(f, p, float(p.square().sum()))


CONTENT_TERMS = [
    pytest.param(losses.content_term, content_in_numpy, id="content"),
    pytest.param(relative_content_term, relative_content_in_numpy, id="relative content"),
]
STYLE_TERMS = [
    pytest.param(losses.gram_term, gram_loss_in_numpy, id="gram"),
    pytest.param(losses.relative_gram_term, relative_gram_in_numpy, id="relative gram"),
]


@pytest.mark.parametrize(("term", "formula"), CONTENT_TERMS)
def test_content_terms_match_their_formula_and_its_finite_differences(
    term: Any, formula: Any
) -> None:
    found = term(torch.from_numpy(GENERATED.copy()), torch.from_numpy(CONTENT))
    assert float(found.value) == pytest.approx(formula(GENERATED, CONTENT), rel=1e-12)
    measured = finite_differences(lambda f: formula(f, CONTENT), GENERATED, 1e-4)
    check_close(found.gradient, measured, rtol=1e-9)


@pytest.mark.parametrize(("term", "formula"), CONTENT_TERMS)
def test_content_terms_do_not_change_the_features(term: Any, formula: Any) -> None:
    f, p = torch.from_numpy(GENERATED.copy()), torch.from_numpy(CONTENT.copy())
    term(f, p)
    assert np.array_equal(f.numpy(), GENERATED)
    assert np.array_equal(p.numpy(), CONTENT)


def feature_gradient_of(term: Any, generated: NDArray[Any], target: NDArray[Any]) -> torch.Tensor:
    f = torch.from_numpy(np.ascontiguousarray(generated))
    found = term(Statistics.from_features(f), Statistics.from_features(torch.from_numpy(target)))
    scale = 1 / (f.shape[-2] * f.shape[-1])
    return feature_gradient(f, found.mean_gradient, found.moment_gradient, scale=scale)


@pytest.mark.parametrize(("term", "formula"), STYLE_TERMS)
def test_style_terms_match_their_formula(term: Any, formula: Any) -> None:
    found = term(*(Statistics.from_features(torch.from_numpy(f)) for f in (GENERATED, STYLE)))
    assert float(found.value) == pytest.approx(formula(GENERATED, STYLE), rel=1e-12)


@pytest.mark.parametrize(("term", "formula"), STYLE_TERMS)
def test_gradients_of_style_terms_match_finite_differences(term: Any, formula: Any) -> None:
    measured = finite_differences(lambda f: formula(f, STYLE), GENERATED, 1e-5)
    check_close(feature_gradient_of(term, GENERATED, STYLE), measured, rtol=1e-7)


@pytest.mark.parametrize(("term", "formula"), STYLE_TERMS)
def test_gradients_of_style_terms_match_autograd(term: Any, formula: Any) -> None:
    f = torch.from_numpy(GENERATED.copy()).requires_grad_()
    value = term(
        Statistics.from_features(f), Statistics.from_features(torch.from_numpy(STYLE))
    ).value
    (expected,) = torch.autograd.grad(value, f)
    check_close(feature_gradient_of(term, GENERATED, STYLE), expected.numpy())


def test_the_gradient_of_the_gram_term_is_equation_6() -> None:
    # dE/dF = 1 / (N^2 M^2) F^T (G - A), for a style of the content's size
    difference = gram_in_numpy(GENERATED) - gram_in_numpy(CONTENT)
    matrix = GENERATED.reshape(4, 15)
    expected = (difference @ matrix / (4**2 * 15**2)).reshape(GENERATED.shape)
    check_close(feature_gradient_of(losses.gram_term, GENERATED, CONTENT), expected)


@pytest.mark.parametrize("scale", [0.1, 1.0, 1e4])
def test_relative_terms_of_black_features_are_one_at_every_scale(scale: float) -> None:
    black = torch.zeros(4, 3, 5, dtype=torch.float64)
    content, style = torch.from_numpy(CONTENT * scale), torch.from_numpy(STYLE * scale)
    assert float(relative_content_term(black, content).value) == pytest.approx(1, rel=1e-12)
    term = losses.relative_gram_term(
        Statistics.from_features(black), Statistics.from_features(style)
    )
    assert float(term.value) == pytest.approx(1, rel=1e-12)


@settings(max_examples=20)
@given(st.floats(0.1, 1e3))
def test_relative_terms_do_not_depend_on_the_scale(scale: float) -> None:
    f, p, a = (torch.from_numpy(array.copy()) for array in (GENERATED, CONTENT, STYLE))
    plain, scaled = relative_content_term(f, p), relative_content_term(scale * f, scale * p)
    assert float(scaled.value) == pytest.approx(float(plain.value), rel=1e-9)
    check_close(scaled.gradient * scale, plain.gradient.numpy(), rtol=1e-9)
    one = losses.relative_gram_term(Statistics.from_features(f), Statistics.from_features(a))
    other = losses.relative_gram_term(
        Statistics.from_features(scale * f), Statistics.from_features(scale * a)
    )
    assert float(other.value) == pytest.approx(float(one.value), rel=1e-9)


@pytest.mark.parametrize("target", [GENERATED, np.zeros_like(GENERATED)])
@pytest.mark.parametrize(("term", "formula"), STYLE_TERMS)
def test_style_terms_are_zero_without_gradient_at_their_target(
    term: Any, formula: Any, target: NDArray[Any]
) -> None:
    f = torch.from_numpy(target.copy())
    found = term(Statistics.from_features(f), Statistics.from_features(f))
    assert float(found.value) == 0
    assert not found.moment_gradient.any()


def test_content_terms_are_zero_without_gradient_at_their_target() -> None:
    for array in (CONTENT, np.zeros_like(CONTENT)):
        f = torch.from_numpy(array.copy())
        for term in (losses.content_term(f, f), relative_content_term(f, f)):
            assert float(term.value) == 0
            assert not term.gradient.any()


def test_bfloat16_features_are_summed_in_float32() -> None:
    # In bfloat16 a sum of ones would stop at 256.
    f = torch.ones(1, 2, 20, 20, dtype=torch.bfloat16)
    assert float(gram_loss(f, torch.zeros_like(f))) == 4 / (4 * 2**2)
