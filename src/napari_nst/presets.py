"""Named settings: JSON files in the package, each with a sentence on what it is for."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from napari_nst.errors import InputError
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Preset", "preset", "presets"]


class Preset(BaseModel):
    """Settings that go well together.

    Attributes
    ----------
    name : str
        For people, for example "Keep colours".
    purpose : str
        What it is for, in a sentence.
    settings : dict
        The choices that differ from the defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    purpose: str
    settings: dict[str, Any]

    def resolve(self) -> StyleTransferSettings:
        """Return the settings, with the defaults for what the preset leaves open."""
        return StyleTransferSettings(**self.settings)


@cache
def presets() -> Mapping[str, Preset]:
    """Return every preset by its key, the default first, for example ``"keep-colours"``."""
    found = {
        file.name.removesuffix(".json"): Preset.model_validate_json(file.read_text("utf-8"))
        for file in (files("napari_nst") / "data" / "presets").iterdir()
        if file.name.endswith(".json")
    }
    return MappingProxyType(dict(sorted(found.items(), key=lambda item: _rank(item[0]))))


def preset(name: str) -> StyleTransferSettings:
    """Return the settings of a preset.

    Parameters
    ----------
    name : str
        Its key or its name, in capitals or not.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    wanted = name.strip().lower().replace(" ", "-")
    try:
        return presets()[wanted].resolve()
    except KeyError:
        raise InputError(
            f"There is no preset {name!r}; there are {', '.join(presets())}."
        ) from None


def _rank(key: str) -> tuple[bool, str]:
    return key != "balanced", key
