"""Control of the content weight: limits, direction, and convergence on a simple image."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_nst.engine.optim.content_factor import (
    LARGEST_FACTOR,
    ContentFactor,
    smallest_agreement,
)
from napari_nst.settings import StyleTransferSettings


def settings(**choices: float) -> StyleTransferSettings:
    return StyleTransferSettings(**choices)


def test_the_default_weights_keep_what_the_setting_says() -> None:
    assert smallest_agreement(settings(kept_structure=0.6)) == pytest.approx(0.6)


def test_stronger_styles_divide_the_odds() -> None:
    kept = smallest_agreement(settings(kept_structure=0.5, style_weight=10))
    assert kept / (1 - kept) == pytest.approx(0.1)
    assert smallest_agreement(settings(kept_structure=0.5, content_weight=0.01)) == kept
    assert smallest_agreement(settings(kept_structure=0.5, style_weight=0)) == 1


@given(st.floats(0.01, 0.99), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_only_the_ratio_of_the_weights_counts(kept: float, factor: float, style: float) -> None:
    one = settings(kept_structure=kept, style_weight=style)
    other = one.replace(style_weight=style * factor, content_weight=0.1 * factor)
    assert smallest_agreement(other) == pytest.approx(smallest_agreement(one), rel=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.sampled_from([1.0, 3.0]))
def test_the_factor_stays_within_its_limits(agreements: list[float], lowest: float) -> None:
    control = ContentFactor()
    assert float(control.factor) == 3
    for agreement in agreements:
        control.update(torch.tensor(agreement), 0.7, lowest)
        assert lowest * (1 - 1e-6) <= float(control.factor) <= LARGEST_FACTOR * (1 + 1e-6)


def test_it_rises_while_too_little_is_kept_and_falls_to_its_limit_otherwise() -> None:
    control, factors = ContentFactor(), []
    for agreement in [0.5] * 6 + [0.9] * 30:
        control.update(torch.tensor(agreement), 0.7, 1.0)
        factors.append(float(control.factor))
    rising, falling = factors[:6], factors[6:]
    assert rising == sorted(rising) and rising[0] > 3
    assert falling == sorted(falling, reverse=True) and falling[-1] == 1


@pytest.mark.parametrize("needed", [1.2, 2.0, 5.0])
def test_it_finds_the_factor_that_keeps_the_target(needed: float) -> None:
    """The agreement of the image follows the factor's logarithm, as measured on real pictures."""
    control, agreement = ContentFactor(), 1.0
    for _ in range(60):
        control.update(torch.tensor(agreement), 0.7, 1.0)
        reached = 0.7 + 0.2 * math.log(float(control.factor) / needed)
        agreement += 0.4 * (reached - agreement)
    assert float(control.factor) == pytest.approx(needed, rel=0.02)
    assert agreement == pytest.approx(0.7, abs=0.005)
