"""Progress on standard error: a bar in a terminal, and lines that stay."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from napari_nst import speed
from napari_nst.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_nst.engine.run.transfer import StyleTransfer

__all__ = ["JobsProgress", "progress_bar", "run_with_progress", "say", "time_estimate"]

_SECONDS_BETWEEN_UPDATES = 0.1


def say(message: str) -> None:
    """Print a message to standard error."""
    print("napari-nst:", message, file=sys.stderr)


def time_estimate(operations: Mapping[tuple[str, str], float]) -> str:
    """Return the duration of operations by device and precision, such as "about 3 min on cuda"."""
    speeds = {key: speed.load_speed(*key) for key in operations}
    seconds = sum(count / speeds[key][0] for key, count in operations.items())
    measured = all(measured for _, measured in speeds.values())
    return (
        f"{'about' if measured else 'roughly'} {format_duration(seconds)} on "
        f"{' and '.join(sorted({device for device, _ in operations}))}"
    )


def progress_bar() -> Progress:
    """Return a bar with a description, a note and the time left; disabled outside a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        expand=True,
        disable=not console.is_interactive,
    )


def run_with_progress(run: StyleTransfer, after: Callable[[], object] | None = None) -> None:
    """Iterate a run to its end with a bar or, outside a terminal, a line per scale.

    `after` is called after each iteration.
    """
    shown, scale = 0.0, 0
    with progress_bar() as bar:
        task = bar.add_task("starting", total=1, note="")
        for snapshot in run:
            # Reading a loss waits for the GPU, so not after every iteration.
            if not bar.disable and time.monotonic() - shown >= _SECONDS_BETWEEN_UPDATES:
                shown, losses = time.monotonic(), snapshot.losses
                bar.update(
                    task,
                    completed=snapshot.progress,
                    description=f"scale {snapshot.scale}/{snapshot.scales}, "
                    f"iteration {snapshot.iteration}/{snapshot.iterations}",
                    note=f"style {losses.style:.3g}, content {losses.content:.3g}",
                )
            if bar.disable and snapshot.scale != scale:
                scale = snapshot.scale
                height, width = snapshot.shape
                say(f"scale {scale} of {snapshot.scales}, {width} x {height} pixels")
            if after is not None:
                after()


class JobsProgress:
    """Progress of several jobs: a line at the end of each and, in a terminal, a bar.

    `operations` is the sum over all jobs.
    """

    def __init__(self, count: int, operations: float) -> None:
        self._count, self._ended = count, 0
        self._operations = operations
        self._done = self._failed = 0.0  # operations of jobs that ended; of those that failed
        self._began = time.monotonic()
        self.bar = progress_bar()
        self._task = self.bar.add_task("starting", total=operations or 1.0, note="")

    def update(self, title: str, operations: float) -> None:
        """Show the operations that are done of the current job."""
        description = f"{self._ended + 1}/{self._count} {title}"
        self.bar.update(self._task, description=description, completed=self._done + operations)

    def end(
        self, title: str, operations: float, seconds: float = 0.0, error: str | None = None
    ) -> None:
        """Print how a job ended, or the error if it failed, and how long the others will take."""
        self._ended += 1
        self._done += operations
        if error is not None:
            self._failed += operations
            say(f"{title} failed. {error}")
            return
        text = f"{self._ended} of {self._count}: {title}, {format_duration(seconds)}"
        done = self._done - self._failed
        if done > 0 and self._ended < self._count:
            left = (time.monotonic() - self._began) * (self._operations - self._done) / done
            text += f"; about {format_duration(left)} left"
        say(f"{text}.")
