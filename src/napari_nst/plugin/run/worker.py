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

__all__ = ["Link", "Report", "steps"]

logger = logging.getLogger(__name__)

# A report changes the panel, and Qt then puts the whole window together anew, its OpenGL canvas
# included.  Without a graphics card, ten a second made a run of 8.7 s take 11.9 s.
_SECONDS_BETWEEN_REPORTS = 0.3
_SECONDS_BETWEEN_LOOKS = 0.1  # of a run that is paused
_LOSSES = ("content", "style", "total")

Report = Progress | Notice | None


class Link:
    """What the worker's thread and the viewer's share."""

    def __init__(self, seconds_between_pictures: float = 0.3) -> None:
        self.seconds_between_pictures = seconds_between_pictures
        self.stop = threading.Event()
        self.paused = threading.Event()
        self.abandoned: Callable[[], bool] = lambda: False  # true: napari wants the worker to end
        self.wishes: deque[Wish] = deque()
        self.discard = threading.Event()
        self.run: StyleTransfer | StackRun | None = None
        self.picture_taken = threading.Event()
        self.picture_taken.set()

    def end(self) -> None:
        """Ask the run to end, in the middle of an evaluation if it works in tiles."""
        self.stop.set()
        if self.run is not None:
            self.run.stop()

    def pause(self) -> None:
        """Hold the run, in the middle of an evaluation if it works in tiles."""
        self.paused.set()
        if self.run is not None:
            self.run.pause()

    def resume(self) -> None:
        """Let the run go on."""
        self.paused.clear()
        if self.run is not None:
            self.run.resume()


def steps(
    job: Job, engine: Callable[..., StyleTransfer] | None, link: Link
) -> Generator[Report, None, Outcome]:
    """Do a job in the worker's thread: yield reports, return the outcome, never raise."""
    loop = _Loop(job, link)
    ended, message = "failed", ""
    try:
        yield from loop.run_through(engine)
        ended = "stopped" if link.stop.is_set() or link.abandoned() else "finished"
    except StyleTransferError as error:
        message = str(error)
    except Exception as error:
        logger.exception("The run failed.")
        message = f"The transfer failed: {error or type(error).__name__}."
    run, link.run = link.run, None
    picture: NDArray[Any] | None = None
    record: dict[str, Any] = {}
    if isinstance(run, StackRun):
        return _outcome_of_stack(job, run, link, ended, message, loop.worked)
    if run is not None and run.history:
        result = run.result()
        picture, record = job.content.restore(result.image), result.record.to_dict()
    return Outcome(ended, picture, record, message, loop.worked)


def _outcome_of_stack(
    job: Job, run: StackRun, link: Link, ended: str, message: str, elapsed: float
) -> Outcome:
    """Return how a stack ended: with the planes that are done, if there are any."""
    run.close()
    if link.discard.is_set() and run.store is not None:
        shutil.rmtree(run.store.path, ignore_errors=True)
    if not run.done or link.discard.is_set():
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

    def __init__(self, job: Job, link: Link) -> None:
        self._job, self._link = job, link
        self._began = time.perf_counter()
        self._paused = 0.0  # seconds
        self._reported = self._shown = float("-inf")
        self._labels: list[NDArray[Any] | None] = []
        # Without their pictures, and read when they are reported: see `Losses`.
        self._unreported: list[tuple[int, int, int, Losses]] = []

    @property
    def worked(self) -> float:
        """Seconds so far, pauses not counted."""
        return time.perf_counter() - self._began - self._paused

    def run_through(self, engine: Callable[..., StyleTransfer] | None) -> Iterator[Report]:
        """Make the run and iterate it, yielding no more than the viewer can take."""
        job, link = self._job, self._link
        run = link.run = self._make(engine)
        run.stop_if(link.abandoned)
        if link.paused.is_set():  # asked for while the run was being made
            run.pause()
        if link.stop.is_set():
            return
        machine = _MachineNow(run, job)
        if isinstance(run, StackRun) and run.store is not None:
            yield Notice(_about_store(run, run.store.path), problem=False)
        remaining = RemainingTime(
            [s.height * s.width for s in run.scales for _ in range(s.iterations)]
        )
        pause = min(_SECONDS_BETWEEN_REPORTS, link.seconds_between_pictures)
        before, held = self.worked, 0.0
        for snapshot in run:
            self._paused, held = self._paused + run.paused_seconds - held, run.paused_seconds
            now = self.worked
            remaining.tick(now - before)
            before = now
            self._unreported.append(
                (snapshot.iteration, snapshot.scale, snapshot.plane, snapshot.losses)
            )
            yield from self._obey(run)
            if link.stop.is_set():
                run.stop()
            elif (
                snapshot.iteration == snapshot.iterations
                or time.perf_counter() - self._reported >= pause
            ):
                self._reported = time.perf_counter()
                yield self._report(run, snapshot, remaining, machine)

    def _make(self, engine: Callable[..., StyleTransfer] | None) -> StyleTransfer | StackRun:
        """Read the images of the job, and make its run."""
        job = self._job
        names = [plane.name for plane in (job.content, *job.styles)]
        more: dict[str, Any] = {}
        if job.start is not None:
            more["start"] = job.start.load()
        if job.content_labels is not None:
            more["content_labels"] = job.content_labels.load()
            if job.style_labels is not None:
                more["style_labels"] = [labels and labels.load() for labels in job.style_labels]
            self._labels = [more["content_labels"], *more.get("style_labels", ())]
        styles = [style.load() for style in job.styles]
        if job.stack is not None:
            return StackRun(job, engine, styles, more.get("style_labels"))
        engine = engine or _default_engine()
        return engine(job.content.load(), styles, job.settings, names=names, **more)

    def _obey(self, run: StyleTransfer | StackRun) -> Iterator[Report]:
        """Pass on what was wished, and wait while the run is paused.

        Between two evaluations the pause is kept here, where wishes are seen to; the engine
        keeps it between two tiles of one.
        """
        while True:
            while self._link.wishes and not self._link.stop.is_set():
                try:
                    self._pass_on(run, self._link.wishes.popleft())
                except InputError as error:
                    yield Notice(str(error))
            if self._link.stop.is_set() or not self._link.paused.is_set():
                return
            began = time.perf_counter()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            yield None
            self._paused += time.perf_counter() - began

    def _pass_on(self, run: StyleTransfer | StackRun, wish: Wish) -> None:
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
        due = time.perf_counter() - self._shown >= self._link.seconds_between_pictures
        if due and self._link.picture_taken.is_set():
            self._link.picture_taken.clear()
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
