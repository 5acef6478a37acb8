"""The panel with PySide6, in a separate process: a process has one Qt binding."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = r"""
import sys

import napari
import numpy as np
from qtpy import API_NAME
from qtpy.QtCore import QEventLoop, QTimer

from napari_nst.plugin.run.session import State

assert API_NAME == "PySide6", API_NAME


def wait(until, seconds):
    loop, poll, end = QEventLoop(), QTimer(), QTimer()
    poll.timeout.connect(lambda: until() and loop.quit())
    end.setSingleShot(True)
    end.timeout.connect(loop.quit)
    poll.start(20)
    end.start(int(seconds * 1000))
    loop.exec()
    assert until(), "timed out"


viewer = napari.Viewer(show=True)
viewer.window.resize(800, 500)  # without a GPU, pixels take long to draw
rng = np.random.default_rng(0)
for name in ("photo", "paint"):
    viewer.add_image(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), name=name, rgb=True)
labels = viewer.add_labels(np.zeros((64, 64), np.uint8), name="regions")
labels.visible = False
dock, panel = viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")
panel.controls.settings = panel.controls.settings.replace(size=64, iterations=300, scales=1)
panel.start()
wait(lambda: panel.session.layer is not None, 60)
panel.pause()
assert panel.session.state is State.PAUSED
panel.controls.strength.value = 70
panel.pause()
wait(lambda: panel.session.run is not None and panel.session.run.record.steering, 60)
panel.stop()
wait(lambda: panel.session.state is State.IDLE, 60)
layer = viewer.layers["photo x paint"]
assert layer.metadata["napari_nst"]["status"] == "stopped"
assert layer.data.std() > 1
picture = viewer.window.screenshot(canvas_only=False, flash=False)
assert picture.std() > 1
panel.controls.strength.value = 50
panel.reuse(layer)
assert panel.controls.strength.value == 70
dock.close()
viewer.close()
print("finished")
"""


def test_a_run_of_the_panel_can_be_steered_stopped_and_reused_with_pyside6(tmp_path: Path) -> None:
    environment = os.environ | {
        "QT_API": "pyside6",
        "NAPARI_CONFIG": str(tmp_path / "napari.yaml"),
    }
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout.endswith("finished\n"), done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
