"""How fast this machine was the last time, for the estimate before a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from napari_nst.cache import cache_directory

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["recall", "remember"]

# Operations per second to begin with: two cores of a server, a small graphics card.  Rather too
# slow: a run that is done early annoys nobody.
_GUESS = {"cpu": 1e11, "cuda": 5e12, "mps": 1e12}


def recall(device: str) -> tuple[float, bool]:
    """Return the speed of a kind of device.

    Parameters
    ----------
    device : str
        ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Returns
    -------
    float
        Floating-point operations per second.
    bool
        Whether it was measured on this machine.
    """
    speed = _read().get(device)
    return (speed, True) if speed else (_GUESS.get(device, _GUESS["cpu"]), False)


def remember(device: str, operations_per_second: float) -> None:
    """Keep the speed of a run; a cache that cannot be written is no harm."""
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(_read() | {device: operations_per_second}))
    except OSError:
        return


def _file() -> Path:
    return cache_directory() / "speed.json"


def _read() -> dict[str, float]:
    try:
        kept = json.loads(_file().read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {
        device: float(speed)
        for device, speed in kept.items()
        if isinstance(speed, (int, float)) and speed > 0
    }
