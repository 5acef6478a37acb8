"""One evaluation: seconds and memory by size, tile, precision, style loss and network.

Every row is measured in a process of its own; see README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional

from napari_nst.engine import costs, weights
from napari_nst.engine.compute import Device
from napari_nst.engine.objective import Objective, extractor_for
from napari_nst.engine.schedule import Scale
from napari_nst.networks import NETWORKS
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

__all__ = ["measure", "plain_loop"]


def plain_loop(network: str, content: Tensor, style: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what a textbook would write: float32, contiguous, Gram losses through autograd."""
    tensors = weights.load(network).tensors
    taken = {"relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1"}

    def features(image: Tensor) -> dict[str, Tensor]:
        mean, deviation = (
            image.new_tensor(values).view(1, 3, 1, 1)
            for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )
        x, found = (image - mean) / deviation, {}
        for layer in NETWORKS[network].upto(taken):
            if layer.kind == "conv":
                weight, bias = (
                    tensors[f"{layer.name}.{part}"].float() for part in ("weight", "bias")
                )
                x = functional.conv2d(x, weight, bias, padding=1)
            elif layer.kind == "pool":
                x = functional.max_pool2d(x, 2)
            else:
                x = functional.relu(x)
            if layer.name in taken:
                found[layer.name] = x
        return found

    def gram(x: Tensor) -> Tensor:
        matrix = x.flatten(2)[0]
        return matrix @ matrix.T / matrix.shape[1]

    with torch.no_grad():
        target = features(content)["relu4_2"]
        grams = {name: gram(x) for name, x in features(style).items() if name != "relu4_2"}

    def step(image: Tensor) -> Tensor:
        image = image.detach().requires_grad_()
        found = features(image)
        loss = nn.functional.mse_loss(found["relu4_2"], target)
        for name, value in grams.items():
            loss = loss + nn.functional.mse_loss(gram(found[name]), value)
        (gradient,) = torch.autograd.grad(loss, image)
        return gradient

    return step


def measure(choices: dict[str, Any], size: int, tile: int | None, repeats: int) -> dict[str, float]:
    """Measure one configuration in this process.

    Returns
    -------
    dict
        Seconds of an evaluation, of the plain loop and of the convolutions alone (medians, taken
        in turns; the latter two only of the whole image); bytes at the peak beyond what there
        was before; and what was reckoned.
    """
    from speed import convolutions_seconds  # beside this file

    settings = StyleTransferSettings(**choices)
    device = Device.of(settings)
    generator = torch.Generator().manual_seed(0)
    content, style, image = (
        torch.rand((1, 3, size, size), generator=generator).to(device.place) for _ in range(3)
    )
    network = extractor_for(settings, device.place, device.dtype)
    compare = tile is None and size <= 1024
    before = _peak(device)
    objective = Objective(content, [style], settings, network, tile=tile)
    objective.loss_and_gradient(image, tile)
    peak = _peak(device)
    plain = plain_loop(settings.network, content, style) if compare else None
    taken: dict[str, list[float]] = {"seconds": [], "plain": [], "convolutions": []}
    if plain is not None:
        plain(image)
    for _ in range(repeats):
        taken["seconds"].append(_timed(lambda: objective.loss_and_gradient(image, tile)[0].total))
        if plain is not None:
            taken["plain"].append(_timed(lambda: float(plain(image)[0, 0, 0, 0])))
            scale = Scale(size, size, 1)
            taken["convolutions"].append(convolutions_seconds(settings, scale, device))
    found = {name: median(values) for name, values in taken.items() if values}
    scale = Scale(size, size, 1)
    shapes = [(size, size)]
    needed = costs.bytes_needed(settings, scale, shapes, device.dtype.itemsize, tile)
    return {**found, "peak": float(peak), "before": float(before), "reckoned": float(needed)}


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _peak(device: Device) -> int:
    if device.place.type == "cuda":
        return torch.cuda.max_memory_allocated(device.place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--tiles", type=int, nargs="*", default=[512])
    parser.add_argument("--largest", type=int, default=0, help="one evaluation of this size, tiled")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(measure(**json.loads(options.one))))
        return 0
    plain: dict[str, Any] = {}
    rows: list[tuple[str, dict[str, Any], int, int | None]] = []
    for size in options.sizes:
        rows.append(("default", plain, size, None))
        rows.extend(
            (f"tiles of {tile}", plain, size, tile) for tile in options.tiles if tile < size
        )
    middle = options.sizes[min(1, len(options.sizes) - 1)]
    for name, choices in (
        ("gram+moments", {"style_loss": "gram+moments"}),
        ("wasserstein", {"style_loss": "wasserstein"}),
        ("average pooling", {"pooling": "average"}),
        ("bfloat16", {"precision": "bfloat16"}),
    ):
        if name == "bfloat16" and Device.of(StyleTransferSettings()).dtype != torch.bfloat16:
            continue  # many times slower than float32 where there is no hardware for it
        rows.append((name, choices, middle, None))
    if options.largest:
        rows.append((f"tiles of {options.tiles[0]}", plain, options.largest, options.tiles[0]))
    table = Table(
        "", "size", "seconds", "/ plain loop", "/ convolutions", "/ whole", "MiB", "/ reckoned"
    )
    whole: dict[int, float] = {}
    for name, choices, size, tile in rows:
        asked = {"choices": choices, "size": size, "tile": tile}
        asked["repeats"] = 1 if size > 2048 else options.repeats
        found = json.loads(
            subprocess.run(
                [sys.executable, __file__, "--one", json.dumps(asked)],
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
        )
        if name == "default":
            whole[size] = found["seconds"]
        grown = found["peak"] - found["before"]
        table.add_row(
            name,
            str(size),
            f"{found['seconds']:.3f}",
            _ratio(found["seconds"], found.get("plain")),
            _ratio(found["seconds"], found.get("convolutions")),
            _ratio(found["seconds"], whole.get(size)),
            f"{grown / 2**20:.0f} (of {found['peak'] / 2**20:.0f})",
            _ratio(grown, found["reckoned"]),
        )
    console = Console(width=120)
    device = Device.of(StyleTransferSettings())
    console.print(f"{device.name}, {torch.get_num_threads()} threads, {device.precision}.")
    console.print(table)
    if len(whole) > 1:
        small, large = min(whole), max(whole)
        console.print(
            f"From {small} to {large} pixels a side, seconds grow as pixels to the power of "
            f"{_power(whole, small, large):.2f}."
        )
    return 0


def _ratio(value: float, to: float | None) -> str:
    return "" if not to else f"{value / to:.2f}"


def _power(seconds: dict[int, float], small: int, large: int) -> float:
    import math

    return math.log(seconds[large] / seconds[small]) / math.log((large / small) ** 2)


if __name__ == "__main__":
    sys.exit(main())
