"""Demo: napari with the first sample and a run on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import napari
from napari.layers import Layer

from napari_nst.samples import SAMPLES

if TYPE_CHECKING:
    from napari_nst.plugin.panel import StyleTransferPanel

__all__ = ["open_demo"]


def open_demo() -> None:
    """Open napari, start a run, and return when napari is closed."""
    viewer = napari.Viewer()
    for data in next(iter(SAMPLES.values())).layers():
        viewer.add_layer(Layer.create(*data))
    _, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")
    panel = cast("StyleTransferPanel", widget)
    panel.start()
    napari.run()
