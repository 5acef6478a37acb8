"""Import of the engine in the background, before its first use."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from qtpy.QtCore import QObject

from napari_nst.plugin.run.warmup import WarmUp

USE_TORCH = "import torch; assert float(torch.ones(3) @ torch.ones(3)) == 3; print(device)"


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import torch",
        # Without the libraries that are loaded early.
        "from napari_nst.plugin.run import warmup; warmup._LIBRARIES = ('no_such_library.so',)",
    ],
)
def test_the_engine_works_after_the_import(before: str) -> None:
    code = f"{before}\nfrom napari_nst.plugin.run.warmup import import_engine\n"
    code += "device = import_engine()\nimport sys; sys.modules['napari_nst.engine.run.transfer']\n"
    code += USE_TORCH
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() in ("cpu", "cuda", "mps")


def test_a_program_can_end_during_the_import() -> None:
    code = (
        "from qtpy.QtCore import QCoreApplication, QTimer\n"
        "from napari_nst.plugin.run.warmup import WarmUp\n"
        "app = QCoreApplication([])\n"
        "WarmUp(app).start()\n"
        "QTimer.singleShot(50, app.quit)\n"
        "app.exec()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_device_is_emitted_after_the_import(qtbot: Any) -> None:
    parent = QObject()
    warm_up = WarmUp(parent)
    devices: list[str] = []
    warm_up.done.connect(devices.append)
    warm_up.start()
    qtbot.waitUntil(lambda: bool(devices), timeout=60000)
    qtbot.wait(300)

    assert devices in (["cpu"], ["cuda"], ["mps"])
