"""Chain the panel with two other plugins, and make the screenshots of docs/chaining.md.

Needs a display and the plugins: ``pip install napari-skimage PartSeg examples/other_plugin``.
Without a display::

    xvfb-run -a -s "-screen 0 1600x1000x24" python tools/make_chaining_pictures.py
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QScrollArea
from skimage.data import coins

from make_pictures import IMAGES, hide_user_files, open_regions, wait
from napari_nst.plugin.run.session import State
from napari_nst.samples import style_image

SIZE = (1366, 768)
PLACE: dict[str, Any] = {"scale": (0.2, 0.2), "translate": (3, 5), "units": ("mm", "mm")}


class Chain:
    """A viewer with a grey image of millimetres, two styles, and the panel.

    Parameters
    ----------
    folder : Path
        Folder of the screenshots.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.viewer = napari.Viewer()
        self.viewer.window.resize(*SIZE)
        self.coins = self.viewer.add_image(coins(), name="coins", **PLACE)
        self.styles = [
            self.viewer.add_image(style_image(name), name=name, visible=False, **PLACE)
            for name in ("woodcut", "stained-glass")
        ]
        self.panel_dock, self.panel = self._open("napari-nst", "Neural style transfer")
        wait(lambda: self.panel.controls.advanced.isVisible(), 3)  # until torch is imported
        self.panel.controls.content.value = self.coins
        self.panel.controls.size.value = 192
        self.panel.controls.fields["iterations"].value = 50

    @property
    def newest(self) -> Any:
        """The layer that was added last."""
        return self.viewer.layers[-1]

    def _open(self, plugin: str, widget: str) -> Any:
        return self.viewer.window.add_plugin_dock_widget(plugin, widget)

    def run(self) -> None:
        """Run the panel until the result is there."""
        before = len(self.viewer.layers)
        self.panel.start()
        wait(lambda: len(self.viewer.layers) > before, 300)
        wait(lambda: self.panel.session.state is State.IDLE, 900)
        self.describe()

    def filter(self, image: Any) -> None:
        """Blur a layer with napari-skimage."""
        dock, widget = self._open("napari-skimage", "Gaussian filter")
        widget.img_layer.value, widget.sigma.value = image, 4.0
        widget()
        self.describe()
        self.take("filter", self.newest)
        self.viewer.window.remove_dock_widget(dock)

    def segment(self, image: Any) -> None:
        """Find objects with PartSeg, in two steps."""
        dock, widget = self._open("PartSeg", "Threshold")
        fields = widget.form.widgets_dict
        fields["data"].get_field().value = image
        fields["threshold"].get_field().set_values({"name": "Otsu", "values": {}})
        widget.run_operation()
        self.describe()
        self.viewer.window.remove_dock_widget(dock)
        dock, widget = self._open("PartSeg", "Connected Components")
        fields = widget.form.widgets_dict
        fields["data"].get_field().value = self.newest
        fields["minimum_size"].get_field().setValue(200)
        widget.run_operation()
        self.describe()
        self.viewer.window.remove_dock_widget(dock)

    def restyle_objects(self, objects: Any) -> None:
        """Call the command of this plugin from the plugin in examples/other_plugin."""
        dock, widget = self._open("napari-restyle-objects", "Restyle objects")
        widget.image.value, widget.objects.value = self.coins, objects
        widget.style.value, widget.size.value = self.styles[0], 192
        before = len(self.viewer.layers)
        widget()
        wait(lambda: len(self.viewer.layers) > before, 900)
        self.describe()
        self.take("command", self.newest)
        self.viewer.window.remove_dock_widget(dock)

    def show_regions(self) -> None:
        """Open the section of the regions, and scroll to it."""
        open_regions(self.panel)
        wait(lambda: False, 1)
        area = self.panel.findChild(QScrollArea)
        labels = self.panel.controls.regions.content_labels.native
        area.verticalScrollBar().setValue(labels.mapTo(area.widget(), labels.rect().topLeft()).y())

    def describe(self) -> None:
        """Print what is known of the newest layer."""
        layer = self.newest
        data = np.asarray(layer.data)
        units = ", ".join(f"{unit:~}" for unit in layer.units)
        print(f"{layer.name}: {data.dtype}, {data.min():.4g} to {data.max():.4g}, ", end="")
        print(f"scale {layer.scale}, translate {layer.translate}, units {units}", flush=True)

    def take(self, name: str, *layers: Any) -> None:
        """Write a screenshot with these layers visible."""
        for layer in self.viewer.layers:
            layer.visible = layer in layers
        self.viewer.layers.selection.active = layers[-1]
        height, width = self.coins.extent.world.T[:, 1] - self.coins.extent.world.T[:, 0]
        self.viewer.scene.camera.center = self.coins.extent.world.mean(axis=0)
        self.viewer.scene.camera.zoom = min(600 / width, 600 / height)
        wait(lambda: False, 2)
        shot = self.viewer.window.screenshot(canvas_only=False, flash=False)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"chaining-{name}.jpg"
        Image.fromarray(shot[..., :3]).save(path, quality=88, optimize=True)


def main() -> None:
    """Stylize, filter, segment, and stylize the segmented regions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=IMAGES)
    folder = parser.parse_args().folder
    hide_user_files()
    chain = Chain(folder)
    panel, controls = chain.panel, chain.panel.controls

    controls.styles.choose([chain.styles[0]])
    controls.strength.value = 30
    chain.run()
    chain.panel_dock.hide()
    chain.filter(chain.newest)
    chain.segment(chain.newest)
    objects = chain.newest
    chain.panel_dock.show()

    controls.regions.content_labels.value = objects
    chain.show_regions()
    chain.take("place", chain.coins, objects)
    objects.translate = chain.coins.translate
    wait(lambda: False, 1)

    controls.styles.choose([chain.styles[1]])
    controls.strength.value = 50
    controls.advanced.intensities.value = "displayed"
    chain.run()
    result = chain.newest
    kept = objects.data == 0
    print(f"{kept.mean():.0%} without a label, unchanged:", end=" ")
    print(np.array_equal(result.data[kept], np.repeat(coins()[kept][:, None], 3, 1)))
    chain.take("result", result)
    chain.panel_dock.hide()
    chain.restyle_objects(objects)
    panel.close()
    chain.viewer.close()


if __name__ == "__main__":
    main()
