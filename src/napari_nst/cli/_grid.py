"""What a sweep compares: one or two settings with several values each, or presets."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_nst import presets
from napari_nst.cli._choices import gather, parse_value
from napari_nst.errors import InputError, abridged
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Axis", "Cell", "Grid", "common_choices", "in_words"]

_SIZE = 256  # pixels of the longest side: nine of them take about as long as one of 768
_LONGEST_NAME = 100  # characters; file systems allow 255 bytes
_OF_NO_INTEREST = {"size", "output_size", "iterations"}  # a sheet says these in its own way


@dataclass(frozen=True)
class Axis:
    """What changes from row to row, or from column to column.

    Attributes
    ----------
    name : str
        A setting, or "preset".
    values : tuple
        Of the setting, or the keys of presets.
    """

    name: str
    values: tuple[Any, ...]

    @classmethod
    def of_setting(cls, option: str, text: str) -> Axis:
        """Read ``"style_weight=1,2,4"``; commas within brackets and quotes belong to a value.

        Parameters
        ----------
        option : str
            What messages call it, for example ``"--rows"``.
        text : str
            What was given.

        Raises
        ------
        InputError
            If it names no setting, or a value is missing.
        """
        name, _, listed = text.partition("=")
        values = list(_split(listed))
        if not name or not all(value.strip() for value in values):
            raise InputError(
                f"{option} is {abridged(text)}; it must be a setting's name, '=' and its values "
                "with commas between them, such as style_weight=1,2,4."
            )
        if name == "preset":
            raise InputError(f"{option} is {abridged(text)}; presets have --presets {listed}.")
        return cls(name, tuple(map(parse_value, values)))

    @classmethod
    def of_presets(cls, text: str) -> Axis:
        """Read ``"all"`` or ``"balanced,draft"``."""
        every = presets.presets()
        if _is_all(text):
            return cls("preset", tuple(every))
        wanted = [key.strip().lower().replace(" ", "-") for key in text.split(",")]
        for key, given in zip(wanted, text.split(","), strict=True):
            if key not in every:
                presets.preset(given)  # raises, and says which there are
            if wanted.count(key) > 1:
                raise InputError(f"--presets names {key!r} twice; once will do.")
        return cls("preset", tuple(wanted))

    @property
    def headings(self) -> tuple[str, ...]:
        """The values in words."""
        return tuple(map(self.heading, self.values))

    def heading(self, value: Any) -> str:
        """Return one of the values in words."""
        return (
            presets.presets()[value].name if self.name == "preset" else in_words(self.name, value)
        )


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes
    ----------
    row, column : int
        Its place, from 0.
    heading : str
        What it alone has, in words.
    name : str
        The same as the beginning of a file's name.
    settings : StyleTransferSettings
        Every choice.
    """

    row: int
    column: int
    heading: str
    name: str
    settings: StyleTransferSettings

    def file_name(self, *inputs: str) -> str:
        """Return a name that other settings, or pictures with other hashes, do not have."""
        told = "\n".join((self.settings.to_json(), *inputs))
        return f"{self.name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}.png"


@dataclass(frozen=True)
class Grid:
    """The runs of a sweep, and how they lie.

    Attributes
    ----------
    rows, columns : tuple of str
        The headings; none where the cells have titles of their own, or there is one row or
        column only.
    cells : tuple of Cell
        Row by row.
    any_size : bool
        Whether nobody asked for a size.
    any_preset : bool
        Whether every preset is in it because none was named.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    any_size: bool = False
    any_preset: bool = False

    @classmethod
    def of(
        cls,
        rows: str | None,
        columns: str | None,
        wanted_presets: str | None,
        file: Path | None,
        pairs: Sequence[str],
        named: Mapping[str, object],
        preset: str | None,
    ) -> Grid:
        """Return the grid that the options come to.

        Parameters
        ----------
        rows, columns : str or None
            A setting and its values, as `Axis.of_setting` reads them.
        wanted_presets : str or None
            Presets, as `Axis.of_presets` reads them.  They take the side that is free.
        file, pairs, named, preset
            What the cells have in common, as `gather` takes them; an axis wins over it.

        Raises
        ------
        InputError
            If there is nothing to compare, or a cell's settings cannot be.
        """
        down, across = _axes(rows, columns, wanted_presets)
        if wanted_presets is not None and (preset is not None or file is not None):
            raise InputError(
                "--presets goes through settings to begin with, and --preset and --settings "
                "name some: leave one of them out."
            )
        pairs = ["output_size=working", *pairs]  # a sheet shows no more

        def settings_of(choices: dict[str, Any]) -> StyleTransferSettings:
            begin = choices.pop("preset", preset)
            return gather(file, pairs, named, begin).replace(**choices)

        cells = [
            Cell(*at, heading, _file_name(down, across, at), settings_of(choices))
            for at, heading, choices in _places(down, across)
        ]
        _refuse_twins(down, across, cells)
        wrapped = down is None and across is not None and across.name == "preset"
        if wrapped:
            wide = _across(len(cells))
            cells = [
                dataclasses.replace(cell, row=index // wide, column=index % wide)
                for index, cell in enumerate(cells)
            ]
        asked = {pair.partition("=")[0] for pair in pairs}
        asked |= {name for name, value in named.items() if value is not None}
        asked |= {axis.name for axis in (down, across) if axis}
        return cls(
            rows=down.headings if down else (),
            columns=across.headings if across and not wrapped else (),
            cells=tuple(cells),
            any_size="size" not in asked,
            any_preset=wanted_presets is not None and _is_all(wanted_presets),
        )

    @property
    def titled(self) -> bool:
        """Whether the cells have no headings but titles of their own."""
        return not (self.rows or self.columns)

    def fitted(self, longest: int) -> Grid:
        """Return the grid with a modest size where none was asked for.

        Parameters
        ----------
        longest : int
            Of the content's sides, in pixels: nothing is enlarged.
        """
        if not self.any_size:
            return self
        size = min(_SIZE, longest)
        cells = [
            dataclasses.replace(cell, settings=cell.settings.replace(size=size))
            if cell.settings.size == "auto"
            else cell
            for cell in self.cells
        ]
        return dataclasses.replace(self, cells=tuple(cells))


def in_words(name: str, value: Any) -> str:
    """Return a setting and its value as a heading has it, for example "style weight 2"."""
    return f"{name.replace('_', ' ')} {_text(value)}"


def common_choices(settings: Iterable[StyleTransferSettings]) -> dict[str, Any]:
    """Return what all of some settings have, where it is not the default."""
    first, *others = settings
    usual = StyleTransferSettings()
    return {
        name: value
        for name, value in first
        if name not in _OF_NO_INTEREST
        and value != getattr(usual, name)
        and all(getattr(other, name) == value for other in others)
    }


def _axes(
    rows: str | None, columns: str | None, wanted_presets: str | None
) -> tuple[Axis | None, Axis | None]:
    """Return what changes from row to row, and what from column to column."""
    down = Axis.of_setting("--rows", rows) if rows is not None else None
    across = Axis.of_setting("--columns", columns) if columns is not None else None
    if wanted_presets is not None:
        if down and across:
            raise InputError("--rows, --columns and --presets are three axes; give two.")
        each = Axis.of_presets(wanted_presets)
        return (each, across) if across else (down, each)
    if not (down or across):
        raise InputError(
            "There is nothing to compare: give --rows, --columns or --presets, for example "
            "--columns style_weight=1,2,4."
        )
    if down and across and down.name == across.name:
        raise InputError(f"--rows and --columns are both {down.name}; let one be another.")
    return down, across


def _places(
    down: Axis | None, across: Axis | None
) -> Iterator[tuple[tuple[int, int], str, dict[str, Any]]]:
    """Go through the cells: where they are, what they are called, what they choose."""
    for row, column in (
        (row, column)
        for row in range(len(down.values) if down else 1)
        for column in range(len(across.values) if across else 1)
    ):
        chosen = [
            (axis, axis.values[index])
            for axis, index in ((down, row), (across, column))
            if axis is not None
        ]
        heading = ", ".join(axis.heading(value) for axis, value in chosen)
        yield (row, column), heading, {axis.name: value for axis, value in chosen}


def _refuse_twins(down: Axis | None, across: Axis | None, cells: Sequence[Cell]) -> None:
    """Refuse a value that is there twice, be it as 1 and as 1.0."""
    for axis, line in (
        (down, [cell for cell in cells if cell.column == 0]),
        (across, [cell for cell in cells if cell.row == 0]),
    ):
        if axis is None or axis.name == "preset":  # two presets may come to the same
            continue
        made = [cell.settings for cell in line]
        for value, settings in zip(axis.values, made, strict=True):
            if made.count(settings) > 1:
                raise InputError(f"{axis.name} has the value {abridged(value)} twice.")


def _file_name(down: Axis | None, across: Axis | None, at: tuple[int, int]) -> str:
    """Name a cell by its settings, in an order that rows and columns do not decide."""
    parts = sorted(
        f"{axis.name}={_text(axis.values[index])}"
        for axis, index in zip((down, across), at, strict=True)
        if axis is not None
    )
    return re.sub(r"[^\w.=,+-]+", "-", ",".join(parts))[:_LONGEST_NAME]


def _is_all(text: str) -> bool:
    return text.strip().lower() == "all"


def _across(count: int) -> int:
    """Return how many cells with titles of their own lie side by side: a sheet is wide."""
    return count if count <= 4 else int(-(-((1.3 * count) ** 0.5) // 1))


def _split(text: str) -> Iterator[str]:
    """Split at the commas outside of brackets and quotes."""
    depth, quoted, part = 0, False, ""
    for before, letter in zip(" " + text, text, strict=False):
        if letter == '"' and before != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not quoted and depth <= 0:
            yield part
            part = ""
        else:
            part += letter
    yield part


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
