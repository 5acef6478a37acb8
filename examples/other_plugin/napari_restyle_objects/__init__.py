"""Restyle the objects of a segmentation, by a command of napari-nst.

This plugin imports nothing of napari-nst: it knows the name of a command.
"""

from magicgui import magic_factory
from napari.layers import Image, Labels
from napari.qt.threading import thread_worker
from napari.viewer import Viewer
from npe2 import PluginManager


def restyle_objects(
    image: Image, objects: Labels, style: Image, size: int = 256, iterations: int = 60
) -> Image:
    """Return the image with its objects in the style; the background keeps its pixels."""
    settings = {"size": size, "iterations": iterations}
    return PluginManager.instance().commands.execute(
        "napari-nst.stylize_layers",
        args=(image, style),
        kwargs={"settings": settings, "content_labels": objects},
    )


@magic_factory(call_button="Restyle")
def restyle_objects_widget(
    viewer: Viewer,
    image: Image,
    objects: Labels,
    style: Image,
    size: int = 256,
    iterations: int = 60,
) -> None:
    """Restyle in another thread, as a run takes seconds, and add the result to the viewer."""
    worker = thread_worker(restyle_objects)(image, objects, style, size, iterations)
    worker.returned.connect(viewer.add_layer)
    worker.start()
