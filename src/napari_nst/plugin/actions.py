"""What the command palette and napari's menus do: they act on the selected layers and the panel.

The functions take nothing from napari: what it would hand in are proxies, through which a layer
is not equal to itself in a list.  They ask for the current viewer instead.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, cast

import napari
from napari.layers import Image
from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import QApplication

from napari_nst.errors import InputError, StyleTransferError
from napari_nst.plugin.provenance import copying, saving
from napari_nst.plugin.provenance.origins import RECORD_KEY, record_of
from napari_nst.plugin.run import fetching

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """Return the viewer's panel, opened and shown."""
    dock, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")
    dock.show()
    return cast("StyleTransferPanel", widget)


def _told(deed: Callable[[Viewer], None]) -> Callable[[], None]:
    """Make a command of a deed in the current viewer; what goes wrong is said in a sentence."""

    @wraps(deed)
    def command() -> None:
        viewer = napari.current_viewer()
        if viewer is None:
            return
        try:
            deed(viewer)
        except StyleTransferError as error:
            show_error(str(error))

    # napari hands in what a signature asks for, and would follow the wrapped one's.
    del command.__wrapped__
    command.__annotations__ = {"return": None}
    return command


@_told
def start(viewer: Viewer) -> None:
    """Begin a transfer with what the panel says."""
    open_panel(viewer).start()


@_told
def pause(viewer: Viewer) -> None:
    """Hold the transfer, or let it go on."""
    open_panel(viewer).pause()


@_told
def stop(viewer: Viewer) -> None:
    """End the transfer and keep the picture."""
    open_panel(viewer).stop()


@_told
def cancel(viewer: Viewer) -> None:
    """End the transfer and discard the picture."""
    _of_panel(viewer).cancel()


@_told
def stylize_selected(viewer: Viewer) -> None:
    """Restyle the lowest of the selected images in the style of the others."""
    content, *styles = _selected(viewer, at_least=2)
    panel = _of_panel(viewer)
    panel.controls.content.value = content
    panel.controls.styles.choose(styles)
    panel.start()


@_told
def take_content(viewer: Viewer) -> None:
    """Make the selected image the panel's content."""
    (layer, *_) = _selected(viewer)
    _of_panel(viewer).controls.content.value = layer


@_told
def take_style(viewer: Viewer) -> None:
    """Make the selected images the panel's styles."""
    layers = _selected(viewer)
    _of_panel(viewer).controls.styles.choose(layers)


@_told
def save_with_record(viewer: Viewer) -> None:
    """Write the selected result and its record to files, asked for in a dialog."""
    layer = _result(viewer)
    paths = saving.ask_and_save(layer, cast("Any", viewer.window)._qt_window)
    if paths is not None:
        show_info(f"Wrote {paths.picture} and its record {paths.record.name}.{paths.note}")


@_told
def copy_as_python(viewer: Viewer) -> None:
    """Put Python that makes the selected result again on the clipboard."""
    _copy(copying.as_python(_result(viewer), viewer.layers))
    show_info("Copied: Python that makes this picture again.")


@_told
def copy_as_command(viewer: Viewer) -> None:
    """Put a command line that makes the selected result again on the clipboard."""
    _copy(copying.as_command(_result(viewer), viewer.layers))
    show_info("Copied: a command for the terminal that makes this picture again.")


@_told
def reuse_settings(viewer: Viewer) -> None:
    """Fill the panel with the settings of the selected result."""
    layer = _result(viewer)
    _of_panel(viewer).reuse(layer)


@_told
def continue_result(viewer: Viewer) -> None:
    """Go on from the selected result, with the settings that the panel says."""
    layer = _result(viewer)
    _of_panel(viewer).go_on(layer)


@_told
def fetch_vgg19(viewer: Viewer) -> None:
    """Download VGG-19's weights, after a question."""
    fetch = fetching.ask_and_fetch(cast("Any", viewer.window)._qt_window)
    if fetch is not None:
        fetch.ended.connect(lambda problem: _tell_of_download(fetch, problem))


def _tell_of_download(fetch: fetching.Fetch, problem: str) -> None:
    if problem:
        show_error(problem)
    elif fetch.file is not None:
        show_info("VGG-19 can be chosen now.")


def _of_panel(viewer: Viewer) -> Any:
    return open_panel(viewer)


def _selected(viewer: Viewer, at_least: int = 1) -> list[Image]:
    """Return the selected images, the lowest in the list of layers first."""
    chosen = viewer.layers.selection
    images = [layer for layer in viewer.layers if layer in chosen and isinstance(layer, Image)]
    if len(images) < at_least:
        wanted = "an image layer" if at_least == 1 else f"{at_least} image layers or more"
        raise InputError(f"{len(images)} image layers are selected: select {wanted}.")
    return images


def _result(viewer: Viewer) -> Image:
    """Return the result that is selected, which may be one of several layers."""
    images = _selected(viewer)
    results = [layer for layer in images if RECORD_KEY in layer.metadata]
    layer = results[-1] if results else images[-1]
    record_of(layer)
    return layer


def _copy(text: str) -> None:
    clipboard = QApplication.clipboard()
    if clipboard is None:
        raise InputError("There is no clipboard on this system: save with record instead.")
    clipboard.setText(text)
