"""The scales of a run, from coarse to fine, and the iterations at each."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = [
    "COARSE_CONTENT_WEIGHT",
    "LBFGS_HISTORY",
    "LEARNING_RATE",
    "MIN_LBFGS_HISTORY",
    "Scale",
    "fit",
    "make_scales",
]

LBFGS_HISTORY = 10
"""Default history size of L-BFGS: pairs of a step and a change of the gradient."""

MIN_LBFGS_HISTORY = 3
"""Smallest history size: Nocedal and Wright (Numerical Optimization, section 7.2) report that 3
to 20 pairs work well in practice."""

LEARNING_RATE = 0.038
"""Default initial learning rate of Adam, in units of the image's range."""

COARSE_CONTENT_WEIGHT = 3
"""Smallest factor of the content weight at all scales but the last.  Shapes that are lost at a
small size must be found again at a large one, where iterations are slow.  Chosen by
benchmarks/schedules.py and by eye."""

_COARSEST = 256  # pixels, longest side; half of the last one if that is less and at least 128
_SMALLEST = 128
_GROWTH = 2
_FIRST_SHARE = 0.3  # of the iterations, if there are several scales
_BETWEEN = 1 / 3  # of the last scale's iterations, for each scale between the first and the last


@dataclass(frozen=True)
class Scale:
    """One size of the picture and the number of evaluations spent there.

    Attributes
    ----------
    height, width : int
        Size of the picture in pixels.
    iterations : int
        Evaluations.
    style_side : float or None
        Longest side in pixels of a style whose `style_scale` is 1; None: that of the picture.
    """

    height: int
    width: int
    iterations: int
    style_side: float | None = None


def fit(height: int, width: int, longest: float, shortest: int = 1) -> tuple[int, int]:
    """Return a size with the same aspect ratio.

    Parameters
    ----------
    height, width : int
        Original size.
    longest : float
        Requested longest side.
    shortest : int
        Minimum of the shortest side; takes precedence over `longest`.
    """
    factor = max(longest / max(height, width), shortest / min(height, width))
    return max(round(height * factor), shortest), max(round(width * factor), shortest)


def make_scales(
    height: int,
    width: int,
    iterations: int,
    scales: int | str = "auto",
    shortest: int = 32,
    style_side: float | None = None,
) -> tuple[Scale, ...]:
    """Return the scales of a run, coarsest first.

    Parameters
    ----------
    height, width : int
        Size of the last scale.
    iterations : int
        Evaluations in total.
    scales : int or "auto"
        Number of scales; "auto": from about 256 pixels up, and at least two if the first has about
        128.  Fewer if the short side would fall below `shortest`, or a scale had no iteration.
    shortest : int
        Minimum of the short side: two positions of the deepest layer.
    style_side : float or None
        `Scale.style_side` of the last scale.  Earlier scales have half of the next one's, and the
        number of scales is that of a picture with this side: from a style of 256 pixels up.

    Notes
    -----
    Coarse scales find the composition with cheap iterations: each scale has a fourth of the next
    one's pixels.  The first gets three tenths of the iterations.  Of the rest, each scale in
    between gets a third of what the last gets, which alone can draw fine detail.  Chosen by
    benchmarks/schedules.py and by eye: smaller first scales, or more iterations there, lose the
    content's edges to the layout of the style; with half as many at the first of three scales,
    skies stay mottled.
    """
    longest = max(height, width)
    if scales == "auto":
        side = longest if style_side is None else style_side
        doublings = round(math.log(side / _COARSEST, _GROWTH))
        count = 1 + max(0, doublings, min(1, round(math.log(side / _SMALLEST, _GROWTH))))
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
    sides = [style_side and style_side / _GROWTH**step for step in range(count)][::-1]
    return tuple(
        Scale(h, w, 1 + end - start, side)
        for (h, w), start, end, side in zip(sizes, [0, *ends[:-1]], ends, sides, strict=True)
    )
