"""One run in a viewer: its worker, its control and its result layer.  No widgets here."""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker
from napari.utils import progress as activity
from psygnal import Signal

from napari_nst import speed
from napari_nst.engine import costs
from napari_nst.errors import StyleTransferError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari.layers import Image
    from napari.qt.threading import GeneratorWorker
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_nst.engine.transfer import StyleTransfer
    from napari_nst.plugin.layers import Plane
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Job", "Outcome", "Progress", "Session", "State"]

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_REPORTS = 0.1
_SECONDS_BETWEEN_PICTURES = 0.3


class State(enum.Enum):
    """What a session is doing."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"


@dataclass(frozen=True)
class Job:
    """What to do: everything is taken from the layers before the run begins."""

    content: Plane
    styles: tuple[Plane, ...]
    settings: StyleTransferSettings

    @property
    def title(self) -> str:
        """The name of the result: "content x style"."""
        return f"{self.content.name} x {' + '.join(style.name for style in self.styles)}"


@dataclass(frozen=True)
class Progress:
    """How far a run is, and now and then the picture.

    Attributes
    ----------
    iteration, iterations, scale, scales : int
        As in a `Snapshot`.
    elapsed, remaining : float
        Seconds.
    loss : float
        The total.
    picture : ndarray or None
        Data for the result layer, which nobody else holds.
    """

    iteration: int
    iterations: int
    scale: int
    scales: int
    elapsed: float
    remaining: float
    loss: float
    picture: NDArray[Any] | None


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    ended : {"finished", "stopped", "failed"}
        How.
    picture : ndarray or None
        Data for the result layer: the last picture, however the run ended.
    record : dict
        For the layer's metadata.
    message : str
        What went wrong, in one sentence; empty if nothing did.
    elapsed : float
        Seconds.
    """

    ended: str
    picture: NDArray[Any] | None
    record: dict[str, Any]
    message: str
    elapsed: float


class _Link:
    """What the worker's thread and the viewer's share."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.pause = threading.Event()
        self.run: StyleTransfer | None = None
        self.picture_taken = threading.Event()
        self.picture_taken.set()


class Session:
    """Runs one job at a time in a viewer.

    Parameters
    ----------
    viewer : Viewer
        Where the result layer goes.
    engine : callable, optional
        Makes a run from content, styles, settings and names; by default `StyleTransfer`, which
        is imported in the worker's thread.
    """

    state_changed = Signal(State)
    progressed = Signal(Progress)
    ended = Signal(Outcome)

    def __init__(self, viewer: Viewer, engine: Callable[..., StyleTransfer] | None = None) -> None:
        self._viewer = viewer
        self._engine = engine
        self._state = State.IDLE
        self._link = _Link()
        self._worker: GeneratorWorker | None = None
        self._steps: Generator[Progress | None, None, Outcome] | None = None
        self._job: Job | None = None
        self._layer: Image | None = None
        self._activity: activity | None = None
        self._outcome: Outcome | None = None
        self._closed = False
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = False

    @property
    def state(self) -> State:
        """What the session is doing."""
        return self._state

    @property
    def layer(self) -> Image | None:
        """The result layer of the last run, if it has one."""
        return self._layer

    def start(self, job: Job) -> bool:
        """Begin a run; returns False, and does nothing, while another is not over."""
        if self._state is not State.IDLE or self._closed:
            return False
        self._job, self._layer, self._outcome = job, None, None
        self._link = _Link()
        # The generator is ours, not the worker's: the window keeps workers for as long as it
        # lives, and whatever their frames hold with them.
        steps = _steps(job, self._engine, self._link)
        self._steps = steps

        def style_transfer() -> Iterator[
            Progress | None
        ]:  # the name is what napari shows on closing
            self._outcome = yield from steps

        worker = create_worker(style_transfer, _start_thread=False, _ignore_errors=True)
        worker.yielded.connect(self._on_yielded)
        worker.errored.connect(self._on_errored)
        worker.finished.connect(self._on_finished)
        self._worker = worker
        self._activity = activity(total=job.settings.iterations, desc="Style transfer")
        self._set_state(State.RUNNING)
        worker.start()
        return True

    def stop(self) -> None:
        """End the run after the evaluation at work, and keep the picture."""
        if self._state in (State.RUNNING, State.PAUSED):
            self._link.stop.set()
            self._set_state(State.STOPPING)

    def pause(self) -> None:
        """Hold the run after the evaluation at work."""
        if self._state is State.RUNNING:
            self._link.pause.set()
            self._set_state(State.PAUSED)

    def resume(self) -> None:
        """Let a paused run go on."""
        if self._state is State.PAUSED:
            self._link.pause.clear()
            self._set_state(State.RUNNING)

    def steer(self, **choices: Any) -> None:
        """Change settings of the run that goes on, as `StyleTransfer.steer` does."""
        if self._link.run is not None and self._state in (State.RUNNING, State.PAUSED):
            self._link.run.steer(**choices)

    def close(self) -> None:
        """End the run and touch the viewer no more, except to keep the last picture."""
        self.stop()
        self._closed = True

    def _set_state(self, state: State) -> None:
        self._state = state
        if not self._closed:
            self.state_changed.emit(state)

    def _serially(self, deed: Callable[[], None]) -> None:
        """Do one thing after another: napari lets Qt work off waiting events inside some of them.

        Its progress bars do, and its layer controls; the end of a run must not be dealt with in
        the middle of showing a picture.
        """
        self._waiting.append(deed)
        if not self._busy:
            self._work_off()

    def _work_off(self) -> None:
        self._busy = True
        try:
            while self._waiting:
                self._waiting.popleft()()
        finally:
            self._busy = False
            if self._waiting:  # one failed: what waited behind it is done all the same
                self._work_off()

    def _take(self, progress: Progress) -> None:
        if progress.picture is not None:
            self._show(progress.picture)
            self._link.picture_taken.set()
        if self._layer is not None and self._layer not in self._viewer.layers:
            self.stop()  # nobody wants this picture any more
        if not self._closed:
            self.progressed.emit(progress)
        if self._activity is not None:
            self._activity.update(progress.iteration - self._activity.n)

    def _on_yielded(self, progress: Progress | None) -> None:
        if progress is not None:
            self._serially(lambda: self._take(progress))

    def _on_finished(self) -> None:
        self._serially(self._finish)

    def _on_errored(self, error: Exception) -> None:
        # What goes wrong in a run comes back as its outcome; this is a fault of our own.
        logger.error("The worker failed.", exc_info=error)
        self._outcome = Outcome("failed", None, {}, f"The transfer failed: {error}.", 0.0)

    def _finish(self) -> None:
        if self._steps is not None:
            self._steps.close()
        if self._activity is not None:
            self._activity.close()
        job, outcome = self._job, self._outcome
        self._worker = self._steps = self._activity = self._job = None
        if outcome is None:  # the window was closed, and napari made the worker quit
            outcome = Outcome("stopped", None, {}, "", 0.0)
        if outcome.picture is not None:
            self._show(outcome.picture, job)
        if self._layer is not None and outcome.record:
            self._layer.metadata["napari_nst"] = outcome.record
        if job is not None and outcome.ended == "finished":
            _remember_speed(job, outcome)
        self._set_state(State.IDLE)
        if not self._closed:
            self.ended.emit(outcome)

    def _show(self, picture: NDArray[Any], job: Job | None = None) -> None:
        job = job or self._job
        if self._layer is None and job is not None:
            self._layer = self._add_layer(picture, job)
        elif self._layer is not None and self._layer in self._viewer.layers:
            # Data of another shape would break the viewer; then the layer is the user's now.
            if self._layer.data.shape == picture.shape:
                self._layer.data = picture

    def _add_layer(self, picture: NDArray[Any], job: Job) -> Image | None:
        if self._closed:
            return None
        plane = job.content
        return self._viewer.add_image(
            picture,
            name=job.title,
            rgb=plane.rgb,
            contrast_limits=None if plane.rgb else plane.limits,
            **plane.layer_kwargs(picture.shape),
        )


def _steps(
    job: Job, engine: Callable[..., StyleTransfer] | None, link: _Link
) -> Generator[Progress | None, None, Outcome]:
    """Do a job in the worker's thread: yield progress, return the outcome, never raise."""
    began = time.perf_counter()
    run: StyleTransfer | None = None
    ended, message = "failed", ""
    try:
        engine = engine or _default_engine()
        images = [plane.load() for plane in (job.content, *job.styles)]
        names = [plane.name for plane in (job.content, *job.styles)]
        run = engine(images[0], images[1:], job.settings, names=names)
        del images
        link.run = run
        yield from _report(run, job, link)
        ended = "stopped" if link.stop.is_set() else "finished"
    except StyleTransferError as error:
        message = str(error)
    except Exception as error:
        logger.exception("The run failed.")
        message = f"The transfer failed: {error or type(error).__name__}."
    link.run = None
    picture: NDArray[Any] | None = None
    record: dict[str, Any] = {}
    if run is not None and run.history:
        result = run.result()
        picture, record = job.content.restore(result.image), result.record.to_dict()
    return Outcome(ended, picture, record, message, time.perf_counter() - began)


def _default_engine() -> Callable[..., StyleTransfer]:
    """Import the engine, and torch with it: in the worker's thread, when it is first needed."""
    from napari_nst.engine.transfer import StyleTransfer

    return StyleTransfer


def _report(run: StyleTransfer, job: Job, link: _Link) -> Iterator[Progress | None]:
    """Yield the progress of a run, no more of it than the viewer can take."""
    work = [scale.height * scale.width for scale in run.scales for _ in range(scale.iterations)]
    total, done = sum(work), 0
    reported = shown = float("-inf")
    for snapshot in run:
        done += work[snapshot.iteration - 1]
        # Held here and not in the engine: napari ends a worker only where it yields, and a
        # window can be closed while its run is paused.
        while link.pause.is_set() and not link.stop.is_set():
            time.sleep(_SECONDS_BETWEEN_REPORTS)
            yield None
        if link.stop.is_set():
            run.stop()
            continue
        now = time.perf_counter()
        if now - reported < _SECONDS_BETWEEN_REPORTS:
            continue
        picture = None
        # The queue to the viewer has no end: a picture goes only when the last was taken.
        if now - shown >= _SECONDS_BETWEEN_PICTURES and link.picture_taken.is_set():
            link.picture_taken.clear()
            picture = job.content.restore(snapshot.image(run.output_shape))
            shown = now
        reported = now
        yield Progress(
            snapshot.iteration,
            snapshot.iterations,
            snapshot.scale,
            snapshot.scales,
            snapshot.elapsed,
            snapshot.elapsed * (total - done) / done,
            snapshot.losses.total,
            picture,
        )


def _remember_speed(job: Job, outcome: Outcome) -> None:
    device = str(outcome.record["resolved"]["device"]).partition(":")[0]
    reckoned = costs.cost(job.settings, *job.content.shape, device)
    speed.remember(device, reckoned.operations / outcome.elapsed)
