"""Write a result with its record: the picture, and the record as JSON beside it.

napari's own writers drop the record: File > Save Selected Layers writes the data alone, and no
layer's ``metadata`` (in napari 0.9.2 a saved PNG, TIFF or CSV holds nothing of it).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from qtpy.QtWidgets import QFileDialog

from napari_nst.errors import InputError
from napari_nst.files import check_writable, write_image, write_planes
from napari_nst.intensities import Range
from napari_nst.plugin.provenance.copying import as_file_name
from napari_nst.plugin.provenance.origins import ORIGINS_KEY, record_of, single_axes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Image
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

__all__ = ["Saved", "ask_and_save", "default_name", "save_with_record"]

_FORMATS = {
    ".png": "PNG (*.png)",
    ".tif": "TIFF (*.tif *.tiff)",
    ".jpg": "JPEG (*.jpg *.jpeg)",
}
_JPEG, _TIFF = (".jpg", ".jpeg"), (".tif", ".tiff")
_MOST_LEADING = 3  # axes of planes that a TIFF stack has names for


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
    return f"{as_file_name(layer.name)}{'.tif' if _axes(layer).leading else '.png'}"


def save_with_record(layer: Image, path: Path | str) -> Saved:
    """Write the picture of a result layer, and its record as JSON beside it.

    The picture lies as the run showed it: a view of other axes, or of transposed ones, stays that.
    Grey values and colours of 8 and 16 bits are written as they are; JPEG has 8, and those of 16
    become 8 by the contrast limits.  All other values become 16 bits by the contrast limits.  A
    stack becomes TIFF, with the values that it has.  The record is in the metadata of a picture,
    too, where ``napari-nst replay`` finds it.

    Parameters
    ----------
    layer : Image
        What the style transfer made.
    path : Path or str
        For the picture, which is replaced if it exists.  The record's name has ".napari-nst.json"
        after it; a file of that name is replaced only if it is such a record.

    Returns
    -------
    Saved
        The two files.

    Raises
    ------
    InputError
        If the layer has no record, or a file cannot be written.
    """
    path = Path(path)
    record = json.dumps(record_of(layer), indent=2)
    check_writable(path)
    beside = path.with_name(f"{path.name}.napari-nst.json")
    _check_record(beside)
    if layer.multiscale:
        raise InputError(f"{layer.name} has several levels; a result has one: select a result.")
    axes = _axes(layer)
    note = ""
    if axes.leading:
        _write_stack(layer, axes, path)
    else:
        (plane,) = axes.planes(layer.data)
        picture, dtype, note = _picture(layer, plane, jpeg=path.suffix.lower() in _JPEG)
        write_image(path, picture, dtype=dtype, metadata=record)
    try:
        beside.write_text(record + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} was written, but its record {beside} cannot be ({error.strerror}): make room "
            "there, or name another place."
        ) from error
    return Saved(path, beside, note)


def ask_and_save(layer: Image, parent: QWidget | None = None) -> Saved | None:
    """Ask where to, and `save_with_record`; None if the user thought better of it.

    Raises
    ------
    InputError
        As `save_with_record` does, and if a name that was typed without its suffix is taken: the
        dialog asked about the name without it.
    """
    name = default_name(layer)
    usual = Path(name).suffix
    formats = [_FORMATS[".tif"]] if usual == ".tif" else _FORMATS.values()
    chosen, chosen_format = QFileDialog.getSaveFileName(
        parent, "Save with record", name, ";;".join(formats)
    )
    if not chosen:
        return None
    path = Path(chosen)
    if not path.suffix:
        suffixes = {text: suffix for suffix, text in _FORMATS.items()}
        path = path.with_suffix(suffixes.get(chosen_format, usual))
        if path.exists():
            raise InputError(
                f"{path} is there already: type the name with {path.suffix} to replace it, or "
                "another."
            )
    return save_with_record(layer, path)


class _Axes(NamedTuple):
    """The axes of a result as its run showed them.

    Attributes
    ----------
    rows, columns : int
        Those of the picture.
    leading : tuple of int
        Those along which there are several planes.
    ndim : int
        How many there are, without the colours'.
    """

    rows: int
    columns: int
    leading: tuple[int, ...]
    ndim: int

    def planes(self, data: Any) -> Iterator[NDArray[Any]]:
        """Yield the planes in C order, as they were shown."""
        index: list[Any] = [0] * self.ndim
        index[self.rows] = index[self.columns] = slice(None)
        for place in np.ndindex(*(data.shape[axis] for axis in self.leading)):
            for axis, k in zip(self.leading, place, strict=True):
                index[axis] = k
            plane = np.asarray(data[tuple(index)])
            plane = plane.swapaxes(0, 1) if self.rows > self.columns else plane
            yield np.ascontiguousarray(plane)


def _axes(layer: Image) -> _Axes:
    """Return the axes of a result: by its origin or, without one, by the lengths of its axes."""
    shape = np.shape(layer.data)[: layer.ndim]
    origin = (layer.metadata.get(ORIGINS_KEY) or {}).get("content") or {}
    index = list(origin.get("index", ()))[: layer.ndim]
    single = single_axes(index, origin.get("projection"))
    shown = [axis for axis in range(len(index)) if axis not in single]
    transposed = bool(origin.get("transposed"))
    if len(index) != layer.ndim or len(shown) != 2:
        by_length = sorted(range(layer.ndim), key=lambda axis: shape[axis] > 1)
        shown, transposed = sorted(by_length[-2:]), False
    rows, columns = reversed(shown) if transposed else shown
    leading = tuple(a for a, size in enumerate(shape) if a not in shown and size > 1)
    return _Axes(rows, columns, leading, layer.ndim)


def _picture(
    layer: Image, plane: NDArray[Any], *, jpeg: bool
) -> tuple[NDArray[np.floating[Any]], Literal["uint8", "uint16"], str]:
    """Return a plane as floats in [0, 1], the samples of its file, and what is lost."""
    if plane.dtype == np.uint8:
        return plane / 255, "uint8", ""
    if plane.dtype == np.uint16 and not jpeg:
        return plane / 65535, "uint16", ""
    low, high = (float(limit) for limit in layer.contrast_limits)
    picture = Range(low, high).to_unit(plane, alpha=layer.rgb and plane.shape[-1] == 4)
    note = f" By the contrast limits, {low:g} became 0 and {high:g} became {65535 >> 8 * jpeg}."
    if jpeg:
        note += "  JPEG has 8 bits, which are coarser than the layer's values."
    return picture, "uint16", note


def _write_stack(layer: Image, axes: _Axes, path: Path) -> None:
    """Write all planes of a stack, with the length of a step along its axes."""
    sizes = [int(layer.data.shape[axis]) for axis in (*axes.leading, axes.rows, axes.columns)]
    if path.suffix.lower() not in _TIFF:
        raise InputError(
            f"{layer.name} has {math.prod(sizes[:-2])} planes, and only a single plane is a "
            f"picture: name a .tif file, which holds them all, instead of {path.name}."
        )
    if len(axes.leading) > _MOST_LEADING:
        raise InputError(
            f"{layer.name} has planes along {len(axes.leading)} axes, and a TIFF file names "
            f"{_MOST_LEADING}: save it with File > Save Selected Layers."
        )
    colours = np.shape(layer.data)[layer.ndim :]
    write_planes(
        path,
        axes.planes(layer.data),
        tuple(sizes[:-2]),
        (*sizes[-2:], *colours),
        layer.data.dtype,
        _steps(layer, axes),
    )


def _steps(layer: Image, axes: _Axes) -> dict[str, Any]:
    """Return the length of a step along the axes of a stack, as OME-XML has it."""
    found: dict[str, Any] = {}
    for name, axis in zip("XYZ", (axes.columns, axes.rows, axes.leading[-1]), strict=True):
        unit = layer.units[axis]
        if unit.dimensionality == {"[length]": 1}:
            found[f"PhysicalSize{name}"] = abs(float(layer.scale[axis]))
            found[f"PhysicalSize{name}Unit"] = f"{unit:~}"
    return found


def _check_record(beside: Path) -> None:
    """Refuse to replace a file that is no record of a run.

    Raises
    ------
    InputError
        If there is such a file.
    """
    try:
        ours = "settings" in json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise InputError(
            f"{beside} is there already and is no record of a run: move it, or save the picture "
            "under another name."
        )
