"""The speed of earlier runs on this machine, to estimate the time of the next one."""

from __future__ import annotations

import time
from functools import cache
from statistics import median_high

from napari_nst.cache import read_json, write_json

__all__ = ["MIN_ITERATIONS", "load_speed", "save_speed"]

MIN_ITERATIONS = 40  # shorter runs are mostly start-up, so their speed is not saved

_FILE = "speed.json"
_RUNS = 8  # number of latest runs that are saved per kind of device and precision

_PRECISIONS = ("auto", "float32", "bfloat16")

# Operations per second of a small GPU that has not been measured.  Rather too low: a run may
# end earlier than estimated, but not much later.
_GUESS = {"cuda": 5e12, "mps": 1e12}
_SIDE = 512  # of the square matrices that are multiplied to measure the processor


def load_speed(device: str, precision: str = "auto") -> tuple[float, bool]:
    """Return the speed of a kind of device with a precision.

    The precision also determines how the convolutions of this machine are computed.

    Parameters
    ----------
    device : str
        ``"cpu"``, ``"cuda"`` or ``"mps"``.
    precision : str
        `StyleTransferSettings.allowed_precision`.

    Returns
    -------
    float
        Floating-point operations per second: the median of the latest runs, so that one run
        beside a busy program does not change the estimate.
    bool
        Whether such a run was measured on this machine.
    """
    for known in (precision, *_PRECISIONS):
        # Other programs only slow runs down: of two middle values the faster is nearer the truth.
        if speeds := _read(_key(device, known)):
            return median_high(speeds), known == precision
    return _GUESS.get(device) or _matrix_product_speed(), False


def save_speed(device: str, operations_per_second: float, precision: str = "auto") -> None:
    """Add the speed of a run to the cache; nothing happens if it cannot be written."""
    key = _key(device, precision)
    speeds = [*_read(key), operations_per_second][-_RUNS:]
    write_json(_FILE, read_json(_FILE) | {key: speeds})


def _key(device: str, precision: str) -> str:
    return device if precision == "auto" else f"{device} {precision}"


@cache
def _matrix_product_speed() -> float:
    """Return the operations per second of float32 matrix products; takes some milliseconds.

    Convolutions in float32 reach about the same speed.
    """
    import numpy as np

    ones = np.ones((_SIDE, _SIDE), np.float32)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        ones @ ones
        seconds.append(time.perf_counter() - start)
    return float(2 * _SIDE**3 / min(seconds))


def _read(key: str) -> list[float]:
    speeds = read_json(_FILE).get(key)
    if not isinstance(speeds, list):
        return []
    return [float(s) for s in speeds if isinstance(s, (int, float)) and 0 < s < float("inf")]
