"""Presets of the package: JSON files with named settings and their purpose."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from napari_nst.errors import InputError
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Preset", "preset", "preset_key", "presets"]


class Preset(BaseModel):
    """Settings that go well together.

    Attributes
    ----------
    name : str
        Displayed name, for example "Keep colours".
    purpose : str
        A sentence about its use.
    settings : dict
        Values that differ from the defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    purpose: str
    settings: dict[str, Any]

    def resolve(self) -> StyleTransferSettings:
        """Return all settings, with defaults for those not in the preset."""
        return StyleTransferSettings(**self.settings)


@cache
def presets() -> Mapping[str, Preset]:
    """Return the presets by key, for example ``"keep-colours"``; the default is first."""
    found = {
        file.name.removesuffix(".json"): Preset.model_validate_json(file.read_text("utf-8"))
        for file in (files("napari_nst") / "data" / "presets").iterdir()
        if file.name.endswith(".json")
    }
    return MappingProxyType(
        dict(sorted(found.items(), key=lambda item: (item[0] != "balanced", item[0])))
    )


def preset_key(name: str) -> str:
    """Return the key of a preset's key or name, for example "keep-colours" for "Keep colours"."""
    return re.sub(r"[^\w]+", "-", name.strip().lower()).strip("-")


def preset(name: str) -> StyleTransferSettings:
    """Return the settings of a preset.

    Parameters
    ----------
    name : str
        Key or name of the preset; case is ignored.

    Raises
    ------
    InputError
        If there is no such preset.
    """
    try:
        return presets()[preset_key(name)].resolve()
    except KeyError:
        raise InputError(
            f"There is no preset {name!r}; there are {', '.join(presets())}."
        ) from None
