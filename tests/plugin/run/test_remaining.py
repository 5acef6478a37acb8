"""Estimates of the remaining time of a run."""

from __future__ import annotations

import pytest

from napari_nst.plugin.run.remaining import RemainingTime

PIXELS = [10_000] * 60 + [40_000] * 40 + [160_000] * 20


def seconds(pixels: int) -> float:
    """Return the seconds of an iteration on a machine with a constant overhead."""
    return 1e-6 * (pixels + 20_000)


def test_there_is_no_estimate_in_the_first_seconds() -> None:
    remaining = RemainingTime([100] * 10)
    remaining.tick(1.0)
    assert remaining.seconds is None
    remaining.tick(3.0)
    assert remaining.seconds is not None


@pytest.mark.parametrize("done", [20, 60, 70, 110])
def test_the_estimate_includes_larger_scales(done: int) -> None:
    remaining = RemainingTime(PIXELS)
    for pixels in PIXELS[:done]:
        remaining.tick(100 * seconds(pixels))

    assert remaining.seconds == pytest.approx(100 * sum(map(seconds, PIXELS[done:])))


def test_the_estimate_adapts_to_a_slower_machine_within_twenty_iterations() -> None:
    remaining = RemainingTime([1000] * 200)
    for _ in range(100):
        remaining.tick(0.1)
    for _ in range(20):
        remaining.tick(0.5)

    assert remaining.seconds == pytest.approx(80 * 0.5)


def test_nothing_is_left_at_the_end() -> None:
    remaining = RemainingTime([1000] * 5)
    for _ in range(5):
        remaining.tick(1)

    assert remaining.seconds == 0
