from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.engine.optim.adam import Adam, OptimizerState
from napari_nst.engine.optim.multilevel import keep_detail_, precondition_
from napari_nst.engine.optim.schedule import ScaleRole

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

SHAPE = (1, 3, 4, 5)
PIXELS = 20


def images(number: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 1, (number, *SHAPE))


def adam_in_numpy(
    image: NDArray[Any],
    gradients: NDArray[Any],
    *,
    rate: float,
    betas: tuple[float, float] = (0.8, 0.9),
    epsilon: float = 1e-8,
) -> NDArray[Any]:
    """Return iterates of Algorithm 1 of arXiv 1412.6980, with gradients times pixels, clipped."""
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
    """Return the iterates of an optimizer."""
    x, iterates = torch.from_numpy(image), []
    for gradient in gradients:
        x = optimizer.step(x, 0.0, torch.from_numpy(gradient.copy()))
        iterates.append(x)
    return iterates


def test_adam_preconditions_its_steps() -> None:
    gradient = torch.from_numpy(images(1)[0])
    start = torch.full(SHAPE, 0.5).double()
    alone = Adam(0.05, coarse_share=0).step(start, 0.0, gradient.clone()) - start
    moved = Adam(0.05, coarse_share=0.4).step(start, 0.0, gradient.clone()) - start
    torch.testing.assert_close(moved, precondition_(alone.clone(), 0.4), atol=1e-9, rtol=0)
    assert not torch.allclose(moved, alone)


@pytest.mark.parametrize("rate", [0.02, 0.3])
@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_adam_matches_the_paper(rate: float, scale: float) -> None:
    start, gradients = np.full(SHAPE, 0.5), images(12) * scale
    expected = adam_in_numpy(start, gradients, rate=rate)
    assert (expected == 1).any() == (rate > 0.1)  # the large rate reaches the border
    found = adam(start, gradients, Adam(rate, coarse_share=0))
    np.testing.assert_allclose(np.array([x.numpy() for x in found]), expected, atol=1e-12)


def test_adam_uses_the_given_constants() -> None:
    start, gradients = np.full(SHAPE, 0.5), images(6)
    expected = adam_in_numpy(start, gradients, rate=0.01, betas=(0.5, 0.9), epsilon=3.0)
    found = adam(start, gradients, Adam(0.01, betas=(0.5, 0.9), epsilon=3.0, coarse_share=0))
    np.testing.assert_allclose(found[-1].numpy(), expected[-1], atol=1e-12)


def test_the_first_step_is_the_learning_rate_times_the_sign() -> None:
    gradient = images(1)[0]
    optimizer = Adam(0.05, coarse_share=0)
    moved = optimizer.step(torch.full(SHAPE, 0.5).double(), 0.0, torch.from_numpy(gradient.copy()))
    np.testing.assert_allclose(moved.numpy(), 0.5 - 0.05 * np.sign(gradient), atol=1e-7)


@settings(max_examples=20)
@given(st.floats(0.001, 10), st.integers(0, 100))
def test_adam_clamps_to_the_unit_range(rate: float, seed: int) -> None:
    for image in adam(np.full(SHAPE, 0.9), images(3, seed), Adam(rate)):
        assert 0 <= float(image.min()) <= float(image.max()) <= 1


def test_adam_does_not_change_images_in_place() -> None:
    start, gradients = torch.full(SHAPE, 0.5), images(3)
    optimizer, x = Adam(), start
    x = optimizer.step(x, 0.0, torch.from_numpy(gradients[0]).float())
    first, output = x.clone(), optimizer.output_image(x)
    copied = output.clone()
    optimizer.step(x, 0.0, torch.from_numpy(gradients[1]).float())
    assert torch.equal(start, torch.full(SHAPE, 0.5))
    assert torch.equal(x, first)
    assert torch.equal(output, copied)


@pytest.mark.parametrize("iterations", [5, 40, 300])
def test_the_output_is_the_ema_over_a_tenth_of_the_iterations(iterations: int) -> None:
    optimizer = Adam(0.05, iterations=iterations)
    iterates = adam(np.full(SHAPE, 0.5), images(9), optimizer)
    decay = 1 - 1 / max(iterations / 10, 1)
    weights = np.array([decay**age for age in range(8, -1, -1)])
    expected = np.tensordot(weights / weights.sum(), [x.numpy() for x in iterates], axes=1)
    np.testing.assert_allclose(optimizer.output_image(iterates[-1]).numpy(), expected, atol=1e-12)


def test_another_objective_restarts_the_ema() -> None:
    optimizer = Adam(0.05, iterations=100)
    iterates = adam(np.full(SHAPE, 0.5), images(4), optimizer)
    optimizer.on_objective_changed()
    assert torch.equal(optimizer.output_image(iterates[-1]), iterates[-1])
    (last,) = adam(iterates[-1].numpy(), images(1, seed=5), optimizer)
    torch.testing.assert_close(optimizer.output_image(last), last, rtol=0, atol=1e-15)


@pytest.mark.parametrize("factor", [1e-4, 0.01, 100.0, 1e4])
def test_scaling_the_objective_does_not_change_the_steps(factor: float) -> None:
    # Adam does not depend on the scale of a function, nor on a change of it halfway.  The start is
    # far from 0 and 1 and the steps are small, so nothing is clamped.
    start, target = torch.full(SHAPE, 0.5).double(), torch.as_tensor(images(1)[0]).double()

    def path(scale: float) -> list[torch.Tensor]:
        optimizer, image, found = Adam(0.001, epsilon=0), start, []
        for step in range(40):
            if step == 20:
                optimizer.on_objective_changed()
            gradient = (image - target) * (scale if step >= 20 else 1)
            image = optimizer.step(image, 0.0, gradient)
            found.append(image)
        return found

    for plain, scaled in zip(path(1.0), path(factor), strict=True):
        torch.testing.assert_close(scaled, plain, rtol=0, atol=1e-12)


def test_moments_are_resampled_to_another_size() -> None:
    # Constant moments stay constant: every pixel moves like a single one.
    values = [0.3, -1.0, 0.2]
    optimizer = Adam(0.01, coarse_share=0)
    adam(
        np.full((1, 1, 4, 5), 0.5), np.array([np.full((1, 1, 4, 5), g) for g in values]), optimizer
    )
    optimizer.resize(6, 10, 50, "composition")
    image = torch.full((1, 1, 6, 10), 0.5).double()
    g = torch.full_like(image, 0.7 * PIXELS / 60)  # a mean loss: 1 / pixels
    found = optimizer.step(image, 0.0, g)
    m = v = 0.0
    for value in [*values, 0.7]:
        m, v = 0.8 * m + 0.2 * value * PIXELS, 0.9 * v + 0.1 * (value * PIXELS) ** 2
    step = 0.01 * m / (1 - 0.8**4) / (math.sqrt(v / (1 - 0.9**4)) + 1e-8)
    np.testing.assert_allclose(found.numpy(), 0.5 - step, atol=1e-12)


def test_resizing_restarts_the_ema() -> None:
    optimizer = Adam(0.05, iterations=100)
    adam(np.full(SHAPE, 0.5), images(4), optimizer)
    optimizer.resize(8, 10, 200, "composition")
    image = torch.full((1, 3, 8, 10), 0.5).double()
    assert torch.equal(optimizer.output_image(image), image)
    gradient = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).double()
    one = optimizer.step(image, 0.0, gradient)
    two = optimizer.step(one, 0.0, gradient)
    expected = (0.95 * one + two) / 1.95  # the decay is 1 - 10 / 200
    torch.testing.assert_close(optimizer.output_image(two), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("coarse_share", [0.0, 0.5])
def test_steps_stay_bounded_if_bicubic_resampling_overshoots(coarse_share: float) -> None:
    # Pixels without a gradient beside one with a large gradient, as beside kept pixels.
    optimizer = Adam(0.02, coarse_share=coarse_share)
    spike = torch.zeros(1, 1, 6, 6)
    spike[0, 0, 3, 3] = 1e3
    image = optimizer.step(torch.full_like(spike, 0.5), 0.0, spike)
    optimizer.resize(17, 13, 50, "composition")
    image = torch.full((1, 1, 17, 13), 0.5)
    for _ in range(3):
        before, image = image, optimizer.step(image, 0.0, torch.zeros_like(image))
        # |m| <= sqrt(v), so the step of a pixel is at most the rate before preconditioning.
        longest = 0.02 * float(precondition_(torch.ones(1, 1, 17, 13), coarse_share).max())
        assert float((image - before).abs().max()) <= 1.01 * longest


def test_resizing_before_the_first_step_has_no_effect() -> None:
    optimizer = Adam(0.05, coarse_share=0)
    optimizer.resize(8, 8, 50, "composition")
    image = torch.full((1, 1, 8, 8), 0.5)
    moved = optimizer.step(image, 0.0, torch.ones_like(image))
    torch.testing.assert_close(moved, torch.full_like(image, 0.45))


def cosine_decay(iterations: int, step: int) -> float:
    """Return half a cosine from 1 to 0.3 (equation 5 of arXiv 1608.03983)."""
    return 0.3 + 0.7 * (1 + math.cos(math.pi * step / iterations)) / 2


def step_lengths(optimizer: Adam, number: int) -> list[float]:
    """Return the length of each step of a pixel with a constant gradient."""
    image, found = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), []
    for _ in range(number):
        moved = optimizer.step(image, 0.0, torch.ones_like(image))
        found.append(float(image - moved))
    return found


def test_the_learning_rate_decays_by_half_a_cosine_in_the_last_scale() -> None:
    found = step_lengths(Adam(0.1, iterations=8, role="strokes"), 8)
    assert found == pytest.approx([0.1 * cosine_decay(8, step) for step in range(8)], rel=1e-6)
    assert step_lengths(Adam(0.1, iterations=8), 8) == pytest.approx([0.1] * 8, rel=1e-6)


@pytest.mark.parametrize("first", [0.8, 0.95])
def test_beta1_rises_while_the_learning_rate_decays(first: float) -> None:
    gradients = images(8)
    optimizer = Adam(0.01, betas=(first, 0.9), iterations=8, role="strokes", coarse_share=0)
    found = adam(np.full(SHAPE, 0.5), gradients, optimizer)
    m, v, zeros, image = np.zeros(SHAPE), np.zeros(SHAPE), 1.0, np.full(SHAPE, 0.5)
    for step, g in enumerate(gradients * PIXELS):
        decay = first + (max(0.9, first) - first) * step / 8
        m, v, zeros = decay * m + (1 - decay) * g, 0.9 * v + 0.1 * g**2, zeros * decay
        root = np.sqrt(v / (1 - 0.9 ** (step + 1)))
        image = image - 0.01 * cosine_decay(8, step) * m / (1 - zeros) / (root + 1e-8)
        np.testing.assert_allclose(found[step].numpy(), image, atol=1e-12)


def test_the_learning_rate_stays_low_after_the_expected_iterations() -> None:
    assert step_lengths(Adam(0.1, iterations=4, role="strokes"), 7)[4:] == pytest.approx([0.03] * 3)


def test_the_learning_rate_does_not_decay_while_the_composition_is_found() -> None:
    optimizer = Adam(0.1, iterations=3)
    assert step_lengths(optimizer, 3) == pytest.approx([0.1] * 3, rel=1e-6)
    optimizer.resize(1, 1, 6, "strokes")
    expected = [0.1 * cosine_decay(6, step) for step in range(6)]
    assert step_lengths(optimizer, 6) == pytest.approx(expected, rel=1e-6)


def test_steps_of_detail_are_those_of_the_detail_of_the_gradient() -> None:
    gradient = torch.from_numpy(images(1)[0])
    start = torch.full(SHAPE, 0.5).double()
    optimizer = Adam(0.05, role="detail")
    moved = optimizer.step(start, 0.0, gradient.clone()) - start
    signs = keep_detail_(gradient.clone()).sign()  # Adam's first step
    torch.testing.assert_close(moved, -0.05 * 0.75 * keep_detail_(signs), rtol=0, atol=1e-7)


@pytest.mark.parametrize("resized", [True, False])
def test_only_detail_moves_at_its_scale_until_the_objective_changes(resized: bool) -> None:
    optimizer = Adam(0.02, iterations=8, role="composition" if resized else "detail")
    image, gradient = torch.full((1, 1, 32, 32), 0.5).double(), torch.ones(1, 1, 32, 32).double()
    if resized:
        optimizer.step(image, 0.0, gradient.clone())
        optimizer.resize(32, 32, 8, "detail")
    inner = ..., slice(8, -8), slice(8, -8)
    moved = optimizer.step(image, 0.0, gradient.clone()) - image
    assert float(moved[inner].abs().max()) < 1e-9
    optimizer.on_objective_changed()
    moved = optimizer.step(image, 0.0, gradient.clone()) - image
    assert float(moved[inner].max()) < -0.01


def test_another_objective_restarts_the_decay_of_the_learning_rate() -> None:
    optimizer = Adam(0.1, iterations=10, role="strokes")
    step_lengths(optimizer, 7)
    optimizer.on_objective_changed()
    expected = [0.1 * cosine_decay(3, step) for step in range(3)]
    assert step_lengths(optimizer, 3) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("role", get_args(ScaleRole))
def test_a_restored_state_continues_with_the_same_steps(role: ScaleRole) -> None:
    optimizer, other = Adam(0.1, iterations=9, role=role), Adam(0.1, iterations=1)
    step_lengths(optimizer, 2)
    optimizer.resize(1, 1, 9, role)
    step_lengths(optimizer, 4)
    state = optimizer.state_dict()
    other.load_state_dict(
        OptimizerState({name: one.clone() for name, one in state.tensors.items()}, state.numbers)
    )
    assert step_lengths(other, 5) == step_lengths(optimizer, 5)


def damp_and_step(optimizer: Adam, value: float) -> float:
    """Return a damped style gradient, and take a step."""
    found = float(optimizer.damping("relu3_1.0", "gram", torch.tensor([value]), finest=False))
    step_lengths(optimizer, 1)
    return found


def test_a_step_commits_the_damping() -> None:
    optimizer = Adam()
    assert damp_and_step(optimizer, 1.0) == pytest.approx(1)
    mean = (0.9 * 0.1 * 1 + 0.1 * 3) / (1 - 0.9**2)
    assert damp_and_step(optimizer, 3.0) == pytest.approx(0.4 * 3 + 0.6 * mean)


@pytest.mark.parametrize("change", ["objective", "size"])
def test_another_objective_or_size_restarts_the_damping(change: str) -> None:
    optimizer = Adam()
    damp_and_step(optimizer, 1.0)
    if change == "objective":
        optimizer.on_objective_changed()
    else:
        optimizer.resize(1, 1, 5, "composition")
    assert damp_and_step(optimizer, 3.0) == pytest.approx(3)


def test_the_state_contains_the_damping() -> None:
    optimizer, other = Adam(), Adam()
    damp_and_step(optimizer, 1.0)
    other.load_state_dict(optimizer.state_dict())
    assert damp_and_step(other, 3.0) == damp_and_step(optimizer, 3.0) != 3


def test_adam_has_no_memory_to_release() -> None:
    assert not Adam().release_memory()
