"""Write a result with its record: the picture, and the record as JSON beside it.

napari's own writers drop the record: File > Save Selected Layers writes the data alone, and no
layer's ``metadata`` (in napari 0.9.2 a saved PNG, TIFF or CSV holds nothing of it).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QFileDialog

from napari_nst.errors import InputError
from napari_nst.files import check_writable, write_image
from napari_nst.plugin.copying import record_of

if TYPE_CHECKING:
    from napari.layers import Image
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

__all__ = ["Saved", "ask_and_save", "default_name", "save_with_record"]

_FILTER = "PNG (*.png);;TIFF (*.tif *.tiff);;JPEG (*.jpg *.jpeg)"


@dataclass(frozen=True)
class Saved:
    """What was written.

    Attributes
    ----------
    picture, record : Path
        The files.
    note : str
        What the picture's file could not hold, in a sentence after a space; or nothing.
    """

    picture: Path
    record: Path
    note: str


def default_name(layer: Image) -> str:
    """Return a file name for a layer: its name, without what file systems refuse."""
    kept = "".join(c if c.isalnum() or c in " ._-+()" else "_" for c in layer.name).strip(" .")
    return f"{kept or 'result'}.png"


def save_with_record(layer: Image, path: Path | str) -> Saved:
    """Write the picture of a result layer, and its record as JSON beside it.

    Grey values and colours of 8 and 16 bits are written as they are.  Floating-point values
    become 16 bits: grey ones by the contrast limits, colours from [0, 1].  The record is in the
    picture's own metadata, too, where ``napari-nst replay`` finds it.

    Parameters
    ----------
    layer : Image
        What the style transfer made.
    path : Path or str
        For the picture; the record's ends in ".json" instead.

    Returns
    -------
    Saved
        The two files.

    Raises
    ------
    InputError
        If the layer has no record, is no single picture, or a file cannot be written.
    """
    path = Path(path)
    record = json.dumps(record_of(layer), indent=2)
    check_writable(path)
    picture, dtype, note = _picture(layer)
    if dtype == "uint16" and path.suffix.lower() in (".jpg", ".jpeg"):
        note = " JPEG has 8 bits: its grey values are coarser than the layer's."
    beside = path.with_suffix(".json")
    try:
        write_image(path, picture, dtype=dtype, metadata=record)
        beside.write_text(record + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{beside} cannot be written ({error.strerror}): make room there, or name another "
            "place."
        ) from error
    return Saved(path, beside, note)


def ask_and_save(layer: Image, parent: QWidget | None = None) -> Saved | None:
    """Ask where to, and `save_with_record`; None if the user thought better of it."""
    chosen, _ = QFileDialog.getSaveFileName(
        parent, "Save with record", default_name(layer), _FILTER
    )
    if not chosen:
        return None
    path = Path(chosen)
    return save_with_record(layer, path if path.suffix else path.with_suffix(".png"))


def _picture(layer: Image) -> tuple[NDArray[np.float64], Any, str]:
    """Return a layer's data as floats in [0, 1], the samples of a file, and what is lost."""
    data = np.asarray(layer.data)
    data = data.squeeze(tuple(i for i in range(layer.ndim - 2) if data.shape[i] == 1))
    if layer.multiscale or data.ndim != 2 + layer.rgb:
        raise InputError(
            f"{layer.name} has shape {tuple(np.shape(layer.data))}: only a single plane is a "
            "picture; save others with File > Save Selected Layers."
        )
    if data.dtype in (np.uint8, np.uint16):
        return data / np.iinfo(data.dtype).max, data.dtype.name, ""
    if layer.rgb:
        return data.astype(np.float64), "uint16", ""
    low, high = layer.contrast_limits
    note = f" Grey {low:g} became 0 and {high:g} became 65535."
    return (data.astype(np.float64) - low) / (high - low), "uint16", note
