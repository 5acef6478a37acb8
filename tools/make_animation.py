"""Make the README's animation of a run in the viewer: docs/images/demo.webp.

Needs a display; without one::

    xvfb-run -a -s "-screen 0 1600x1000x24" python tools/make_animation.py
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QPushButton, QScrollArea

from make_pictures import IMAGES, hide_user_files, wait
from napari_nst.plugin.run.session import State
from napari_nst.samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = IMAGES / "demo.webp"
WINDOW = (1040, 720)  # shown 830 pixels wide, its text can still be read
LIST_HEIGHT = 200  # pixels: three layers
ZOOM_FRAMES = 8
MOST_BYTES = 2_800_000  # sites that show a README refuse pictures of more than 5 MB


class Film:
    """A viewer with a content, a style and the panel, and the frames taken of it."""

    def __init__(self) -> None:
        self.frames: list[Image.Image] = []
        self.milliseconds: list[int] = []
        self.viewer = napari.Viewer()
        for pixels, options, _ in next(iter(SAMPLES.values())).layers():
            self.viewer.add_image(pixels, **options)
        _, widget = self.viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")
        self.panel: Any = widget
        self._lay_out()
        wait(lambda: False, 3)  # until torch is imported
        self.viewer.reset_view(margin=0.03)

    def _lay_out(self) -> None:
        """Leave most of the window to the canvas: the layer list below it, no layer controls."""
        window = self.panel.window()
        docks = {dock.objectName(): dock for dock in window.findChildren(QDockWidget)}
        docks["layer controls"].hide()
        window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, docks["layer list"])
        self.viewer.window.resize(*WINDOW)
        wait(lambda: False, 1)
        window.resizeDocks([docks["layer list"]], [LIST_HEIGHT], Qt.Orientation.Vertical)

    def take(self, milliseconds: int) -> None:
        """Take a frame that is shown for some milliseconds."""
        shot = self.viewer.window.screenshot(canvas_only=False, flash=False)
        self.frames.append(Image.fromarray(shot[..., :3]))
        self.milliseconds.append(milliseconds)

    def press(self, text: str) -> None:
        """Show a button of the panel while it is pressed."""
        button = next(
            button
            for button in self.panel.findChildren(QPushButton)
            if button.text().replace("&", "") == text
        )
        button.setDown(True)
        wait(lambda: False, 0.2)
        self.take(300)
        button.setDown(False)

    def zoom_to_content(self) -> None:
        """Move the camera from both images to the content, step by step."""
        camera = self.viewer.scene.camera
        height, width = self.viewer.layers[0].data.shape[:2]
        centers = np.linspace(camera.center[-2:], (height / 2, width / 2), ZOOM_FRAMES + 1)
        canvas = self.viewer.window.screenshot(canvas_only=True, flash=False).shape
        fitting = 0.98 * min(canvas[0] / height, canvas[1] / width)
        zooms = np.geomspace(camera.zoom, fitting, ZOOM_FRAMES + 1)
        for center, zoom in zip(centers[1:], zooms[1:], strict=True):
            camera.center, camera.zoom = tuple(center), zoom
            wait(lambda: False, 0.1)
            self.take(70)

    def run(self, milliseconds: int, every: int) -> None:
        """Start a run, and take a frame after every few iterations and at its end."""
        session, iterations = self.panel.session, [0]

        def note(report: Any) -> None:
            if report.picture is not None:
                iterations.append(report.snapshot.iteration)

        session.reported.connect(note)
        self.panel.start()
        self.panel.findChild(QScrollArea).verticalScrollBar().setValue(0)
        due = every
        while session.state is not State.IDLE:
            if iterations[-1] >= due:
                due = iterations[-1] + every
                self.take(milliseconds)
            wait(lambda: False, 0.05)


def encode(
    frames: Sequence[Image.Image], milliseconds: Sequence[int], most_bytes: int = MOST_BYTES
) -> bytes:
    """Return an endless animated WebP of limited size, of the best quality that fits.

    Raises
    ------
    ValueError
        If even the lowest quality takes more bytes.
    """
    for quality in (85, 75, 65, 55):
        file = io.BytesIO()
        frames[0].save(
            file,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=list(milliseconds),
            loop=0,
            quality=quality,
        )
        if len(file.getvalue()) <= most_bytes:
            return file.getvalue()
    raise ValueError(f"The animation takes {len(file.getvalue())} bytes of {most_bytes}.")


def main() -> None:
    """Film the demo: content and style, the run, and its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, default=FILE)
    file = parser.parse_args().file
    hide_user_files()
    film = Film()
    film.take(1800)
    film.press("Stylize")
    film.zoom_to_content()
    film.run(170, every=3)
    film.take(2500)
    film.viewer.close()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode(film.frames, film.milliseconds))


if __name__ == "__main__":
    main()
