"""From the options of the command line to settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_nst import own_presets
from napari_nst.errors import InputError
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["gather", "parse_value"]


def gather(
    file: Path | None,
    pairs: Iterable[str],
    named: Mapping[str, object],
    preset: str | None = None,
) -> StyleTransferSettings:
    """Return the settings that the options come to.

    Parameters
    ----------
    file : Path or None
        Settings as JSON, to begin with.
    pairs : iterable of str
        ``"name=value"``; the value is JSON or, where it is not, a word. They win over the file.
    named : mapping
        Settings with an option of their own, None where it was not given. They win over both.
    preset : str or None
        A preset to begin with, the package's or the user's, instead of the file.

    Raises
    ------
    InputError
        If a name, a value or the file is not one.
    """
    if preset is not None:
        if file is not None:
            raise InputError("--preset and --settings both name settings to begin with: give one.")
        settings = own_presets.preset(preset)
    else:
        settings = StyleTransferSettings() if file is None else own_presets.read_settings(file)
    given = {name: value for name, value in named.items() if value is not None}
    return settings.replace(**dict(map(_parse, pairs)) | given)


def parse_value(text: str) -> Any:
    """Return what a text says as JSON or, where it is none, the text: a word."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a word; or too many digits or brackets to be a value
        return text


def _parse(pair: str) -> tuple[str, Any]:
    name, equals, value = pair.partition("=")
    if not equals:
        raise InputError(f"--set is {pair!r}; it must be a setting's name, '=' and its value.")
    return name, parse_value(value)
