"""Commands of the command palette and the menus, for the selected layers and the panel.

They ask for the current viewer: the layers that napari would inject are proxies, which are not
equal to the layers in a list.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, cast

import napari
from napari.utils.notifications import show_error, show_info

from napari_nst.errors import InputError, StyleTransferError
from napari_nst.plugin.commands import selected_images
from napari_nst.plugin.provenance.origins import RECORD_KEY, record_of
from napari_nst.plugin.run import fetching
from napari_nst.plugin.widgets import result_actions

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_nst.plugin.panel import StyleTransferPanel

__all__ = [
    "cancel",
    "continue_result",
    "copy_as_command",
    "copy_as_python",
    "fetch_vgg19",
    "pause",
    "reuse_settings",
    "save_with_record",
    "start",
    "stop",
    "stylize_selected",
    "take_content",
    "take_style",
]


def open_panel(viewer: Viewer) -> StyleTransferPanel:
    """Open and show the viewer's panel."""
    dock, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")
    dock.show()
    return cast("StyleTransferPanel", widget)


def _viewer_command(callback: Callable[[Viewer], None]) -> Callable[[], None]:
    """Wrap a callback as a command in the current viewer that shows errors as notifications."""

    @wraps(callback)
    def command() -> None:
        viewer = napari.current_viewer()
        if viewer is None:
            return
        try:
            callback(viewer)
        except StyleTransferError as error:
            show_error(str(error))

    # Otherwise napari would inject the parameters of the wrapped function.
    del command.__wrapped__
    command.__annotations__ = {"return": None}
    return command


@_viewer_command
def start(viewer: Viewer) -> None:
    """Start a run with the panel's settings."""
    open_panel(viewer).start()


@_viewer_command
def pause(viewer: Viewer) -> None:
    """Pause or resume the run."""
    open_panel(viewer).pause()


@_viewer_command
def stop(viewer: Viewer) -> None:
    """Stop the run and keep its image."""
    open_panel(viewer).stop()


@_viewer_command
def cancel(viewer: Viewer) -> None:
    """Stop the run and discard its image."""
    open_panel(viewer).cancel()


@_viewer_command
def stylize_selected(viewer: Viewer) -> None:
    """Stylize the lowest selected image in the style of the others."""
    content, *styles = _selected(viewer, at_least=2)
    panel = open_panel(viewer)
    panel.controls.content.value = content
    panel.controls.styles.choose(styles)
    panel.start()


@_viewer_command
def take_content(viewer: Viewer) -> None:
    """Make the selected image the panel's content."""
    (layer, *_) = _selected(viewer)
    open_panel(viewer).controls.content.value = layer


@_viewer_command
def take_style(viewer: Viewer) -> None:
    """Make the selected images the panel's styles."""
    layers = _selected(viewer)
    open_panel(viewer).controls.styles.choose(layers)


@_viewer_command
def save_with_record(viewer: Viewer) -> None:
    """Save the selected result and its record to files."""
    message = result_actions.save_with_record(_result(viewer), _qt_window(viewer))
    if message:
        show_info(message)


@_viewer_command
def copy_as_python(viewer: Viewer) -> None:
    """Copy Python that replays the run of the selected result."""
    show_info(result_actions.copy_as_python(_result(viewer), viewer.layers))


@_viewer_command
def copy_as_command(viewer: Viewer) -> None:
    """Copy a command line that replays the run of the selected result."""
    show_info(result_actions.copy_as_command(_result(viewer), viewer.layers))


@_viewer_command
def reuse_settings(viewer: Viewer) -> None:
    """Set the panel to the settings of the selected result."""
    layer = _result(viewer)
    open_panel(viewer).reuse(layer)


@_viewer_command
def continue_result(viewer: Viewer) -> None:
    """Continue from the selected result with the panel's settings."""
    layer = _result(viewer)
    open_panel(viewer).continue_from(layer)


@_viewer_command
def fetch_vgg19(viewer: Viewer) -> None:
    """Ask, and download the weights of VGG-19."""
    fetch = fetching.ask_and_fetch(_qt_window(viewer))
    if fetch is not None:
        fetch.ended.connect(lambda problem: _show_download_end(fetch, problem))


def _show_download_end(fetch: fetching.Fetch, problem: str) -> None:
    if problem:
        show_error(problem)
    elif fetch.file is not None:
        show_info(fetching.INSTALLED)


def _qt_window(viewer: Viewer) -> Any:
    return cast("Any", viewer.window)._qt_window


def _selected(viewer: Viewer, at_least: int = 1) -> list[Image]:
    """Return the selected images; raise InputError if there are too few."""
    images = selected_images(viewer)
    if len(images) < at_least:
        wanted = "an image layer" if at_least == 1 else f"{at_least} image layers or more"
        raise InputError(f"{len(images)} image layers are selected: select {wanted}.")
    return images


def _result(viewer: Viewer) -> Image:
    """Return the topmost selected layer that has a record; raise InputError if none has."""
    images = _selected(viewer)
    results = [layer for layer in images if RECORD_KEY in layer.metadata]
    layer = results[-1] if results else images[-1]
    record_of(layer)
    return layer
