"""Strips of rows of features, so that temporary results stay in the CPU cache.

Freshly allocated memory is slow on a CPU: page faults take longer than the computation.  Temporary
results of a strip reuse memory that was freed a moment ago.
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
        Shape (..., N, H, W).  On devices other than the CPU a single strip: they cache memory, and
        large kernels are faster there.
    """
    channels, height, width = features.shape[-3:]
    rows = height
    if features.device.type == "cpu":
        rows = _BYTES // max(4 * channels * width, 1)
    rows = max(rows, 1)
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))
