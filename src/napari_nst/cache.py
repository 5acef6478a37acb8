"""Where napari-nst keeps what can be made, or fetched, again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["cache_directory"]


def cache_directory() -> Path:
    """Return the directory, which may not be there yet (``NAPARI_NST_CACHE`` overrides it)."""
    chosen = os.environ.get("NAPARI_NST_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("napari-nst")
