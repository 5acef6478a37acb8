"""One run in a viewer: its worker, its control and its result layer.  No widgets here."""

from __future__ import annotations

import enum
import logging
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from napari.utils import progress as activity
from psygnal import Signal

from napari_nst import speed
from napari_nst.engine.resources import costs
from napari_nst.plugin.provenance.origins import origins_of_job, origins_of_wish, without_repeats
from napari_nst.plugin.run.closing import WindowWatch, make_worker
from napari_nst.plugin.run.job import Notice, Outcome, Progress
from napari_nst.plugin.run.layer_jobs import make_result_layer, result_metadata
from napari_nst.plugin.run.worker import Report, RunHandle, run_job

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari.layers import Image
    from napari.qt.threading import GeneratorWorker
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.plugin.run.job import Job, Wish
    from napari_nst.plugin.run.stack_job import StackRun

__all__ = ["Session", "State"]

logger = logging.getLogger(__name__)


class State(enum.Enum):
    """What a session is doing."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"


class Session:
    """Runs one job at a time in a viewer, and in all viewers of the process.

    Parameters
    ----------
    viewer : Viewer
        Where the result layer goes; a `ViewerModel`, which has no window, will do.
    engine : callable, optional
        Makes a run from content, styles, settings and names; by default `StyleTransfer`, which
        is imported in the worker's thread.
    preview_rate : float
        Pictures a second that are shown of a run, at the most.

    Attributes
    ----------
    window : WindowWatch
        Tells when the viewer closes.
    """

    state_changed = Signal(State)
    progressed = Signal(Progress)
    noticed = Signal(str)
    told = Signal(str)
    ended = Signal(Outcome)

    # Two runs at once would be in each other's way: the one at work, of all panels and viewers.
    _active: ClassVar[Session | None] = None

    def __init__(
        self,
        viewer: Viewer,
        engine: Callable[..., StyleTransfer] | None = None,
        preview_rate: float = 3.0,
    ) -> None:
        window = getattr(viewer, "window", None)
        self.window = WindowWatch(window and window.main_menu)
        self.window.closing.connect(self._on_window_closing)
        self._viewer = viewer
        self._preview_rate = preview_rate
        self._engine = engine
        self._state = State.IDLE
        self._handle = RunHandle()
        self._worker: GeneratorWorker | None = None
        self._run_job: Generator[Report, None, Outcome] | None = None
        self._job: Job | None = None
        self._layer: Image | None = None
        self._activity: activity | None = None
        self._origins: dict[str, Any] = {}
        self._outcome: Outcome | None = None
        self._closed = self._viewer_closed = self._discard = False
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

    @property
    def job(self) -> Job | None:
        """What the run that goes on is to do."""
        return self._job

    @property
    def run(self) -> StyleTransfer | StackRun | None:
        """The engine's run, while there is one."""
        return self._handle.run

    @property
    def refusal(self) -> str:
        """Why a run cannot begin now, in a sentence; empty if it can."""
        other = Session._active
        if self._closed:
            return "This panel was closed."
        if other is self:
            return "A run is going on: stop it first."
        if other is not None and other._job is not None:
            return (
                f"Another panel is at work on {other._job.title!r}: stop it there first, or wait "
                "for its end."
            )
        return ""

    def start(self, job: Job) -> bool:
        """Begin a run; returns False, and does nothing, where there is a `refusal`."""
        if self.refusal:
            return False
        Session._active = self
        self._job, self._layer, self._outcome, self._discard = job, None, None, False
        self._handle = RunHandle(1 / self._preview_rate)
        self._origins = origins_of_job(job)
        # napari lets Qt work off waiting events in here, the closing of the viewer among them.
        self._activity = activity(total=job.settings.iterations, desc="Style transfer")
        if self._closed:
            self._end_activity()
            self._job = Session._active = None
            return False
        # The generator is ours, not the worker's: the window keeps workers for as long as it
        # lives, and whatever their frames hold with them.
        self._run_job = loop = run_job(job, self._engine, self._handle)

        def style_transfer() -> Iterator[Report]:  # the name is what napari shows on closing
            self._outcome = yield from loop

        worker = make_worker(style_transfer)
        self._handle.control.stop_if(partial(_is_abandoned, weakref.ref(worker)))
        worker.yielded.connect(self._on_yielded)
        worker.errored.connect(self._on_errored)
        worker.finished.connect(self._on_finished)
        self._worker = worker
        self._viewer.layers.events.removed.connect(self._on_layer_removed)
        self._set_state(State.RUNNING)
        worker.start()
        return True

    def stop(self) -> None:
        """End the run after the evaluation or the tile at work, and keep the picture."""
        if self._state in (State.RUNNING, State.PAUSED):
            self._handle.control.stop()
            self._set_state(State.STOPPING)

    def cancel(self) -> None:
        """End the run after the evaluation or the tile at work, and remove its picture."""
        if self._state is not State.IDLE:
            self._discard = True
            self._handle.discard.set()
            self.stop()

    def pause(self) -> None:
        """Hold the run after the evaluation or the tile at work."""
        if self._state is State.RUNNING:
            self._handle.control.pause()
            self._set_state(State.PAUSED)

    def resume(self) -> None:
        """Let a paused run go on."""
        if self._state is State.PAUSED:
            self._handle.control.resume()
            self._set_state(State.RUNNING)

    def steer(self, wish: Wish) -> None:
        """Change the run that goes on; what it cannot do it says in a notice."""
        if wish and self._state in (State.RUNNING, State.PAUSED):
            self._handle.wishes.append(wish)
            known = self._origins["replacements"]
            known[:] = without_repeats([*known, *origins_of_wish(wish)])

    def close(self) -> None:
        """End the run and touch the viewer no more, except to keep the last picture."""
        self.stop()
        self._closed = True
        self._end_activity()

    def _set_state(self, state: State) -> None:
        self._state = state
        if not self._closed:
            self.state_changed.emit(state)

    def _enqueue(self, deed: Callable[[], None]) -> None:
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

    def _on_window_closing(self) -> None:
        self._viewer_closed = True  # and is touched no more at all
        self.close()

    def _end_activity(self) -> None:
        if self._activity is not None:
            self._activity.close()
            self._activity = None

    def _on_layer_removed(self, event: Any) -> None:
        if self._layer is not None and self._layer not in self._viewer.layers:
            self.stop()  # nobody wants this picture any more

    def _take(self, progress: Progress) -> None:
        if progress.picture is not None:
            self._show(progress.picture)
            self._handle.picture_taken.set()
        if not self._closed:
            self.progressed.emit(progress)
        if self._activity is not None:
            self._activity.total = progress.iterations
            self._activity.update(progress.iteration - self._activity.n)

    def _on_yielded(self, report: Report) -> None:
        if isinstance(report, Progress):
            self._enqueue(lambda: self._take(report))
        elif isinstance(report, Notice) and not self._closed:
            (self.noticed if report.problem else self.told).emit(report.message)

    def _on_finished(self) -> None:
        self._enqueue(self._finish)

    def _on_errored(self, error: Exception) -> None:
        # What goes wrong in a run comes back as its outcome; this is a fault of our own.
        logger.error("The worker failed.", exc_info=error)
        self._outcome = Outcome("failed", None, {}, f"The transfer failed: {error}.", 0.0)

    def _finish(self) -> None:
        if self._run_job is not None:
            self._run_job.close()
        self._end_activity()
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
        job, outcome = self._job, self._outcome
        self._worker = self._run_job = self._job = None
        self._handle = RunHandle()  # the last one may hold images that were to be steered in
        Session._active = None
        if outcome is None:  # the program ends, and napari made the worker quit
            outcome = Outcome("stopped", None, {}, "", 0.0)
        if self._discard:
            outcome = Outcome("discarded", None, {}, outcome.message, outcome.elapsed)
            self._remove_layer()
        if outcome.picture is not None:
            self._show(outcome.picture, job)
        elif job is not None and job.stack is not None:
            self._remove_layer()  # no plane is done
        if self._layer is not None and outcome.record:
            self._layer.metadata.update(result_metadata(outcome.record, self._origins))
        if job is not None and outcome.status == "finished":
            _remember_speed(job, outcome)
        self._set_state(State.IDLE)
        if not self._closed:
            self.ended.emit(outcome)

    def _remove_layer(self) -> None:
        if not self._viewer_closed and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = None

    def _show(self, picture: NDArray[Any], job: Job | None = None) -> None:
        if self._viewer_closed:
            return
        job = job or self._job
        if self._layer is None and job is not None:
            self._layer = self._add_layer(picture, job)
        elif self._layer is not None and self._layer in self._viewer.layers:
            if self._layer.data is picture:  # a stack: the worker has filled in some more
                self._layer.refresh()
            # Data of another shape would break the viewer; then the layer is the user's now.
            elif self._layer.data.shape == picture.shape:
                self._layer.data = picture

    def _add_layer(self, picture: NDArray[Any], job: Job) -> Image | None:
        if self._closed:
            return None
        return cast("Image", self._viewer.add_layer(make_result_layer(job, picture)))


def _is_abandoned(worker: weakref.ref[GeneratorWorker]) -> bool:
    """Return whether napari has asked a worker to end, as it does when the program ends."""
    known = worker()
    return known is None or bool(known.abort_requested)


def _remember_speed(job: Job, outcome: Outcome) -> None:
    device = str(outcome.record["resolved"]["device"]).partition(":")[0]
    operations = outcome.operations
    if job.stack is None:
        operations = costs.estimate(job.settings, *job.content.shape, device).operations
    if operations:
        speed.save_speed(device, operations / outcome.elapsed)
