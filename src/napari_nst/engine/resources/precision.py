"""Whether a device computes convolutions faster in bfloat16: measured, for names do not tell."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_nst.cache import cache_directory

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["bfloat16_is_faster"]

_WORTH_IT = 1.2  # times as fast: for less, float32 is the better bargain
_ROUNDS = 3
_HOPELESS = 5  # times as slow as float32 at the first try: no need to look any further


def bfloat16_is_faster(device: torch.device, name: str) -> bool:
    """Return whether bfloat16 is clearly faster than float32 on a device.

    It is measured once for each device and version of torch, in a second or less, and kept in
    the cache directory.  A processor's instructions count as part of its name.

    Parameters
    ----------
    device : torch.device
        The device.
    name : str
        What tells it from others.
    """
    if device.type == "cpu":  # of a virtual machine the name says little
        name = f"{name}, {torch.backends.cpu.get_cpu_capability()}"
    key = f"{name}, torch {torch.__version__}"
    kept = _read()
    if key not in kept:
        kept[key] = _is_faster(device)
        _write(kept)
    return kept[key]


def _is_faster(device: torch.device) -> bool:
    try:
        narrow, wide = (_Convolution(device, dtype) for dtype in (torch.bfloat16, torch.float32))
        wide.seconds()
        if narrow.seconds() > _HOPELESS * wide.seconds():
            return False
        # In turns, and the best of each: whatever else the machine does slows both alike.
        pairs = [(narrow.seconds(), wide.seconds()) for _ in range(_ROUNDS)]
    except RuntimeError:  # a device without bfloat16
        return False
    return min(pair[0] for pair in pairs) * _WORTH_IT < min(pair[1] for pair in pairs)


class _Convolution:
    """One of VGG's convolutions, forward and back to its input."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        side = 64 if device.type == "cpu" else 512
        self._input = torch.ones(1, 64, side, side, device=device, dtype=dtype)
        self._input = self._input.contiguous(memory_format=torch.channels_last).requires_grad_()
        self._weight = torch.ones(64, 64, 3, 3, device=device, dtype=dtype)
        self._weight = self._weight.contiguous(memory_format=torch.channels_last)

    def seconds(self) -> float:
        """Return how long it takes."""
        began = time.perf_counter()
        output = functional.conv2d(self._input, self._weight, padding=1)
        (gradient,) = torch.autograd.grad(output, self._input, torch.ones_like(output))
        float(gradient[0, 0, 0, 0])  # waits for the device
        return time.perf_counter() - began


def _file() -> Path:
    return cache_directory() / "precision.json"


def _read() -> dict[str, bool]:
    try:
        kept = json.loads(_file().read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {key: value for key, value in kept.items() if isinstance(value, bool)}


def _write(kept: dict[str, bool]) -> None:
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(kept))
    except OSError:  # then it is measured again the next time
        return
