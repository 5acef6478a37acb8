"""Neural style transfer inside the napari viewer.

The names below are loaded when they are first used: importing the package loads neither torch
nor Qt.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_nst import batch, presets, ranges, samples, sampling, stacks
    from napari_nst.engine.run.snapshots import Snapshot, StyleTransferResult
    from napari_nst.engine.run.stylize import stylize
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.errors import StyleTransferError
    from napari_nst.plugin.stylize_layer import stylize_layer
    from napari_nst.record import RunRecord
    from napari_nst.settings import StyleTransferSettings

__all__ = [
    "RunRecord",
    "Snapshot",
    "StyleTransfer",
    "StyleTransferError",
    "StyleTransferResult",
    "StyleTransferSettings",
    "batch",
    "presets",
    "ranges",
    "samples",
    "sampling",
    "stacks",
    "stylize",
    "stylize_layer",
]

_HOMES = {
    "RunRecord": "record",
    "Snapshot": "engine.run.snapshots",
    "StyleTransfer": "engine.run.transfer",
    "StyleTransferError": "errors",
    "StyleTransferResult": "engine.run.snapshots",
    "StyleTransferSettings": "settings",
    "stylize": "engine.run.stylize",
    "stylize_layer": "plugin.stylize_layer",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"napari_nst.{_HOMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"napari_nst.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
