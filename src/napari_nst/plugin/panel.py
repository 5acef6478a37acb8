"""The dock widget: it shows the controls and what the session does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import create_worker

from napari_nst.errors import InputError
from napari_nst.plugin.controls import Controls
from napari_nst.plugin.session import Outcome, Progress, Session, State
from napari_nst.plugin.warmup import import_engine
from napari_nst.plugin.words import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer

    from napari_nst.engine.transfer import StyleTransfer

__all__ = ["StyleTransferPanel"]

_SPINNER_SPEED = 10  # percent


class StyleTransferPanel(QWidget):
    """Choose two image layers, press Stylize, and watch.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Handed in by napari.
    engine : callable, optional
        What makes a run; by default `StyleTransfer`.

    Attributes
    ----------
    controls : Controls
        What the user chooses.
    session : Session
        The run.
    """

    def __init__(
        self,
        napari_viewer: napari.viewer.Viewer,
        engine: Callable[..., StyleTransfer] | None = None,
    ) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.session = Session(napari_viewer, engine)
        self.controls = Controls(napari_viewer)
        self._estimate = _text("What the run will take")
        self._status = _text("What is going on")
        self._status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._bar = QProgressBar()
        self._bar.setAccessibleName("Progress")
        self._start_button = _button("&Stylize", "Begin the transfer: the result is a new layer.")
        self._pause_button = _button("&Pause", "Hold the run, and let it go on later.")
        self._stop_button = _button("S&top", "End the run and keep the picture as it is.")
        self._lay_out()
        self._start_button.clicked.connect(self.start)
        self._pause_button.clicked.connect(self.pause)
        self._stop_button.clicked.connect(self.stop)
        self.controls.strength.changed.connect(self._steer)
        self.controls.changed.connect(self._show_estimate)
        self._viewer.dims.events.current_step.connect(self._show_estimate)
        self.session.state_changed.connect(self._on_state)
        self.session.progressed.connect(self._on_progress)
        self.session.ended.connect(self._on_ended)
        self._on_state(State.IDLE)
        self._show_estimate()
        # The import takes seconds: better now than when the user waits for a picture.  It is
        # superqt's worker, because napari asks about its own when a window is closed.
        warming_up = create_worker(import_engine, _start_thread=False)
        warming_up.returned.connect(self._on_engine)
        warming_up.start()

    @property
    def status(self) -> str:
        """What the panel says about the run."""
        return str(self._status.text())

    @property
    def estimate(self) -> str:
        """What the panel says a run will take."""
        return str(self._estimate.text())

    def start(self) -> None:
        """Begin a run with what the controls say; refused, with a reason, while one goes on."""
        if self.session.state is not State.IDLE:
            self._say("A run is going on: stop it first.")
            return
        try:
            job = self.controls.job()
        except InputError as error:
            self._say(str(error), problem=True)
            return
        self._bar.setRange(0, 0)  # busy, until the first report
        self._say("Starting ...")
        self.session.start(job)

    def pause(self) -> None:
        """Hold the run, or let a paused one go on."""
        if self.session.state is State.PAUSED:
            self.session.resume()
        else:
            self.session.pause()

    def stop(self) -> None:
        """End the run and keep the picture."""
        self.session.stop()

    def reset_choices(self, event: object = None) -> None:
        """Bring the layer choices up to date; napari calls it when the layers change."""
        self.controls.reset_choices()
        self._show_estimate()

    def event(self, event: Any) -> bool:
        """Hear of the dock's closing: its X takes the parent away, and closes nothing."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._viewer.dims.events.current_step.disconnect(self._show_estimate)
            self.session.close()
        return bool(super().event(event))

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.addWidget(self._start_button)
        buttons.addWidget(self._pause_button)
        buttons.addWidget(self._stop_button)
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.addWidget(self.controls.native)
        layout.addWidget(self._estimate)
        layout.addLayout(buttons)
        layout.addWidget(self._bar)
        layout.addWidget(self._status)
        layout.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidget(inside)
        outside = QVBoxLayout(self)
        outside.setContentsMargins(0, 0, 0, 0)
        outside.addWidget(area)
        self.setMinimumWidth(280)

    def _show_estimate(self) -> None:
        self._estimate.setText(self.controls.estimate())

    def _steer(self) -> None:
        self.session.steer(style_weight=self.controls.style_weight)

    def _on_engine(self, device: str) -> None:
        self.controls.device = device
        self._show_estimate()

    def _on_state(self, state: State) -> None:
        self._start_button.setEnabled(state is State.IDLE)
        self._pause_button.setEnabled(state in (State.RUNNING, State.PAUSED))
        self._pause_button.setText("&Resume" if state is State.PAUSED else "&Pause")
        self._stop_button.setEnabled(state in (State.RUNNING, State.PAUSED))
        window = self.window()
        if state is State.RUNNING and window is not None:
            _calm_spinners(window)
        elif state is State.PAUSED:
            self._say("Paused.  Style strength can be changed before it goes on.")
        elif state is State.STOPPING:
            self._say("Stopping ...")

    def _on_progress(self, progress: Progress) -> None:
        self._bar.setRange(0, progress.iterations)
        self._bar.setValue(progress.iteration)
        if self.session.state is State.RUNNING:
            self._say(
                f"Size {progress.scale} of {progress.scales}, iteration {progress.iteration} of "
                f"{progress.iterations}, loss {progress.loss:.3f}; "
                f"{duration(progress.remaining)} left."
            )

    def _on_ended(self, outcome: Outcome) -> None:
        self._bar.setRange(0, max(self._bar.maximum(), 1))  # no longer busy
        if outcome.ended == "failed":
            self._say(outcome.message, problem=True)
            show_error(outcome.message)
            return
        if outcome.ended == "finished":
            self._bar.setValue(self._bar.maximum())
        self._say(f"{outcome.ended.capitalize()} after {duration(outcome.elapsed)}.")
        self._show_estimate()  # this machine's speed is known better now

    def _say(self, text: str, *, problem: bool = False) -> None:
        self._status.setText(f"⚠ {text}" if problem else text)


def _calm_spinners(window: QWidget) -> None:
    """Slow the little movie that napari shows beside its activity.

    Each of its pictures repaints the whole window.  A graphics card does not notice; software
    OpenGL spends on it half of the processor, and a run takes twice as long.
    """
    for label in window.findChildren(QLabel):
        movie = label.movie()
        if movie is not None:
            movie.setSpeed(_SPINNER_SPEED)


def _text(accessible_name: str) -> QLabel:
    label = QLabel()
    label.setAccessibleName(accessible_name)
    label.setWordWrap(True)
    return label


def _button(text: str, tooltip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tooltip)
    return button
