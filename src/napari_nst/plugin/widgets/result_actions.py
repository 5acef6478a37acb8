"""Save a result, or copy code that reproduces it; each function returns a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QApplication, QWidget

from napari_nst.errors import InputError
from napari_nst.plugin.provenance import copying, saving

if TYPE_CHECKING:
    from napari.components import LayerList
    from napari.layers import Image

__all__ = ["copy_as_command", "copy_as_python", "save_with_record"]


def save_with_record(layer: Image, parent: QWidget) -> str:
    """Ask for a file, and save a result and its record; return "" if the user cancels."""
    files = saving.ask_and_save(layer, parent)
    if files is None:
        return ""
    return f"Wrote {files.picture} and its record {files.record.name}.{files.note}"


def copy_as_python(layer: Image, layers: LayerList) -> str:
    """Copy Python that replays the run of a result."""
    _copy(copying.as_python(layer, layers))
    return "Copied: Python code that reproduces this image."


def copy_as_command(layer: Image, layers: LayerList) -> str:
    """Copy a command line that replays the run of a result."""
    _copy(copying.as_command(layer, layers))
    return "Copied: a shell command that reproduces this image."


def _copy(text: str) -> None:
    clipboard = QApplication.clipboard()
    if clipboard is None:
        raise InputError("There is no clipboard on this system: save with record instead.")
    clipboard.setText(text)
