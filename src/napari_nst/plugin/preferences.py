"""The plugin's page in napari's Preferences."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["Preferences"]


@dataclass(frozen=True)
class Preferences:
    """Values of the plugin's page in napari's Preferences, which the manifest declares.

    Attributes
    ----------
    device : str
        Default device of runs: "auto", "cpu", "cuda" or "mps".
    precision : str
        Default precision of the network: "auto", "float32" or "bfloat16".
    cache : str
        Cache directory; empty: the system's default.
    preview_rate : float
        Maximum number of previews per second.
    """

    device: str = "auto"
    precision: str = "auto"
    cache: str = ""
    preview_rate: float = 3.0

    @classmethod
    def read(cls) -> Self:
        """Return the current preferences, with defaults for values that napari cannot provide."""
        defaults = cls()
        found: dict[str, Any] = {}
        for group, name in (
            ("compute", "device"),
            ("compute", "precision"),
            ("storage", "cache"),
            ("viewer", "preview_rate"),
        ):
            default = getattr(defaults, name)
            value = _setting(group, name)
            usable = isinstance(value, (int, float) if isinstance(default, float) else str)
            found[name] = type(default)(value) if usable else default
        found["preview_rate"] = min(max(found["preview_rate"], 0.2), 10.0)
        return cls(**found)

    def apply(self) -> None:
        """Set the cache directory of this process, unless the environment names one."""
        if self.cache:
            os.environ.setdefault("NAPARI_NST_CACHE", os.path.expanduser(self.cache))


def _setting(group: str, name: str) -> object:
    """Return a value of the plugin's page, or None."""
    try:
        from napari.settings import get_plugin_settings

        return getattr(getattr(get_plugin_settings("napari-nst"), group), name)
    except Exception:  # another version of napari, or a damaged file
        return None
