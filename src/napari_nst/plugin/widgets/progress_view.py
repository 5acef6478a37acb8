"""Progress of a run: a bar, a status, a notice and the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QLabel, QProgressBar, QWidget

from napari_nst.durations import format_duration
from napari_nst.plugin.widgets.layouts import column_layout

if TYPE_CHECKING:
    from napari_nst.plugin.run.job import Machine, Outcome, Report

__all__ = ["ProgressView", "describe_planes_done", "describe_progress", "text_label"]

_GIB = 2**30
_NOTICE_MILLISECONDS = 10_000


class ProgressView(QWidget):
    """Progress bar and messages of the panel."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = QProgressBar()
        self._bar.setAccessibleName("Progress")
        self._bar.setToolTip("Progress of the run.")
        self._status = text_label("Status")
        self._machine = text_label("Device")
        self._machine.setVisible(False)
        self._notice = text_label("Notice")
        self._notice.setVisible(False)
        self._notice_timer = QTimer(self)
        self._notice_timer.setSingleShot(True)
        self._notice_timer.setInterval(_NOTICE_MILLISECONDS)
        self._notice_timer.timeout.connect(lambda: self._notice.setVisible(False))
        column_layout(self, self._bar, self._status, self._notice, self._machine)

    @property
    def status(self) -> str:
        """Status text."""
        return str(self._status.text())

    @property
    def machine(self) -> str:
        """Text about the device."""
        return str(self._machine.text())

    def show_status(self, text: str) -> None:
        """Show a status."""
        self._status.setText(text)

    @property
    def notice(self) -> str:
        """Text of the latest notice."""
        return str(self._notice.text())

    def show_notice(self, text: str) -> None:
        """Show a notice for ten seconds, independent of the status."""
        self._notice.setText(text)
        self._notice.setVisible(True)
        self._notice_timer.start()

    def begin(self) -> None:
        """Show a busy bar until the first report of a run."""
        self._bar.setRange(0, 0)
        self._machine.setVisible(False)
        self.show_status("Starting ...")

    def show_report(self, report: Report) -> None:
        """Update the bar and the device."""
        self._bar.setRange(0, report.snapshot.iterations)
        self._bar.setValue(report.snapshot.iteration)
        self._machine.setText(_machine(report.machine))
        self._machine.setVisible(True)

    def end(self, *, finished: bool) -> None:
        """End the busy state of the bar; fill it if the run finished."""
        self._bar.setRange(0, max(self._bar.maximum(), 1))
        if finished:
            self._bar.setValue(self._bar.maximum())


def describe_progress(report: Report) -> str:
    """Return size, iteration and remaining time of a run."""
    now, remaining = report.snapshot, report.remaining
    height, width = now.shape
    left = "" if remaining is None else f"  About {format_duration(remaining)} left."
    plane = f"Plane {now.plane} of {now.planes}.  " if now.planes > 1 else ""
    return (
        f"{plane}Size {now.scale} of {now.scales} ({width} x {height} px), iteration "
        f"{now.iteration} of {now.iterations}.{left}"
    )


def describe_planes_done(outcome: Outcome) -> str:
    """Return the number of finished planes of a stack after two spaces; empty for one plane."""
    if "finished" not in outcome.record:
        return ""
    done, planes = len(outcome.record["finished"]), outcome.record["content"]["shape"][0]
    return f"  {done} of {planes} planes are done."


def text_label(accessible_name: str) -> QLabel:
    """Return a label with word wrap and selectable text."""
    label = QLabel()
    label.setAccessibleName(accessible_name)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _machine(machine: Machine) -> str:
    network = machine.network.upper().replace("VGG", "VGG-")
    return (
        f"{network} on {machine.device} ({machine.name}), {machine.precision}; "
        f"{machine.memory / _GIB:.1f} GiB in use."
    )
