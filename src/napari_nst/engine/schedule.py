"""The sizes a picture grows through, coarse to fine, and their share of the iterations."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Scale", "fit", "plan"]

_COARSEST = 128  # pixels, longest side
_GROWTH = math.sqrt(2)
_LEAST_SHARE = 0.1


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


def plan(
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
        How many scales; "auto": from about 128 pixels up.  Fewer where the short side would
        fall below `shortest`, or where there would be no iteration for each.
    shortest : int
        What the short side has at least: two positions of the deepest layer.

    Notes
    -----
    Composition is found at the coarse scales, where an iteration is cheap; the fine ones only
    add detail.  So a scale's share of the iterations falls with its pixels, down to about a
    tenth of all: with fewer, the finest strokes stay unpainted.
    """
    longest = max(height, width)
    if scales == "auto":
        count = 1 + max(0, round(math.log(longest / _COARSEST, _GROWTH)))
    else:
        count = int(scales)
    room = math.floor(math.log(max(min(height, width) / shortest, 1), _GROWTH) + 1e-9) + 1
    count = max(1, min(count, room, iterations))
    sizes = [fit(height, width, longest / _GROWTH**step, shortest) for step in range(count)][::-1]
    sizes[-1] = (height, width)
    cheap = [1 / (h * w) for h, w in sizes]
    least = min(_LEAST_SHARE, 1 / count)
    shares = [least + (1 - count * least) * part / sum(cheap) for part in cheap]
    ends = [round((iterations - count) * sum(shares[: step + 1])) for step in range(count)]
    return tuple(
        Scale(h, w, 1 + end - start)
        for (h, w), start, end in zip(sizes, [0, *ends[:-1]], ends, strict=True)
    )
