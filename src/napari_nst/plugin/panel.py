"""The dock widget: connects the controls, the session and the displays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_nst.durations import format_duration
from napari_nst.errors import InputError
from napari_nst.plugin.layers.evolution import Evolution
from napari_nst.plugin.preferences import Preferences
from napari_nst.plugin.run.session import Session, State
from napari_nst.plugin.run.steering import Steering
from napari_nst.plugin.run.warmup import WarmUp
from napari_nst.plugin.widgets.buttons import ButtonGrid, push_button
from napari_nst.plugin.widgets.controls import Controls
from napari_nst.plugin.widgets.curves import LossCurves
from napari_nst.plugin.widgets.fetch_button import FetchButton
from napari_nst.plugin.widgets.job_maker import JobMaker
from napari_nst.plugin.widgets.layouts import column_layout
from napari_nst.plugin.widgets.presets_box import PresetsBox
from napari_nst.plugin.widgets.progress_view import (
    ProgressView,
    describe_planes_done,
    describe_progress,
    text_label,
)
from napari_nst.plugin.widgets.results_box import ResultsBox
from napari_nst.plugin.widgets.section import make_section
from napari_nst.plugin.widgets.tabs import order_tabs

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Image

    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.plugin.run.job import Outcome, Report

__all__ = ["StyleTransferPanel"]

_SPINNER_SPEED = 10  # percent
_WIDTH = 300  # pixels: fits every control and the scroll bar
# Events of the viewer's dims that change the plane that is shown.
_SLICING = ("current_step", "order", "ndisplay", "margin_left", "margin_right")


class StyleTransferPanel(QWidget):
    """Panel for neural style transfer between layers of a viewer.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer, passed by napari.
    engine : callable, optional
        Creates a run; by default `StyleTransfer`.

    Attributes
    ----------
    controls : Controls
        The user's choices.
    jobs : JobMaker
        Makes jobs from the controls.
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
        self._open, self._begun = True, False
        preferences = Preferences.read()
        preferences.apply()
        self.session = Session(napari_viewer, engine, preferences.preview_rate)
        self.controls = Controls(napari_viewer)
        self.jobs = JobMaker(napari_viewer, self.controls)
        self.controls.settings = self.controls.settings.replace(
            device=preferences.device, precision=preferences.precision
        )
        self.steering = Steering(napari_viewer, self.controls, self.session, self)
        self.results = ResultsBox(napari_viewer, self.session)
        self.presets = PresetsBox(lambda: self.controls.settings)
        self.curves = LossCurves(napari_viewer)
        self.fetch_button = FetchButton(self)
        self.evolution = Evolution()
        self._estimate = text_label("Estimate")
        self._progress = ProgressView()
        self._make_buttons()
        self._lay_out()
        self._connect()
        self._on_state(State.IDLE)
        self._on_controls()
        # Import the engine, which takes seconds, before the user starts a run.
        warming_up = WarmUp(self)
        warming_up.done.connect(self._on_engine)
        warming_up.start()

    @property
    def status(self) -> str:
        """Status of the run."""
        return self._progress.status

    @property
    def notice(self) -> str:
        """Notice about the current run."""
        return self._progress.notice

    @property
    def machine(self) -> str:
        """Device of the run."""
        return self._progress.machine

    @property
    def estimate(self) -> str:
        """Estimated time and memory of a run."""
        return str(self._estimate.text())

    def start(self) -> None:
        """Start a run with the settings of the controls, unless one is running."""
        self._begin()

    def draft(self) -> None:
        """Start a quick run on the part of the content on the canvas."""
        self._begin(draft=True)

    def continue_from(self, layer: Image | None = None) -> None:
        """Start a run from a result: the given one, the selected or the last."""
        try:
            self._begin(init_image=self.results.require_result(layer))
        except InputError as error:
            self._show_problem(str(error))

    def reuse(self, layer: Image | None = None) -> None:
        """Set the controls to a result: the given one, the selected or the last."""
        try:
            layer = self.results.require_result(layer)
            gone = self.controls.reuse(layer)
        except InputError as error:
            self._show_problem(str(error))
            return
        text = f"The settings are those of {layer.name}."
        if gone:
            self._show_problem(f"{text}  Gone or changed since: {', '.join(gone)}.")
        else:
            self._show_status(text)

    def pause(self) -> None:
        """Pause or resume the run."""
        if self.session.state is State.PAUSED:
            self.session.resume()
        else:
            self.session.pause()

    def stop(self) -> None:
        """Stop the run and keep its image."""
        self.session.stop()

    def cancel(self) -> None:
        """Stop the run and remove its image."""
        self.session.cancel()

    def reset_choices(self, event: object = None) -> None:
        """Update the layer choices; napari calls it when the layers change."""
        if not self._open:  # napari still calls it
            return
        self.controls.reset_choices()
        self.steering.sync_baseline()
        self._show_estimate()

    def event(self, event: Any) -> bool:
        """Close with the dock, whose X button only removes the panel's parent."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._close()
        return bool(super().event(event))

    def _close(self) -> None:
        """Stop the run and disconnect from the viewer."""
        if not self._open:
            return
        self._open = False
        for name in _SLICING:
            self._viewer.dims.events[name].disconnect(self._on_dims)
        self.steering.end()
        self.controls.regions.close_watch()
        self.results.comparison.close()
        self.fetch_button.close()
        self.session.close()

    def _make_buttons(self) -> None:
        self._start_button = push_button(
            "S&tylize", "Start a run: the result is a new layer.", self.start
        )
        self._draft_button = push_button(
            "&Draft", "A quick preview: few iterations on the part on the canvas.", self.draft
        )
        self._pause_button = push_button("Pa&use", "Pause the run; it can be resumed.", self.pause)
        self._stop_button = push_button(
            "Stop and &keep", "Stop the run and keep its image.", self.stop
        )
        self._cancel_button = push_button(
            "Cancel and d&iscard", "Stop the run and remove its image.", self.cancel
        )

    def _lay_out(self) -> None:
        label = QLabel("Pr&eset")
        label.setBuddy(self.presets.combo)
        form: Any = self.controls.form
        styles_row, _ = form.getWidgetPosition(self.controls.styles)
        form.insertRow(styles_row + 1, label, self.presets)
        running = ButtonGrid(
            (self._start_button, self._draft_button),
            (self._pause_button, self._stop_button),
            (self._cancel_button,),
        )
        self._losses = make_section("Losses", self.curves, "Loss curves of the run.")
        self._inside = inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(6, 6, 6, 6)
        for widget in (
            self.controls.native,
            make_section(
                "&Regions",
                self.controls.regions,
                "Paint labels over the content, and give each its own style.",
            ),
            make_section("&Advanced", self.controls.advanced, "Settings that few users change."),
            self._estimate,
            self.fetch_button.native,
            running,
            self._progress,
            self._losses,
            make_section(
                "Results", self.results, "Continue, compare, save or reuse a result.", expanded=True
            ),
        ):
            layout.addWidget(widget)
        layout.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        column_layout(self, area)
        self.setMinimumWidth(_WIDTH)

    def _connect(self) -> None:
        self.session.window.closing.connect(self._close)
        self.controls.changed.connect(self._on_controls)
        self.controls.regions.info.connect(self._show_status)
        self.controls.regions.painted.connect(self._show_estimate)
        self.fetch_button.info.connect(self._show_status)
        self.fetch_button.warning.connect(self._show_problem)
        self.presets.chosen.connect_setattr(self.controls, "settings", maxargs=1)
        self.presets.warning.connect(self._show_problem)
        self.results.continue_requested.connect(self.continue_from)
        self.results.reuse_requested.connect(self.reuse)
        self.results.info.connect(self._show_status)
        self.results.warning.connect(self._show_problem)
        self.steering.info.connect(self._progress.show_notice)
        for name in _SLICING:
            self._viewer.dims.events[name].connect(self._on_dims)
        self.session.state_changed.connect(self._on_state)
        self.session.reported.connect(self._on_report)
        self.session.warning.connect(lambda text: self._progress.show_notice(f"⚠ {text}"))
        self.session.info.connect(self._progress.show_notice)
        self.session.ended.connect(self._on_ended)

    def _begin(self, **how: Any) -> None:
        reason = self.session.cannot_start_reason
        if reason:
            self._show_status(reason)
            return
        try:
            job = self.jobs.job(**how)
        except InputError as error:
            self._show_problem(str(error))
            return
        self.results.show_result()
        self.curves.clear()
        self.evolution.clear()
        if not self._begun:
            self._begun = True  # later the user decides
            self._losses.expand()
        self._progress.begin()
        self.steering.begin(job)
        self.session.start(job)

    def _show_estimate(self) -> None:
        self._estimate.setText(self.jobs.estimate())

    def _on_controls(self) -> None:
        self._show_estimate()
        order_tabs(self._inside)
        self.fetch_button.show_for(self.controls.fields["network"].value)
        try:
            self.presets.show_for(self.controls.settings)
        except InputError:
            return  # the estimate shows the problem

    def _on_dims(self) -> None:
        self.controls.offer_planes()
        self.controls.regions.refresh()
        self._show_estimate()

    def _on_engine(self, device: str) -> None:
        self.jobs.device = device
        self._on_controls()

    def _on_state(self, state: State) -> None:
        active = state in (State.RUNNING, State.PAUSED)
        self._start_button.setEnabled(state is State.IDLE)
        self._draft_button.setEnabled(state is State.IDLE)
        self.results.continue_button.setEnabled(state is State.IDLE)
        self._pause_button.setEnabled(active)
        self._pause_button.setText("Res&ume" if state is State.PAUSED else "Pa&use")
        self._stop_button.setEnabled(active)
        self._cancel_button.setEnabled(active)
        window = self.window()
        if state is State.RUNNING and window is not None:
            _calm_spinners(window)
        elif state is State.PAUSED:
            self._show_status("Paused.  Changes take effect when you resume.")
        elif state is State.STOPPING:
            self._show_status("Stopping ...")

    def _on_report(self, report: Report) -> None:
        self._progress.show_report(report)
        snapshot = report.snapshot
        if self.results.keeps_evolution and report.picture is not None and snapshot.planes == 1:
            self.evolution.add(snapshot.iteration, report.picture)
        for iteration, scale, plane, losses in report.evaluations:
            # Planes are separated like sizes.
            self.curves.add(iteration, plane * 100 + scale, **losses)
        if self.session.state is State.RUNNING:
            self._show_status(describe_progress(report))

    def _on_ended(self, outcome: Outcome) -> None:
        self.steering.end()
        self._progress.end(finished=outcome.status == "finished")
        if outcome.status == "failed":
            self._show_problem(outcome.message)
            show_error(outcome.message)
            return
        self._show_evolution(outcome)
        texts = {"discarded": "Cancelled, and the image discarded,"}
        ended = texts.get(outcome.status, outcome.status.capitalize())
        self._show_status(
            f"{ended} after {format_duration(outcome.elapsed)}.{describe_planes_done(outcome)}"
        )
        self._show_estimate()  # with the measured speed

    def _show_evolution(self, outcome: Outcome) -> None:
        layer = self.session.layer
        if layer is not None and self.evolution.iterations and outcome.picture is not None:
            self.evolution.add(int(outcome.record["iterations"]), outcome.picture)
            self.evolution.add_to(self._viewer, layer)
        self.evolution.clear()

    def _show_status(self, text: str) -> None:
        self._progress.show_status(text)

    def _show_problem(self, text: str) -> None:
        self._progress.show_status(f"⚠ {text}")


def _calm_spinners(window: QWidget) -> None:
    """Slow down napari's activity spinner.

    Each of its frames repaints the whole window, which without a GPU takes half of the CPU and
    doubles the time of a run.
    """
    for label in window.findChildren(QLabel):
        movie = label.movie()
        if movie is not None:
            movie.setSpeed(_SPINNER_SPEED)
