"""Estimate the remaining time of a run."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RemainingTime"]

_WINDOW = 20  # iterations; enough to smooth a busy machine
_OVERHEAD = 20_000  # pixels that take as long as the constant part of an iteration
_MIN_SECONDS = 3.0  # of work before the first estimate


class RemainingTime:
    """Remaining seconds, from the mean rate per pixel of the latest iterations.

    Parameters
    ----------
    pixels : sequence of int
        Pixels of each iteration, in order.
    """

    def __init__(self, pixels: Sequence[int]) -> None:
        self._pixels = [each + _OVERHEAD for each in pixels]
        self._left = float(sum(self._pixels))
        self._worked = 0.0
        self._latest: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._done = 0

    def tick(self, seconds: float) -> None:
        """Count an iteration of this duration."""
        pixels = self._pixels[min(self._done, len(self._pixels) - 1)]
        self._done += 1
        self._left -= pixels
        self._worked += seconds
        self._latest.append((seconds, pixels))

    @property
    def seconds(self) -> float | None:
        """Remaining seconds; None while it is too early to estimate."""
        if self._worked < _MIN_SECONDS:
            return None
        seconds = sum(seconds for seconds, _ in self._latest)
        pixels = sum(pixels for _, pixels in self._latest)
        return max(self._left, 0.0) * seconds / pixels
