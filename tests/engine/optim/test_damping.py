from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_nst.engine.optim.damping import Damping


def damp(damping: Damping, values: list[float], *, finest: bool = False) -> list[float]:
    """Return the damped gradients of one number over several evaluations."""
    found = []
    for value in values:
        found.append(float(damping("a", "gram", torch.tensor([value]), finest=finest)))
        damping.commit()
    return found


@pytest.mark.parametrize(("finest", "direct"), [(True, 0.7), (False, 0.4)])
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_a_damped_gradient_is_a_blend_of_the_current_one_and_the_mean(
    finest: bool, direct: float, values: list[float]
) -> None:
    expected = []
    for count in range(1, len(values) + 1):
        weights = 0.9 ** np.arange(count - 1, -1, -1)
        mean = np.average(values[:count], weights=weights)
        expected.append(direct * values[count - 1] + (1 - direct) * mean)
    found = damp(Damping(), values, finest=finest)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_a_constant_gradient_is_unchanged() -> None:
    gradient = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).double()
    damping = Damping()
    for _ in range(20):
        found = damping("a", "gram", gradient, finest=False)
        damping.commit()
        torch.testing.assert_close(found, gradient.float(), rtol=1e-5, atol=1e-6)
        assert found.dtype == torch.float32


def test_a_repeated_evaluation_counts_once() -> None:
    once, repeated = Damping(), Damping()
    assert damp(once, [1.0]) == damp(repeated, [1.0])
    repeated("a", "gram", torch.tensor([7.0]), finest=False)
    assert damp(once, [2.0, 5.0]) == damp(repeated, [2.0, 5.0])


def test_each_key_has_its_own_mean() -> None:
    damping = Damping()
    damping("a", "gram", torch.tensor([1.0]), finest=False)
    damping("b", "gram", torch.tensor([100.0]), finest=False)
    damping("a", "mean", torch.tensor([-100.0]), finest=False)
    damping.commit()
    alone = Damping()
    damp(alone, [1.0])
    assert damp(damping, [2.0]) == damp(alone, [2.0])


def test_a_restored_state_continues_with_the_same_gradients() -> None:
    damping, other = Damping(), Damping()
    damp(damping, [1.0, 2.0])
    other.load_state_dict(
        {name: mean.clone() for name, mean in damping.tensors.items()}, damping.weight
    )
    assert damp(other, [5.0, 3.0]) == damp(damping, [5.0, 3.0])


def test_a_restart_clears_the_means() -> None:
    damping = Damping()
    damp(damping, [1.0, 2.0])
    damping.restart()
    assert damp(damping, [9.0]) == pytest.approx([9])
    assert damping.weight == pytest.approx(0.1)
