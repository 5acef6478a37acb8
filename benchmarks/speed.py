"""Compare the time of a run with that of its convolutions alone; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from napari_nst.engine.resources.device import Device
from napari_nst.engine.resources.peak_memory import Workload
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.networks import NETWORKS
from napari_nst.samples import SAMPLES
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_nst.engine.optim.schedule import Scale

__all__ = ["convolutions_seconds", "peak_bytes", "time_run"]

_SECONDS_BETWEEN_SAMPLES = 0.005


class Times(NamedTuple):
    """Seconds from the call to the first snapshot and to the result."""

    first_snapshot: float
    total: float


def time_run(
    content: NDArray[np.uint8], style: NDArray[np.uint8], settings: StyleTransferSettings
) -> Times:
    """Time a run."""
    began = time.perf_counter()
    run = StyleTransfer(content, style, settings)
    first = 0.0
    for snapshot in run:
        if not first:
            snapshot.image()  # synchronises with the device
            first = time.perf_counter() - began
    run.result()
    return Times(first, time.perf_counter() - began)


def convolutions_seconds(settings: StyleTransferSettings, scale: Scale, device: Device) -> float:
    """Return the seconds of the convolutions of an evaluation, forward and backward.

    Each is computed separately, with the shape, memory layout and precision of the run.
    """
    total = 0.0
    for layer in NETWORKS[settings.network].layers_up_to(settings.layers_in_use):
        if layer.kind != "conv":
            continue
        shape = (1, layer.in_channels, scale.height // layer.stride, scale.width // layer.stride)
        options: dict[str, Any] = {"device": device.torch_device, "dtype": device.dtype}
        image = torch.rand(shape, **options).to(memory_format=torch.channels_last)
        weight = torch.rand((layer.out_channels, layer.in_channels, 3, 3), **options)
        weight = weight.to(memory_format=torch.channels_last)
        bias = torch.rand(layer.out_channels, **options)
        image.requires_grad_()
        gradient = torch.rand((1, layer.out_channels, *shape[2:]), **options)
        gradient = gradient.to(memory_format=torch.channels_last)
        _wait(device)
        began = time.perf_counter()
        torch.autograd.grad(functional.conv2d(image, weight, bias, padding=1), image, gradient)
        _wait(device)
        total += time.perf_counter() - began
    return total


def peak_bytes(
    content: NDArray[np.uint8],
    style: NDArray[np.uint8],
    settings: StyleTransferSettings,
    device: Device,
) -> tuple[Times, int]:
    """Return the times of a run, and the growth of memory at its peak in bytes."""
    if device.torch_device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device.torch_device)
        before = torch.cuda.memory_allocated(device.torch_device)
        times = time_run(content, style, settings)
        return times, torch.cuda.max_memory_allocated(device.torch_device) - before
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(_SECONDS_BETWEEN_SAMPLES):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        times = time_run(content, style, settings)
    finally:
        done.set()
        watcher.join()
    return times, peak - before


def _wait(device: Device) -> None:
    if device.torch_device.type == "cuda":
        torch.cuda.synchronize(device.torch_device)
    elif device.torch_device.type == "mps":
        torch.mps.synchronize()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="longest side (default: 256)")
    parser.add_argument("--iterations", type=int, help="default: that of the settings")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs (default: 3)")
    options = parser.parse_args(arguments)
    settings = StyleTransferSettings(size=options.size)
    if options.iterations:
        settings = settings.replace(iterations=options.iterations)
    device = Device.from_settings(settings)
    sample = SAMPLES["coffee_impasto"]
    content, style = sample.content()[:, 33:566], sample.style()  # 4:3, and 5:4
    scales = StyleTransfer(content, style, settings).scales

    # The first run is cold, as for a user: nothing is cached, and memory is fresh.
    cold, peak = peak_bytes(content, style, settings, device)
    runs: list[Times] = []
    passes: dict[Scale, list[float]] = {scale: [] for scale in scales}
    for _ in range(options.repeats):  # interleaved, as the speed of a machine varies
        runs.append(time_run(content, style, settings))
        for scale, times in passes.items():
            convolutions_seconds(settings, scale, device)  # the first call prepares its kernels
            times.extend(convolutions_seconds(settings, scale, device) for _ in range(3))
    one_pass = median(passes[scales[0]])
    all_passes = sum(scale.iterations * median(passes[scale]) for scale in scales)

    table = Table("", "seconds", "convolutions alone", "ratio")
    rows = (
        ("first snapshot, first run", cold.first_snapshot, one_pass),
        ("first snapshot, later runs", median(run.first_snapshot for run in runs), one_pass),
        ("whole run, first run", cold.total, all_passes),
        ("whole run, later runs", median(run.total for run in runs), all_passes),
    )
    for name, seconds, alone in rows:
        table.add_row(name, f"{seconds:.3f}", f"{alone:.3f}", f"{seconds / alone:.2f}")
    last = scales[-1]
    workload = Workload(settings, last, (style.shape[:2],), device.dtype.itemsize)
    needed = workload.bytes_needed()
    console = Console()
    console.print(
        f"{device.name}, {torch.get_num_threads()} threads, {device.precision}; "
        f"{last.width} x {last.height} pixels, {settings.iterations} iterations over "
        f"{len(scales)} scales; medians of {options.repeats} runs."
    )
    console.print(table)
    console.print(
        f"Memory at the peak of the first run: {peak / 2**20:.0f} MiB, estimated "
        f"{needed / 2**20:.0f} MiB, ratio {peak / needed:.2f}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
