"""The cache directory, for everything that can be computed or downloaded again."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from napari_nst.atomic import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["cache_directory", "read_json", "write_json"]


def cache_directory() -> Path:
    """Return the directory, which may not exist yet (``NAPARI_NST_CACHE`` overrides it)."""
    chosen = os.environ.get("NAPARI_NST_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("napari-nst")


def read_json(name: str) -> dict[str, Any]:
    """Return a JSON object from the cache; an empty one if it is missing or damaged."""
    try:
        content = json.loads((cache_directory() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(name: str, content: Mapping[str, Any]) -> None:
    """Write a JSON object to the cache; nothing happens if it cannot be written."""
    file = cache_directory() / name
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as scratch:
            scratch.write_text(json.dumps(content), encoding="utf-8")
