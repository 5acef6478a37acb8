"""How fast this machine was the last time, for the estimate before a run."""

from __future__ import annotations

import json
import time
from functools import cache
from typing import TYPE_CHECKING

from napari_nst.cache import cache_directory

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["recall", "remember"]

# Operations per second of graphics cards to begin with: of small ones.  Rather too slow: a run that
# is done early annoys nobody.
_GUESS = {"cuda": 5e12, "mps": 1e12}
_SIDE = 512  # of the matrices that tell what a processor does


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
        Whether a run was measured on this machine.
    """
    speed = _read().get(device)
    return (speed, True) if speed else (_GUESS.get(device) or _of_products(), False)


def remember(device: str, operations_per_second: float) -> None:
    """Keep the speed of a run; a cache that cannot be written is no harm."""
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(_read() | {device: operations_per_second}))
    except OSError:
        return


@cache
def _of_products() -> float:
    """Return what a processor does in products of float32 matrices; some milliseconds.

    Convolutions in float32 come to about as much.
    """
    import numpy as np

    ones = np.ones((_SIDE, _SIDE), np.float32)
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        ones @ ones
        seconds.append(time.perf_counter() - began)
    return float(2 * _SIDE**3 / min(seconds))


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
