"""Presets of the user: JSON files in the configuration directory."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import platformdirs
from pydantic import ValidationError

from napari_nst import presets
from napari_nst.atomic import atomic_write
from napari_nst.errors import InputError
from napari_nst.presets import Preset, preset_key
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "all_presets",
    "config_directory",
    "delete",
    "preset",
    "read_settings",
    "save",
    "user_preset",
    "user_presets",
    "write_settings",
]

logger = logging.getLogger(__name__)

_LONGEST_NAME = 60  # characters


def config_directory() -> Path:
    """Return the configuration directory: ``NAPARI_NST_CONFIG``, or the platform's default."""
    chosen = os.environ.get("NAPARI_NST_CONFIG")
    return Path(chosen) if chosen else platformdirs.user_config_path("napari-nst")


def user_presets() -> Mapping[str, Preset]:
    """Return the user's presets by key, in alphabetical order.

    An invalid file is skipped with a warning in the log.
    """
    found = {}
    for file in sorted(_folder().glob("*.json")):
        try:
            found[file.stem] = _read(file)
        except InputError as error:
            logger.warning("%s", error)
    return MappingProxyType(found)


def all_presets() -> Mapping[str, Preset]:
    """Return the presets of the package and then those of the user, by key."""
    packaged = presets.presets()
    added = {key: preset for key, preset in user_presets().items() if key not in packaged}
    return MappingProxyType({**packaged, **added})


def preset(name: str) -> StyleTransferSettings:
    """Return the settings of a preset of the package or the user.

    Parameters
    ----------
    name : str
        Key or name of the preset; case is ignored.

    Raises
    ------
    InputError
        If there is no such preset, or its file is invalid.
    """
    key = preset_key(name)
    if key in presets.presets():
        return presets.preset(key)
    file = _folder() / f"{key}.json"
    if key and file.is_file():
        return _read(file).resolve()
    raise InputError(f"There is no preset {name!r}; there are {', '.join(all_presets())}.")


def user_preset(name: str) -> Preset | None:
    """Return the user's preset that `save` would replace, or None."""
    return user_presets().get(preset_key(name))


def save(name: str, settings: StyleTransferSettings, purpose: str = "") -> str:
    """Save settings as a preset of the user, replacing one with the same key; return its key.

    Parameters
    ----------
    name : str
        Displayed name, for example "My etching".
    settings : StyleTransferSettings
        Only values that differ from the defaults are saved.
    purpose : str
        A sentence about its use.

    Raises
    ------
    InputError
        If the name is invalid or taken by the package, or the file cannot be written.
    """
    name = " ".join(name.split())
    key = preset_key(name)
    if not key or len(name) > _LONGEST_NAME:
        raise InputError(
            f"The preset's name is {name!r}; it must have letters or digits, and at most "
            f"{_LONGEST_NAME} characters."
        )
    if key in presets.presets():
        raise InputError(f"{name!r} is a preset of the package: choose another name.")
    defaults = StyleTransferSettings().model_dump(mode="json")
    values = settings.model_dump(mode="json")
    different = {key: value for key, value in values.items() if value != defaults[key]}
    saved = Preset(name=name, purpose=purpose or "Your own.", settings=different)
    _write(_folder() / f"{key}.json", saved.model_dump_json(indent=2))
    return key


def delete(name: str) -> None:
    """Delete a preset of the user, by key or name.

    Raises
    ------
    InputError
        If the user has no such preset, or it cannot be deleted.
    """
    key = preset_key(name)
    file = _folder() / f"{key}.json"
    if not key or not file.is_file():
        reason = "is a preset of the package" if key in presets.presets() else "is no preset"
        raise InputError(f"{name!r} {reason}: only your own presets can be deleted.")
    try:
        file.unlink()
    except OSError as error:
        raise InputError(f"{file} cannot be deleted ({error.strerror}).") from None


def write_settings(path: Path | str, settings: StyleTransferSettings) -> None:
    """Write settings as JSON for ``napari-nst stylize --settings``.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    _write(Path(path), settings.to_json())


def read_settings(path: Path | str) -> StyleTransferSettings:
    """Read settings written by `write_settings`.

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


def _read(file: Path) -> Preset:
    try:
        found = Preset.model_validate_json(file.read_text(encoding="utf-8"))
        found.resolve()  # raises if a setting no longer exists
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}).") from None
    except (InputError, ValidationError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, InputError) else "it is another kind of file"
        raise InputError(f"{file} does not hold a preset ({reason}): delete it.") from None
    return found


def _write(file: Path, text: str) -> None:
    """Write a file atomically."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as scratch:
            scratch.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{file} cannot be written ({error.strerror}): make room there, or name another place."
        ) from None
