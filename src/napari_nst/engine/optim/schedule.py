"""The scales of a run, from coarse to fine, and the iterations at each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "COARSE_CONTENT_WEIGHT",
    "LBFGS_HISTORY",
    "LEARNING_RATE",
    "MIN_LBFGS_HISTORY",
    "STROKE_SIDE",
    "Scale",
    "ScaleRole",
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
"""Smallest factor of the content weight before strokes are drawn.  Shapes that are lost at a
small size must be found again at a large one, where iterations are slow.  Chosen by
benchmarks/schedules.py and by eye."""

STROKE_SIDE = 512
"""Longest side in pixels at which strokes look best: that of a CPU's default working size, and of
a style whose `style_scale` is 1, if strokes are relative to pixels."""

_COARSEST = 256  # pixels, longest side; half of the last one if that is less and at least 128
_SMALLEST = 128
_GROWTH = 2
_FIRST_SHARE = 0.3  # of the iterations, if it is for the composition
# Shares of the rest, relative to the scale of the strokes: each other scale before it, and each
# scale after it.
_BETWEEN = 1 / 3
_AFTER = 0.35

ScaleRole: TypeAlias = Literal["composition", "strokes", "detail"]
"""What a scale is for.

"composition" finds the shapes, with a larger content weight.  "strokes" finishes the picture.
"detail" adds only what the picture at half its size cannot show (`multilevel.keep_detail_`).
"""


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
    role : {"composition", "strokes", "detail"}
        What it is for.
    """

    height: int
    width: int
    iterations: int
    style_side: float | None = None
    role: ScaleRole = "strokes"


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
    one's pixels.  The first gets three tenths of the iterations.  Of the rest, each scale between
    the first and that of the strokes gets a third of what that one gets.  Chosen by
    benchmarks/schedules.py and by eye: smaller first scales, or more iterations there, lose the
    content's edges to the layout of the style.

    The strokes are drawn at the last scale if they are relative to pixels, and otherwise at the
    one with about `STROKE_SIDE` pixels.  The network sees at most some 200 pixels at once, so at
    larger scales it would draw finer strokes over them; these scales only add detail.
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
    strokes = count - 1
    if style_side is None:
        enough = STROKE_SIDE / math.sqrt(_GROWTH)
        strokes -= sum(longest / _GROWTH**step > enough for step in range(1, count))
    roles: list[ScaleRole] = [
        "composition" if step < strokes else "strokes" if step == strokes else "detail"
        for step in range(count)
    ]
    first = [_FIRST_SHARE] if strokes else []
    weights = [_BETWEEN] * (strokes - 1) + [1.0, *[_AFTER] * (count - 1 - strokes)]
    rest = (1 - sum(first)) / sum(weights)
    shares = [*first, *(rest * weight for weight in weights)]
    ends = [round((iterations - count) * sum(shares[: step + 1])) for step in range(count)]
    sides = [style_side and style_side / _GROWTH**step for step in range(count)][::-1]
    return tuple(
        Scale(h, w, 1 + end - start, side, role)
        for (h, w), start, end, side, role in zip(
            sizes, [0, *ends[:-1]], ends, sides, roles, strict=True
        )
    )
