"""Make screenshots of the panel in the dark and light theme: docs/images/panel-STATE-THEME.png.

Needs a display; without one::

    xvfb-run -a -s "-screen 0 1600x1000x24" python tools/make_screenshots.py
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image, ImageOps
from qtpy.QtWidgets import QScrollArea
from skimage import data

from make_pictures import IMAGES, hide_user_files, open_regions, wait
from napari_nst.plugin.run.session import State
from napari_nst.samples import SAMPLES

THEMES = ("dark", "light")
SIZE = (1366, 768)  # of a small laptop's screen
MAX_BYTES = 400_000


class ScreenshotViewer:
    """A viewer with two samples and the panel.

    Parameters
    ----------
    folder : Path
        Folder of the screenshots.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.viewer = napari.Viewer()
        self.viewer.window.resize(*SIZE)
        coffee, cat, *_ = SAMPLES.values()
        for pixels, options, _ in (*coffee.layers(), list(cat.layers())[1]):
            self.viewer.add_image(pixels, **options)
        _, widget = self.viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")
        self.panel: Any = widget
        self.panel.controls.size.value = 256
        self.content = self.viewer.layers[0]
        wait(lambda: self.panel.controls.advanced.isVisible(), 3)  # until torch is imported
        self.show(self.content)

    def show(self, *layers: Any) -> None:
        """Show only these layers, zoomed to the content."""
        for layer in self.viewer.layers:
            layer.visible = layer in layers
        height, width = self.content.data.shape[:2]
        self.viewer.scene.camera.center = (height / 2, width / 2)
        self.viewer.scene.camera.zoom = 1.15  # keeps the styles beside it off the canvas

    def until(self, iteration: int) -> None:
        """Wait until a run reaches an iteration."""
        iterations: list[int] = []
        self.panel.session.reported.connect(
            lambda report: iterations.append(report.snapshot.iteration)
        )
        wait(lambda: bool(iterations and iterations[-1] >= iteration), 900)

    def end(self) -> None:
        """Cancel a run, which removes its layer."""
        self.panel.cancel()
        wait(lambda: self.panel.session.state is State.IDLE, 60)

    def take(self, name: str, state: State = State.IDLE) -> None:
        """Write a screenshot in each theme; raise RuntimeError if the session leaves the state."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for theme in THEMES:
            self.viewer.theme = theme
            wait(lambda: False, 1)
            shot = self.viewer.window.screenshot(canvas_only=False, flash=False)
            if self.panel.session.state is not state:
                raise RuntimeError(f"The session is {self.panel.session.state.value}: {name}.")
            (self._folder / f"panel-{name}-{theme}.png").write_bytes(_png(shot[..., :3]))

    def scroll(self, share: float) -> None:
        """Scroll the panel to a share of its length."""
        bar = self.panel.findChild(QScrollArea).verticalScrollBar()
        wait(lambda: False, 0.5)
        bar.setValue(round(share * bar.maximum()))

    def regions(self) -> None:
        """Label the cup for one style and the rest for another."""
        height, width = self.content.data.shape[:2]
        rows, columns = np.mgrid[:height, :width]
        cup = ((rows / height - 0.42) / 0.40) ** 2 + ((columns / width - 0.46) / 0.30) ** 2 < 1
        self.panel.controls.regions.paint()
        labels = self.viewer.layers[-1]
        labels.data = np.where(cup, 1, 2).astype(np.uint8)
        labels.opacity = 0.5
        labels.mode = "pan_zoom"
        self.panel.controls.styles.choose([self.viewer.layers[1], self.viewer.layers[2]])
        self.show(self.content, labels)
        open_regions(self.panel)

    def stack(self) -> None:
        """Open a 16-bit stack, and select all planes."""
        coins = np.asarray(data.coins())[:192, :240].astype(np.uint16) * 16
        planes = np.stack([np.roll(coins, 5 * plane, axis=1) for plane in range(6)])
        layer = self.viewer.add_image(planes, name="coins", axis_labels=("z", "y", "x"))
        self.show(layer)
        self.viewer.scene.camera.center = (96, 120)
        self.viewer.scene.camera.zoom = 2.8
        self.panel.controls.regions.content_labels.value = None
        self.panel.controls.content.value = layer
        self.panel.controls.styles.choose([self.viewer.layers[1]])
        self.panel.controls.size.value = 128
        self.panel.controls.planes.choice.value = 0


def _png(shot: Any) -> bytes:
    """Return a PNG below the maximum size, with as many bits per colour as fit."""
    for bits in (8, 7, 6, 5):
        png = io.BytesIO()
        ImageOps.posterize(Image.fromarray(shot), bits).save(png, "PNG", optimize=True)
        if len(png.getvalue()) < MAX_BYTES:
            return png.getvalue()
    raise ValueError(f"The screenshot takes {len(png.getvalue())} bytes.")


def main() -> None:
    """Take screenshots of each state of the panel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=IMAGES)
    folder = parser.parse_args().folder
    hide_user_files()
    screenshots = ScreenshotViewer(folder)
    panel = screenshots.panel
    screenshots.take("idle")

    panel.controls.fields["iterations"].value = 300  # more than run until the last screenshot
    panel.start()
    screenshots.until(150)
    screenshots.take("running", State.RUNNING)
    panel.pause()
    wait(lambda: False, 1)
    panel.controls.strength.value = 70
    screenshots.take("paused", State.PAUSED)
    screenshots.end()

    screenshots.regions()
    screenshots.take("regions")
    panel.start()
    screenshots.until(150)
    screenshots.viewer.layers["regions of coffee"].visible = False
    screenshots.take("regions-running", State.RUNNING)
    screenshots.end()

    screenshots.stack()
    panel.start()
    screenshots.until(330)
    screenshots.scroll(0)
    screenshots.take("stack", State.RUNNING)
    screenshots.end()
    panel.controls.size.value = 256

    holes = screenshots.content.data[..., 0].astype(np.float32)
    holes[100:120, 200:240] = np.nan
    panel.controls.regions.content_labels.value = None
    panel.controls.content.value = screenshots.viewer.add_image(
        holes, name="holes", contrast_limits=(0, 255)
    )
    screenshots.show(screenshots.viewer.layers["holes"])
    panel.start()
    wait(lambda: panel.session.state is State.IDLE, 60)
    wait(lambda: False, 1)
    screenshots.scroll(0.4)
    screenshots.take("error")
    screenshots.viewer.close()


if __name__ == "__main__":
    main()
