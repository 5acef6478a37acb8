"""Viewers that close during a run, a download or a dialog, while Python keeps running."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from napari.utils import progress as activity
from qtpy.QtCore import QCoreApplication, QEvent, QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QApplication, QDialog, QMessageBox

from napari_nst.plugin.panel import StyleTransferPanel
from napari_nst.plugin.run.closing import WindowWatch
from napari_nst.plugin.run.session import Session, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def process_deletions(qtbot: Any) -> None:
    """Let Qt delete widgets and deliver queued signals."""
    for _ in range(3):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        qtbot.wait(10)


def close_viewer(viewer: Any) -> None:
    viewer.close()


def close_by_menu(viewer: Any) -> None:
    """Close the window as its menu does; the viewer keeps its layers."""
    viewer.window._qt_window.close()
    forget_window(viewer)


def close_by_title_bar(viewer: Any) -> None:
    """Close the window as the button in its title bar does; napari asks for confirmation."""
    click_close_button(viewer)
    forget_window(viewer)


def forget_window(viewer: Any) -> None:
    """Let Qt delete the window, so that the fixture does not close it again."""
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    del viewer.window._qt_window


class SpontaneousCloseEvent(QCloseEvent):
    """Event of the window system, on which napari asks for confirmation."""

    def spontaneous(self) -> bool:
        return True


def click_close_button(viewer: Any) -> None:
    event = SpontaneousCloseEvent()
    QApplication.sendEvent(viewer.window._qt_window, event)
    if event.isAccepted():  # Qt deletes the window then
        viewer.window._qt_window.deleteLater()


each_close = pytest.mark.parametrize("close", [close_viewer, close_by_menu, close_by_title_bar])


def answer_confirmation(
    monkeypatch: pytest.MonkeyPatch, answer: QDialog.DialogCode
) -> list[object]:
    """Answer napari's question whether to close the window; return the list of its dialogs."""
    dialogs: list[object] = []

    class ConfirmCloseDialog:
        def __init__(self, *_: object, **__: object) -> None:
            dialogs.append(self)

        def exec_(self) -> QDialog.DialogCode:
            return answer

    monkeypatch.setattr("napari._qt.qt_main_window.ConfirmCloseDialog", ConfirmCloseDialog)
    return dialogs


class DockedPanel:
    """A panel in the dock of a viewer, with an engine that waits before an iteration."""

    def __init__(self, viewer: Any, waits_at: int) -> None:
        self.gate, self.reached = threading.Event(), threading.Event()
        self.waits_at = waits_at
        self.engine = FakeEngine(step=self._step)
        self.panel = StyleTransferPanel(viewer, self.engine)
        viewer.window.add_dock_widget(self.panel, name="panel")
        self.panel.controls.fields["iterations"].value = 50
        self.session = self.panel.session

    def _step(self, iteration: int) -> None:
        threading.Event().wait(0.01)
        if iteration >= self.waits_at:
            self.reached.set()
            self.gate.wait(20)

    def end(self, qtbot: Any) -> None:
        self.gate.set()
        qtbot.waitUntil(lambda: self.session.state is State.IDLE, timeout=20000)
        qtbot.wait(100)


@each_close
@pytest.mark.parametrize(
    "moment", ["before the first snapshot", "after a snapshot", "paused", "stopping"]
)
def test_a_run_ends_with_its_viewer(
    viewer: Any,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
    close: Callable[[Any], None],
    moment: str,
) -> None:
    answer_confirmation(monkeypatch, QDialog.DialogCode.Accepted)
    docked = DockedPanel(viewer, waits_at=1 if moment == "before the first snapshot" else 3)
    docked.panel.start()
    qtbot.waitUntil(docked.reached.is_set, timeout=20000)
    if moment != "before the first snapshot":
        qtbot.waitUntil(lambda: docked.session.layer is not None, timeout=20000)
    if moment == "paused":
        docked.panel.pause()
    if moment == "stopping":
        docked.panel.stop()
    close(viewer)
    process_deletions(qtbot)
    docked.end(qtbot)

    assert len(activity._all_instances) == 0
    assert len(docked.engine.made[0].history) < 50
    assert Session._active is None


def test_a_run_continues_if_its_window_stays_open(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialogs = answer_confirmation(monkeypatch, QDialog.DialogCode.Rejected)
    docked = DockedPanel(viewer, waits_at=3)
    docked.panel.start()
    qtbot.waitUntil(docked.reached.is_set, timeout=20000)
    click_close_button(viewer)
    process_deletions(qtbot)
    docked.end(qtbot)

    assert dialogs
    assert docked.panel.status.startswith("Finished")
    assert "photo x paint" in viewer.layers


@each_close
def test_a_stack_ends_with_its_viewer(
    make_napari_viewer: Any,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
    close: Callable[[Any], None],
) -> None:
    answer_confirmation(monkeypatch, QDialog.DialogCode.Accepted)
    viewer = make_napari_viewer()
    rng = np.random.default_rng(0)
    viewer.add_image(rng.random((3, 20, 24), np.float32), name="stack")
    viewer.add_image(rng.random((20, 24), np.float32), name="paint")
    docked = DockedPanel(viewer, waits_at=3)
    docked.panel.controls.planes.choice.value = 0
    docked.panel.start()
    qtbot.waitUntil(docked.reached.is_set, timeout=20000)
    close(viewer)
    process_deletions(qtbot)
    docked.end(qtbot)

    assert len(activity._all_instances) == 0


def test_a_closed_panel_and_its_run_are_released(viewer: Any, qtbot: Any) -> None:
    docked = DockedPanel(viewer, waits_at=3)
    labels = viewer.add_labels(np.ones((40, 48), np.uint8))
    docked.panel.controls.regions.content_labels.value = labels
    docked.panel.start()
    qtbot.waitUntil(docked.reached.is_set, timeout=20000)
    viewer.close()
    process_deletions(qtbot)
    docked.end(qtbot)
    labels.paint((1, 1), 3)  # the user still has the layer
    viewer.dims.set_current_step(0, 0)
    run = weakref.ref(docked.engine.made.pop())
    del docked
    gc.collect()

    assert run() is None


def test_a_second_viewer_can_run_after_the_first_closes(
    viewer: Any, make_napari_viewer: Any, qtbot: Any
) -> None:
    other = make_napari_viewer()
    for layer in list(viewer.layers):
        other.add_image(layer.data, name=layer.name, rgb=True)
    first, second = DockedPanel(viewer, waits_at=3), DockedPanel(other, waits_at=99)
    first.panel.start()
    qtbot.waitUntil(first.reached.is_set, timeout=20000)
    viewer.close()
    process_deletions(qtbot)
    second.panel.start()
    assert "Another panel is running" in second.panel.status
    first.end(qtbot)
    second.panel.start()
    second.end(qtbot)

    assert second.panel.status.startswith("Finished")
    assert "photo x paint" in other.layers


def test_closing_another_viewer_does_not_end_the_run(
    viewer: Any, make_napari_viewer: Any, qtbot: Any
) -> None:
    """The other viewer also shows the run in its activity dock."""
    other = make_napari_viewer()
    docked = DockedPanel(viewer, waits_at=3)
    docked.panel.start()
    qtbot.waitUntil(docked.reached.is_set, timeout=20000)
    other.close()
    process_deletions(qtbot)
    docked.end(qtbot)

    assert docked.panel.status.startswith("Finished")
    assert len(activity._all_instances) == 0


@pytest.mark.parametrize("closed", ["viewer", "dock"])
def test_a_download_ends_with_the_panel(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    begun, ended = threading.Event(), threading.Event()

    def fetch_vgg19(*, on_progress: Any, cancelled: Callable[[], bool]) -> Path | None:
        on_progress(10**6, 10**8)
        begun.set()
        while not cancelled():
            threading.Event().wait(0.01)
        ended.set()
        return None

    monkeypatch.setattr("napari_nst.plugin.run.fetching._default_fetch", lambda: fetch_vgg19)
    panel = StyleTransferPanel(viewer, FakeEngine())
    dock = viewer.window.add_dock_widget(panel, name="panel")
    panel.fetch_button.native.click()
    panel.fetch_button.native.click()  # does not start a second download
    qtbot.waitUntil(begun.is_set, timeout=20000)
    assert len(activity._all_instances) == 1
    if closed == "viewer":
        viewer.close()
    else:
        viewer.window.remove_dock_widget(dock)
    process_deletions(qtbot)
    qtbot.waitUntil(ended.is_set, timeout=20000)
    qtbot.waitUntil(lambda: not activity._all_instances, timeout=20000)


def test_a_viewer_can_close_while_the_engine_is_imported(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, ended = threading.Event(), threading.Event()

    def import_engine() -> str:
        gate.wait(20)
        ended.set()
        return "cpu"

    monkeypatch.setattr("napari_nst.plugin.run.warmup.import_engine", import_engine)
    panel = StyleTransferPanel(viewer, FakeEngine())
    viewer.window.add_dock_widget(panel, name="panel")
    viewer.close()
    process_deletions(qtbot)
    gate.set()
    qtbot.waitUntil(ended.is_set, timeout=20000)
    qtbot.wait(300)


@pytest.mark.parametrize(
    "action",
    [pytest.param(0, id="name"), pytest.param(2, id="export"), pytest.param(3, id="import")],
)
def test_a_dialog_closes_with_the_viewer(viewer: Any, qtbot: Any, action: int) -> None:
    panel = StyleTransferPanel(viewer, FakeEngine())
    viewer.window.add_dock_widget(panel, name="panel")
    dialogs: list[object] = []

    def close() -> None:
        dialogs.append(QApplication.activeModalWidget())
        viewer.close()
        process_deletions(qtbot)
        for widget in QApplication.topLevelWidgets():
            if isinstance(widget, QDialog) and widget.isModal():
                widget.reject()

    QTimer.singleShot(50, close)
    panel.presets.menu.actions()[action].trigger()

    assert dialogs[0] is not None


def test_a_closed_panel_ignores_events_of_layers(viewer: Any) -> None:
    """napari still emits them to the widgets of a closed dock."""
    panel = StyleTransferPanel(viewer, FakeEngine())
    dock = viewer.window.add_dock_widget(panel, name="panel")
    labels = viewer.add_labels(np.ones((40, 48), np.uint8))
    panel.controls.regions.content_labels.value = labels
    viewer.window.remove_dock_widget(dock)
    before = len(labels.events.paint.callbacks)
    viewer.layers.remove("paint")
    viewer.add_image(np.zeros((5, 5)))

    assert len(labels.events.paint.callbacks) == before


def test_a_floating_dock_closes_with_its_viewer(viewer: Any, qtbot: Any) -> None:
    panel = StyleTransferPanel(viewer, FakeEngine())
    dock = viewer.window.add_dock_widget(panel, name="panel")
    dock.setFloating(True)
    emitted: list[None] = []
    watch = WindowWatch(panel)
    watch.closing.connect(lambda: emitted.append(None))
    viewer.close()

    assert emitted
