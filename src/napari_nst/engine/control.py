"""One object through which others reach into a run: it is asked between two evaluations."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Control"]

_SECONDS_BETWEEN_LOOKS = 0.05


class Control:
    """Stop, pause and steer a run from any thread, without waiting for it."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._go_on = threading.Event()
        self._go_on.set()
        self._wishes: deque[Mapping[str, Any]] = deque()

    def stop(self) -> None:
        """Ask the run to end before its next evaluation, if it is paused, too."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether the run has been asked to end."""
        return self._stop.is_set()

    def pause(self) -> None:
        """Ask the run to wait before its next evaluation."""
        self._go_on.clear()

    def resume(self) -> None:
        """Let a paused run go on."""
        self._go_on.set()

    @property
    def paused(self) -> bool:
        """Whether the run has been asked to wait."""
        return not self._go_on.is_set()

    def wait(self) -> None:
        """Return when the run is to go on, or to end."""
        while not (self._go_on.wait(_SECONDS_BETWEEN_LOOKS) or self.stopped):
            pass

    def steer(self, choices: Mapping[str, Any]) -> None:
        """Leave a wish for other settings from the next evaluation on."""
        self._wishes.append(choices)

    def take_wish(self) -> Mapping[str, Any] | None:
        """Return the oldest wish that has not been taken yet."""
        return self._wishes.popleft() if self._wishes else None
