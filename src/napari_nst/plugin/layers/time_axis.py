"""Whether an axis of a layer is time.  No Qt here."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pint

from napari_nst.axes import is_time
from napari_nst.plugin.layers.geometry import has_label

if TYPE_CHECKING:
    from napari.layers import Image

__all__ = ["is_time_axis"]

_SUFFIXES = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
_NAME = re.compile(r"(?<![a-z])(animation|film|movie|time[ _-]?(lapse|series)|video)s?(?![a-z])")
_METADATA = ("finterval", "fps", "frame_interval", "frame_rate", "frames_per_second")


def is_time_axis(layer: Image, axis: int) -> bool:
    """Return whether an axis of a layer is time.

    Its label or its unit says so.  The first axis, if it has no label, is also time if the layer's
    name, file or metadata are those of a film; otherwise it is more often depth.
    """
    if has_label(layer, axis):
        return is_time(str(layer.axis_labels[axis])) or _is_time(layer.units[axis])
    return _is_time(layer.units[axis]) or (axis == 0 and _is_film(layer))


def _is_time(unit: Any) -> bool:
    return bool(unit.is_compatible_with(pint.application_registry.second))


def _is_film(layer: Image) -> bool:
    path = layer.source.path
    return (
        (path is not None and PurePath(path).suffix.lower() in _SUFFIXES)
        or _NAME.search(layer.name.lower()) is not None
        or any(str(key).lower() in _METADATA for key in layer.metadata)
    )
