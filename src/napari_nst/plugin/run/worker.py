"""What the worker's thread does of a run; it knows nothing of the viewer."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from napari_nst.engine.run.control import Control
from napari_nst.errors import InputError, StyleTransferError
from napari_nst.plugin.run.job import Evaluation, Machine, Notice, Outcome, Progress
from napari_nst.plugin.run.remaining import RemainingTime
from napari_nst.plugin.run.stack_job import StackRun, operations

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_nst.engine.losses.objective import Losses
    from napari_nst.engine.run.snapshots import Snapshot
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.plugin.run.job import Job, Wish

__all__ = ["Report", "RunHandle", "run_job"]

logger = logging.getLogger(__name__)

# A report changes the panel, and Qt then puts the whole window together anew, its OpenGL canvas
# included.  Without a graphics card, ten a second made a run of 8.7 s take 11.9 s.
_SECONDS_BETWEEN_REPORTS = 0.3
_POLL_SECONDS = 0.1  # of a run that is paused
_LOSSES = ("content", "style", "total")

Report = Progress | Notice | None


class RunHandle:
    """State shared between the worker's thread and the viewer's."""

    def __init__(self, seconds_between_pictures: float = 0.3) -> None:
        self.seconds_between_pictures = seconds_between_pictures
        self.control: Control[Any] = Control()  # stops and pauses the run, even before it exists
        self.wishes: deque[Wish] = deque()
        self.discard = threading.Event()
        self.run: StyleTransfer | StackRun | None = None
        self.picture_taken = threading.Event()
        self.picture_taken.set()


def run_job(
    job: Job, engine: Callable[..., StyleTransfer] | None, handle: RunHandle
) -> Generator[Report, None, Outcome]:
    """Do a job in the worker's thread: yield reports, return the outcome, never raise."""
    loop = _Loop(job, handle)
    ended, message = "failed", ""
    try:
        yield from loop.run_through(engine)
        ended = "stopped" if handle.control.stopped else "finished"
    except StyleTransferError as error:
        message = str(error)
    except Exception as error:
        logger.exception("The run failed.")
        message = f"The transfer failed: {error or type(error).__name__}."
    run, handle.run = handle.run, None
    picture: NDArray[Any] | None = None
    record: dict[str, Any] = {}
    if isinstance(run, StackRun):
        return _outcome_of_stack(job, run, handle, ended, message, loop.worked)
    if run is not None and run.history:
        result = run.result()
        picture, record = job.content.restore(result.image), result.record.to_dict()
    return Outcome(ended, picture, record, message, loop.worked)


def _outcome_of_stack(
    job: Job, run: StackRun, handle: RunHandle, ended: str, message: str, elapsed: float
) -> Outcome:
    """Return how a stack ended: with the planes that are done, if there are any."""
    run.close()
    if handle.discard.is_set() and run.store is not None:
        shutil.rmtree(run.store.path, ignore_errors=True)
    if not run.done or handle.discard.is_set():
        return Outcome(ended, None, {}, message, elapsed)
    record = run.record
    device = record.resolved.device.partition(":")[0]
    reckoned = operations(job, device, first=not run.found, planes=run.done - run.found)
    return Outcome(ended, run.array, record.to_dict(), message, elapsed, reckoned)


def _about_store(run: StackRun, folder: Path) -> str:
    if not run.found:
        return f"The planes are kept in {folder}."
    there = "1 plane was" if run.found == 1 else f"{run.found} planes were"
    return f"{there} done in an earlier run and found in {folder}: going on from there."


def _default_engine() -> Callable[..., StyleTransfer]:
    """Import the engine, and torch with it: in the worker's thread, when it is first needed."""
    from napari_nst.engine.run.transfer import StyleTransfer

    return StyleTransfer


class _Loop:
    """A run, iterated: it reports, pauses and passes wishes on between two evaluations."""

    def __init__(self, job: Job, handle: RunHandle) -> None:
        self._job, self._handle = job, handle
        self._began = time.perf_counter()
        self._reported = self._shown = float("-inf")
        self._labels: list[NDArray[Any] | None] = []
        # Without their pictures, and read when they are reported: see `Losses`.
        self._unreported: list[tuple[int, int, int, Losses]] = []

    @property
    def worked(self) -> float:
        """Seconds so far, pauses not counted."""
        return time.perf_counter() - self._began - self._handle.control.paused_seconds

    def run_through(self, engine: Callable[..., StyleTransfer] | None) -> Iterator[Report]:
        """Make the run and iterate it, yielding no more than the viewer can take."""
        job, handle = self._job, self._handle
        run = handle.run = self._make(engine)
        if handle.control.stopped:
            return
        machine = _MachineNow(run, job)
        if isinstance(run, StackRun) and run.store is not None:
            yield Notice(_about_store(run, run.store.path), problem=False)
        remaining = RemainingTime(
            [s.height * s.width for s in run.scales for _ in range(s.iterations)]
        )
        pause = min(_SECONDS_BETWEEN_REPORTS, handle.seconds_between_pictures)
        before = self.worked
        for snapshot in run:
            now = self.worked
            remaining.tick(now - before)
            before = now
            place = snapshot.iteration, snapshot.scale, snapshot.plane
            self._unreported.append((*place, snapshot.losses))
            yield from self._forward_updates(run)
            if not handle.control.stopped and (
                snapshot.iteration == snapshot.iterations
                or time.perf_counter() - self._reported >= pause
            ):
                self._reported = time.perf_counter()
                yield self._report(run, snapshot, remaining, machine)

    def _make(self, engine: Callable[..., StyleTransfer] | None) -> StyleTransfer | StackRun:
        """Read the images of the job, and make its run."""
        job, control = self._job, self._handle.control
        names = [plane.name for plane in (job.content, *job.styles)]
        more: dict[str, Any] = {}
        if job.init_image is not None:
            more["init_image"] = job.init_image.load()
        if job.content_labels is not None:
            more["content_labels"] = job.content_labels.load()
            if job.style_labels is not None:
                more["style_labels"] = [labels and labels.load() for labels in job.style_labels]
            self._labels = [more["content_labels"], *more.get("style_labels", ())]
        styles = [style.load() for style in job.styles]
        if job.stack is not None:
            return StackRun(job, engine, styles, more.get("style_labels"), control)
        engine = engine or _default_engine()
        return engine(
            job.content.load(), styles, job.settings, names=names, control=control, **more
        )

    def _forward_updates(self, run: StyleTransfer | StackRun) -> Iterator[Report]:
        """Forward the updates to the run, also while it is paused between two evaluations."""
        control, updates = self._handle.control, self._handle.wishes
        while True:
            while updates and not control.stopped:
                try:
                    self._forward_update(run, updates.popleft())
                except InputError as error:
                    yield Notice(str(error))
            if control.stopped or not control.paused:
                return
            control.wait(_POLL_SECONDS)
            yield None

    def _forward_update(self, run: StyleTransfer | StackRun, wish: Wish) -> None:
        """Read the images of a wish, and hand it to the run."""
        choices = dict(wish.choices)
        if wish.styles is not None:
            choices["styles"] = [plane.load() for plane in wish.styles]
            choices["names"] = [plane.name for plane in wish.styles]
        if wish.content_labels is not None:
            choices["content_labels"] = wish.content_labels.load()
        if wish.style_labels is not None:
            choices["style_labels"] = [labels and labels.load() for labels in wish.style_labels]
        if wish.without_labels:
            choices |= {"content_labels": None, "style_labels": None}
        labels = [choices.get("content_labels"), *(choices.get("style_labels") or ())]
        # napari tells of many changes to a layer that leave its labels as they are.
        if choices.keys() == {"content_labels", "style_labels"} & choices.keys() and _same(
            labels, self._labels
        ):
            return
        if isinstance(run, StackRun) and wish.content_labels is not None:
            choices["content_labels"] = run.labels_along(wish.content_labels)
        run.steer(**choices)
        if "content_labels" in choices:
            self._labels = labels

    def _report(
        self,
        run: StyleTransfer | StackRun,
        snapshot: Snapshot,
        remaining: RemainingTime,
        machine: _MachineNow,
    ) -> Progress:
        picture = None
        # The queue to the viewer has no end: a picture goes only when the last was taken.
        due = time.perf_counter() - self._shown >= self._handle.seconds_between_pictures
        if due and self._handle.picture_taken.is_set():
            self._handle.picture_taken.clear()
            if isinstance(run, StackRun):
                picture = run.show(snapshot)
            else:
                picture = self._job.content.restore(snapshot.image(run.output_shape))
            self._shown = time.perf_counter()
        evaluations = [
            Evaluation(iteration, scale, of, {name: getattr(losses, name) for name in _LOSSES})
            for iteration, scale, of, losses in self._unreported
        ]
        self._unreported.clear()
        return Progress(
            snapshot.iteration,
            snapshot.iterations,
            snapshot.scale,
            snapshot.scales,
            snapshot.shape,
            self.worked,
            remaining.seconds,
            evaluations,
            machine.look(),
            picture,
            snapshot.plane,
            snapshot.planes,
        )


def _same(some: list[NDArray[Any] | None], others: list[NDArray[Any] | None]) -> bool:
    return len(some) == len(others) and all(
        a is b or (a is not None and b is not None and np.array_equal(a, b))
        for a, b in zip(some, others, strict=True)
    )


class _MachineNow:
    """Where a run computes, and the memory it has there."""

    def __init__(self, run: StyleTransfer | StackRun, job: Job) -> None:
        resolved = run.record.resolved
        self._known = (
            resolved.device,
            resolved.device_name,
            resolved.precision,
            job.settings.network,
        )
        self._process = psutil.Process()
        self._free = self._free_on_card() if self._on_card else 0

    @property
    def _on_card(self) -> bool:
        return self._known[0].startswith("cuda")

    def look(self) -> Machine:
        """Return it as it is now."""
        if self._on_card:
            memory = max(self._free - self._free_on_card(), 0)
        else:
            memory = int(self._process.memory_info().rss)
        return Machine(*self._known, memory)

    def _free_on_card(self) -> int:
        from napari_nst.engine.resources.device import Device

        return Device.from_name(self._known[0]).free_bytes
