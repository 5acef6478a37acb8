"""Run a job in the worker's thread, and report to the viewer.  No Qt here."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil

from napari_nst.engine.run.control import Control
from napari_nst.errors import StyleTransferError
from napari_nst.plugin.run.job import Evaluation, Machine, Notice, Outcome, Report
from napari_nst.plugin.run.job_run import JobResult, JobRun, PictureRun
from napari_nst.plugin.run.remaining import RemainingTime
from napari_nst.plugin.run.stack_run import StackRun

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari_nst.engine.run.snapshots import Snapshot
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.plugin.run.job import Job

__all__ = ["RunHandle", "run_job"]

logger = logging.getLogger(__name__)

# Each report changes the panel, and Qt then composes the whole window again, with its OpenGL
# canvas.  Without a GPU, ten reports a second slowed a run from 8.7 to 11.9 seconds.
_SECONDS_BETWEEN_REPORTS = 0.3
_LOSSES = ("content", "style", "temporal", "total")


class RunHandle:
    """State shared between the worker's thread and the viewer's.

    Attributes
    ----------
    control : Control
        Stops, pauses and steers the run, even before it exists.
    discard : Event
        Set to delete the result.
    picture_taken : Event
        Set if the viewer has shown the last picture.
    job_run : JobRun or None
        The run, while there is one.
    """

    def __init__(self, seconds_between_pictures: float = 0.3) -> None:
        self.seconds_between_pictures = seconds_between_pictures
        self.control = Control()
        self.discard = threading.Event()
        self.picture_taken = threading.Event()
        self.picture_taken.set()
        self.job_run: JobRun | None = None


def run_job(
    job: Job, engine: Callable[..., StyleTransfer] | None, handle: RunHandle
) -> Generator[Report | Notice, None, Outcome]:
    """Run a job: yield reports and return the outcome; never raise."""
    began = time.perf_counter()
    status, message = "failed", ""
    try:
        kind = PictureRun if job.stack is None else StackRun
        handle.job_run = kind(job, engine, handle.control)
        yield from _Reporter(job, handle, handle.job_run).iterate()
        status = "stopped" if handle.control.stopped else "finished"
    except StyleTransferError as error:
        message = str(error)
    except Exception as error:
        logger.exception("The run failed.")
        message = f"The transfer failed: {error or type(error).__name__}."
    elapsed = time.perf_counter() - began - handle.control.paused_seconds
    job_run, handle.job_run = handle.job_run, None
    result = JobResult() if job_run is None else job_run.end(discard=handle.discard.is_set())
    return Outcome(status, result.picture, result.record, message, elapsed, result.operations)


class _Reporter:
    """Iterates a run and reports as often as the viewer can take."""

    def __init__(self, job: Job, handle: RunHandle, job_run: JobRun) -> None:
        self._handle, self._job_run = handle, job_run
        self._reported = self._shown = float("-inf")
        # Losses are on the device; they are read when they are reported.
        self._unreported: list[Snapshot] = []
        scales = job_run.run.scales
        self._remaining = RemainingTime(
            [scale.height * scale.width for scale in scales for _ in range(scale.iterations)]
        )
        self._machine = _MachineReader(job, job_run)

    def iterate(self) -> Iterator[Report | Notice]:
        """Run all iterations."""
        if self._job_run.message:
            yield Notice(self._job_run.message, is_warning=False)
        pause = min(_SECONDS_BETWEEN_REPORTS, self._handle.seconds_between_pictures)
        elapsed = 0.0
        for snapshot in self._job_run.run:
            for message in snapshot.warnings:
                yield Notice(message)
            self._remaining.tick(snapshot.elapsed - elapsed)
            elapsed = snapshot.elapsed
            self._unreported.append(snapshot.without_image())
            if not self._handle.control.stopped and (
                snapshot.iteration == snapshot.iterations
                or time.perf_counter() - self._reported >= pause
            ):
                self._reported = time.perf_counter()
                yield self._report(snapshot)

    def _report(self, snapshot: Snapshot) -> Report:
        picture = None
        # The queue to the viewer is unbounded: send a picture only after the last was shown.
        due = time.perf_counter() - self._shown >= self._handle.seconds_between_pictures
        if due and self._handle.picture_taken.is_set():
            self._handle.picture_taken.clear()
            picture = self._job_run.preview(snapshot)
            self._shown = time.perf_counter()
        evaluations = [
            Evaluation(
                one.iteration,
                one.scale,
                one.plane,
                {name: getattr(one.losses, name) for name in _LOSSES},
            )
            for one in self._unreported
        ]
        self._unreported.clear()
        return Report(
            snapshot.without_image(),
            self._remaining.seconds,
            evaluations,
            self._machine.read(),
            picture,
        )


class _MachineReader:
    """Reads the device of a run and its memory."""

    def __init__(self, job: Job, job_run: JobRun) -> None:
        resolved = job_run.run.record.resolved
        self._machine = Machine(
            resolved.device, resolved.device_name, resolved.precision, job.settings.network, 0
        )
        self._process = psutil.Process()
        self._on_cuda = resolved.device.startswith("cuda")
        self._free = self._free_on_device() if self._on_cuda else 0

    def read(self) -> Machine:
        """Return the device and the memory in use now."""
        if self._on_cuda:
            memory = max(self._free - self._free_on_device(), 0)
        else:
            memory = int(self._process.memory_info().rss)
        return replace(self._machine, memory=memory)

    def _free_on_device(self) -> int:
        from napari_nst.engine.resources.device import Device

        return Device.from_name(self._machine.device).free_bytes
