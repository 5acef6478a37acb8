"""The cells of a sweep: one or two settings with several values each, or presets."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from napari_nst import presets
from napari_nst.cli._choices import gather, parse_value
from napari_nst.errors import InputError, abridged
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["Cell", "Grid", "common_choices", "setting_text"]

_SIZE = 256  # pixels of the longest side: nine of them take about as long as one of 768
_LONGEST_NAME = 100  # characters; file systems allow 255 bytes
_SHOWN_ELSEWHERE = {"size", "output_size", "iterations"}  # a sheet has its own lines for these


@dataclass(frozen=True)
class _Axis:
    """Name of a setting, or "preset", and its value in each row or column; "" for a single one."""

    name: str = ""
    values: tuple[Any, ...] = (None,)

    @classmethod
    def from_setting(cls, option: str, text: str | None) -> _Axis:
        """Read ``"style_weight=1,2,4"``; commas in brackets and quotes belong to a value."""
        if text is None:
            return cls()
        name, _, listed = text.partition("=")
        values = _split(listed)
        if not name or not all(value.strip() for value in values):
            raise InputError(
                f"{option} is {abridged(text)}; it must be a setting's name, '=' and its values "
                "with commas between them, such as style_weight=1,2,4."
            )
        if name == "preset":
            raise InputError(f"{option} is {abridged(text)}; presets have --presets {listed}.")
        return cls(name, tuple(map(parse_value, values)))

    @classmethod
    def from_presets(cls, text: str) -> _Axis:
        """Read ``"all"`` or ``"balanced,draft"``."""
        known = presets.presets()
        if _is_all(text):
            return cls("preset", tuple(known))
        keys = [key.strip().lower().replace(" ", "-") for key in text.split(",")]
        for key, given in zip(keys, text.split(","), strict=True):
            if key not in known:
                presets.preset(given)  # raises an error that lists the presets
            if keys.count(key) > 1:
                raise InputError(f"--presets names {key!r} twice; once will do.")
        return cls("preset", tuple(keys))

    @property
    def headings(self) -> tuple[str, ...]:
        """Text for each value."""
        if self.name == "preset":
            return tuple(presets.presets()[value].name for value in self.values)
        return tuple(setting_text(self.name, value) for value in self.values) if self.name else ()


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes
    ----------
    row, column : int
        Position, from 0.
    heading : str
        Text for the values of this cell.
    name : str
        Beginning of the name of its file.
    settings : StyleTransferSettings
        All settings.
    """

    row: int
    column: int
    heading: str
    name: str
    settings: StyleTransferSettings

    def file_name(self, *input_hashes: str) -> str:
        """Return a file name unique to these settings and input images."""
        text = "\n".join((self.settings.to_json(), *input_hashes))
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.png"


@dataclass(frozen=True)
class Grid:
    """The cells of a sweep and their headings.

    Attributes
    ----------
    rows, columns : tuple of str
        Headings; empty for a single row or column, and for cells with titles.
    cells : tuple of Cell
        Row by row.
    default_size : bool
        Whether no option names a size.
    all_presets : bool
        Whether the presets are "all", so that those without weights are left out.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    default_size: bool = False
    all_presets: bool = False

    @classmethod
    def from_options(
        cls,
        *,
        rows: str | None,
        columns: str | None,
        wanted_presets: str | None,
        file: Path | None,
        pairs: Sequence[str],
        named: Mapping[str, object],
        preset: str | None,
    ) -> Grid:
        """Return the grid for the options of the command line.

        Parameters
        ----------
        rows, columns : str or None
            A setting and its values: ``"style_weight=1,2,4"``.
        wanted_presets : str or None
            ``"all"`` or ``"balanced,draft"``, for the axis that is free.
        file, pairs, named, preset
            Settings of all cells, as for `gather`; the axes override them.

        Raises
        ------
        InputError
            If there is nothing to compare, or the settings of a cell are invalid.
        """
        down, across = _axes(rows, columns, wanted_presets)
        if wanted_presets is not None and (preset is not None or file is not None):
            raise InputError(
                "--presets goes through settings to begin with, and --preset and --settings "
                "name some: leave one of them out."
            )
        pairs = ["output_size=working", *pairs]  # the sheet is not larger
        cells = []
        for (row, below), (column, beside) in product(
            enumerate(down.values), enumerate(across.values)
        ):
            choices = {a.name: v for a, v in ((down, below), (across, beside)) if a.name}
            headings = [*down.headings[row : row + 1], *across.headings[column : column + 1]]
            name = ",".join(sorted(f"{key}={_text(value)}" for key, value in choices.items()))
            name = re.sub(r"[^\w.=,+-]+", "-", name)[:_LONGEST_NAME]
            base = gather(file, pairs, named, choices.pop("preset", preset))
            cells.append(Cell(row, column, ", ".join(headings), name, base.replace(**choices)))
        _check_unique(down, [cell.settings for cell in cells if cell.column == 0])
        _check_unique(across, [cell.settings for cell in cells if cell.row == 0])
        titled = not down.name and across.name == "preset"
        if titled:
            width = len(cells) if len(cells) <= 4 else math.ceil((1.3 * len(cells)) ** 0.5)
            cells = [
                dataclasses.replace(cell, row=index // width, column=index % width)
                for index, cell in enumerate(cells)
            ]
        given = {pair.partition("=")[0] for pair in pairs} | {down.name, across.name}
        given |= {name for name, value in named.items() if value is not None}
        return cls(
            rows=down.headings,
            columns=() if titled else across.headings,
            cells=tuple(cells),
            default_size="size" not in given,
            all_presets=wanted_presets is not None and _is_all(wanted_presets),
        )

    @property
    def titled(self) -> bool:
        """Whether the cells have titles instead of headings."""
        return not (self.rows or self.columns)

    def with_default_size(self, longest_side: int) -> Grid:
        """Return the grid with a small size where no option names one.

        Parameters
        ----------
        longest_side : int
            Of the content, in pixels: it is not enlarged.
        """
        if not self.default_size:
            return self
        size = min(_SIZE, longest_side)
        cells = (
            dataclasses.replace(cell, settings=cell.settings.replace(size=size))
            if cell.settings.size == "auto"
            else cell
            for cell in self.cells
        )
        return dataclasses.replace(self, cells=tuple(cells))


def setting_text(name: str, value: Any) -> str:
    """Return a setting and its value as text, for example "style weight 2"."""
    return f"{name.replace('_', ' ')} {_text(value)}"


def common_choices(settings: Iterable[StyleTransferSettings]) -> dict[str, Any]:
    """Return the values that differ from the defaults in the same way in all settings."""
    first, *others = settings
    defaults = StyleTransferSettings()
    return {
        name: value
        for name, value in first
        if name not in _SHOWN_ELSEWHERE
        and value != getattr(defaults, name)
        and all(getattr(other, name) == value for other in others)
    }


def _axes(rows: str | None, columns: str | None, wanted_presets: str | None) -> tuple[_Axis, _Axis]:
    """Return the axes of rows and columns."""
    down, across = _Axis.from_setting("--rows", rows), _Axis.from_setting("--columns", columns)
    if wanted_presets is not None:
        if down.name and across.name:
            raise InputError("--rows, --columns and --presets are three axes; give two.")
        preset_axis = _Axis.from_presets(wanted_presets)
        return (preset_axis, across) if across.name else (down, preset_axis)
    if not (down.name or across.name):
        raise InputError(
            "There is nothing to compare: give --rows, --columns or --presets, for example "
            "--columns style_weight=1,2,4."
        )
    if down.name == across.name:
        raise InputError(f"--rows and --columns are both {down.name}; let one be another.")
    return down, across


def _check_unique(axis: _Axis, settings: Sequence[StyleTransferSettings]) -> None:
    """Refuse equal values, also 1 and 1.0; two presets may have the same settings."""
    for value, own in zip(axis.values, settings, strict=True):
        if axis.name != "preset" and settings.count(own) > 1:
            raise InputError(f"{axis.name} has the value {abridged(value)} twice.")


def _is_all(text: str) -> bool:
    return text.strip().lower() == "all"


def _split(text: str) -> list[str]:
    """Split at the commas outside of brackets and quotes."""
    parts: list[str] = []
    complete = True
    for piece in text.split(","):
        parts.append(piece) if complete else parts.append(f"{parts.pop()},{piece}")
        bare = re.sub(r'"(\\.|[^"\\])*"', "", parts[-1])
        complete = '"' not in bare and len(re.findall(r"[\[{]", bare)) <= len(
            re.findall(r"[\]}]", bare)
        )
    return parts


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
