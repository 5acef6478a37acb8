"""How far a batch is, what is left of it, and what became of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from napari_nst import speed
from napari_nst.batch.layout import Layout
from napari_nst.cli._pace import duration
from napari_nst.cli._progress import say
from napari_nst.engine.resources import costs
from napari_nst.files import open_stack, shape_of
from napari_nst.stacks import cost as cost_of_stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_nst.batch import Batch, BatchJob, BatchReport, JobProgress

__all__ = ["Rounds", "say_beforehand", "say_report"]

_ENOUGH = 40  # iterations to tell the speed by: a shorter run is mostly its beginning
_MOST_NAMED = 5


def say_beforehand(work: Batch, scheduler: str | None) -> dict[Path, float]:
    """Say what a batch will come to, and return the operations of each result to be made.

    Parameters
    ----------
    work : Batch
        The batch.
    scheduler : str or None
        Whose workers do it: how fast they are nobody knows.
    """
    for number, reason in work.outdated.items():
        job = work.jobs[number]
        say(f"{job.result} is there, but {reason}: it is made again.")
    count = len(work.pending)
    skipped = sum(outcome.status == "skipped" for outcome in work.known_outcomes.values())
    text = f"{skipped} of {len(work.jobs)} there from before; " if skipped else ""
    if not count:
        say(f"{text}nothing to make.")
        return {}
    kind = _device(work.pending[0].settings.device) if scheduler is None else "cuda"
    operations = {job.result: _operations(job, kind) for job in work.pending}
    text += f"{count} result{'s' * (count > 1)} to make"
    if scheduler is None:
        per_second, measured = speed.load_speed(kind)
        seconds = sum(operations.values()) / per_second
        say(f"{text}: {'about' if measured else 'roughly'} {duration(seconds)} on {kind}.")
    else:
        say(f"{text} on the workers of {scheduler}.")
    return operations


class Rounds:
    """A line when a job ends, and in a terminal a bar below them.

    Parameters
    ----------
    jobs : sequence of BatchJob
        That are to be done.
    operations : dict of Path to float
        What each result takes; what is left is told by those that are done.
    speeds : bool
        Whether this machine does them one after the other, so that its speed can be kept.
    """

    def __init__(
        self, jobs: Sequence[BatchJob], operations: Mapping[Path, float], *, speeds: bool
    ) -> None:
        self._operations = operations
        self._total = sum(operations.values())
        self._passed = 0.0  # operations of what has ended
        self._failed = 0.0  # of those, what was not done
        self._ended, self._count = 0, len(jobs)
        self._speeds = speeds
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[left]}"),
        )
        self._bar = Progress(*columns, console=console, transient=True, expand=True)
        self._bar.disable = not console.is_interactive
        self._task = self._bar.add_task("beginning", total=self._total or 1.0, left="")

    def __enter__(self) -> Self:
        """Show the bar, and begin to count the time."""
        self._began = time.monotonic()
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the bar."""
        self._bar.stop()

    def __call__(self, step: JobProgress) -> None:
        """Show a step."""
        own = self._operations[step.job.result]
        if step.outcome is None:
            self._bar.update(
                self._task,
                description=f"{self._ended + 1}/{self._count} {step.job.title}",
                completed=self._passed + step.progress * own,
                left=self._left(step.progress * own),
            )
            return
        self._ended += 1
        self._passed += own
        outcome = step.outcome
        if outcome.status == "failed":
            self._failed += own
            text = f"failed. {outcome.error}"
        else:
            text = f"{duration(outcome.seconds)}."
            enough = own > 0 and step.job.settings.iterations >= _ENOUGH
            if self._speeds and not step.job.stack and enough:
                kind = _device(step.job.settings.device)
                speed.save_speed(kind, own / outcome.seconds)
        left = self._left()
        say(f"{self._ended} of {self._count}: {step.job.title}, {text}{left and f' {left}.'}")

    def _left(self, of_this: float = 0.0) -> str:
        """Say how long the rest will take, as long as the rest is not nothing."""
        done = self._passed - self._failed + of_this
        rest = self._total - self._passed - of_this
        if done <= 0 or self._ended == self._count:
            return ""
        return f"About {duration((time.monotonic() - self._began) * rest / done)} left"


def say_report(report: BatchReport, masks: bool) -> None:
    """Say what became of a batch: what failed, and why, comes last."""
    for outcome in report.failed:
        say(f"{outcome.job.title} failed. {outcome.error}")
    if masks:
        bare = list(dict.fromkeys(o.job.content.name for o in report.outcomes if not o.job.mask))
        if bare:
            more = f" and {len(bare) - _MOST_NAMED} more" if len(bare) > _MOST_NAMED else ""
            say(f"no mask for {', '.join(bare[:_MOST_NAMED])}{more}.")
    parts = [
        f"{len(report.made)} made",
        f"{len(report.skipped)} skipped",
        f"{len(report.failed)} failed",
    ]
    say(f"{', '.join(parts)} in {duration(report.seconds)}.")


def _device(name: str) -> str:
    from napari_nst.engine.resources.device import Device

    return Device.from_name(name).torch_device.type


def _operations(job: BatchJob, kind: str) -> float:
    """Return about how much a job takes; what cannot be read takes nothing."""
    try:
        if not job.stack:
            return costs.estimate(job.settings, *shape_of(job.content), kind).operations
        with open_stack(job.content) as stack:
            height, width = stack.plane_shape[:2]
            layout = Layout.from_stack(stack, job.channels)
    except Exception:  # whatever it is, the job itself will say so
        return 0.0
    first, two = (
        cost_of_stack(
            job.settings, height, width, kind, planes=planes, start_from=job.start_from
        ).operations
        for planes in (1, 2)
    )
    return layout.rows * first + (len(layout) - layout.rows) * (two - first)
