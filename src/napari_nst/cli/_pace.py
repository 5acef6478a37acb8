"""How far several runs are, and their end by Ctrl-C."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from napari_nst.cli._progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from napari_nst.engine.run.transfer import StyleTransfer

__all__ = ["Clock", "CtrlC", "duration"]


class CtrlC:
    """The first Ctrl-C ends the run at work and all that follow; a second one interrupts.

    Attributes
    ----------
    pressed : bool
        Whether there was one.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._run: StyleTransfer | None = None

    def __enter__(self) -> Self:
        """Listen."""
        self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *error: object) -> None:
        """Listen no more."""
        signal.signal(signal.SIGINT, self._before)

    def stops(self, run: StyleTransfer) -> None:
        """Name the run that it ends now."""
        self._run = run
        if self.pressed:
            run.stop()

    def _press(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self._before)
        self.pressed = True
        if self._run is not None:
            self._run.stop()


class Clock:
    """Where a row of runs is: a line when each is done, and in a terminal a bar below them.

    Parameters
    ----------
    runs : sequence of (str, float)
        What each is called, and the seconds that it should take.
    """

    def __init__(self, runs: Sequence[tuple[str, float]]) -> None:
        self._runs = runs
        self._number = 0  # of the run at work, from 1
        self._passed = 0.0  # seconds that the runs up to the last should have taken ...
        self._spent = 0.0  # ... and did
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self._bar = Progress(*columns, console=console, transient=True, expand=True)
        self._bar.disable = not console.is_interactive
        self._task = self._bar.add_task("beginning", total=sum(seconds for _, seconds in runs))

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the bar."""
        self._bar.stop()

    def begin(self) -> None:
        """Note that the next run begins."""
        self._began = time.monotonic()
        self._number += 1
        heading, _ = self._runs[self._number - 1]
        self._bar.update(self._task, description=f"{self._number}/{len(self._runs)} {heading}")

    def show(self, share: float) -> None:
        """Show how much of the run is done."""
        _, reckoned = self._runs[self._number - 1]
        self._bar.update(self._task, completed=self._passed + share * reckoned)

    def end(self) -> float:
        """Say that the run is done, and how long the others will take; return its seconds."""
        seconds = time.monotonic() - self._began
        heading, reckoned = self._runs[self._number - 1]
        self._spent += seconds
        self._passed += reckoned
        text = f"{self._number} of {len(self._runs)}: {heading}, {duration(seconds)}"
        left = sum(seconds for _, seconds in self._runs[self._number :])
        if left:
            text += f"; about {duration(left * self._spent / self._passed)} left"
        say(f"{text}.")
        return seconds


def duration(seconds: float) -> str:
    """Return a time as a person would say it, for example ``"40 s"`` or ``"3 min"``."""
    seconds = max(round(seconds), 1)
    if seconds < 90:
        return f"{seconds} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
