"""Time imports, --help and a first iteration in new processes; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import imageio.v3 as imageio
import numpy as np
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["loaded_modules", "mapped_weights", "seconds_to_end"]

# Packages that are slow to import, and those that must not be imported at the start.
_FORBIDDEN = ("torch", "torchvision", "napari", "qtpy", "PyQt5", "PyQt6", "PySide6", "vispy")
_HEAVY = (
    *_FORBIDDEN,
    *("skimage", "scipy", "dask", "distributed", "zarr", "pandas", "numba", "numpy"),
    *("pydantic", "psutil", "imageio", "tifffile", "typer", "rich"),
)

_HELP = "import sys; from napari_nst.cli import main; sys.exit(main(sys.argv[1:]))"

# The program, ended when the first snapshot has its image; the exit status is 1 without one.
_FIRST_ITERATION = """
import os, sys
from napari_nst.cli import main
from napari_nst.engine.run.transfer import StyleTransfer
advance = StyleTransfer.__next__
def first(run):
    advance(run).image()
    os._exit(0)
StyleTransfer.__next__ = first
main(sys.argv[1:])
sys.exit(1)
"""

_SILENT_HELP = """
import contextlib, io
from napari_nst.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    main(["--help"])
"""

_MODULES = """
import json, sys
before = set(sys.modules)
{statement}
print(json.dumps(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})))
"""


def seconds_to_end(command: Sequence[str]) -> float:
    """Return the seconds of a process, which must succeed."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.perf_counter() - began


def loaded_modules(statement: str) -> list[str]:
    """Return the packages that a statement imports in a new process."""
    command = [sys.executable, "-c", _MODULES.format(statement=statement)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: list[str] = json.loads(done.stdout)
    return found


def mapped_weights(precision: str) -> dict[str, Any]:
    """Load the weights and build the network; return how the memory of this process grew.

    Returns
    -------
    dict
        Growth of anonymous memory and of mapped files in bytes with each of the two, and at the
        peak; and the sizes of the weights as stored and as computed with.
    """
    import torch

    from napari_nst.engine.losses import objective
    from napari_nst.engine.network import weights
    from napari_nst.settings import StyleTransferSettings

    settings = StyleTransferSettings()
    dtype = getattr(torch, precision)
    torch.ones(2**20).to(torch.bfloat16).sum().item()  # starts threads and allocates buffers
    began = _memory()
    loaded = weights.load(settings.network)
    read = _memory()
    network = objective.extractor_for(settings, "cpu", dtype)
    made = _memory()
    stored = sum(tensor.nbytes for tensor in loaded.tensors.values())
    count = sum(
        loaded.tensors[f"{layer}.{part}"].numel()
        for layer in _convolutions(settings.network, settings.layers_in_use)
        for part in ("weight", "bias")
    )
    assert network.layers  # keeps it alive until here
    return {
        "file": weights.find(settings.network).stat().st_size,
        "stored": stored,
        "stored_as": str(next(iter(loaded.tensors.values())).dtype).removeprefix("torch."),
        "computed": count * dtype.itemsize,
        "load": {kind: read[kind] - began[kind] for kind in read},
        "network": {kind: made[kind] - read[kind] for kind in read},
        "peak": made["VmHWM"] - began["VmRSS"],
    }


def _convolutions(network: str, layers: Sequence[str]) -> list[str]:
    from napari_nst.networks import NETWORKS

    return [layer.name for layer in NETWORKS[network].layers_up_to(layers) if layer.kind == "conv"]


def _memory() -> dict[str, int]:
    """Return the memory of this process by kind, in bytes; Linux only."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {
        kind: int(fields[kind].split()[0]) * 1024
        for kind in ("RssAnon", "RssFile", "VmRSS", "VmHWM")
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--repeats", type=int, default=5, help="timed processes of each kind (default: 5)"
    )
    parser.add_argument(
        "--size", type=int, default=64, help="side of the images, in pixels (default: 64)"
    )
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.memory:
        print(json.dumps(mapped_weights(options.memory)))
        return 0
    console = Console(width=110)
    _print_seconds(console, options.repeats, options.size)
    status = _print_modules(console)
    _print_memory(console)
    return status


def _print_seconds(console: Console, repeats: int, size: int) -> None:
    with TemporaryDirectory() as folder:
        generator = np.random.default_rng(0)
        pictures = [str(Path(folder) / name) for name in ("content.png", "style.png")]
        for picture in pictures:
            imageio.imwrite(picture, generator.integers(0, 256, (size, size, 3), np.uint8))
        out = str(Path(folder) / "out.png")
        commands: Mapping[str, list[str]] = {
            "python": ["pass"],
            "import torch": ["import torch"],
            "import napari_nst": ["import napari_nst"],
            "napari-nst --help": [_HELP, "--help"],
            "napari-nst stylize, first iteration": [
                *(_FIRST_ITERATION, "stylize", *pictures, "-o", out)
            ],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(repeats + 1):
            for name, code in commands.items():
                seconds = seconds_to_end([sys.executable, "-c", *code])
                if turn:  # the first turn reads the files from the disk
                    times[name].append(seconds)
    found = {name: median(seconds) for name, seconds in times.items()}
    table = Table("", "seconds", "least", "most", "/ python", "/ import torch")
    for name, seconds in found.items():
        table.add_row(
            name,
            f"{seconds:.3f}",
            f"{min(times[name]):.3f}",
            f"{max(times[name]):.3f}",
            f"{seconds / found['python']:.2f}",
            f"{seconds / found['import torch']:.2f}",
        )
    console.print(f"Python {sys.version.split()[0]}; {size} x {size} pixels; medians of {repeats}.")
    console.print(table)


def _print_modules(console: Console) -> int:
    """Print the imported packages; return 1 if any of them is forbidden."""
    status = 0
    for name, statement in (
        ("import napari_nst", "import napari_nst"),
        ("napari-nst --help", _SILENT_HELP),
    ):
        found = loaded_modules(statement)
        heavy = [module for module in _HEAVY if module in found]
        wrong = [module for module in _FORBIDDEN if module in found]
        status |= bool(wrong)
        console.print(
            f"{name} loads {len(found)} packages; heavy ones: {', '.join(heavy) or 'none'}; "
            f"torch, Qt or napari: {', '.join(wrong) or 'none'}."
        )
    return status


def _print_memory(console: Console) -> None:
    if not Path("/proc/self/status").exists():
        console.print("The growth of memory with the weights is measured on Linux only.")
        return
    table = Table("MiB", "weights.load", "the network", "together", "peak", "weights' size")
    for precision in ("float32", "bfloat16"):
        command = [sys.executable, __file__, "--memory", precision]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        found = json.loads(done.stdout)
        for kind, name in (("RssAnon", "its own"), ("RssFile", "mapped files")):
            load, network = found["load"][kind], found["network"][kind]
            own = kind == "RssAnon"
            table.add_row(
                f"{precision}, {name}",
                f"{load / 2**20:.1f}",
                f"{network / 2**20:.1f}",
                f"{(load + network) / 2**20:.1f}",
                f"{found['peak'] / 2**20:.1f}" if own else "",
                f"{found['computed' if own else 'stored'] / 2**20:.1f} "
                f"({precision if own else found['stored_as']})",
            )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
