"""Names of axes, of files as well as of layers."""

from __future__ import annotations

__all__ = ["is_time"]

_TIME = ("t", "time", "frame", "frames")


def is_time(name: str) -> bool:
    """Return whether an axis of this name is time; case is ignored."""
    return name.lower() in _TIME
