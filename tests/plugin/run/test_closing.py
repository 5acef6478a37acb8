"""The viewer closes in the middle of something, and Python lives on: notebooks, other viewers."""

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


def delete_what_waits(qtbot: Any) -> None:
    """Have Qt delete the widgets that wait for it, and deliver what the worker has sent."""
    for _ in range(3):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        qtbot.wait(30)


def close_viewer(viewer: Any) -> None:
    viewer.close()


def close_window(viewer: Any) -> None:
    """Close the window as its menu does, and leave the layers in the viewer."""
    viewer.window._qt_window.close()
    forget_window(viewer)


def close_by_cross(viewer: Any) -> None:
    """Close the window as the window system does, after napari's question."""
    click_on_cross(viewer)
    forget_window(viewer)


def forget_window(viewer: Any) -> None:
    """Have Qt delete the window; the fixture would close it again."""
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    del viewer.window._qt_window


class Cross(QCloseEvent):
    """What the window system sends: only this makes napari ask."""

    def spontaneous(self) -> bool:
        return True


def click_on_cross(viewer: Any) -> None:
    event = Cross()
    QApplication.sendEvent(viewer.window._qt_window, event)
    if event.isAccepted():  # as Qt does then
        viewer.window._qt_window.deleteLater()


WAYS = pytest.mark.parametrize("close", [close_viewer, close_window, close_by_cross])


def answer(monkeypatch: pytest.MonkeyPatch, accepted: QDialog.DialogCode) -> list[object]:
    """Answer napari's question whether to close the window."""
    asked: list[object] = []

    class Question:
        def __init__(self, *_: object, **__: object) -> None:
            asked.append(self)

        def exec_(self) -> QDialog.DialogCode:
            return accepted

    monkeypatch.setattr("napari._qt.qt_main_window.ConfirmCloseDialog", Question)
    return asked


class Opened:
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
        qtbot.wait(200)


@WAYS
@pytest.mark.parametrize("moment", ["before a picture", "after a picture", "paused", "stopping"])
def test_a_run_ends_with_its_viewer(
    viewer: Any,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
    close: Callable[[Any], None],
    moment: str,
) -> None:
    answer(monkeypatch, QDialog.DialogCode.Accepted)
    opened = Opened(viewer, waits_at=1 if moment == "before a picture" else 3)
    opened.panel.start()
    qtbot.waitUntil(opened.reached.is_set, timeout=20000)
    if moment != "before a picture":
        qtbot.waitUntil(lambda: opened.session.layer is not None, timeout=20000)
    if moment == "paused":
        opened.panel.pause()
    if moment == "stopping":
        opened.panel.stop()
    close(viewer)
    delete_what_waits(qtbot)
    opened.end(qtbot)

    assert len(activity._all_instances) == 0
    assert len(opened.engine.made[0].history) < 50
    assert Session._active is None


def test_a_run_continues_if_its_window_stays_open(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answer(monkeypatch, QDialog.DialogCode.Rejected)
    opened = Opened(viewer, waits_at=3)
    opened.panel.start()
    qtbot.waitUntil(opened.reached.is_set, timeout=20000)
    click_on_cross(viewer)
    delete_what_waits(qtbot)
    opened.end(qtbot)

    assert asked
    assert opened.panel.status.startswith("Finished")
    assert "photo x paint" in viewer.layers


@WAYS
def test_a_stack_ends_with_its_viewer(
    make_napari_viewer: Any,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
    close: Callable[[Any], None],
) -> None:
    answer(monkeypatch, QDialog.DialogCode.Accepted)
    viewer = make_napari_viewer()
    rng = np.random.default_rng(0)
    viewer.add_image(rng.random((3, 20, 24), np.float32), name="stack")
    viewer.add_image(rng.random((20, 24), np.float32), name="paint")
    opened = Opened(viewer, waits_at=3)
    opened.panel.controls.planes.choice.value = 0
    opened.panel.start()
    qtbot.waitUntil(opened.reached.is_set, timeout=20000)
    close(viewer)
    delete_what_waits(qtbot)
    opened.end(qtbot)

    assert len(activity._all_instances) == 0


def test_what_a_closed_panel_has_is_released(viewer: Any, qtbot: Any) -> None:
    opened = Opened(viewer, waits_at=3)
    labels = viewer.add_labels(np.ones((40, 48), np.uint8))
    opened.panel.controls.regions.content_labels.value = labels
    opened.panel.start()
    qtbot.waitUntil(opened.reached.is_set, timeout=20000)
    viewer.close()
    delete_what_waits(qtbot)
    opened.end(qtbot)
    labels.paint((1, 1), 3)  # the user still has the layer
    viewer.dims.set_current_step(0, 0)
    run = weakref.ref(opened.engine.made.pop())
    del opened
    gc.collect()

    assert run() is None


def test_a_second_viewer_can_run_after_the_first_closes(
    viewer: Any, make_napari_viewer: Any, qtbot: Any
) -> None:
    other = make_napari_viewer()
    for layer in list(viewer.layers):
        other.add_image(layer.data, name=layer.name, rgb=True)
    first, second = Opened(viewer, waits_at=3), Opened(other, waits_at=99)
    first.panel.start()
    qtbot.waitUntil(first.reached.is_set, timeout=20000)
    viewer.close()
    delete_what_waits(qtbot)
    second.panel.start()
    assert "Another panel is running" in second.panel.status
    first.end(qtbot)
    second.panel.start()
    second.end(qtbot)

    assert second.panel.status.startswith("Finished")
    assert "photo x paint" in other.layers


def test_a_bystanders_closing_leaves_the_run_alone(
    viewer: Any, make_napari_viewer: Any, qtbot: Any
) -> None:
    """The other viewer shows the run among its activities, too."""
    other = make_napari_viewer()
    opened = Opened(viewer, waits_at=3)
    opened.panel.start()
    qtbot.waitUntil(opened.reached.is_set, timeout=20000)
    other.close()
    delete_what_waits(qtbot)
    opened.end(qtbot)

    assert opened.panel.status.startswith("Finished")
    assert len(activity._all_instances) == 0


@pytest.mark.parametrize("whole", [True, False], ids=["viewer", "dock"])
def test_a_download_ends_with_the_panel(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch, whole: bool
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
    panel.fetch_button.native.click()  # a second time: there is one download all the same
    qtbot.waitUntil(begun.is_set, timeout=20000)
    assert len(activity._all_instances) == 1
    if whole:
        viewer.close()
    else:
        viewer.window.remove_dock_widget(dock)
    delete_what_waits(qtbot)
    qtbot.waitUntil(ended.is_set, timeout=20000)
    qtbot.wait(300)

    assert len(activity._all_instances) == 0


def test_the_engines_import_ends_after_the_viewer(
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
    delete_what_waits(qtbot)
    gate.set()
    qtbot.waitUntil(ended.is_set, timeout=20000)
    qtbot.wait(300)


@pytest.mark.parametrize(
    "ask",
    [
        lambda panel: panel.presets.menu.actions()[0].trigger(),
        lambda panel: panel.presets.menu.actions()[2].trigger(),
        lambda panel: panel.presets.menu.actions()[3].trigger(),
    ],
    ids=["name", "export", "import"],
)
def test_a_dialog_closes_with_the_viewer(viewer: Any, qtbot: Any, ask: Any) -> None:
    panel = StyleTransferPanel(viewer, FakeEngine())
    viewer.window.add_dock_widget(panel, name="panel")
    open_then: list[object] = []

    def close() -> None:
        open_then.append(QApplication.activeModalWidget())
        viewer.close()
        delete_what_waits(qtbot)
        for widget in QApplication.topLevelWidgets():
            if isinstance(widget, QDialog) and widget.isModal():
                widget.reject()

    QTimer.singleShot(200, close)
    ask(panel)

    assert open_then[0] is not None


def test_a_closed_panel_hears_nothing_of_the_layers(viewer: Any, qtbot: Any) -> None:
    """napari goes on telling it of them."""
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
    told: list[None] = []
    watch = WindowWatch(panel)
    watch.closing.connect(lambda: told.append(None))
    viewer.close()

    assert told
