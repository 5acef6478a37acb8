"""Messages of a batch: before it starts, while it runs, and when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_nst import speed
from napari_nst.batch.layout import Layout
from napari_nst.cli._progress import JobsProgress, say, time_estimate
from napari_nst.durations import format_duration
from napari_nst.engine.resources import costs
from napari_nst.files import is_stack, open_stack, shape_of
from napari_nst.stacks import cost as cost_of_stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_nst.batch import Batch, BatchJob, BatchReport, JobProgress

__all__ = ["BatchProgress", "say_before", "say_report"]

_MOST_NAMED = 5
_STARTS = {
    "warped": "the result before it, carried along the motion",
    "previous": "the result before it",
    "content": "its own content",
}


def say_before(work: Batch, scheduler: str | None) -> dict[Path, float]:
    """Print what a batch will make and how long it takes; return the operations of each result.

    The duration is not printed for a cluster, whose speed is unknown.
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
    kind = _device_type(work.pending[0].settings.device) if scheduler is None else "cuda"
    operations = {job.result: _operations(job, kind) for job in work.pending}
    precision = work.pending[0].settings.allowed_precision
    text += f"{count} result{'s' * (count > 1)} to make"
    if scheduler is None:
        say(f"{text}: {time_estimate({(kind, precision): sum(operations.values())})}.")
    else:
        say(f"{text} on the workers of {scheduler}.")
    _say_starts(work)
    return operations


class BatchProgress(JobsProgress):
    """Progress of a batch.

    `measure_speed` saves the speed of the jobs; it needs them to run one by one on this machine.
    """

    def __init__(self, operations: Mapping[Path, float], *, measure_speed: bool) -> None:
        super().__init__(len(operations), sum(operations.values()))
        self._operations_of = operations
        self._measure_speed = measure_speed

    def __call__(self, step: JobProgress) -> None:
        """Show the progress of a job, or its end."""
        job, outcome = step.job, step.outcome
        operations = self._operations_of[job.result]
        if outcome is None:
            self.update(job.title, step.progress * operations)
            return
        self.end(job.title, operations, outcome.seconds, outcome.error)
        measurable = self._measure_speed and not job.stack and outcome.error is None
        if measurable and operations and job.settings.iterations >= speed.MIN_ITERATIONS:
            device = _device_type(job.settings.device)
            precision = job.settings.allowed_precision
            speed.save_speed(device, operations / outcome.seconds, precision)


def say_report(report: BatchReport, masks: bool) -> None:
    """Print how the jobs of a batch ended."""
    for outcome in report.failed:
        say(f"{outcome.job.title} failed. {outcome.error}")
    if masks:
        bare = list(dict.fromkeys(o.job.content.name for o in report.outcomes if not o.job.mask))
        if bare:
            say(f"no mask for {_named(bare)}.")
    parts = [
        f"{len(report.made)} made",
        f"{len(report.skipped)} skipped",
        f"{len(report.failed)} failed",
    ]
    say(f"{', '.join(parts)} in {format_duration(report.seconds)}.")


def _say_starts(work: Batch) -> None:
    """Print what the planes of the stacks start from."""
    for start_from, image in _STARTS.items():
        jobs = [job for job in work.pending if job.stack and job.start_from == start_from]
        names = list(dict.fromkeys(job.content.name for job in jobs))
        if names:
            also = ", long term" if jobs[0].long_term else ""
            say(f"{_named(names)}: each plane starts from {image} ({start_from}{also}).")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def _device_type(name: str) -> str:
    from napari_nst.engine.resources.device import Device

    return Device.from_name(name).torch_device.type


def _operations(job: BatchJob, kind: str) -> float:
    """Return the approximate operations of a job; 0 if its content cannot be read."""
    try:
        if not is_stack(job.content):
            return costs.estimate(job.settings, *shape_of(job.content), kind).operations
        with open_stack(job.content) as stack:
            height, width = stack.plane_shape[:2]
            layout = Layout.from_stack(stack, job.channels)
        if not job.stack:  # one plane of it
            return costs.estimate(job.settings, height, width, kind).operations
    except Exception:  # the job itself reports it
        return 0.0
    first, two = (
        cost_of_stack(
            job.settings, height, width, kind, planes=planes, start_from=job.start_from
        ).operations
        for planes in (1, 2)
    )
    return layout.sequence_count * first + (len(layout) - layout.sequence_count) * (two - first)
