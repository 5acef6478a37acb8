"""The user's own presets: JSON files like those of the package, in the user's configuration."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import platformdirs
from pydantic import ValidationError

from napari_nst import presets
from napari_nst.atomic import atomic_write
from napari_nst.errors import InputError
from napari_nst.presets import Preset
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "config_directory",
    "delete",
    "every",
    "own",
    "own_preset",
    "preset",
    "read_settings",
    "save",
    "write_settings",
]

logger = logging.getLogger(__name__)

_LONGEST_NAME = 60  # characters


def config_directory() -> Path:
    """Return the directory, which may not be there yet (``NAPARI_NST_CONFIG`` overrides it)."""
    chosen = os.environ.get("NAPARI_NST_CONFIG")
    return Path(chosen) if chosen else platformdirs.user_config_path("napari-nst")


def own() -> Mapping[str, Preset]:
    """Return the user's presets by their key, in the order of the alphabet.

    A file that holds none is left out, with a warning in the log: the others still count.
    """
    found = {}
    for file in sorted(_folder().glob("*.json")):
        try:
            found[file.stem] = _read(file)
        except InputError as error:
            logger.warning("%s", error)
    return MappingProxyType(found)


def every() -> Mapping[str, Preset]:
    """Return the package's presets by their key, then the user's."""
    ours = presets.presets()
    theirs = {key: preset for key, preset in own().items() if key not in ours}
    return MappingProxyType({**ours, **theirs})


def preset(name: str) -> StyleTransferSettings:
    """Return the settings of a preset, the package's or the user's.

    Parameters
    ----------
    name : str
        Its key or its name, in capitals or not.

    Raises
    ------
    InputError
        If there is none of that name, or its file does not hold one.
    """
    key = _key(name)
    if key in presets.presets():
        return presets.preset(key)
    file = _folder() / f"{key}.json"
    if key and file.is_file():
        return _read(file).resolve()
    raise InputError(f"There is no preset {name!r}; there are {', '.join(every())}.")


def own_preset(name: str) -> Preset | None:
    """Return the user's preset that `save` would replace under a name, if there is one."""
    return own().get(_key(name))


def save(name: str, settings: StyleTransferSettings, purpose: str = "") -> str:
    """Keep settings as an own preset, instead of one of that name; return its key.

    Parameters
    ----------
    name : str
        For people, for example "My etching".
    settings : StyleTransferSettings
        What is kept of them is what differs from the defaults.
    purpose : str
        What it is for, in a sentence.

    Raises
    ------
    InputError
        If the name is the package's or none, or the file cannot be written.
    """
    name = " ".join(name.split())
    key = _key(name)
    if not key or len(name) > _LONGEST_NAME:
        raise InputError(
            f"The preset's name is {name!r}; it must have letters or digits, and at most "
            f"{_LONGEST_NAME} characters."
        )
    if key in presets.presets():
        raise InputError(f"{name!r} is a preset of the package: choose another name.")
    defaults = StyleTransferSettings().model_dump(mode="json")
    chosen = settings.model_dump(mode="json")
    different = {key: value for key, value in chosen.items() if value != defaults[key]}
    kept = Preset(name=name, purpose=purpose or "Your own.", settings=different)
    _write(_folder() / f"{key}.json", kept.model_dump_json(indent=2))
    return key


def delete(name: str) -> None:
    """Delete an own preset, by its key or name.

    Raises
    ------
    InputError
        If there is no own preset of that name, or it cannot be deleted.
    """
    key = _key(name)
    file = _folder() / f"{key}.json"
    if not key or not file.is_file():
        whose = "is the package's" if key in presets.presets() else "is none"
        raise InputError(f"{name!r} {whose}: only an own preset can be deleted.")
    try:
        file.unlink()
    except OSError as error:
        raise InputError(f"{file} cannot be deleted ({error.strerror}).") from None


def write_settings(path: Path | str, settings: StyleTransferSettings) -> None:
    """Write settings as JSON, as ``napari-nst stylize --settings`` takes them.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    _write(Path(path), settings.to_json())


def read_settings(path: Path | str) -> StyleTransferSettings:
    """Read what `write_settings` wrote.

    Raises
    ------
    InputError
        If the file cannot be read, or does not hold settings.
    """
    try:
        return StyleTransferSettings.from_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): name a file with settings as JSON."
        ) from None
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"{path} does not hold settings: {error}") from None


def _folder() -> Path:
    return config_directory() / "presets"


def _key(name: str) -> str:
    return re.sub(r"[^\w]+", "-", name.strip().lower()).strip("-")


def _read(file: Path) -> Preset:
    try:
        found = Preset.model_validate_json(file.read_text(encoding="utf-8"))
        found.resolve()  # a setting may have gone since
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}).") from None
    except (InputError, ValidationError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, InputError) else "it is another kind of file"
        raise InputError(f"{file} does not hold a preset ({reason}): delete it.") from None
    return found


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as scratch:
            scratch.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{file} cannot be written ({error.strerror}): make room there, or name another place."
        ) from None
