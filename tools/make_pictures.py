"""Make pictures of results: result.jpg, sweep.jpg and regions.jpg in docs/images.

Needs a display; without one::

    xvfb-run -a -s "-screen 0 1600x1000x24" python tools/make_pictures.py
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QEventLoop, QTimer
from superqt import QCollapsible

import napari_nst
from napari_nst.cli import main as napari_nst_command
from napari_nst.files import write_image
from napari_nst.plugin.run.session import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def wait(until: Callable[[], bool], seconds: float) -> None:
    """Run the event loop until a condition is true, at most for some seconds."""
    loop, poll = QEventLoop(), QTimer()
    end = time.perf_counter() + seconds

    def check() -> None:
        if until() or time.perf_counter() > end:
            loop.quit()

    poll.timeout.connect(check)
    poll.start(50)
    loop.exec()


def hide_user_files() -> None:
    """Hide the measured speed of this machine and the user's presets from the panel."""
    for name in ("NAPARI_NST_CACHE", "NAPARI_NST_CONFIG"):
        os.environ[name] = tempfile.mkdtemp()


def open_regions(panel: QWidget) -> None:
    """Open the panel's section of regions."""
    for section in panel.findChildren(QCollapsible):
        if "Regions" in section.toggleButton().accessibleName():
            section.expand(animate=False)


def result() -> None:
    """Stylize the demo's pair in the viewer, and write content, style and result side by side."""
    viewer = napari.Viewer()
    sample = next(iter(napari_nst.samples.SAMPLES.values()))
    for data, options, _ in sample.layers():
        viewer.add_image(data, **options)
    _, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")
    panel: Any = widget
    panel.start()
    wait(lambda: panel.session.state is State.IDLE, 3600)
    content, style, stylized = (np.asarray(layer.data) for layer in viewer.layers)
    height = content.shape[0]
    columns = [content, style[:height, : content.shape[1]], stylized]
    gap = np.full((height, 8, 3), 255, np.uint8)
    _save(IMAGES / "result.jpg", [columns[0], gap, columns[1], gap, columns[2]])
    viewer.close()


def _save(file: Path, columns: Sequence[NDArray[np.uint8]]) -> None:
    """Write images side by side, small enough for a web page."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(columns, axis=1)).save(file, quality=88, subsampling=0)


def sweep() -> None:
    """Write a contact sheet of nine results of the demo's pair."""
    sample = next(iter(napari_nst.samples.SAMPLES.values()))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.png" for name in (sample.content_name, sample.style_name)]
        for file, picture in zip(files, (sample.content(), sample.style()), strict=True):
            write_image(file, (picture / 255).astype(np.float32))
        options = ["--rows", "style_weight=0.3,1,3", "--columns", "style_scale=0.5,1,2"]
        sheet = Path(folder) / "sheet.png"
        out = ["-o", sheet, "--size", "208"]
        assert napari_nst_command(list(map(str, ["sweep", *files, *out, *options]))) == 0
        _save(IMAGES / "sweep.jpg", [np.asarray(Image.open(sheet))])


def regions() -> None:
    """Write the demo's content with the table and the saucer stylized and the cup kept."""
    samples = napari_nst.samples
    content = samples.SAMPLES["coffee_impasto"].content()
    y, x = np.mgrid[0 : content.shape[0], 0 : content.shape[1]] / content.shape[0]
    labels = np.ones(content.shape[:2], np.uint8)
    labels[((x - 0.73) / 0.50) ** 2 + ((y - 0.59) / 0.40) ** 2 < 1] = 2
    cup = ((x - 0.72) / 0.30) ** 2 + ((y - 0.28) / 0.245) ** 2 < 1
    cup |= ((x - 0.71) / 0.27) ** 2 + ((y - 0.42) / 0.24) ** 2 < 1
    labels[cup] = 0
    stylized = napari_nst.stylize(
        content,
        [samples.style_image("impasto"), samples.style_image("stained-glass")],
        content_labels=labels,
        region_styles={1: 0, 2: 1},
        size=400,
    ).image
    colours = np.array([[0, 0, 0], [122, 40, 20], [80, 220, 235]], np.float32) / 255
    shown = np.where(
        labels[..., None] > 0, 0.45 * content / 255 + 0.55 * colours[labels], content / 255
    )
    gap = np.ones((content.shape[0], 8, 3), np.float32)
    parts = (shown, gap, stylized)
    columns = [(255 * part.clip(0, 1)).round().astype(np.uint8) for part in parts]
    _save(IMAGES / "regions.jpg", columns)


if __name__ == "__main__":
    result()
    sweep()
    regions()
