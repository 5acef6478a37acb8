"""Choose between the direct and Winograd's convolution, by a measurement for each shape."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

import torch
from filelock import FileLock
from torch.nn import functional

from napari_nst.cache import cache_directory, read_json, write_json
from napari_nst.engine.network.winograd import WinogradConvolution

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from torch import Tensor

__all__ = ["WinogradChoice"]

_FILE = "convolutions.json"

# Sides of the images that are measured; each stands for larger ones up to the next.
_SIDES = (32, 64, 128)

_ROUNDS = 3
_TOLERANCE = 1e-4  # of the relative difference: ten times what rounding makes of it


class WinogradChoice:
    """Shapes that Winograd's convolution computes faster than the direct one on this processor.

    Each shape is measured once, in a fraction of a second; the cache directory keeps the answer.

    Parameters
    ----------
    name : str
        Name of the processor.
    fixed : collection of str, optional
        The shapes, instead of measuring: those of a recorded run.

    Attributes
    ----------
    used : set of str
        Shapes that were computed by Winograd's convolution so far, as "64x128@64": channels in,
        out, and side of the image that was measured.
    """

    def __init__(self, name: str, fixed: Collection[str] | None = None) -> None:
        self.used: set[str] = set()
        self._fixed = fixed
        capability = torch.backends.cpu.get_cpu_capability()
        threads = torch.get_num_threads()
        self._machine = f"{name}, {capability}, {threads} threads, torch {torch.__version__}"

    def includes(self, in_channels: int, out_channels: int, height: int, width: int) -> bool:
        """Return whether to use Winograd's convolution for a shape."""
        side = max((s for s in _SIDES if s <= math.isqrt(height * width)), default=None)
        if side is None:
            return False
        shape = f"{in_channels}x{out_channels}@{side}"
        if self._fixed is not None:
            chosen = shape in self._fixed
        else:
            chosen = _is_known_faster(self._machine, shape, in_channels, out_channels, side)
        if chosen:
            self.used.add(shape)
        return chosen


@cache
def _is_known_faster(
    machine: str, shape: str, in_channels: int, out_channels: int, side: int
) -> bool:
    """Return `_is_faster` from the cache directory, or measure it."""
    with _locked():  # another process could get another answer, and so other bytes
        measured = read_json(_FILE)
        here = measured.get(machine)
        here = here if isinstance(here, dict) else {}
        if not isinstance(here.get(shape), bool):
            here[shape] = _is_faster(in_channels, out_channels, side)
            write_json(_FILE, {**measured, machine: here})
        return bool(here[shape])


@contextmanager
def _locked() -> Iterator[None]:
    """Keep other processes from measuring at the same time, if the cache directory is writable."""
    lock = FileLock(cache_directory() / f"{_FILE}.lock")
    with suppress(OSError):
        cache_directory().mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_faster(in_channels: int, out_channels: int, side: int) -> bool:
    """Return whether Winograd's convolution is faster, forward and backward, and right."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn((out_channels, in_channels, 3, 3), generator=generator)
    bias = torch.zeros(out_channels)
    image, gradient = (
        torch.rand((1, channels, side, side), generator=generator).contiguous(
            memory_format=torch.channels_last
        )
        for channels in (in_channels, out_channels)
    )
    weight = weight.contiguous(memory_format=torch.channels_last)
    winograd = WinogradConvolution(weight)

    def run_direct() -> tuple[Tensor, Tensor]:
        back = functional.conv_transpose2d(gradient, weight, padding=1)
        return functional.conv2d(image, weight, bias, padding=1), back

    def run_winograd() -> tuple[Tensor, Tensor]:
        return winograd(image, bias), winograd.gradient(gradient)

    for found, wanted in zip(run_winograd(), run_direct(), strict=True):
        if not (found - wanted).norm() <= _TOLERANCE * wanted.norm():
            return False
    # Interleaved, and the best of each: other programs slow both alike.
    pairs = [(_seconds(run_winograd), _seconds(run_direct)) for _ in range(_ROUNDS)]
    return min(pair[0] for pair in pairs) < min(pair[1] for pair in pairs)


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
