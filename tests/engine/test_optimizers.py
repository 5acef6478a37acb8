from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.engine.optimizers import LBFGS, Adam
from napari_nst.errors import StyleTransferWarning

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    Function = Callable[[Tensor], tuple[Tensor, Tensor]]

SHAPE = (1, 3, 4, 5)
PIXELS = 20


def images(number: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 1, (number, *SHAPE))


def adam_in_numpy(
    image: NDArray[Any],
    gradients: NDArray[Any],
    *,
    rate: float,
    betas: tuple[float, float] = (0.9, 0.99),
    epsilon: float = 1e-8,
) -> NDArray[Any]:
    """Algorithm 1 of arXiv 1412.6980 on the loss times the pixels, each iterate clipped."""
    m, v = np.zeros_like(image), np.zeros_like(image)
    iterates = []
    for t, g in enumerate(gradients * PIXELS, start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        image = np.clip(image - rate * m_hat / (np.sqrt(v_hat) + epsilon), 0, 1)
        iterates.append(image)
    return np.array(iterates)


def adam(image: NDArray[Any], gradients: NDArray[Any], optimizer: Adam) -> list[Tensor]:
    x, iterates = torch.from_numpy(image), []
    for gradient in gradients:
        x = optimizer.step(x, 0.0, torch.from_numpy(gradient.copy()))
        iterates.append(x)
    return iterates


@pytest.mark.parametrize("rate", [0.02, 0.3])
@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_adam_is_the_papers_algorithm(rate: float, scale: float) -> None:
    start, gradients = np.full(SHAPE, 0.5), images(12) * scale
    expected = adam_in_numpy(start, gradients, rate=rate)
    assert (expected == 1).any() == (rate > 0.1)  # the large rate reaches the border
    found = adam(start, gradients, Adam(rate))
    np.testing.assert_allclose(np.array([x.numpy() for x in found]), expected, atol=1e-12)


def test_adam_takes_other_constants() -> None:
    start, gradients = np.full(SHAPE, 0.5), images(6)
    expected = adam_in_numpy(start, gradients, rate=0.01, betas=(0.5, 0.9), epsilon=3.0)
    found = adam(start, gradients, Adam(0.01, betas=(0.5, 0.9), epsilon=3.0))
    np.testing.assert_allclose(found[-1].numpy(), expected[-1], atol=1e-12)


def test_adams_first_step_is_the_learning_rate_against_the_sign() -> None:
    gradient = images(1)[0]
    moved = Adam(0.05).step(torch.full(SHAPE, 0.5).double(), 0.0, torch.from_numpy(gradient.copy()))
    np.testing.assert_allclose(moved.numpy(), 0.5 - 0.05 * np.sign(gradient), atol=1e-7)


@settings(max_examples=20)
@given(st.floats(0.001, 10), st.integers(0, 100))
def test_adam_stays_in_the_range_of_an_image(rate: float, seed: int) -> None:
    for image in adam(np.full(SHAPE, 0.9), images(3, seed), Adam(rate)):
        assert 0 <= float(image.min()) <= float(image.max()) <= 1


def test_adam_leaves_images_alone() -> None:
    start, gradients = torch.full(SHAPE, 0.5), images(3)
    optimizer, x = Adam(), start
    x = optimizer.step(x, 0.0, torch.from_numpy(gradients[0]).float())
    first, best = x.clone(), optimizer.best(x)
    kept = best.clone()
    optimizer.step(x, 0.0, torch.from_numpy(gradients[1]).float())
    assert torch.equal(start, torch.full(SHAPE, 0.5))
    assert torch.equal(x, first)
    assert torch.equal(best, kept)


@pytest.mark.parametrize("iterations", [5, 40, 300])
def test_adam_delivers_the_average_of_a_tenth_of_the_iterates(iterations: int) -> None:
    optimizer = Adam(0.05, iterations=iterations)
    iterates = adam(np.full(SHAPE, 0.5), images(9), optimizer)
    decay = 1 - 1 / max(iterations / 10, 1)
    weights = np.array([decay**age for age in range(8, -1, -1)])
    expected = np.tensordot(weights / weights.sum(), [x.numpy() for x in iterates], axes=1)
    np.testing.assert_allclose(optimizer.best(iterates[-1]).numpy(), expected, atol=1e-12)


def test_adams_average_begins_anew_when_it_is_steered() -> None:
    optimizer = Adam(0.05, iterations=100)
    iterates = adam(np.full(SHAPE, 0.5), images(4), optimizer)
    optimizer.steered()
    assert torch.equal(optimizer.best(iterates[-1]), iterates[-1])
    (last,) = adam(iterates[-1].numpy(), images(1, seed=5), optimizer)
    torch.testing.assert_close(optimizer.best(last), last, rtol=0, atol=1e-15)


@pytest.mark.parametrize("factor", [1e-4, 0.01, 100.0, 1e4])
def test_adam_goes_on_as_before_when_the_whole_function_is_scaled(factor: float) -> None:
    # Adam does not know the scale of a function; a change of it half-way must not show either.
    # A start far from the border, and small steps: nothing is clamped.
    start, target = torch.full(SHAPE, 0.5).double(), torch.as_tensor(images(1)[0]).double()

    def path(scale: float) -> list[torch.Tensor]:
        optimizer, image, found = Adam(0.001, epsilon=0), start, []
        for step in range(40):
            if step == 20:
                optimizer.steered()
            gradient = (image - target) * (scale if step >= 20 else 1)
            image = optimizer.step(image, 0.0, gradient)
            found.append(image)
        return found

    # The scale is taken from the norms of two gradients that are one step apart, hence the bound.
    for once, scaled in zip(path(1.0), path(factor), strict=True):
        torch.testing.assert_close(scaled, once, rtol=0, atol=1e-12)


def test_adams_moments_move_to_another_size() -> None:
    # Moments that are the same everywhere stay so: at any size the step is that of the one pixel.
    values = [0.3, -1.0, 0.2]
    optimizer = Adam(0.01)
    adam(
        np.full((1, 1, 4, 5), 0.5), np.array([np.full((1, 1, 4, 5), g) for g in values]), optimizer
    )
    optimizer.resize(6, 10, 50)
    image = torch.full((1, 1, 6, 10), 0.5).double()
    g = torch.full_like(image, 0.7 * PIXELS / 60)  # the gradient of a mean falls with the pixels
    found = optimizer.step(image, 0.0, g)
    m = v = 0.0
    for value in [*values, 0.7]:
        m, v = 0.9 * m + 0.1 * value * PIXELS, 0.99 * v + 0.01 * (value * PIXELS) ** 2
    step = 0.01 * m / (1 - 0.9**4) / (math.sqrt(v / (1 - 0.99**4)) + 1e-8)
    np.testing.assert_allclose(found.numpy(), 0.5 - step, atol=1e-12)


def test_adams_average_does_not_outlive_its_scale() -> None:
    optimizer = Adam(0.05, iterations=100)
    adam(np.full(SHAPE, 0.5), images(4), optimizer)
    optimizer.resize(8, 10, 200)
    image = torch.full((1, 3, 8, 10), 0.5).double()
    assert torch.equal(optimizer.best(image), image)
    gradient = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).double()
    one = optimizer.step(image, 0.0, gradient)
    two = optimizer.step(one, 0.0, gradient)
    expected = (0.95 * one + two) / 1.95  # the decay is 1 - 10 / 200
    torch.testing.assert_close(optimizer.best(two), expected, rtol=0, atol=1e-12)


def test_adam_survives_moments_that_bicubic_resampling_overshoots() -> None:
    optimizer = Adam(0.02)
    spike = torch.zeros(1, 1, 6, 6)
    spike[0, 0, 3, 3] = 1e3
    image = optimizer.step(torch.full_like(spike, 0.5), 0.0, spike)
    optimizer.resize(17, 13, 50)
    image = torch.full((1, 1, 17, 13), 0.5)
    for _ in range(3):
        image = optimizer.step(image, 0.0, torch.zeros_like(image))
    assert image.isfinite().all()


def test_adam_may_be_resized_before_its_first_step() -> None:
    optimizer = Adam(0.05)
    optimizer.resize(8, 8, 50)
    image = torch.full((1, 1, 8, 8), 0.5)
    moved = optimizer.step(image, 0.0, torch.ones_like(image))
    torch.testing.assert_close(moved, torch.full_like(image, 0.45))


def descend(
    function: Function, start: Tensor, evaluations: int, optimizer: LBFGS | None = None
) -> tuple[Tensor, list[float]]:
    """Return what is delivered in the end, and the loss of what would have been after each."""
    optimizer = optimizer or LBFGS()
    x, delivered = start, []
    for _ in range(evaluations):
        loss, gradient = function(x)
        x = optimizer.step(x, float(loss), gradient)
        delivered.append(float(function(optimizer.best(x))[0]))
    return optimizer.best(x), delivered


CURVATURES = torch.logspace(0, 2, 30, dtype=torch.float64)
MINIMUM = torch.linspace(-2, 3, 30, dtype=torch.float64)


def quadratic(x: Tensor) -> tuple[Tensor, Tensor]:
    away = x - MINIMUM
    return (CURVATURES * away**2).sum() / 2, CURVATURES * away


def rosenbrock(x: Tensor) -> tuple[Tensor, Tensor]:
    a, b = x
    loss = (1 - a) ** 2 + 100 * (b - a**2) ** 2
    return loss, torch.stack([-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)])


def walled(x: Tensor) -> tuple[Tensor, Tensor]:
    """x - 2 sqrt(x): smallest at 1, not a number below 0."""
    return (x - 2 * x.sqrt()).sum(), 1 - 1 / x.sqrt()


def overflowing(x: Tensor) -> tuple[Tensor, Tensor]:
    """exp(10 (x - 1)) - 10 x: smallest at 1, nearly straight before and infinite soon after."""
    power = torch.exp(10 * (x - 1))
    return (power - 10 * x).sum(), 10 * (power - 1)


def test_lbfgs_finds_the_minimum_of_a_quadratic() -> None:
    found, delivered = descend(quadratic, torch.zeros(30).double(), 120)
    torch.testing.assert_close(found, MINIMUM, rtol=0, atol=1e-7)
    assert float(found.min()) < 0 and float(found.max()) > 1  # it never clamps
    assert delivered[-1] < 1e-12


def test_lbfgs_finds_the_minimum_of_rosenbrocks_function() -> None:
    found, _ = descend(rosenbrock, torch.tensor([-1.2, 1.0]).double(), 100)
    torch.testing.assert_close(found, torch.ones(2).double(), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("function", "start", "wild"), [(walled, 30.0, math.isnan), (overflowing, 0.3, math.isinf)]
)
def test_lbfgs_comes_back_from_where_there_is_no_number(
    function: Function, start: float, wild: Callable[[float], bool]
) -> None:
    optimizer, x = LBFGS(), torch.full((3,), start, dtype=torch.float64)
    losses = []
    for _ in range(60):
        loss, gradient = function(x)
        losses.append(float(loss))
        x = optimizer.step(x, losses[-1], gradient)
        assert math.isfinite(float(function(optimizer.best(x))[0]))
    assert any(map(wild, losses))
    torch.testing.assert_close(optimizer.best(x), torch.ones(3).double(), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("function", "start"),
    [
        (quadratic, torch.zeros(30).double()),
        (rosenbrock, torch.tensor([-1.2, 1.0]).double()),
        (rosenbrock, torch.tensor([3.0, -4.0]).double()),
        (walled, torch.tensor([0.04, 9.0, 1.3]).double()),
    ],
)
@pytest.mark.parametrize("rate", [0.3, 1.0, 30.0])
def test_what_lbfgs_delivers_never_gets_worse(
    function: Function, start: Tensor, rate: float
) -> None:
    _, delivered = descend(function, start, 60, LBFGS(learning_rate=rate))
    assert delivered[0] == float(function(start)[0])
    assert all(later <= earlier for earlier, later in pairwise(delivered))
    assert delivered[-1] < delivered[0]


def test_lbfgs_rolls_back_a_step_that_made_it_worse_and_tries_half_of_it() -> None:
    optimizer, start = LBFGS(), torch.tensor([0.2, 0.7]).double()
    gradient = torch.tensor([1.0, -1.0]).double()
    bold = optimizer.step(start, 1.0, gradient)
    for loss in (2.0, math.inf, math.nan):
        shorter = optimizer.step(bold, loss, torch.full_like(start, math.nan))
        torch.testing.assert_close(shorter - start, (bold - start) / 2, rtol=1e-12, atol=0)
        assert torch.equal(optimizer.best(shorter), start)
        bold = shorter
    optimizer.step(bold, 0.9, gradient)
    assert torch.equal(optimizer.best(bold), bold)


def test_lbfgs_shortens_a_first_step_until_it_helps() -> None:
    # From a ten-millionth beside the minimum the first step is 0.01, a hundred thousand times too
    # long: more halvings than there are of a step with curvature behind it.
    optimizer, start = LBFGS(), torch.tensor([1e-7]).double()
    x, tried = start, []
    for _ in range(25):
        x = optimizer.step(x, float(x**2), 2 * x)
        tried.append(abs(float(x - start)))
        if float(x**2) < float(start**2):
            break
    np.testing.assert_allclose(tried, [0.01 / 2**k for k in range(len(tried))], rtol=1e-6)
    assert len(tried) == 17  # 0.01 / 2^16 is the first to land nearer to 0 than the start
    optimizer.step(x, float(x**2), 2 * x)
    assert torch.equal(optimizer.best(x), x)


def test_lbfgs_gives_up_its_history_after_eight_halvings_of_a_step() -> None:
    optimizer, x = LBFGS(), torch.zeros(30).double()
    for _ in range(8):
        loss, gradient = quadratic(x)
        x = optimizer.step(x, float(loss), gradient)
    accepted = optimizer.best(x)
    direction = x - accepted
    for k in range(1, 9):
        x = optimizer.step(x, math.inf, gradient)
        torch.testing.assert_close(x - accepted, direction / 2**k)
    _, gradient = quadratic(accepted)
    x = optimizer.step(x, math.inf, gradient)  # now down the slope, a hundredth on average
    expected = -gradient * 0.01 / gradient.abs().mean()
    torch.testing.assert_close(x - accepted, expected, rtol=1e-6, atol=1e-12)


def test_lbfgs_first_step_changes_a_pixel_by_a_hundredth_on_average() -> None:
    gradient = torch.from_numpy(images(1)[0])
    for scale in (1e-6, 1.0, 1e6):
        step = LBFGS(learning_rate=2.0).step(torch.zeros(SHAPE).double(), 1.0, gradient * scale)
        assert float(step.abs().mean()) == pytest.approx(0.02, rel=1e-9)
        torch.testing.assert_close(step / step.norm(), -gradient / gradient.norm())


def test_lbfgs_second_step_is_that_of_bfgs() -> None:
    # With one pair, H = (I - r s y^T) g (I - r y s^T) + r s s^T, g = s.y / y.y, r = 1 / s.y
    a = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])
    x0 = np.array([1.0, -2.0, 0.5])
    optimizer = LBFGS()
    x1 = optimizer.step(torch.from_numpy(x0), x0 @ a @ x0 / 2, torch.from_numpy(a @ x0)).numpy()
    assert x1 @ a @ x1 < x0 @ a @ x0
    x2 = optimizer.step(torch.from_numpy(x1), x1 @ a @ x1 / 2, torch.from_numpy(a @ x1)).numpy()
    s, y = x1 - x0, a @ (x1 - x0)
    r, gamma, one = 1 / (s @ y), (s @ y) / (y @ y), np.eye(3)
    h = (one - r * np.outer(s, y)) @ (one - r * np.outer(y, s)) * gamma + r * np.outer(s, s)
    np.testing.assert_allclose(x2, x1 - h @ (a @ x1), rtol=1e-12)


def test_lbfgs_begins_anew_at_another_scale() -> None:
    optimizer = LBFGS()
    descend(quadratic, torch.zeros(30).double(), 5, optimizer)
    optimizer.resize(8, 10, 50)
    image, gradient = torch.zeros(1, 1, 8, 10), torch.ones(1, 1, 8, 10)
    assert torch.equal(optimizer.best(image), image)
    torch.testing.assert_close(optimizer.step(image, 1e9, gradient), image - 0.01)


def test_lbfgs_leaves_images_and_gradients_alone() -> None:
    optimizer, x = LBFGS(), torch.tensor([-1.2, 1.0]).double()
    for _ in range(6):
        loss, gradient = rosenbrock(x)
        kept, of_kept = x.clone(), gradient.clone()
        following = optimizer.step(x, float(loss), gradient)
        assert torch.equal(x, kept) and torch.equal(gradient, of_kept)
        assert following.data_ptr() != x.data_ptr()
        x = following


def test_lbfgs_stays_where_there_is_no_slope() -> None:
    optimizer, x = LBFGS(), MINIMUM.clone()
    for _ in range(4):
        x = optimizer.step(x, 0.0, torch.zeros_like(x))
        assert torch.equal(x, MINIMUM)


def test_lbfgs_forgets_the_older_half_where_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    optimizer, x = LBFGS(), torch.zeros(30).double()
    for _ in range(9):
        loss, gradient = quadratic(x)
        x = optimizer.step(x, float(loss), gradient)
    original, failures = LBFGS._direction, []

    def failing(self: LBFGS, gradient: Tensor) -> Tensor:
        if not failures:
            failures.append(len(self._pairs))
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return original(self, gradient)

    monkeypatch.setattr(LBFGS, "_direction", failing)
    loss, gradient = quadratic(x)
    with pytest.warns(StyleTransferWarning, match="remembers [34] steps from now on, and had"):
        x = optimizer.step(x, float(loss), gradient)
    assert optimizer.history == max(failures[0] // 2, 3)
    found, _ = descend(quadratic, x, 200, optimizer)
    torch.testing.assert_close(found, MINIMUM, rtol=0, atol=1e-6)


def test_a_short_history_is_not_given_up() -> None:
    assert not LBFGS().spare()
    assert not Adam().spare()
