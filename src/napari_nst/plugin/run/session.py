"""A run in a viewer: its worker, its control and its result layer.  No widgets here."""

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
from napari_nst.plugin.provenance.origins import origins_of_job, origins_of_planes, without_repeats
from napari_nst.plugin.run.closing import WindowWatch, make_worker
from napari_nst.plugin.run.job import Notice, Outcome, Report
from napari_nst.plugin.run.layer_jobs import make_result_layer, result_metadata
from napari_nst.plugin.run.worker import RunHandle, run_job
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from napari.layers import Image
    from napari.qt.threading import GeneratorWorker
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_nst.engine.run.protocol import Run
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.engine.run.updates import SettingsUpdate
    from napari_nst.plugin.layers.arrays import Plane
    from napari_nst.plugin.layers.labels import LabelsPlane
    from napari_nst.plugin.run.job import Job

__all__ = ["Session", "State"]

logger = logging.getLogger(__name__)


class State(enum.Enum):
    """State of a session."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"


class Session:
    """Runs one job at a time, in all viewers of the process together.

    Parameters
    ----------
    viewer : Viewer
        Viewer of the result layer; a `ViewerModel` without a window works, too.
    engine : callable, optional
        Creates the run; by default `StyleTransfer`, imported in the worker's thread.
    preview_rate : float
        Maximal number of previews per second.

    Attributes
    ----------
    window : WindowWatch
        Emits when the viewer closes.
    state_changed, reported, warning, info, ended : Signal
        Emitted with the `State`, a `Report`, a sentence about something that the run could not do,
        another sentence, and the `Outcome`.
    """

    state_changed = Signal(State)
    reported = Signal(Report)
    warning = Signal(str)
    info = Signal(str)
    ended = Signal(Outcome)

    # The session that runs a job; two runs at once would slow each other down.
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
        self._run_job: Generator[Report | Notice, None, Outcome] | None = None
        self._job: Job | None = None
        self._layer: Image | None = None
        self._activity: activity | None = None
        self._origins: dict[str, Any] = {}
        self._outcome: Outcome | None = None
        self._closed = self._viewer_closed = self._discard = False
        self._callbacks: deque[Callable[[], None]] = deque()
        self._busy = False

    @property
    def state(self) -> State:
        """State of the session."""
        return self._state

    @property
    def layer(self) -> Image | None:
        """Result layer of the last run, if it has one."""
        return self._layer

    @property
    def job(self) -> Job | None:
        """Job of the current run."""
        return self._job

    @property
    def run(self) -> Run | None:
        """The engine's run, while there is one."""
        job_run = self._handle.job_run
        return None if job_run is None else job_run.run

    @property
    def cannot_start_reason(self) -> str:
        """Why a run cannot start now, in a sentence; empty if it can."""
        other = Session._active
        if self._closed:
            return "This panel was closed."
        if other is self:
            return "A run is active: stop it first."
        if other is not None and other._job is not None:
            return (
                f"Another panel is running {other._job.title!r}: stop it there first, or wait for "
                "its end."
            )
        return ""

    def start(self, job: Job) -> bool:
        """Start a run; return False if there is a `cannot_start_reason`."""
        if self.cannot_start_reason:
            return False
        Session._active = self
        self._job, self._layer, self._outcome, self._discard = job, None, None, False
        self._handle = RunHandle(1 / self._preview_rate)
        self._origins = origins_of_job(job)
        # napari processes Qt events in here, which may close the viewer.
        self._activity = activity(total=job.settings.iterations, desc="Style transfer")
        if self._closed:
            self._end_activity()
            self._job = Session._active = None
            return False
        # Keep the generator here, not in the worker: the window keeps workers, and with them
        # whatever their frames refer to.
        self._run_job = loop = run_job(job, self._engine, self._handle)

        def style_transfer() -> Iterator[
            Report | Notice
        ]:  # the name is what napari shows on closing
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
        """End the run after the current evaluation or tile, and keep its image."""
        if self._state in (State.RUNNING, State.PAUSED):
            self._handle.control.stop()
            self._set_state(State.STOPPING)

    def cancel(self) -> None:
        """End the run after the current evaluation or tile, and remove its image."""
        if self._state is not State.IDLE:
            self._discard = True
            self._handle.discard.set()
            self.stop()

    def pause(self) -> None:
        """Pause the run after the current evaluation or tile."""
        if self._state is State.RUNNING:
            self._handle.control.pause()
            self._set_state(State.PAUSED)

    def resume(self) -> None:
        """Continue a paused run."""
        if self._state is State.PAUSED:
            self._handle.control.resume()
            self._set_state(State.RUNNING)

    def steer(self, update: SettingsUpdate, planes: Iterable[Plane | LabelsPlane] = ()) -> None:
        """Change the current run before its next evaluation; `warning` reports invalid changes.

        Parameters
        ----------
        update : SettingsUpdate
            The change; its images are functions, which the worker's thread calls.
        planes : iterable of Plane or LabelsPlane
            Planes of layers that the functions read, for the origins of the result.
        """
        if update and self._state in (State.RUNNING, State.PAUSED):
            self._handle.control.steer(update)
            known = self._origins["replacements"]
            known[:] = without_repeats([*known, *origins_of_planes(planes)])

    def close(self) -> None:
        """End the run; afterwards change only the result layer, to its last image."""
        self.stop()
        self._closed = True
        self._end_activity()

    def _set_state(self, state: State) -> None:
        self._state = state
        if not self._closed:
            self.state_changed.emit(state)

    def _enqueue(self, callback: Callable[[], None]) -> None:
        """Call one callback after another.

        napari's progress bars and layer controls process Qt events, so the end of a run could
        otherwise be handled in the middle of showing a picture.
        """
        self._callbacks.append(callback)
        if not self._busy:
            self._call_all()

    def _call_all(self) -> None:
        self._busy = True
        try:
            while self._callbacks:
                self._callbacks.popleft()()
        finally:
            self._busy = False
            if self._callbacks:  # one raised: call the others all the same
                self._call_all()

    def _on_window_closing(self) -> None:
        self._viewer_closed = True
        self.close()

    def _end_activity(self) -> None:
        if self._activity is not None:
            self._activity.close()
            self._activity = None

    def _on_layer_removed(self, event: Any) -> None:
        if self._layer is not None and self._layer not in self._viewer.layers:
            self.stop()

    def _show_report(self, report: Report) -> None:
        if report.picture is not None:
            self._show(report.picture)
            self._handle.picture_taken.set()
        if not self._closed:
            self.reported.emit(report)
        if self._activity is not None:
            self._activity.total = report.snapshot.iterations
            self._activity.update(report.snapshot.iteration - self._activity.n)

    def _on_yielded(self, item: Report | Notice) -> None:
        if isinstance(item, Report):
            self._enqueue(lambda: self._show_report(item))
        elif not self._closed:
            (self.warning if item.is_warning else self.info).emit(item.message)

    def _on_finished(self) -> None:
        self._enqueue(self._finish)

    def _on_errored(self, error: Exception) -> None:
        # `run_job` never raises: this is a bug of ours.
        logger.error("The worker failed.", exc_info=error)
        self._outcome = Outcome("failed", message=f"The transfer failed: {error}.")

    def _finish(self) -> None:
        if self._run_job is not None:
            self._run_job.close()
        self._end_activity()
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
        job, outcome = self._job, self._outcome
        self._worker = self._run_job = self._job = None
        self._handle = RunHandle()  # the last one may keep images of pending updates
        Session._active = None
        if outcome is None:  # napari made the worker quit, for the program ends
            outcome = Outcome("stopped")
        if self._discard:
            outcome = Outcome("discarded", message=outcome.message, elapsed=outcome.elapsed)
            self._remove_layer()
        if outcome.picture is not None:
            self._show(outcome.picture, job)
        elif job is not None and job.stack is not None:
            self._remove_layer()  # no plane is finished
        if self._layer is not None and outcome.record:
            self._layer.metadata.update(result_metadata(dict(outcome.record), self._origins))
        if outcome.status == "finished" and outcome.operations:
            device = str(outcome.record["resolved"]["device"]).partition(":")[0]
            precision = StyleTransferSettings(**outcome.record["settings"]).allowed_precision
            speed.save_speed(device, outcome.operations / outcome.elapsed, precision)
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
            if self._layer.data is picture:  # a stack: the worker has changed the array
                self._layer.refresh()
            # With another shape the user has replaced the data: leave the layer alone.
            elif self._layer.data.shape == picture.shape:
                self._layer.data = picture

    def _add_layer(self, picture: NDArray[Any], job: Job) -> Image | None:
        if self._closed:
            return None
        return cast("Image", self._viewer.add_layer(make_result_layer(job, picture)))


def _is_abandoned(worker: weakref.ref[GeneratorWorker]) -> bool:
    """Return whether napari asked a worker to end, as it does when the program ends."""
    alive = worker()
    return alive is None or bool(alive.abort_requested)
