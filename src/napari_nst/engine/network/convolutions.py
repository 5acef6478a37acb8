"""Faster ways than the direct one to compute convolutions in float32 on a processor."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Protocol

import torch
from filelock import FileLock
from torch.nn import functional

from napari_nst.cache import cache_directory, read_json, write_json
from napari_nst.engine.network.nnpack import NnpackConvolution, is_nnpack_available
from napari_nst.engine.network.winograd import WinogradConvolution
from napari_nst.networks import method_for_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from napari_nst.networks import ConvolutionMethod

__all__ = ["Convolution", "FastConvolutions", "fastest_method"]

_FILE = "convolutions.json"

# Channels and side of VGG's convolutions that are measured, at sizes that take the least time.
_MEASURED = ((128, 96), (256, 64), (512, 32))
_ROUNDS = 3
_MIN_SPEEDUP = 1.05  # a smaller one is not worth other rounding
_TOLERANCE = 1e-4  # of the relative difference; rounding makes 1e-5 of it


class Convolution(Protocol):
    """Convolution of 3 x 3 with frozen weights and zero padding of 1, channels last in memory."""

    def __call__(self, image: Tensor, bias: Tensor, /) -> Tensor:
        """Return the convolution of an image, plus a bias."""
        ...

    def gradient(self, gradient: Tensor, /) -> Tensor:
        """Return the gradient at the input from that at the output."""
        ...


class FastConvolutions:
    """Convolutions of a network by NNPACK or Winograd's algorithm, at sizes that they suit.

    Parameters
    ----------
    method : {"nnpack", "winograd"}
        NNPACK for large images and Winograd's algorithm for small ones of many channels, or the
        latter alone.
    """

    def __init__(self, method: ConvolutionMethod) -> None:
        # A run that is replayed or resumed may come from a machine with NNPACK.
        self._method: ConvolutionMethod = method if is_nnpack_available() else "winograd"
        self._convolutions: dict[tuple[str, ConvolutionMethod], Convolution] = {}

    def convolution(self, layer: str, weight: Tensor, image: Tensor) -> Convolution | None:
        """Return the convolution for an image or its gradient; None if direct ones suit it better.

        Parameters
        ----------
        layer : str
            Name of the layer.
        weight : Tensor
            Its weights, of shape (out, in, 3, 3).
        image : Tensor
            Shape (1, in, H, W), or the gradient at the output.
        """
        pixels = image.shape[-2] * image.shape[-1]
        method = method_for_size(self._method, min(weight.shape[:2]), pixels)
        if method == "direct":
            return None
        if (layer, method) not in self._convolutions:
            kind = NnpackConvolution if method == "nnpack" else WinogradConvolution
            self._convolutions[layer, method] = kind(weight)
        return self._convolutions[layer, method]

    def clear(self) -> None:
        """Free the transformed weights, as another size may not need them."""
        self._convolutions.clear()


def fastest_method(name: str) -> ConvolutionMethod:
    """Return how convolutions are computed fastest on this processor.

    The measurement takes a second or two, once for each processor, number of threads and version
    of torch; the cache directory keeps the answer.

    Parameters
    ----------
    name : str
        Name of the processor.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    return _fastest(f"{name}, {capability}, {threads} threads, torch {torch.__version__}")


@cache
def _fastest(machine: str) -> ConvolutionMethod:
    methods: tuple[ConvolutionMethod, ...] = ("direct", "nnpack", "winograd")
    with _locked():  # another process could get another answer, and so other bytes
        measured = read_json(_FILE)
        for method in methods:
            if measured.get(machine) == method:
                return method
        method = _measure()
        write_json(_FILE, {**measured, machine: method})
        return method


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


def _measure() -> ConvolutionMethod:
    """Return the fast method of this machine if its results are right and it is faster."""
    # Winograd's algorithm alone seems as fast at these small sizes, and is not at large ones.
    method: ConvolutionMethod = "nnpack" if is_nnpack_available() else "winograd"
    direct = fast = 0.0
    for channels, side in _MEASURED:
        runs = _Runs(channels, side, method)
        if not runs.is_right():
            return "direct"
        # Interleaved, and the best of each: other programs slow both alike.
        rounds = [(runs.seconds("direct"), runs.seconds(method)) for _ in range(_ROUNDS)]
        direct += min(each[0] for each in rounds)
        fast += min(each[1] for each in rounds)
    return method if fast * _MIN_SPEEDUP < direct else "direct"


class _Runs:
    """Convolution and gradient of one size, direct and by a fast method."""

    def __init__(self, channels: int, side: int, method: ConvolutionMethod) -> None:
        generator = torch.Generator().manual_seed(0)
        weight, image = (
            torch.rand(shape, generator=generator).contiguous(memory_format=torch.channels_last)
            for shape in ((channels, channels, 3, 3), (1, channels, side, side))
        )
        self._weight, self._image, self._bias = weight - 0.5, image, torch.zeros(channels)
        self._method, self._fast = method, FastConvolutions(method)

    def is_right(self) -> bool:
        """Return whether the fast method gives the results of direct convolutions."""
        return all(
            bool((found - wanted).norm() <= _TOLERANCE * wanted.norm())
            for found, wanted in zip(self._run(self._method), self._run("direct"), strict=True)
        )

    def seconds(self, method: ConvolutionMethod) -> float:
        """Return the seconds of a method."""
        start = time.perf_counter()
        self._run(method)
        return time.perf_counter() - start

    def _run(self, method: ConvolutionMethod) -> tuple[Tensor, Tensor]:
        found = None
        if method != "direct":
            found = self._fast.convolution("conv", self._weight, self._image)
        # With a ReLU as in a network: NNPACK has its own threads, which compete with torch's.
        if found is not None:
            result = found(self._image, self._bias).relu_()
            return result, found.gradient(self._image).relu_()
        result = functional.conv2d(self._image, self._weight, self._bias, padding=1).relu_()
        back = functional.conv_transpose2d(self._image, self._weight, padding=1)
        return result, back.relu_()
