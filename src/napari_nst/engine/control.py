"""One object through which others reach into a run: it is asked between two evaluations."""

from __future__ import annotations

import threading

__all__ = ["Control"]


class Control:
    """Stop a run from any thread, without waiting for it."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask the run to end before its next evaluation."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether the run has been asked to end."""
        return self._stop.is_set()
