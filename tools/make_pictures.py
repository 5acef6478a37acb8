"""Make the README's pictures: docs/images/result.png and docs/images/panel.png.

Needs a display; without one::

    xvfb-run -a -s "-screen 0 1600x1000x24" python tools/make_pictures.py
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from qtpy.QtCore import QEventLoop, QTimer

import napari_nst
from napari_nst.files import write_image
from napari_nst.plugin.session import State

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def wait(until: Callable[[], bool], seconds: float) -> None:
    """Let the viewer live until something is so, or the time is up."""
    loop, poll = QEventLoop(), QTimer()
    end = time.perf_counter() + seconds

    def look() -> None:
        if until() or time.perf_counter() > end:
            loop.quit()

    poll.timeout.connect(look)
    poll.start(50)
    loop.exec()


def main() -> None:
    """Run the demo's pair in the real viewer; picture it at work, and what came out."""
    viewer = napari.Viewer()
    viewer.window.resize(1400, 760)
    sample = next(iter(napari_nst.samples.SAMPLES.values()))
    for data, options, _ in sample.layers():
        viewer.add_image(data, **options)
    _, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")
    panel: Any = widget
    viewer.reset_view()
    panel.start()
    seen: list[int] = []
    panel.session.progressed.connect(lambda progress: seen.append(progress.iteration))
    wait(lambda: bool(seen) and seen[-1] >= 110, 3600)
    IMAGES.mkdir(parents=True, exist_ok=True)
    viewer.window.screenshot(str(IMAGES / "panel.png"), canvas_only=False, flash=False)
    wait(lambda: panel.session.state is State.IDLE, 3600)
    content, style, result = (np.asarray(layer.data) for layer in viewer.layers)
    height = content.shape[0]
    columns = [content, style[:height, : content.shape[1]], result]
    gap = np.full((height, 8, 3), 255, np.uint8)
    row = np.concatenate([columns[0], gap, columns[1], gap, columns[2]], axis=1)
    write_image(IMAGES / "result.png", (row / 255).astype(np.float32))
    viewer.close()


if __name__ == "__main__":
    main()
