"""The sizes a picture grows through, coarse to fine, and their share of the iterations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_nst.settings import StyleTransferSettings

__all__ = [
    "COARSE_CONTENT_WEIGHT",
    "LBFGS_HISTORY",
    "LEARNING_RATE",
    "MIN_LBFGS_HISTORY",
    "Scale",
    "fit",
    "make_scales",
    "settings_at_scale",
]

LBFGS_HISTORY = 10
"""Default history size of L-BFGS: pairs of a step and a change of the gradient."""

MIN_LBFGS_HISTORY = 3
"""Smallest history size: Nocedal and Wright (Numerical Optimization, section 7.2) report that 3
to 20 pairs work well in practice."""

LEARNING_RATE = 0.038
"""Of Adam at first, where the settings name none; in units of the image's range."""

COARSE_CONTENT_WEIGHT = 3
"""What the content weighs at the sizes before the last, in units of what it weighs there: what is
lost of its shapes when the picture is small has to be found again when each iteration is dear.
Chosen by benchmarks/schedules.py, and by eye."""

_COARSEST = 256  # pixels, longest side; half of the last where that is less, from 128 up
_SMALLEST = 128
_GROWTH = 2
_FIRST_SHARE = 0.3  # of the iterations, where there is more than one size
_BETWEEN = 1 / 3  # of the last size's iterations, for each size between the first and the last


@dataclass(frozen=True)
class Scale:
    """One size of the picture and the number of evaluations spent there."""

    height: int
    width: int
    iterations: int


def fit(height: int, width: int, longest: float, shortest: int = 1) -> tuple[int, int]:
    """Return a size with the same aspect ratio.

    Parameters
    ----------
    height, width : int
        The size to begin with.
    longest : float
        The wish for the longest side.
    shortest : int
        What the shortest side has at least; this comes before `longest`.
    """
    factor = max(longest / max(height, width), shortest / min(height, width))
    return max(round(height * factor), shortest), max(round(width * factor), shortest)


def make_scales(
    height: int, width: int, iterations: int, scales: int | str = "auto", shortest: int = 32
) -> tuple[Scale, ...]:
    """Return the scales of a run, coarsest first.

    Parameters
    ----------
    height, width : int
        The size worked at in the end.
    iterations : int
        Evaluations in total.
    scales : int or "auto"
        How many scales; "auto": from about 256 pixels up, and two at least where the first has
        about 128.  Fewer where the short side would fall below `shortest`, or where there would be
        no iteration for each.
    shortest : int
        What the short side has at least: two positions of the deepest layer.

    Notes
    -----
    Composition is found at the coarse scales, where an iteration is cheap: each has a fourth of
    the pixels of the next.  The first has three tenths of the iterations.  Of the rest the last
    has the most, and nearly all of the time, for what is fine can only be done there; each size
    between has a third of what the last has.  Chosen by benchmarks/schedules.py, and by eye:
    smaller sizes to begin with, and more iterations there, lose the content's edges to the
    style's layout; with half as many at the first of three sizes, skies stay mottled.
    """
    longest = max(height, width)
    if scales == "auto":
        doublings = round(math.log(longest / _COARSEST, _GROWTH))
        count = 1 + max(0, doublings, min(1, round(math.log(longest / _SMALLEST, _GROWTH))))
    else:
        count = int(scales)
    room = math.floor(math.log(max(min(height, width) / shortest, 1), _GROWTH) + 1e-9) + 1
    count = max(1, min(count, room, iterations))
    sizes = [fit(height, width, longest / _GROWTH**step, shortest) for step in range(count)][::-1]
    sizes[-1] = (height, width)
    weights = [_BETWEEN] * (count - 2) + [1.0]
    first = [_FIRST_SHARE] if count > 1 else []
    rest = (1 - sum(first)) / sum(weights)
    shares = [*first, *(rest * weight for weight in weights)]
    ends = [round((iterations - count) * sum(shares[: step + 1])) for step in range(count)]
    return tuple(
        Scale(h, w, 1 + end - start)
        for (h, w), start, end in zip(sizes, [0, *ends[:-1]], ends, strict=True)
    )


def settings_at_scale(settings: StyleTransferSettings, *, last: bool) -> StyleTransferSettings:
    """Return settings with the weights that hold at the last scale, or at one before it."""
    if last:
        return settings
    return settings.replace(content_weight=settings.content_weight * COARSE_CONTENT_WEIGHT)
