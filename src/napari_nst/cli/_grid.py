"""The cells of a sweep: one or two settings with several values each, or presets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_nst import presets
from napari_nst.cli._choices import initial_settings, parse_value
from napari_nst.errors import InputError, abridged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_nst.settings import StyleTransferSettings

__all__ = ["Cell", "Grid", "is_all", "make_grid", "setting_text"]

_SIZE = 256  # pixels of the longest side: nine of them take about as long as one of 768
_LONGEST_NAME = 100  # characters; file systems allow 255 bytes
# A comma outside of brackets and quotes.
_SEPARATOR = re.compile(r',(?![^\[{]*[\]}])(?=(?:[^"]*"[^"]*")*[^"]*$)')


class Cell(NamedTuple):
    """One run of a sweep; the name of its file begins with `name`."""

    heading: str
    name: str
    settings: StyleTransferSettings


class Grid(NamedTuple):
    """The cells of a sweep, row by row, and the headings.

    A single row or column has no heading; without both, the cells have titles. The last row may
    be shorter.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    width: int  # number of columns


class _Axis(NamedTuple):
    """Name of a setting, or "preset", with its value and heading in each row or column."""

    name: str = ""
    values: tuple[Any, ...] = (None,)
    headings: tuple[str, ...] = ()


def make_grid(
    *,
    rows: str | None,
    columns: str | None,
    preset_names: str | None,
    file: Path | None,
    preset: str | None,
    values: Mapping[str, Any],
    longest_side: int,
) -> Grid:
    """Return the grid for the options of the command line.

    `rows` and `columns` are as in ``"style_weight=1,2,4"``; `preset_names`, ``"all"`` or
    ``"balanced,draft"``, is for the free axis. `values` holds the settings of all cells, and
    `longest_side` of the content, in pixels, limits a size that no option names.

    Raises
    ------
    InputError
        If there is nothing to compare, or the settings of a cell are invalid.
    """
    down, across = _axes(rows, columns, preset_names)
    if preset_names is not None and (preset is not None or file is not None):
        raise InputError(
            "--presets compares initial settings, and --preset and --settings name some: leave "
            "one of them out."
        )
    cells = []
    headings = product(down.headings or ("",), across.headings or ("",))
    for pair, texts in zip(product(down.values, across.values), headings, strict=True):
        chosen = {axis.name: v for axis, v in zip((down, across), pair, strict=True) if axis.name}
        name = ",".join(sorted(f"{key}={_text(value)}" for key, value in chosen.items()))
        name = re.sub(r"[^\w.=,+-]+", "-", name)[:_LONGEST_NAME]
        settings = initial_settings(file, chosen.pop("preset", preset))
        chosen = {"output_size": "working", **values, **chosen}  # the sheet is not larger
        if settings.size == "auto":
            chosen = {"size": min(_SIZE, longest_side), **chosen}
        cells.append(Cell(", ".join(filter(None, texts)), name, settings.replace(**chosen)))
    width = len(across.values)
    _check_unique(down, cells[::width])
    _check_unique(across, cells[:width])
    if not down.name and across.name == "preset":
        width = len(cells) if len(cells) <= 4 else math.ceil((1.3 * len(cells)) ** 0.5)
        return Grid((), (), tuple(cells), width)
    return Grid(down.headings, across.headings, tuple(cells), width)


def is_all(preset_names: str | None) -> bool:
    """Return whether the presets are "all" rather than a list of names."""
    return preset_names is not None and preset_names.strip().lower() == "all"


def setting_text(name: str, value: Any) -> str:
    """Return a setting and its value as text, for example "style weight 2"."""
    return f"{name.replace('_', ' ')} {_text(value)}"


def _axes(rows: str | None, columns: str | None, preset_names: str | None) -> tuple[_Axis, _Axis]:
    """Return the axes of rows and columns."""
    down, across = _setting_axis("--rows", rows), _setting_axis("--columns", columns)
    if preset_names is not None:
        if down.name and across.name:
            raise InputError("--rows, --columns and --presets are three axes; give two.")
        preset_axis = _preset_axis(preset_names)
        return (preset_axis, across) if across.name else (down, preset_axis)
    if not (down.name or across.name):
        raise InputError(
            "There is nothing to compare: give --rows, --columns or --presets, for example "
            "--columns style_weight=1,2,4."
        )
    if down.name == across.name:
        raise InputError(f"--rows and --columns are both {down.name}; choose another for one.")
    return down, across


def _setting_axis(option: str, text: str | None) -> _Axis:
    """Parse ``"style_weight=1,2,4"``."""
    if text is None:
        return _Axis()
    name, _, listed = text.partition("=")
    parts = _SEPARATOR.split(listed)
    if not name or not all(part.strip() for part in parts):
        raise InputError(
            f"{option} is {abridged(text)}; it must be a setting's name, '=' and its values "
            "with commas between them, such as style_weight=1,2,4."
        )
    if name == "preset":
        raise InputError(f"{option} is {abridged(text)}; presets have --presets {listed}.")
    values = tuple(map(parse_value, parts))
    return _Axis(name, values, tuple(setting_text(name, value) for value in values))


def _preset_axis(text: str) -> _Axis:
    """Parse ``"all"`` or ``"balanced,draft"``."""
    known = presets.presets()
    keys = list(known) if is_all(text) else list(map(presets.preset_key, text.split(",")))
    for key in keys:
        presets.preset(key)  # raises InputError for an unknown name
        if keys.count(key) > 1:
            raise InputError(f"--presets names {key!r} twice; once will do.")
    return _Axis("preset", tuple(keys), tuple(known[key].name for key in keys))


def _check_unique(axis: _Axis, cells: Sequence[Cell]) -> None:
    """Refuse equal values, also 1 and 1.0; two presets may have the same settings."""
    settings = [cell.settings for cell in cells]
    for value, settings_of_value in zip(axis.values, settings, strict=True):
        if axis.name != "preset" and settings.count(settings_of_value) > 1:
            raise InputError(f"{axis.name} has the value {abridged(value)} twice.")


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return str(value)
