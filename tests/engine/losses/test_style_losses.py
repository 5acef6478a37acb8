"""The style losses "gram+moments" and "wasserstein"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import scipy.linalg
import torch
from engine_helpers import finite_differences, quick_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst import StyleTransferSettings, stylize
from napari_nst.engine.losses import terms as losses
from napari_nst.engine.network.statistics import Statistics, feature_gradient

if TYPE_CHECKING:
    from collections.abc import Callable

Array = Any

RIDGE = 1e-4  # added to the diagonal of a covariance
FLOOR = 1e-8  # added to a variance


def features(seed: int, channels: int, positions: int, *, dead: tuple[int, ...] = ()) -> Array:
    """Return correlated features; dead channels are 0 everywhere."""
    rng = np.random.default_rng(seed)
    f = rng.normal(0, 1, (channels, channels)) @ rng.normal(0.3, 1, (channels, positions))
    f[list(dead)] = 0
    return f[:, None]


# Features of content and style.  A covariance is singular with fewer positions than channels, or
# with dead channels.
PAIRS = {
    "plain": (features(0, 4, 15), features(1, 4, 9)),
    "few positions": (features(2, 6, 3), features(3, 6, 4)),
    "a single position": (features(4, 3, 1), features(5, 3, 7)),
    "dead channels": (features(6, 5, 8, dead=(0, 2)), features(7, 5, 9, dead=(2, 3))),
}
each_pair = pytest.mark.parametrize(
    ("generated", "style"), [pytest.param(*pair, id=name) for name, pair in PAIRS.items()]
)


# Definitions in numpy and scipy


def moments(f: Array) -> tuple[Array, Array, Array]:
    """Return the mean, the mean of F F^T, and the covariance."""
    f = f.reshape(len(f), -1)
    return f.mean(axis=1), f @ f.T / f.shape[1], np.atleast_2d(np.cov(f, bias=True))


def std(f: Array) -> Array:
    return np.sqrt(f.reshape(len(f), -1).var(axis=1) + FLOOR)


def normalized(d: Array, target: Array) -> float:
    level = (target**2).sum() / np.abs(target).sum()
    return float((d**2).sum() / np.abs(d).sum() / level)


def gram_moments(f: Array, a: Array) -> float:
    n = len(f)
    gram = ((moments(f)[1] - moments(a)[1]) ** 2).sum() / (4 * n**2)
    mean = ((moments(f)[0] - moments(a)[0]) ** 2).sum() / n
    return float(gram + mean + ((std(f) - std(a)) ** 2).sum() / n)


def relative_gram_moments(f: Array, a: Array) -> float:
    gram = normalized(moments(f)[1] - moments(a)[1], moments(a)[1])
    mean = normalized(moments(f)[0] - moments(a)[0], moments(a)[0])
    return gram / 2 + mean / 4 + normalized(std(f) - std(a), std(a)) / 4


def wasserstein(f: Array, a: Array) -> float:
    (mean, _, covariance), (mean_a, _, covariance_a) = moments(f), moments(a)
    ridge = RIDGE * np.eye(len(f))
    covariance, covariance_a = covariance + ridge, covariance_a + ridge
    # tr (S_t^1/2 S S_t^1/2)^1/2 = tr (S_t S)^1/2, as the two products are similar
    root = scipy.linalg.sqrtm(covariance_a @ covariance).real
    spread = np.trace(covariance + covariance_a - 2 * root)
    return float(((mean - mean_a) ** 2).sum() + spread) / len(f)


def relative_wasserstein(f: Array, a: Array) -> float:
    energy = float((a**2).sum(axis=0).mean()) / len(a)
    return wasserstein(f, a) / energy


FORMULAS: dict[tuple[str, bool], Callable[[Array, Array], float]] = {
    ("gram+moments", False): gram_moments,
    ("gram+moments", True): relative_gram_moments,
    ("wasserstein", False): wasserstein,
    ("wasserstein", True): relative_wasserstein,
}
each_form = pytest.mark.parametrize("form", [pytest.param(f, id=str(f)) for f in FORMULAS])
each_term = pytest.mark.parametrize(
    "form", [pytest.param(f, id=str(f)) for f in losses.STYLE_TERMS]
)


def tensor(f: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(f))


def term(form: tuple[str, bool], generated: Array, style: Array) -> losses.StyleTerm:
    of_style = Statistics.from_features(tensor(style))
    return losses.STYLE_TERMS[form](Statistics.from_features(tensor(generated)), of_style)


def gradient(form: tuple[str, bool], generated: Array, style: Array) -> Array:
    found = term(form, generated, style)
    of_mean, of_moment = found.mean_gradient, found.moment_gradient
    positions = generated.shape[-2] * generated.shape[-1]
    scale = 1 / positions
    return feature_gradient(tensor(generated), of_mean, of_moment, scale=scale).numpy()


def test_every_setting_has_a_term() -> None:
    names = get_args(StyleTransferSettings.model_fields["style_loss"].annotation)
    assert set(losses.STYLE_TERMS) == {(name, form) for name in names for form in (False, True)}
    with pytest.raises(TypeError):
        losses.STYLE_TERMS["gram", True] = losses.gram_term  # type: ignore[index]


@each_form
@each_pair
def test_the_value_matches_the_formula(
    form: tuple[str, bool], generated: Array, style: Array
) -> None:
    expected = FORMULAS[form](generated, style)
    assert float(term(form, generated, style).value) == pytest.approx(expected, rel=1e-7)


@each_form
@pytest.mark.parametrize("name", ["plain", "few positions"])
def test_the_gradient_matches_finite_differences_of_the_formula(
    form: tuple[str, bool], name: str
) -> None:
    generated, style = PAIRS[name]
    measured = finite_differences(lambda f: FORMULAS[form](f, style), generated, 3e-4)
    found = gradient(form, generated, style)
    np.testing.assert_allclose(found, measured, rtol=0, atol=1e-5 * np.abs(measured).max())


@each_form
@each_pair
def test_the_gradient_matches_autograd(
    form: tuple[str, bool], generated: Array, style: Array
) -> None:
    f = tensor(generated).requires_grad_()
    value = losses.STYLE_TERMS[form](
        Statistics.from_features(f), Statistics.from_features(tensor(style))
    ).value
    (expected,) = torch.autograd.grad(value, f)
    found = gradient(form, generated, style)
    scale = float(expected.abs().max())
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-7 * scale)


@each_term
@pytest.mark.parametrize("black", ["generated", "style", "both"])
def test_dead_channels_give_finite_losses_and_gradients(form: tuple[str, bool], black: str) -> None:
    pair = PAIRS["plain"]
    generated = pair[0] * (black == "style")
    style = pair[1] * (black == "generated")
    found = term(form, generated, style)
    assert found.value.isfinite() and float(found.value) >= -1e-12
    assert np.isfinite(gradient(form, generated, style)).all()
    assert found.mean_gradient is None or found.mean_gradient.isfinite().all()
    assert found.moment_gradient.isfinite().all()
    assert torch.equal(found.moment_gradient, found.moment_gradient.mT) or torch.allclose(
        found.moment_gradient, found.moment_gradient.mT, rtol=1e-9, atol=0
    )


@each_term
def test_a_channel_that_is_dead_in_both_has_no_gradient(form: tuple[str, bool]) -> None:
    generated, style = PAIRS["dead channels"]
    found = gradient(form, generated, style)
    assert np.abs(found[2]).max() <= 1e-9 * np.abs(found).max()  # dead in both


@each_term
def test_the_arrangement_of_positions_does_not_matter(form: tuple[str, bool]) -> None:
    _, style = PAIRS["plain"]
    shuffled = np.tile(style[:, :, ::-1], (1, 2, 3))  # the same Gaussian, and Gram matrix
    found = term(form, shuffled, style)
    assert float(found.value) == pytest.approx(0, abs=1e-12)
    if not form[1] or form[0] == "wasserstein":  # a relative difference keeps its gradient's size
        assert np.abs(gradient(form, shuffled, style)).max() < 1e-9


@settings(max_examples=20)
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_the_wasserstein_distance_of_a_shift_is_its_square(shift: list[float]) -> None:
    _, style = PAIRS["plain"]
    delta = np.reshape(shift, (4, 1, 1))
    there, back, reverse = (
        float(term(("wasserstein", False), f, a).value)
        for f, a in ((style + delta, style), (style - delta, style), (style, style + delta))
    )
    assert there == pytest.approx(float((delta**2).sum()) / 4, rel=1e-9, abs=1e-12)
    assert there == pytest.approx(back, rel=1e-9, abs=1e-12)
    assert there == pytest.approx(reverse, rel=1e-9, abs=1e-12)


def test_the_wasserstein_gradient_of_a_shift_is_the_same_for_every_feature() -> None:
    _, style = PAIRS["plain"]
    delta = np.reshape([0.3, -1.0, 0.0, 2.0], (4, 1, 1))
    found = gradient(("wasserstein", False), style + delta, style)
    expected = np.broadcast_to(2 * delta / (4 * style[0].size), style.shape)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@each_pair
def test_the_wasserstein_distance_is_symmetric(generated: Array, style: Array) -> None:
    one, other = (
        float(term(("wasserstein", False), *pair).value)
        for pair in ((generated, style), (style, generated))
    )
    assert one == pytest.approx(other, rel=1e-7)


def test_the_wasserstein_distance_of_one_channel_matches_the_formula_for_normals() -> None:
    generated, style = features(8, 1, 12), features(9, 1, 7)
    (mean, _, variance), (mean_a, _, variance_a) = moments(generated), moments(style)
    roots = [np.sqrt(float(v.item()) + RIDGE) for v in (variance, variance_a)]
    expected = float((mean - mean_a).item()) ** 2 + (roots[0] - roots[1]) ** 2
    found = float(term(("wasserstein", False), generated, style).value)
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_covariance_that_rounding_made_indefinite_gives_a_finite_loss() -> None:
    rng = np.random.default_rng(0)
    shades = 1000 + rng.random((1, 50)) * np.ones((6, 1))  # of rank 1; its sums are of 1e7
    error = np.diag([0, -1, 0, 0, 0, 0]) * 50 * 0.3
    generated, style = (
        Statistics.from_features(tensor(f[None, :, None])) for f in (shades, shades + 1)
    )
    rounded = Statistics(
        generated.weight, generated.feature_sum, generated.outer_sum + tensor(error)
    )
    assert np.linalg.eigvalsh(rounded.regular_covariance.numpy()).min() < -0.1

    found = losses.wasserstein_term(rounded, style)
    assert float(found.value) == pytest.approx(1, abs=0.2)  # a shift by 1, and the error
    assert found.mean_gradient is not None
    assert found.mean_gradient.isfinite().all()
    assert found.moment_gradient.isfinite().all()


@pytest.mark.parametrize("scale", [10.0, 1e3, 1e5])
@pytest.mark.parametrize(("name", "tolerance"), [("gram+moments", 1e-5), ("wasserstein", 0.01)])
def test_relative_losses_do_not_depend_on_the_scale(
    name: str, tolerance: float, scale: float
) -> None:
    # Only the ridge depends on it, and is small beside features of a network's size.
    generated, style = (10 * f for f in PAIRS["plain"])
    plain, scaled = (term((name, True), k * generated, k * style) for k in (1.0, scale))
    assert float(scaled.value) == pytest.approx(float(plain.value), rel=tolerance)
    one, other = (gradient((name, True), k * generated, k * style) * k for k in (1.0, scale))
    np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * np.abs(one).max())


@pytest.mark.parametrize("name", ["gram+moments", "wasserstein"])
@pytest.mark.parametrize("scale", [100.0, 1e4])
def test_relative_losses_of_black_features_are_one(name: str, scale: float) -> None:
    _, style = PAIRS["plain"]
    found = float(term((name, True), 0 * style, scale * style).value)
    assert found == pytest.approx(1, abs=1e-3)


@pytest.mark.usefixtures("one_thread")
@each_term
def test_a_run_decreases_every_style_loss(form: tuple[str, bool], content: Any, style: Any) -> None:
    weights = {} if form[1] else {"content_weight": 1e-6, "style_weight": 1.0, "tv_weight": 0}
    settings = quick_settings(
        style_loss=form[0],
        normalize_gradients=form[1],
        iterations=20,
        device="cpu",
        kept_structure=0,
        **weights,
    )
    run = stylize(content, style, settings)
    totals = [found.total for found in run.history]
    assert totals[-1] < 0.9 * totals[0]
    assert np.isfinite(run.image).all()


@pytest.mark.parametrize(
    ("style_loss", "iterations"),
    # An iteration with "wasserstein" takes five times as long, and its loss decreases faster.
    [("gram", 60), ("gram+moments", 60), ("wasserstein", 30)],
)
def test_the_loss_decreases_until_the_end_of_a_run(
    style_loss: str,
    iterations: int,
    photo: Callable[[int, int], Array],
    stripes: Callable[[int, int], Array],
) -> None:
    result = stylize(
        photo(64, 64),
        stripes(64, 64),
        StyleTransferSettings(style_loss=style_loss, iterations=iterations, scales=1, device="cpu"),
    )
    totals = [losses.total for losses in result.history]
    assert totals[-1] < 0.7 * totals[0]
    assert totals[-1] < 1.05 * min(totals)
