"""What the user set in napari's Preferences, on the plugin's own page."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["Preferences"]


@dataclass(frozen=True)
class Preferences:
    """The page of the plugin in napari's Preferences; each entry is in the manifest.

    Attributes
    ----------
    device : str
        Where runs compute, unless the panel says otherwise: "auto", "cpu", "cuda" or "mps".
    precision : str
        Of the network: "auto", "float32" or "bfloat16".
    cache : str
        A directory for what is fetched; empty: the system's own place for caches.
    preview_rate : float
        Pictures a second that are shown of a run, at the most.
    """

    device: str = "auto"
    precision: str = "auto"
    cache: str = ""
    preview_rate: float = 3.0

    @classmethod
    def read(cls) -> Self:
        """Return what is set now; the default for what napari does not know or cannot say."""
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
        """Make the cache directory hold for this process, unless the environment names one."""
        if self.cache:
            os.environ.setdefault("NAPARI_NST_CACHE", os.path.expanduser(self.cache))


def _setting(group: str, name: str) -> object:
    """Return a setting of the plugin's page, or None."""
    try:
        from napari.settings import get_plugin_settings

        return getattr(getattr(get_plugin_settings("napari-nst"), group), name)
    except Exception:  # another version of napari, a damaged file: nothing hangs on it
        return None
