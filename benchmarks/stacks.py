"""Measure how far neighbouring planes of a stylized stack agree, and their losses."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage import data, transform

from napari_nst import StyleTransfer, StyleTransferSettings, samples
from napari_nst.engine.run.style_cache import StyleCache
from napari_nst.stacks import StackTransfer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Stack = list[NDArray[np.float32]]


def photo(size: int) -> NDArray[np.float32]:
    picture = transform.resize(data.chelsea()[:, 60:360], (size, size), anti_aliasing=True)
    return np.asarray(picture, np.float32)


def drift(size: int, planes: int) -> Stack:
    """Return a photograph with a moving camera: 2 pixels right and 1 down per plane."""
    large = photo(2 * size)
    first = size // 4
    return [
        large[first + k : first + k + size, first + 2 * k : first + 2 * k + size]
        for k in range(planes)
    ]


def disc(size: int, planes: int) -> Stack:
    """Return a still photograph with a moving disc."""
    y, x = np.mgrid[:size, :size] / size
    stack = []
    for k in range(planes):
        picture = photo(size)
        picture[(y - 0.3) ** 2 + (x - 0.25 - 0.06 * k) ** 2 < 0.012] = (0.9, 0.2, 0.1)
        stack.append(picture)
    return stack


def cells(size: int, planes: int) -> Stack:
    """Return sections of a grey volume of blobs without noise."""
    rng = np.random.default_rng(1)
    centres = rng.random((40, 3)) * (1.4, 1, 1) - (0.2, 0, 0)
    radii, brightness = 0.04 + 0.05 * rng.random(40), 0.4 + 0.6 * rng.random(40)
    y, x = np.mgrid[:size, :size] / size
    stack = []
    for k in range(planes):
        value = np.zeros((size, size))
        for (cz, cy, cx), radius, bright in zip(centres, radii, brightness, strict=True):
            squared = (y - cy) ** 2 + (x - cx) ** 2 + (0.4 + 0.02 * k - cz) ** 2
            value += bright * np.exp(-squared / (2 * (radius / 1.6) ** 2))
        stack.append(np.clip(0.05 + 1.44 * value / (1 + value), 0, 1).astype(np.float32))
    return stack


STACKS = {"drift": drift, "disc": disc, "cells": cells}


def change(stack: Sequence[NDArray[Any]]) -> float:
    """Return the mean absolute change from plane to plane."""
    return float(np.mean([np.abs(b - a).mean() for a, b in itertools.pairwise(stack)]))


def still(contents: Stack, results: Stack) -> float:
    """Return the mean absolute change of results where contents do not change, in 255ths."""
    changes = [
        np.abs(after - before)[np.abs(b - a) < 1 / 255]
        for (a, b), (before, after) in zip(
            itertools.pairwise(contents), itertools.pairwise(results), strict=True
        )
    ]
    return 255 * float(np.concatenate(changes).mean())


def loss(
    content: Any, style: Any, result: Any, settings: StyleTransferSettings, style_cache: StyleCache
) -> float:
    """Return the loss of a result."""
    evaluation = settings.replace(init="image", scales=1, iterations=1)
    run = StyleTransfer(content, style, evaluation, init_image=result, style_cache=style_cache)
    return float(next(run).losses.total)


def measure(
    contents: Stack, style: Any, settings: StyleTransferSettings, start_from: Any
) -> tuple[Stack, list[float]]:
    results: Stack = []
    seconds: list[float] = []
    began = time.perf_counter()

    def on_plane_done(_: int, result: Any) -> None:
        nonlocal began
        results.append(result.image)
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()

    for _ in StackTransfer(
        contents, style, settings, start_from=start_from, on_plane_done=on_plane_done
    ):
        pass
    return results, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128, help="side of a plane, in pixels")
    parser.add_argument("--planes", type=int, default=6)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--stacks", nargs="+", choices=STACKS, default=list(STACKS))
    parser.add_argument("--pictures", type=Path, help="folder for the stacks, as .npy")
    options = parser.parse_args()
    style = samples.SAMPLES["coffee_impasto"].style()
    settings = StyleTransferSettings(iterations=options.iterations, size=None)
    print("| stack | start from | change | still | loss, plane by plane | seconds | later planes |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in options.stacks:
        contents, style_cache = STACKS[name](options.size, options.planes), StyleCache()
        for start_from in ("content", "previous"):
            results, seconds = measure(contents, style, settings, start_from)
            losses = [
                loss(content, style, result, settings, style_cache)
                for content, result in zip(contents, results, strict=True)
            ]
            print(
                f"| {name} | {start_from} | {change(results) / change(contents):.2f} "
                f"| {still(contents, results):.1f} | {' '.join(f'{one:.3f}' for one in losses)} "
                f"| {sum(seconds):.0f} | {np.mean(seconds[1:]):.1f} |"
            )
            sys.stdout.flush()
            if options.pictures is not None:
                options.pictures.mkdir(parents=True, exist_ok=True)
                np.save(options.pictures / f"{name}_{start_from}.npy", np.stack(results))


if __name__ == "__main__":
    main()
