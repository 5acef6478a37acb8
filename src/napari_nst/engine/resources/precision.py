"""The widest dtype of a device, and whether it computes convolutions faster in bfloat16."""

from __future__ import annotations

import time

import torch
from torch.nn import functional

from napari_nst.cache import read_json, write_json

__all__ = ["bfloat16_is_faster", "wide_dtype"]

_WITHOUT_FLOAT64 = frozenset({"mps"})  # types of devices: Apple's GPUs

_FILE = "precision.json"
_MIN_SPEEDUP = 1.2  # a smaller one is not worth the lower precision
_ROUNDS = 3
_HOPELESS = 5  # bfloat16 this many times slower at the first try is not measured again


def wide_dtype(device: torch.device) -> torch.dtype:
    """Return the widest floating type of a device (Apple's GPUs have no float64)."""
    return torch.float32 if device.type in _WITHOUT_FLOAT64 else torch.float64


def bfloat16_is_faster(device: torch.device, name: str) -> bool:
    """Return whether bfloat16 is clearly faster than float32 on a device.

    The measurement takes a second or less, once for each device and version of torch; the answer
    is stored in the cache directory.

    Parameters
    ----------
    device : torch.device
        The device.
    name : str
        Name of the card or processor.
    """
    if device.type == "cpu":  # the name of a virtual machine does not tell its instructions
        name = f"{name}, {torch.backends.cpu.get_cpu_capability()}"
    key = f"{name}, torch {torch.__version__}"
    measured = read_json(_FILE)
    if not isinstance(measured.get(key), bool):
        measured[key] = _is_faster(device)
        write_json(_FILE, measured)
    return bool(measured[key])


def _is_faster(device: torch.device) -> bool:
    try:
        narrow, wide = (_Convolution(device, dtype) for dtype in (torch.bfloat16, torch.float32))
        wide.seconds()
        if narrow.seconds() > _HOPELESS * wide.seconds():
            return False
        # Interleaved, and the best of each: other programs slow both alike.
        pairs = [(narrow.seconds(), wide.seconds()) for _ in range(_ROUNDS)]
    except RuntimeError:  # a device without bfloat16
        return False
    return min(pair[0] for pair in pairs) * _MIN_SPEEDUP < min(pair[1] for pair in pairs)


class _Convolution:
    """One of VGG's convolutions: forward, and backward to its input."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        side = 64 if device.type == "cpu" else 512
        self._input = torch.ones(1, 64, side, side, device=device, dtype=dtype)
        self._input = self._input.contiguous(memory_format=torch.channels_last).requires_grad_()
        self._weight = torch.ones(64, 64, 3, 3, device=device, dtype=dtype)
        self._weight = self._weight.contiguous(memory_format=torch.channels_last)

    def seconds(self) -> float:
        """Return the seconds of one forward and backward pass."""
        start = time.perf_counter()
        output = functional.conv2d(self._input, self._weight, padding=1)
        (gradient,) = torch.autograd.grad(output, self._input, torch.ones_like(output))
        float(gradient[0, 0, 0, 0])  # waits for the device
        return time.perf_counter() - start
