"""Save a result with its record: the image, and the record as JSON beside it.

napari's File > Save Selected Layers writes no ``metadata`` (as of napari 0.9.2).
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
from napari_nst.plugin.provenance.copying import as_file_name
from napari_nst.plugin.provenance.origins import ORIGINS_KEY, record_of, single_axes
from napari_nst.ranges import Range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Image
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

__all__ = ["SavedFiles", "ask_and_save", "default_name", "save_with_record"]

_FORMATS = {
    ".png": "PNG (*.png)",
    ".tif": "TIFF (*.tif *.tiff)",
    ".jpg": "JPEG (*.jpg *.jpeg)",
}
_JPEG, _TIFF = (".jpg", ".jpeg"), (".tif", ".tiff")
_MAX_LEADING = 3  # axes of planes that a TIFF stack can name


@dataclass(frozen=True)
class SavedFiles:
    """Files of a saved result.

    Attributes
    ----------
    picture, record : Path
        The files.
    note : str
        Sentence after a space on what the image file lost; or empty.
    """

    picture: Path
    record: Path
    note: str


def default_name(layer: Image) -> str:
    """Return a file name for a layer."""
    return f"{as_file_name(layer.name)}{'.tif' if _axes(layer).leading else '.png'}"


def save_with_record(layer: Image, path: Path | str) -> SavedFiles:
    """Write the image of a result layer, and its record as JSON beside it.

    Rows and columns are those of the run's view.  Values of 8 and 16 bits are written unchanged,
    except that JPEG has 8 bits.  Other values are rescaled to 16 bits by the contrast limits.  A
    stack is written as TIFF, values unchanged.  The image's metadata have the record, too, for
    ``napari-nst replay``.

    Parameters
    ----------
    layer : Image
        The result.
    path : Path or str
        Image file, replaced if it exists.  The record's file appends ".napari-nst.json"; it is
        replaced only if it is such a record.

    Returns
    -------
    SavedFiles
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
            f"{path} was written, but its record {beside} cannot be written ({error.strerror}): "
            "free space there, or choose another folder."
        ) from error
    return SavedFiles(path, beside, note)


def ask_and_save(layer: Image, parent: QWidget | None = None) -> SavedFiles | None:
    """Ask for a file name, and `save_with_record`; return None if the user cancels.

    Raises
    ------
    InputError
        As `save_with_record` does, and if the name was typed without a suffix and the file exists:
        the dialog could not ask whether to replace it.
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
                f"{path} exists: type the name with {path.suffix} to replace it, or another."
            )
    return save_with_record(layer, path)


class _Axes(NamedTuple):
    """Axes of a result in its run's view."""

    rows: int
    columns: int
    leading: tuple[int, ...]  # with several planes
    ndim: int  # without colours

    def planes(self, data: Any) -> Iterator[NDArray[Any]]:
        """Yield the planes in C order, in the run's view."""
        index: list[Any] = [0] * self.ndim
        index[self.rows] = index[self.columns] = slice(None)
        for place in np.ndindex(*(data.shape[axis] for axis in self.leading)):
            for axis, k in zip(self.leading, place, strict=True):
                index[axis] = k
            plane = np.asarray(data[tuple(index)])
            plane = plane.swapaxes(0, 1) if self.rows > self.columns else plane
            yield np.ascontiguousarray(plane)


def _axes(layer: Image) -> _Axes:
    """Return the axes of a result, from its origin or else from their lengths."""
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
    """Return a plane as floats in [0, 1], the dtype of its file, and a note on lost precision."""
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
    """Write all planes of a stack, with its pixel size."""
    sizes = [int(layer.data.shape[axis]) for axis in (*axes.leading, axes.rows, axes.columns)]
    if path.suffix.lower() not in _TIFF:
        raise InputError(
            f"{layer.name} has {math.prod(sizes[:-2])} planes, and {path.name} can hold one: name "
            "a .tif file."
        )
    if len(axes.leading) > _MAX_LEADING:
        raise InputError(
            f"{layer.name} has planes along {len(axes.leading)} axes, and a TIFF file names "
            f"{_MAX_LEADING}: save it with File > Save Selected Layers."
        )
    colours = np.shape(layer.data)[layer.ndim :]
    write_planes(
        path,
        axes.planes(layer.data),
        tuple(sizes[:-2]),
        (*sizes[-2:], *colours),
        layer.data.dtype,
        _pixel_sizes(layer, axes),
    )


def _pixel_sizes(layer: Image, axes: _Axes) -> dict[str, Any]:
    """Return the pixel sizes of a stack under their names in OME-XML."""
    found: dict[str, Any] = {}
    for name, axis in zip("XYZ", (axes.columns, axes.rows, axes.leading[-1]), strict=True):
        unit = layer.units[axis]
        if unit.dimensionality == {"[length]": 1}:
            found[f"PhysicalSize{name}"] = abs(float(layer.scale[axis]))
            found[f"PhysicalSize{name}Unit"] = f"{unit:~}"
    return found


def _check_record(beside: Path) -> None:
    """Raise InputError if a file exists that is no record of a run."""
    try:
        ours = "settings" in json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise InputError(
            f"{beside} exists and is no record of a run: move it, or save the image under another "
            "name."
        )
