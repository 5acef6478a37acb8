"""Rows of features, some at a time, so that what is made of them on the way stays in the cache.

On a processor large memory is slow when it is fresh: getting its pages from the system takes longer
than computing with them.  What is as small as a strip is memory that was in use a moment ago.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["strips"]

_BYTES = 4 * 2**20  # of a strip in float32: 1, 2 and 16 MiB were slower


def strips(features: Tensor) -> Iterator[slice]:
    """Yield slices of the rows of features, from the first on.

    Parameters
    ----------
    features : Tensor
        Shape (..., N, H, W).  On other devices than a processor they come in one piece: those keep
        their memory, and want large pieces of work.
    """
    channels, height, width = features.shape[-3:]
    rows = height
    if features.device.type == "cpu":
        rows = _BYTES // max(4 * channels * width, 1)
    rows = max(rows, 1)
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))
