"""The demo opens a viewer and starts a run."""

from __future__ import annotations

from typing import Any

import napari

from napari_nst import samples
from napari_nst.plugin.demo import open_demo
from napari_nst.plugin.panel import StyleTransferPanel
from napari_nst.plugin.run.session import State


def test_the_demo_opens_the_first_sample_and_the_panel_and_starts_a_run(
    make_napari_viewer: Any, monkeypatch: Any, qtbot: Any
) -> None:
    viewer = make_napari_viewer()
    seen: list[State] = []

    def run() -> None:
        panel = viewer.window._qt_window.findChild(StyleTransferPanel)
        seen.append(panel.session.state)
        panel.stop()
        qtbot.waitUntil(lambda: panel.session.state is State.IDLE, timeout=60000)

    monkeypatch.setattr(napari, "Viewer", lambda: viewer)
    monkeypatch.setattr(napari, "run", run)
    open_demo()

    assert seen == [State.RUNNING]
    first = next(iter(samples.SAMPLES.values()))
    assert [layer.name for layer in viewer.layers][:2] == [first.content_name, first.style_name]
