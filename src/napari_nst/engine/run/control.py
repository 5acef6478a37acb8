"""One object through which others reach into a run: it is asked before every tile."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Control", "Stopped"]

_POLL_SECONDS = 0.05

Wish = TypeVar("Wish")


class Stopped(Exception):
    """The run has been asked to end."""


class Control(Generic[Wish]):
    """Stop, pause and steer a run from any thread, without waiting for it."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._go_on = threading.Event()
        self._go_on.set()
        self._wishes: deque[Wish] = deque()
        self._abandoned: Callable[[], bool] | None = None
        self._paused_seconds = 0.0

    def stop(self) -> None:
        """Ask the run to end before its next tile, if it is paused, too."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether the run has been asked to end, or nobody waits for it any more."""
        if self._abandoned is not None and self._abandoned():
            self._stop.set()
        return self._stop.is_set()

    def stop_if(self, abandoned: Callable[[], bool]) -> None:
        """Have the run end also when this becomes true; a paused run asks it, too."""
        self._abandoned = abandoned

    def pause(self) -> None:
        """Ask the run to wait before its next tile."""
        self._go_on.clear()

    def resume(self) -> None:
        """Let a paused run go on."""
        self._go_on.set()

    @property
    def paused(self) -> bool:
        """Whether the run has been asked to wait."""
        return not self._go_on.is_set()

    @property
    def paused_seconds(self) -> float:
        """Seconds that the run has waited for `resume`, in all."""
        return self._paused_seconds

    def wait_if_paused(self) -> None:
        """Return when the run is to go on.

        Raises
        ------
        Stopped
            If it is to end.
        """
        while self.paused and not self.stopped:
            self.wait(_POLL_SECONDS)
        if self.stopped:
            raise Stopped

    def wait(self, timeout: float) -> None:
        """Wait for `resume`, at most so many seconds, and count them as paused."""
        began = time.perf_counter()
        self._go_on.wait(timeout)
        self._paused_seconds += time.perf_counter() - began

    def steer(self, wish: Wish) -> None:
        """Leave a wish to be taken before the next evaluation."""
        self._wishes.append(wish)

    @property
    def wishes(self) -> tuple[Wish, ...]:
        """Those that have not been taken yet, the oldest first."""
        return tuple(self._wishes)

    def pop_update(self) -> Wish | None:
        """Return the oldest wish that has not been taken yet."""
        return self._wishes.popleft() if self._wishes else None
