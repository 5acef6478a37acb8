"""Measure iterations and whole runs on a CUDA device, by size, style loss and precision.

See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from iteration import iteration, plain_loop  # beside this file
from rich.console import Console
from rich.table import Table
from speed import convolutions_seconds

from napari_nst.engine.optim.schedule import Scale
from napari_nst.engine.resources.device import Device
from napari_nst.engine.resources.peak_memory import Workload
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.presets import presets
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["Iteration", "measure_iteration", "measure_run"]

_VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "bfloat16": {"precision": "bfloat16"},
    "gram+moments": {"style_loss": "gram+moments"},
    "wasserstein": {"style_loss": "wasserstein"},
    "L-BFGS": {"optimizer": "lbfgs"},
}
_LARGEST_COMPARED = 2048  # pixels per side: the plain loop needs too much memory above
_WARM_UP, _REPEATS = 5, 20


def pictures(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a content and a style, `size` pixels wide and three quarters as high."""
    y, x = np.mgrid[0 : size * 3 // 4, 0:size] * (512 / size)
    waves = [np.sin(x / 37 + k) * np.cos(y / (29 + 5 * k)) for k in range(3)]
    content = (np.stack(waves, axis=-1) + 1) / 2
    blocks = np.random.default_rng(0).normal(0.5, 0.3, (size * 3 // 16, size // 4, 3)).clip(0, 1)
    style = blocks.repeat(4, 0).repeat(4, 1)
    return content.astype(np.float32), style.astype(np.float32)


def measure_run(choices: dict[str, Any], size: int, times: int = 2) -> list[float]:
    """Return the seconds of consecutive runs, from the images to the result."""
    content, style = pictures(size)
    settings = StyleTransferSettings(**{**choices, "size": size})
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run = StyleTransfer(content, style, settings)
        for _ in run:
            pass
        run.result()
        seconds.append(time.perf_counter() - start)
    return seconds


class Iteration(NamedTuple):
    """An iteration of a whole image at one size.

    Attributes
    ----------
    precision : str
        Precision of the convolutions.
    milliseconds : float
        Mean of an iteration, synchronised after each.
    plain, convolutions : float or None
        The same of the plain loop (`iteration.plain_loop`) and of the convolutions alone.
    peak, estimate : int
        Peak memory on the GPU in bytes, and its estimate.
    """

    precision: str
    milliseconds: float
    plain: float | None
    convolutions: float | None
    peak: int
    estimate: int


def measure_iteration(choices: dict[str, Any], size: int) -> Iteration:
    """Measure an iteration of a square image."""
    settings = StyleTransferSettings(**choices)
    device = Device.from_settings(settings)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step, pairs = iteration(settings, size, None, device)
    milliseconds = _milliseconds(step)
    peak = torch.cuda.max_memory_allocated() - before
    scale = Scale(size, size, 1)
    workload = Workload(settings, scale, ((size, size),), device.dtype.itemsize)
    estimate = workload.bytes_needed(history=pairs())
    del step
    plain = convolutions = None
    if size <= _LARGEST_COMPARED:
        shape = (1, 3, size, size)
        content, style = (torch.rand(shape, device=device.torch_device) for _ in range(2))
        plain = _milliseconds(plain_loop(settings, content, style))
        alone = [convolutions_seconds(settings, scale, device) for _ in range(4)]
        convolutions = 1000 * min(alone[1:])
    return Iteration(device.precision, milliseconds, plain, convolutions, peak, estimate)


def _milliseconds(work: Callable[[], object]) -> float:
    for _ in range(_WARM_UP):
        work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(_REPEATS):
        work()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start) / _REPEATS


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--variants-at", type=int, default=512, help="size of the other variants")
    options = parser.parse_args(arguments)
    card = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    console = Console(width=110)

    measured = [("default", size) for size in options.sizes]
    measured += [(name, options.variants_at) for name in _VARIANTS if name != "default"]
    table = Table(title=f"One iteration, whole image, square; {card}")
    for column in ("", "size", "precision", "ms", "/ plain", "/ convolutions", "MiB", "/ estimate"):
        table.add_column(column, justify="right")
    for name, size in measured:
        found = measure_iteration(_VARIANTS[name], size)
        table.add_row(
            *(name, str(size), found.precision, f"{found.milliseconds:.1f}"),
            *("" if not of else f"{found.milliseconds / of:.2f}" for of in found[2:4]),
            *(f"{found.peak / 2**20:.0f}", f"{found.peak / found.estimate:.2f}"),
        )
    console.print(table)

    table = Table(title=f"Whole runs of {StyleTransferSettings().iterations} iterations, 4 to 3")
    for column in ("", "size", "first, s", "second, s"):
        table.add_column(column, justify="right")
    runs = [(name, _VARIANTS[name], size) for name, size in measured]
    for key, preset in presets().items():
        if key != "balanced":  # the default
            runs.append((preset.name, preset.settings, options.variants_at))
    for name, choices, size in runs:
        seconds = (f"{each:.2f}" for each in measure_run(choices, size))
        table.add_row(name, str(size), *seconds)
    console.print(table)


if __name__ == "__main__":
    main()
