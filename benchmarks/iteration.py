"""Measure an iteration: seconds and memory by size, tile, precision, optimizer and style loss.

Every row is measured in its own process; see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import linear_regression, median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch.nn import functional

from napari_nst.engine.losses.objective import Objective
from napari_nst.engine.network import weights
from napari_nst.engine.network.convolutions import fastest_method
from napari_nst.engine.optim.lbfgs import LBFGS
from napari_nst.engine.optim.schedule import LBFGS_HISTORY, Scale
from napari_nst.engine.resources.device import Device
from napari_nst.engine.resources.peak_memory import Workload
from napari_nst.engine.run.state import RunState
from napari_nst.engine.run.style_cache import StyleCache
from napari_nst.errors import WeightsError
from napari_nst.networks import NETWORKS
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

__all__ = ["iteration", "measure", "plain_loop", "profiled"]

_LARGEST_COMPARED = 1024  # pixels per side: the plain loop needs too much time and memory above
_LARGEST_REPEATED = 2048
_VARIANTS_FROM = 512
_UNTIL_EXIT = ExitStack()  # contexts that last as long as the process
_ITERATIONS = 100  # of the run that the measured iterations belong to

# Kinds of operators, by parts of their names; the first match counts.
_KINDS: Mapping[str, tuple[str, ...]] = {
    "convolutions": ("convolution", "conv2d", "conv_"),
    "ReLU": ("relu", "threshold"),
    "pooling": ("pool",),
    "statistics (matrix products)": ("mm", "matmul", "linalg_eig", "aten::dot", "einsum"),
    "layout and copies": ("copy", "clone", "contiguous", "aten::to", "pad", "fill", "zero"),
    "optimizer and elementwise": (
        *(
            "add",
            "sub",
            "mul",
            "div",
            "lerp",
            "sqrt",
            "square",
            "pow",
            "clamp",
            "neg",
            "abs",
            "sign",
        ),
        *("sum", "mean", "norm", "stack", "cat", "where", "item", "_local_scalar"),
    ),
}


class Row(NamedTuple):
    """A row of the table: name, changed settings, size in pixels, tile size."""

    name: str
    choices: dict[str, Any]
    size: int
    tile: int | None = None


def plain_loop(
    settings: StyleTransferSettings,
    content: Tensor,
    style: Tensor,
    layout: torch.memory_format = torch.contiguous_format,
) -> Callable[[], None]:
    """Return a textbook iteration: float32, Gram losses, autograd, torch's Adam."""
    loaded = weights.load(settings.network, settings.weights, settings.weights_format)
    tensors = {name: tensor.to(content) for name, tensor in loaded.tensors.items()}
    for name, tensor in tensors.items():
        if name.endswith("weight"):
            tensors[name] = tensor.contiguous(memory_format=layout)
    content_layers, style_layers = settings.content_layers.active, settings.style_layers.active
    layers = NETWORKS[settings.network].layers_up_to(settings.layers_in_use)
    mean, deviation = (
        content.new_tensor(values).view(1, 3, 1, 1)
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )

    def features(image: Tensor) -> dict[str, Tensor]:
        x, found = ((image - mean) / deviation).contiguous(memory_format=layout), {}
        for layer in layers:
            if layer.kind == "conv":
                weight, bias = (tensors[f"{layer.name}.{part}"] for part in ("weight", "bias"))
                x = functional.conv2d(x, weight, bias, padding=1)
            elif layer.kind == "pool":
                x = functional.max_pool2d(x, 2)
            else:
                x = functional.relu(x)
            if layer.name in settings.layers_in_use:
                found[layer.name] = x
        return found

    def gram(x: Tensor) -> Tensor:
        matrix = x.flatten(2)[0]
        return matrix @ matrix.T / matrix.shape[1]

    with torch.no_grad():
        found = features(content)
        targets = {name: found[name] for name in content_layers}
        found = features(style)
        grams = {name: gram(found[name]) for name in style_layers}
    image = content.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.02)

    def step() -> None:
        optimizer.zero_grad()
        found = features(image)
        loss = image.new_zeros(())
        for name, target in targets.items():
            loss = loss + functional.mse_loss(found[name], target)
        for name, target in grams.items():
            loss = loss + functional.mse_loss(gram(found[name]), target)
        torch.autograd.backward(loss)
        optimizer.step()
        image.detach().flatten()[0].item()  # synchronises

    return step


def iteration(
    settings: StyleTransferSettings, size: int, tile: int | None, device: Device
) -> tuple[Callable[[], None], Callable[[], int]]:
    """Return an iteration of a run, and a function for the history size of L-BFGS.

    The targets are computed before.
    """
    _UNTIL_EXIT.enter_context(device.keep_freed_memory())  # as a run with ample memory does
    content, style, image = _images(size, device)
    method = fastest_method(device.name) if device.has_fast_convolutions else "direct"
    network = StyleCache().network(settings, device, method)
    objective = Objective(content, [style], settings, network, tile=tile)
    optimizer = RunState(settings).make_optimizer(_ITERATIONS)

    def step() -> None:
        nonlocal image
        losses, gradient = objective.loss_and_gradient(image, tile, damping=optimizer.damping)
        loss = losses.total if isinstance(optimizer, LBFGS) else 0.0
        image = optimizer.step(image, loss, gradient)
        image.flatten()[0].item()  # synchronises

    return step, lambda: len(optimizer.state_dict().numbers.get("scales", ()))


def measure(choices: dict[str, Any], size: int, tile: int | None, repeats: int) -> dict[str, Any]:
    """Measure one configuration in this process.

    Returns
    -------
    dict
        Median seconds of an iteration and, for the whole image, of the plain loop in both layouts
        and of the convolutions alone, measured in turns; bytes before, at the peak, and
        estimated; and the precision.

    Notes
    -----
    Without repeats only the first iteration is timed.
    """
    from speed import convolutions_seconds  # beside this file

    settings = StyleTransferSettings(**choices)
    device = Device.from_settings(settings)
    before = _allocated(device)
    step, pairs = iteration(settings, size, tile, device)
    times: dict[str, list[float]] = {"seconds": []}
    if repeats:
        # L-BFGS is slowest with a full history; a step may be rejected.
        for _ in range(LBFGS_HISTORY + 3 if settings.optimizer == "lbfgs" else 2):
            step()
    else:
        times["seconds"].append(_timed(step))
    peak = _peak(device)
    scale = Scale(size, size, 1)
    if repeats and tile is None and size <= _LARGEST_COMPARED:
        content, style, _ = _images(size, device)
        layouts = {"plain": torch.contiguous_format, "channels_last": torch.channels_last}
        loops = {
            name: plain_loop(settings, content, style, layout) for name, layout in layouts.items()
        }
        times |= {name: [] for name in (*loops, "convolutions")}
        for loop in loops.values():  # the first call prepares its kernels
            loop()
        convolutions_seconds(settings, scale, device)
    else:
        loops = {}
    for _ in range(repeats):
        times["seconds"].append(_timed(step))
        for name, loop in loops.items():
            times[name].append(_timed(loop))
        if loops:
            times["convolutions"].append(convolutions_seconds(settings, scale, device))
    workload = Workload(
        settings,
        scale,
        ((size, size),),
        device.dtype.itemsize,
        fast_convolutions=device.has_fast_convolutions,
    )
    needed = workload.bytes_needed(tile, pairs())
    found: dict[str, Any] = {name: median(values) for name, values in times.items()}
    return found | {
        "before": before,
        "peak": peak,
        "estimate": needed,
        "precision": device.precision,
    }


def profiled(choices: dict[str, Any], size: int, repeats: int) -> dict[str, float]:
    """Return the seconds of an iteration by kind of operator, and in total."""
    from torch.profiler import ProfilerActivity, profile

    settings = StyleTransferSettings(**choices)
    device = Device.from_settings(settings)
    step, _ = iteration(settings, size, None, device)
    for _ in range(2):
        step()
    activities, time_of = [ProfilerActivity.CPU], "self_cpu_time_total"
    if device.torch_device.type == "cuda":
        activities, time_of = [*activities, ProfilerActivity.CUDA], "self_device_time_total"
    repeats = max(repeats, 1)
    with profile(activities=activities) as recorded:
        whole = _timed(lambda: [step() for _ in range(repeats)]) / repeats
    seconds = dict.fromkeys(_KINDS, 0.0)
    for event in recorded.key_averages():
        # Kernels of a GPU have separate rows beside those of their operators.
        if event.key.startswith("aten::") and (kind := _kind(event.key)) is not None:
            seconds[kind] += getattr(event, time_of) / 1e6 / repeats
    return seconds | {"rest": whole - sum(seconds.values()), "all": whole}


def _kind(operator: str) -> str | None:
    return next(
        (kind for kind, parts in _KINDS.items() if any(part in operator for part in parts)), None
    )


def _images(size: int, device: Device) -> list[Tensor]:
    """Return a random content, style and image: values do not affect time or memory."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.rand((1, 3, size, size), generator=generator).to(device.torch_device)
        for _ in range(3)
    ]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _allocated(device: Device) -> int:
    """Return the bytes in use."""
    if device.torch_device.type == "cuda":
        return torch.cuda.memory_allocated(device.torch_device)
    return int(psutil.Process().memory_info().rss)


def _peak(device: Device) -> int:
    """Return the peak of the bytes in use."""
    if device.torch_device.type == "cuda":
        return torch.cuda.max_memory_allocated(device.torch_device)
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux its peak includes that of the parent process.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _weights_for(network: str, folder: str) -> dict[str, Any]:
    """Return the settings of a network, with random weights if there are none here."""
    try:
        weights.find(network)
    except WeightsError:
        pass
    else:
        return {"network": network}
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in map(NETWORKS[network].layer, NETWORKS[network].convolutions):
        # These keep the size of activations from layer to layer (He et al., arXiv 1502.01852).
        weight = torch.randn((layer.out_channels, layer.in_channels, 3, 3), generator=generator)
        tensors[f"{layer.name}.weight"] = weight * math.sqrt(2 / (9 * layer.in_channels))
        tensors[f"{layer.name}.bias"] = torch.zeros(layer.out_channels)
    file = Path(folder) / f"random_{network}.safetensors"
    save_file(tensors, file)
    return {"network": network, "weights": str(file)}


def _rows(options: argparse.Namespace, network: dict[str, Any]) -> list[Row]:
    rows = []
    for size in options.sizes:
        rows.append(Row("default", network, size))
        rows += [Row(f"tiles of {t}", network, size, t) for t in options.tiles if t < size]
    default = Device.from_settings(StyleTransferSettings(**network)).precision
    variants: dict[str, dict[str, Any]] = {
        "L-BFGS": {"optimizer": "lbfgs"},
        "gram+moments": {"style_loss": "gram+moments"},
        "wasserstein": {"style_loss": "wasserstein"},
        "average pooling": {"pooling": "average"},
    }
    other = "float32" if default == "bfloat16" else "bfloat16"
    if other == "float32" or options.bfloat16:
        variants[other] = {"precision": other}
    middle = _middle(options.sizes)
    rows += [Row(name, network | choices, middle) for name, choices in variants.items()]
    if options.largest:
        tile = options.tiles[0] if options.tiles else _VARIANTS_FROM
        rows.append(Row(f"tiles of {tile}", network, options.largest, tile))
    return rows


def _middle(sizes: Sequence[int]) -> int:
    return next((size for size in sizes if size >= _VARIANTS_FROM), sizes[-1])


def _in_process(arguments: dict[str, Any], limit: float) -> dict[str, Any] | str:
    """Measure in a separate process; return the result, or the reason for its failure."""
    command = [sys.executable, __file__, "--one", json.dumps(arguments)]
    quiet = os.environ | {"KINETO_LOG_LEVEL": "99"}  # messages of the profiler
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=limit, env=quiet)
    except subprocess.TimeoutExpired:
        return f"over {limit:.0f} s"
    except subprocess.CalledProcessError as error:
        return f"failed ({error.returncode})"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--tiles", type=int, nargs="*", default=[512])
    parser.add_argument("--network", choices=sorted(NETWORKS), default="vgg16")
    parser.add_argument(
        "--largest", type=int, default=0, metavar="N", help="one iteration at this size, in tiles"
    )
    parser.add_argument(
        "--bfloat16", action="store_true", help="measure it even if float32 is faster"
    )
    parser.add_argument(
        "--profile", action="store_true", help="divide the time of an iteration by operator"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed iterations (default: 3)")
    parser.add_argument(
        "--limit", type=float, default=1800, help="maximum seconds of a row (default: 1800)"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        given = json.loads(options.one)
        work: Callable[..., dict[str, Any]] = profiled if given.pop("profile", 0) else measure
        print(json.dumps(work(**given)))
        return 0
    if min(options.sizes) < 1 or options.repeats < 1:
        parser.error("sizes and repeats must be 1 or more")
    options.sizes.sort()
    with TemporaryDirectory() as folder:
        network = _weights_for(options.network, folder)
        device = Device.from_settings(StyleTransferSettings(**network))
        console = Console(width=130)
        random = ", random weights" if "weights" in network else ""
        console.print(
            f"{device.name}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
            f"{options.network}{random}; medians of {options.repeats}."
        )
        if options.profile:
            return _print_profile(console, options, network)
        return _print_table(console, options, network)


def _print_profile(console: Console, options: argparse.Namespace, network: dict[str, Any]) -> int:
    size = _middle(options.sizes)
    request = {"choices": network, "size": size, "repeats": options.repeats, "profile": 1}
    found = _in_process(request, options.limit)
    if isinstance(found, str):
        console.print(f"{size} pixels: {found}")
        return 1
    table = Table(f"{size} x {size} pixels", "ms an iteration", "share")
    for kind, seconds in found.items():
        table.add_row(kind, f"{1000 * seconds:.1f}", f"{seconds / found['all']:.1%}")
    console.print(table)
    return 0


def _print_table(console: Console, options: argparse.Namespace, network: dict[str, Any]) -> int:
    heads = ("", "size", "precision", "seconds", "/ plain", "/ plain, channels last")
    table = Table(*heads, "/ convolutions", "/ whole", "MiB", "/ estimate")
    whole: dict[int, dict[str, Any]] = {}
    status = 0
    for row in _rows(options, network):
        request = {"choices": row.choices, "size": row.size, "tile": row.tile}
        once = row.size > _LARGEST_REPEATED or row.size == options.largest
        request["repeats"] = 0 if once else options.repeats
        found = _in_process(request, options.limit)
        # Print immediately, too, in case the benchmark is interrupted.
        print(row.name, row.size, found, file=sys.stderr, flush=True)
        if isinstance(found, str):
            table.add_row(row.name, str(row.size), "", found)
            status = 1
            continue
        if row.name == "default":
            whole[row.size] = found
        seconds, grown = found["seconds"], found["peak"] - found["before"]
        table.add_row(
            row.name,
            str(row.size),
            found["precision"],
            f"{seconds:.3f}",
            _ratio(seconds, found.get("plain")),
            _ratio(seconds, found.get("channels_last")),
            _ratio(seconds, found.get("convolutions")),
            _ratio(seconds, whole.get(row.size, {}).get("seconds")),
            f"{grown / 2**20:.0f} (of {found['peak'] / 2**20:.0f})",
            _ratio(grown, found["estimate"]),
        )
    console.print(table)
    if len(whole) > 1:
        seconds_of = {size**2: found["seconds"] for size, found in whole.items()}
        bytes_of = {size**2: found["peak"] - found["before"] for size, found in whole.items()}
        console.print(f"Seconds: {_fit(seconds_of, 1, 's')}")
        console.print(f"Memory:  {_fit(bytes_of, 2**20, 'MiB')}")
    return status


def _ratio(value: float, to: float | None) -> str:
    return "" if not to else f"{value / to:.2f}"


def _fit(values: Mapping[int, float], unit: float, name: str) -> str:
    """Describe the power law of the pixels by least squares of the logarithms."""
    pixels = [math.log(count / 2**20) for count in values]
    logs = [math.log(value / unit) for value in values.values()]
    slope, at_one = linear_regression(pixels, logs)
    worst = max(abs(at_one + slope * x - y) for x, y in zip(pixels, logs, strict=True))
    return (
        f"{math.exp(at_one):.4g} {name} x (pixels / 2^20)^{slope:.3f}, "
        f"fitted to {len(values)} sizes, at most {math.expm1(worst):.1%} off"
    )


if __name__ == "__main__":
    sys.exit(main())
