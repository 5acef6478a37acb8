"""Many runs, closed docks and several viewers: no leaks and no conflicts."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import psutil
import pytest
from fake_engine import FakeEngine
from napari.utils import progress as activity
from qtpy.QtCore import QTimer

from napari_nst.plugin.panel import StyleTransferPanel
from napari_nst.plugin.run.session import State

WARM_UP, CYCLES = 24, 36  # multiples of 12: each end with and without a pause
MAX_LEAK = 0.5e6  # bytes per run


@pytest.mark.timeout(600)
def test_many_runs_do_not_leak(viewer: Any, qtbot: Any) -> None:
    engine = FakeEngine(step=lambda _: threading.Event().wait(0.002))
    panel = StyleTransferPanel(viewer, engine)
    viewer.window.add_dock_widget(panel, name="panel")
    panel.controls.fields["iterations"].value = 10**6
    ends = (panel.stop, panel.cancel, lambda: viewer.layers.remove(panel.session.layer))
    runs: list[weakref.ref[object]] = []

    def cycle(index: int) -> None:
        panel.start()
        qtbot.waitUntil(lambda: panel.session.layer is not None, timeout=20000)
        if index % 4 == 0:
            panel.pause()
        panel.controls.strength.value = index % 100
        ends[index % 3]()
        qtbot.waitUntil(lambda: panel.session.state is State.IDLE, timeout=20000)
        for layer in list(viewer.layers)[2:]:
            viewer.layers.remove(layer)
        runs.append(weakref.ref(engine.made.pop()))

    def remaining() -> tuple[int, int, int, int]:
        """Return the numbers of layers, runs, active timers and progress bars."""
        gc.collect()
        timers = len([timer for timer in panel.findChildren(QTimer) if timer.isActive()])
        alive = sum(run() is not None for run in runs)
        return len(viewer.layers), alive, timers, len(activity._all_instances)

    for index in range(WARM_UP):
        cycle(index)
    qtbot.wait(300)
    threads, memory = threading.active_count(), psutil.Process().memory_info().rss
    timers = len(panel.findChildren(QTimer))
    gc.freeze()  # napari collects garbage at each removed layer: what exists now is none
    for index in range(CYCLES):
        cycle(index)
    gc.unfreeze()
    qtbot.wait(300)

    assert remaining() == (2, 0, 0, 0)
    assert len(panel.findChildren(QTimer)) == timers
    assert threading.active_count() <= threads
    assert psutil.Process().memory_info().rss - memory < CYCLES * MAX_LEAK


def test_closing_during_a_run_does_not_leak(viewer: Any, qtbot: Any) -> None:
    engine = FakeEngine(step=lambda _: threading.Event().wait(0.002))
    labels = viewer.add_labels((viewer.layers["photo"].data[..., 0] > 99).astype("uint8"))
    refs = []
    for _ in range(3):
        panel = StyleTransferPanel(viewer, engine)
        viewer.window.add_dock_widget(panel, name="panel")
        panel.controls.regions.content_labels.value = labels
        panel.controls.fields["iterations"].value = 10**6
        panel.start()
        qtbot.waitUntil(lambda panel=panel: panel.session.layer is not None, timeout=20000)
        session = panel.session
        viewer.window.remove_dock_widget(panel)
        qtbot.waitUntil(lambda session=session: session.state is State.IDLE, timeout=20000)
        refs.append(weakref.ref(engine.made.pop()))
        labels.paint((1, 1), 3)  # the closed panel is disconnected
        viewer.dims.set_current_step(0, 1)
        del panel, session
    gc.collect()

    assert [ref() for ref in refs] == [None] * 3
    assert "H" not in [str(key) for key in viewer.keymap]


def test_panels_in_two_viewers_run_one_at_a_time(
    viewer: Any, make_napari_viewer: Any, qtbot: Any
) -> None:
    other = make_napari_viewer()
    for layer in list(viewer.layers):
        other.add_image(layer.data, name=f"other {layer.name}", rgb=True)
    gate = threading.Event()
    engine = FakeEngine(step=lambda iteration: iteration == 1 or gate.wait(20))
    panels = []
    for each in (viewer, other):
        panels.append(StyleTransferPanel(each, engine))
        each.window.add_dock_widget(panels[-1], name="panel")
    first, second = panels
    first.start()
    second.start()
    assert "'photo x paint'" in second.status
    gate.set()
    qtbot.waitUntil(lambda: first.session.state is State.IDLE, timeout=20000)
    second.start()
    qtbot.waitUntil(lambda: second.session.state is State.IDLE, timeout=20000)

    assert "photo x paint" in viewer.layers
    assert "other photo x other paint" in other.layers
    assert len(viewer.layers) == len(other.layers) == 3
