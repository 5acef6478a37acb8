"""Measure stylized moving pictures along their true flow; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from scenes import SCENES, Scene, warp  # beside this file
from scipy import ndimage
from strips import save_strips

from napari_nst import StyleTransfer, StyleTransferSettings, samples
from napari_nst.engine.run.style_cache import StyleCache
from napari_nst.stacks import StackTransfer, StartFrom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["Agreement", "agreement", "judge", "sharpness", "stylize"]

_MOVES = 0.25  # pixels a plane: what moves less is still
_COLUMNS = (
    "scene",
    "start from",
    "settings",
    "warping error",
    "to previous",
    "moves",
    "still",
    "far",
    "change",
    "loss",
    "last loss",
    "sharpness",
    "seconds",
)


@dataclass(frozen=True)
class Agreement:
    """Agreement of neighbouring planes.

    Attributes
    ----------
    error, moves, still : float
        Warping error: mean squared difference between a plane and the plane before, sampled along
        the true flow, of all pixels that are not occluded, of those that move, and of the others.
        NaN if there are none.
    far : float
        The same error between the first and the last plane.
    change : float
        Mean absolute change from plane to plane.
    """

    error: float
    moves: float
    still: float
    far: float
    change: float


def differences(before: Array, after: Array, flow: Array) -> Array:
    """Return the squared difference of a plane and the one before, sampled along the flow."""
    squares = (warp(before, flow) - after) ** 2
    return np.asarray(squares if squares.ndim == 2 else squares.mean(axis=-1))


def agreement(scene: Scene, planes: Sequence[Array]) -> Agreement:
    """Return how far neighbouring planes agree: contents or results of a scene."""
    errors, moving, changes = [], [], []
    for (before, after), flow, occluded in zip(
        itertools.pairwise(planes), scene.flows, scene.occluded, strict=True
    ):
        errors.append(differences(before, after, flow)[~occluded])
        moving.append(np.linalg.norm(flow[~occluded], axis=-1) > _MOVES)
        changes.append(np.abs(after - before).mean())
    error, moves = np.concatenate(errors), np.concatenate(moving)
    far = differences(planes[0], planes[-1], scene.far_flow)[~scene.far_occluded]
    return Agreement(
        _mean(error), _mean(error[moves]), _mean(error[~moves]), _mean(far), _mean(changes)
    )


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def sharpness(image: Array) -> float:
    """Return the mean absolute Laplacian."""
    axes = (image,) if image.ndim == 2 else np.moveaxis(image, -1, 0)
    return float(np.mean([np.abs(ndimage.laplace(channel)).mean() for channel in axes]))


def judge(
    content: Any, style: Any, result: Any, settings: StyleTransferSettings, style_cache: StyleCache
) -> float:
    """Return the loss of a result without temporal terms."""
    evaluation = settings.replace(init="image", scales=1, iterations=1)
    if "temporal_weight" in StyleTransferSettings.model_fields:
        evaluation = evaluation.replace(temporal_weight=0)
    run = StyleTransfer(content, style, evaluation, init_image=result, style_cache=style_cache)
    return float(next(run).losses.total)


def stylize(
    contents: Sequence[Array], style: Any, settings: StyleTransferSettings, start_from: Any
) -> tuple[list[Array], list[float]]:
    """Return the results of a stack, and the seconds of each plane."""
    results: list[Array] = []
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


def variant_settings(words: Sequence[str]) -> dict[str, str]:
    """Return the settings of NAME=VALUE words."""
    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            sys.exit(f"--set has {word!r}; it must be a setting's name, '=' and its value.")
        settings[name] = value
    return settings


def save_scene(folder: Path, scene: Scene) -> None:
    """Save the arrays of a scene."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("contents", "flows", "occluded", "far_flow", "far_occluded"):
        np.save(folder / f"{scene.name}_{name}.npy", np.asarray(getattr(scene, name)))


def print_row(*cells: object) -> None:
    print(
        "|",
        " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells),
        "|",
    )
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128, help="side of a plane, in pixels")
    parser.add_argument("--planes", type=int, default=12)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument(
        "--start-from", nargs="+", choices=get_args(StartFrom), default=["previous", "content"]
    )
    parser.add_argument(
        "--set",
        nargs="*",
        action="append",
        metavar="NAME=VALUE",
        help="settings of a variant; repeat it to compare variants (no values: the defaults)",
    )
    parser.add_argument("--style", choices=samples.STYLES, default="impasto")
    parser.add_argument("--pictures", type=Path, help="folder for strips (PNG) and arrays (.npy)")
    options = parser.parse_args(arguments)
    style = samples.style_image(options.style)
    base = StyleTransferSettings(iterations=options.iterations, size=None)
    variants = [variant_settings(words) for words in options.set or [[]]]
    print_row(*_COLUMNS)
    print_row(*("---" for _ in _COLUMNS))
    for name in options.scenes:
        scene, style_cache = SCENES[name](options.size, options.planes), StyleCache()
        if options.pictures is not None:
            save_scene(options.pictures, scene)
        truth = agreement(scene, scene.contents)
        sharp = [sharpness(content) for content in scene.contents]
        print_row(
            name,
            "(the contents)",
            "",
            1e4 * truth.error,
            "",
            1e4 * truth.moves,
            1e4 * truth.still,
            1e4 * truth.far,
            1.0,
            "",
            "",
            sharp[-1] / sharp[0],
            "",
        )
        previous: float | None = None
        # "previous" with the first settings is what the others are compared with.
        starts = sorted(options.start_from, key=lambda start: start != "previous")
        for start_from, variant in itertools.product(starts, variants):
            results, seconds = stylize(scene.contents, style, base.replace(**variant), start_from)
            measured = agreement(scene, results)
            if start_from == "previous" and previous is None:
                previous = measured.error
            losses = [
                judge(content, style, result, base, style_cache)
                for content, result in zip(scene.contents, results, strict=True)
            ]
            sharp = [sharpness(result) for result in results]
            title = " ".join(f"{key}={value}" for key, value in variant.items())
            print_row(
                name,
                start_from,
                title,
                1e4 * measured.error,
                measured.error / previous if previous is not None else "",
                1e4 * measured.moves,
                1e4 * measured.still,
                1e4 * measured.far,
                measured.change / truth.change,
                float(np.mean(losses[1:])) / losses[0],
                losses[-1] / losses[0],
                sharp[-1] / sharp[0],
                float(np.mean(seconds[1:])),
            )
            if options.pictures is not None:
                stem = "_".join([name, start_from, *title.split()])
                np.save(options.pictures / f"{stem}.npy", np.stack(results))
                save_strips(options.pictures, stem, scene, results)


if __name__ == "__main__":
    main()
