"""Demo without a viewer."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from napari_nst.cli._info import installed_qt
from napari_nst.cli._progress import say
from napari_nst.cli._stylize import run_to_file
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.files import check_writable
from napari_nst.samples import SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

    from napari_nst.settings import StyleTransferSettings

__all__ = ["why_headless", "write_demo"]


def why_headless() -> str | None:
    """Return why the viewer cannot open here, or None if it can."""
    displays = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not any(map(os.environ.get, displays)):
        return "because there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)"
    if not installed_qt():
        return 'because there is no Qt to open a window with (install "napari[pyqt6]")'
    return None


def write_demo(reason: str, out: Path, settings: StyleTransferSettings) -> None:
    """Restyle the demo's sample and write the image; `reason` says why there is no viewer."""
    check_writable(out)
    say(f"writing a picture instead of opening napari, {reason}.")
    layers = next(iter(SAMPLES.values())).layers()
    pictures = [data for data, _, _ in layers]
    names = [options["name"] for _, options, _ in layers]
    run = StyleTransfer(pictures[0], pictures[1:], settings, names=names)
    run_to_file(run, out, "8")
