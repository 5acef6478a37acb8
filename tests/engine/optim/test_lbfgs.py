from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_nst.engine.optim.lbfgs import LBFGS
from napari_nst.engine.optim.multilevel import precondition_
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


def descend(
    function: Function, start: Tensor, evaluations: int, optimizer: LBFGS | None = None
) -> tuple[Tensor, list[float]]:
    """Return the final output image, and the loss of the output after each evaluation."""
    optimizer = optimizer or LBFGS()
    x, output_losses = start, []
    for _ in range(evaluations):
        loss, gradient = function(x)
        x = optimizer.step(x, float(loss), gradient)
        output_losses.append(float(function(optimizer.output_image(x))[0]))
    return optimizer.output_image(x), output_losses


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
    """Return x - 2 sqrt(x): smallest at 1, NaN below 0."""
    return (x - 2 * x.sqrt()).sum(), 1 - 1 / x.sqrt()


def overflowing(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return exp(10 (x - 1)) - 10 x: smallest at 1, almost linear below, infinite soon above."""
    power = torch.exp(10 * (x - 1))
    return (power - 10 * x).sum(), 10 * (power - 1)


def test_lbfgs_finds_the_minimum_of_a_quadratic() -> None:
    found, output_losses = descend(quadratic, torch.zeros(30).double(), 120)
    torch.testing.assert_close(found, MINIMUM, rtol=0, atol=1e-7)
    assert float(found.min()) < 0 and float(found.max()) > 1  # not clamped
    assert output_losses[-1] < 1e-12


def test_lbfgs_finds_the_minimum_of_rosenbrocks_function() -> None:
    found, _ = descend(rosenbrock, torch.tensor([-1.2, 1.0]).double(), 100)
    torch.testing.assert_close(found, torch.ones(2).double(), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("function", "start", "is_invalid"),
    [(walled, 30.0, math.isnan), (overflowing, 0.3, math.isinf)],
)
def test_lbfgs_recovers_from_losses_that_are_not_finite(
    function: Function, start: float, is_invalid: Callable[[float], bool]
) -> None:
    optimizer, x = LBFGS(), torch.full((3,), start, dtype=torch.float64)
    losses = []
    for _ in range(60):
        loss, gradient = function(x)
        losses.append(float(loss))
        x = optimizer.step(x, losses[-1], gradient)
        assert math.isfinite(float(function(optimizer.output_image(x))[0]))
    assert any(map(is_invalid, losses))
    torch.testing.assert_close(optimizer.output_image(x), torch.ones(3).double(), rtol=0, atol=1e-7)


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
def test_the_loss_of_the_output_never_rises(function: Function, start: Tensor, rate: float) -> None:
    _, output_losses = descend(function, start, 60, LBFGS(learning_rate=rate))
    assert output_losses[0] == float(function(start)[0])
    assert all(later <= earlier for earlier, later in pairwise(output_losses))
    assert output_losses[-1] < output_losses[0]


def test_lbfgs_rolls_back_and_halves_a_step_that_raised_the_loss() -> None:
    optimizer, start = LBFGS(), torch.tensor([0.2, 0.7]).double()
    gradient = torch.tensor([1.0, -1.0]).double()
    rejected = optimizer.step(start, 1.0, gradient)
    for loss in (2.0, math.inf, math.nan):
        shorter = optimizer.step(rejected, loss, torch.full_like(start, math.nan))
        torch.testing.assert_close(shorter - start, (rejected - start) / 2, rtol=1e-12, atol=0)
        assert torch.equal(optimizer.output_image(shorter), start)
        rejected = shorter
    optimizer.step(shorter, 0.9, gradient)
    assert torch.equal(optimizer.output_image(shorter), shorter)


def test_lbfgs_halves_a_first_step_until_it_lowers_the_loss() -> None:
    # 1e-7 from the minimum the first step of 0.01 is 1e5 times too long.  It takes more halvings
    # than the maximum of a step with known curvature.
    optimizer, start = LBFGS(), torch.tensor([1e-7]).double()
    x, tried = start, []
    for _ in range(25):
        x = optimizer.step(x, float(x**2), 2 * x)
        tried.append(abs(float(x - start)))
        if float(x**2) < float(start**2):
            break
    np.testing.assert_allclose(tried, [0.01 / 2**k for k in range(len(tried))], rtol=1e-6)
    assert len(tried) == 17  # 0.01 / 2^16 is the first step to a lower loss
    optimizer.step(x, float(x**2), 2 * x)
    assert torch.equal(optimizer.output_image(x), x)


def test_lbfgs_clears_its_history_after_eight_halvings_of_a_step() -> None:
    optimizer, x = LBFGS(), torch.zeros(30).double()
    for _ in range(8):
        loss, gradient = quadratic(x)
        x = optimizer.step(x, float(loss), gradient)
    accepted = optimizer.output_image(x)
    direction = x - accepted
    for k in range(1, 9):
        x = optimizer.step(x, math.inf, gradient)
        torch.testing.assert_close(x - accepted, direction / 2**k)
    _, gradient = quadratic(accepted)
    x = optimizer.step(x, math.inf, gradient)  # along the gradient, by 0.01 on average
    expected = -gradient * 0.01 / gradient.abs().mean()
    torch.testing.assert_close(x - accepted, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("coarse_share", [0.0, 2.0])
def test_the_first_step_changes_pixels_by_a_hundredth_on_average(coarse_share: float) -> None:
    gradient = torch.from_numpy(images(1)[0])
    for scale in (1e-6, 1.0, 1e6):
        optimizer = LBFGS(learning_rate=2.0, coarse_share=coarse_share)
        step = optimizer.step(torch.zeros(SHAPE).double(), 1.0, gradient * scale)
        assert float(step.abs().mean()) == pytest.approx(0.02, rel=1e-9)
        along = precondition_(gradient.clone(), coarse_share)
        torch.testing.assert_close(step / step.norm(), -along / along.norm())


@pytest.mark.parametrize("coarse_share", [0.0, 2.0])
def test_the_second_step_is_that_of_bfgs(coarse_share: float) -> None:
    # With one pair, H = (I - r s y^T) g S (I - r y s^T) + r s s^T, g = s.y / y.S y, r = 1 / s.y
    shape, pixels = (1, 1, 4, 5), 20
    generator = np.random.default_rng(0)
    root, x0 = generator.normal(size=(pixels, pixels)), generator.normal(size=pixels)
    a, one = root @ root.T / pixels + np.eye(pixels), np.eye(pixels)
    patches = [precondition_(torch.from_numpy(e).view(shape).clone(), coarse_share) for e in one]
    start = np.stack([patch.numpy().ravel() for patch in patches])
    optimizer = LBFGS(coarse_share=coarse_share)

    def step(x: NDArray[Any]) -> NDArray[Any]:
        image, gradient = (torch.from_numpy(array).view(shape) for array in (x, a @ x))
        found: NDArray[Any] = optimizer.step(image, x @ a @ x / 2, gradient).numpy().ravel()
        return found

    x1 = step(x0)
    assert x1 @ a @ x1 < x0 @ a @ x0
    x2 = step(x1)
    s, y = x1 - x0, a @ (x1 - x0)
    r, gamma = 1 / (s @ y), (s @ y) / (y @ start @ y)
    h = (one - r * np.outer(s, y)) @ start @ (one - r * np.outer(y, s)) * gamma
    h += r * np.outer(s, s)
    np.testing.assert_allclose(x2, x1 - h @ (a @ x1), rtol=1e-10)


def test_resizing_clears_the_history() -> None:
    optimizer = LBFGS(coarse_share=0)
    descend(quadratic, torch.zeros(30).double(), 5, optimizer)
    optimizer.resize(8, 10, 50, "detail")
    image, gradient = torch.zeros(1, 1, 8, 10), torch.ones(1, 1, 8, 10)
    assert torch.equal(optimizer.output_image(image), image)
    torch.testing.assert_close(optimizer.step(image, 1e9, gradient), image - 0.01)


def test_lbfgs_changes_neither_images_nor_gradients() -> None:
    optimizer, x = LBFGS(), torch.tensor([-1.2, 1.0]).double()
    for _ in range(6):
        loss, gradient = rosenbrock(x)
        image, of_image = x.clone(), gradient.clone()
        following = optimizer.step(x, float(loss), gradient)
        assert torch.equal(x, image) and torch.equal(gradient, of_image)
        assert following.data_ptr() != x.data_ptr()
        x = following


def test_lbfgs_does_not_move_at_a_minimum() -> None:
    optimizer, x = LBFGS(), MINIMUM.clone()
    for _ in range(4):
        x = optimizer.step(x, 0.0, torch.zeros_like(x))
        assert torch.equal(x, MINIMUM)


def test_out_of_memory_drops_the_older_half_of_the_history(
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


def test_a_short_history_is_not_dropped() -> None:
    assert not LBFGS().release_memory()
