"""Parse options of the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_nst import own_presets
from napari_nst.errors import InputError, abridged
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = [
    "initial_settings",
    "parse_intensities",
    "parse_plane",
    "parse_planes",
    "parse_value",
    "parse_values",
    "settings_from_options",
]


def settings_from_options(
    file: Path | None,
    pairs: Iterable[str],
    named: Mapping[str, object],
    preset: str | None = None,
) -> StyleTransferSettings:
    """Return the settings for the options: see `initial_settings` and `parse_values`."""
    return initial_settings(file, preset).replace(**parse_values(pairs, named))


def initial_settings(file: Path | None, preset: str | None) -> StyleTransferSettings:
    """Return the settings of a JSON file, of a preset, or the defaults.

    Raises
    ------
    InputError
        If both are given, or one is invalid.
    """
    if preset is None:
        return StyleTransferSettings() if file is None else own_presets.read_settings(file)
    if file is not None:
        raise InputError("--preset and --settings both name initial settings: give one.")
    return own_presets.preset(preset)


def parse_values(pairs: Iterable[str], named: Mapping[str, object]) -> dict[str, Any]:
    """Return values of settings by name.

    Parameters
    ----------
    pairs : iterable of str
        ``"name=value"``, where the value is JSON or a word.
    named : mapping
        Settings with an option of their own; None if it was not given. They override `pairs`.

    Raises
    ------
    InputError
        If a pair has no "=".
    """
    return dict(map(_parse_pair, pairs)) | {k: v for k, v in named.items() if v is not None}


def parse_value(text: str) -> Any:
    """Return the JSON value in a text; a text that is not JSON is returned itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # also: too many digits or nested brackets
        return text


def parse_intensities(text: str) -> Any:
    """Return the intensities in a text: a word, or two values separated by a comma.

    `check_intensities` refuses invalid words.
    """
    low, comma, high = text.partition(",")
    if not comma:
        return text
    try:
        return float(low), float(high)
    except ValueError:
        return text


def parse_plane(text: str | None, option: str) -> tuple[int, ...] | None:
    """Return the plane in a text: an index along each axis, separated by commas.

    Raises
    ------
    InputError
        If an index is not a whole number of 0 or more.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InputError(
            f"{option} is {abridged(text)}; it must be whole numbers of 0 or more, one for each "
            "axis, with commas between them."
        )
    return tuple(map(int, parts))


def parse_planes(texts: Sequence[str] | None, count: int) -> list[tuple[int, ...] | None]:
    """Return the plane of each style: one per style, or one for all.

    Raises
    ------
    InputError
        If a text is not a plane, or the number of planes is neither one nor that of styles.
    """
    option = "--style-plane"
    planes = [parse_plane(None if text == "none" else text, option) for text in texts or ()]
    if len(planes) <= 1:
        return (planes or [None]) * count
    if len(planes) != count:
        raise InputError(
            f"{option} is given {len(planes)} times, and there are {count} styles: give it once, "
            "or for each style, with 'none' for one of a single plane."
        )
    return planes


def _parse_pair(pair: str) -> tuple[str, Any]:
    name, equals, value = pair.partition("=")
    if not equals:
        raise InputError(f"--set is {pair!r}; it must be a setting's name, '=' and its value.")
    return name, parse_value(value)
