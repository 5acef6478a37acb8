"""From the options of the command line to settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_nst import presets
from napari_nst.errors import InputError
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["gather"]


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
        A preset to begin with, instead of the file.

    Raises
    ------
    InputError
        If a name, a value or the file is not one.
    """
    if preset is not None:
        if file is not None:
            raise InputError("--preset and --settings both name settings to begin with: give one.")
        settings = presets.preset(preset)
    else:
        settings = StyleTransferSettings() if file is None else _read(file)
    given = {name: value for name, value in named.items() if value is not None}
    return settings.replace(**dict(map(_parse, pairs)) | given)


def _read(file: Path) -> StyleTransferSettings:
    try:
        return StyleTransferSettings.from_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror}): name a file with settings as JSON."
        ) from None
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"{file} does not hold settings: {error}") from None


def _parse(pair: str) -> tuple[str, Any]:
    name, equals, value = pair.partition("=")
    if not equals:
        raise InputError(f"--set is {pair!r}; it must be a setting's name, '=' and its value.")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):  # a word; or too many digits or brackets to be a value
        return name, value
