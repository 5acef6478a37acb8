"""How long a run will still take, by how long it took lately."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RemainingTime"]

_WINDOW = 20  # iterations: as few as smooth the hiccups of a busy machine
_OVERHEAD = 20_000  # pixels whose work every iteration has on top, however small the picture
_SOONEST = 3.0  # seconds of work before which nothing is said


class RemainingTime:
    """The seconds left, from the mean rate of the latest iterations for each pixel.

    Parameters
    ----------
    pixels : sequence of int
        Of each iteration, in order.
    """

    def __init__(self, pixels: Sequence[int]) -> None:
        self._pixels = [each + _OVERHEAD for each in pixels]
        self._left = float(sum(self._pixels))
        self._worked = 0.0
        self._latest: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._done = 0

    def tick(self, seconds: float) -> None:
        """Count an iteration that took so long."""
        pixels = self._pixels[min(self._done, len(self._pixels) - 1)]
        self._done += 1
        self._left -= pixels
        self._worked += seconds
        self._latest.append((seconds, pixels))

    @property
    def seconds(self) -> float | None:
        """What is left, or None while it is too early to say."""
        if self._worked < _SOONEST:
            return None
        seconds = sum(seconds for seconds, _ in self._latest)
        pixels = sum(pixels for _, pixels in self._latest)
        return max(self._left, 0.0) * seconds / pixels
