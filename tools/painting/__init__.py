"""Paint the sample styles procedurally, so that no artist's copyright applies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from painting.canvas import Floats, to_uint8
from painting.impasto import impasto
from painting.pointillism import pointillism
from painting.stained_glass import stained_glass
from painting.woodcut import woodcut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ["PAINTERS", "paint"]

PAINTERS: Mapping[str, Callable[[np.random.Generator, int, int], Floats]] = {
    painter.__name__.replace("_", "-"): painter
    for painter in (impasto, stained_glass, woodcut, pointillism)
}


def paint(style: str, *, height: int = 512, width: int = 640, seed: int = 0) -> NDArray[np.uint8]:
    """Return a painted picture, (height, width, 3).

    Strokes, dots and carved lines have the same width in pixels in small and large pictures.

    Parameters
    ----------
    style
        Key in `PAINTERS`.
    height, width
        In pixels, at least 64: in smaller pictures, motifs are narrower than a stroke.
    seed
        Seed of the random generator, 0 or more.
    """
    return to_uint8(PAINTERS[style](np.random.default_rng(seed), height, width))
