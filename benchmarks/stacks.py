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
from strips import save_comparison, save_strips

from napari_nst import StyleTransfer, StyleTransferSettings, samples
from napari_nst.engine.run.style_cache import StyleCache
from napari_nst.stacks import StackTransfer, StartFrom

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["Agreement", "agreement", "judge", "sharpness", "stylize"]

_MOVES = 0.25  # pixels a plane: what moves less is still
_COLUMNS = (
    *("scene", "start from", "settings", "warping error", "to previous", "moves", "still"),
    *("far", "change", "loss", "last loss", "sharpness", "seconds"),
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
    evaluation = settings.replace(init="image", scales=1, iterations=1, temporal_weight=0)
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


def parse_settings(words: Sequence[str]) -> dict[str, str]:
    """Return the settings of NAME=VALUE words."""
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            sys.exit(f"--set has {word!r}; it must be a setting's name, '=' and its value.")
        pairs[name] = value
    return pairs


def agreement_cells(measured: Agreement, truth: Agreement) -> dict[str, float]:
    """Return cells of the table; `truth` is the agreement of the contents."""
    errors = {"moves": measured.moves, "still": measured.still, "far": measured.far}
    cells = {"warping error": measured.error, **errors}
    return {
        **{column: 1e4 * value for column, value in cells.items()},
        "change": measured.change / truth.change,
    }


def last_sharpness(planes: Sequence[Array]) -> float:
    """Return the sharpness of the last plane relative to the first."""
    return sharpness(planes[-1]) / sharpness(planes[0])


def print_row(cells: Mapping[str, str | float]) -> None:
    """Print a line of the table; columns without a cell, or with NaN, are empty."""
    texts = [
        cell if isinstance(cell, str) else "" if np.isnan(cell) else f"{cell:.2f}"
        for cell in (cells.get(column, "") for column in _COLUMNS)
    ]
    print("|", " | ".join(texts), "|")
    sys.stdout.flush()


def print_summary(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each start and variant: geometric means of ratios over the scenes."""
    runs: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        runs.setdefault((row["start from"], row["settings"]), []).append(row)
    for (start_from, title), of_run in runs.items():
        means = {
            column: float(np.exp(np.mean(np.log([row[column] for row in of_run]))))
            for column in ("to previous", "loss", "last loss", "sharpness", "seconds")
            if column in of_run[0]
        }
        print_row({"scene": "all", "start from": start_from, "settings": title, **means})


def save_scene(folder: Path, scene: Scene) -> None:
    """Save the arrays of a scene."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("contents", "flows", "occluded", "far_flow", "far_occluded"):
        np.save(folder / f"{scene.name}_{name}.npy", np.asarray(getattr(scene, name)))


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
    changes = [parse_settings(words) for words in options.set or [[]]]
    variants = {
        " ".join(f"{name}={value}" for name, value in change.items()): base.replace(**change)
        for change in changes
    }
    # "previous" with the first settings is what the others are compared with.
    starts = sorted(options.start_from, key=lambda start: start != "previous")
    print_row({column: column for column in _COLUMNS})
    print_row(dict.fromkeys(_COLUMNS, "---"))
    rows: list[dict[str, Any]] = []
    for name in options.scenes:
        scene, style_cache = SCENES[name](options.size, options.planes), StyleCache()
        if options.pictures is not None:
            save_scene(options.pictures, scene)
        truth = agreement(scene, scene.contents)
        contents = {"sharpness": last_sharpness(scene.contents), **agreement_cells(truth, truth)}
        print_row({"scene": name, "start from": "(the contents)", **contents})
        previous: float | None = None
        compared: dict[str, list[Array]] = {}
        for start_from, (title, settings) in itertools.product(starts, variants.items()):
            results, seconds = stylize(scene.contents, style, settings, start_from)
            measured = agreement(scene, results)
            losses = [
                judge(content, style, result, base, style_cache)
                for content, result in zip(scene.contents, results, strict=True)
            ]
            row = {
                "scene": name,
                "start from": start_from,
                "settings": title,
                **agreement_cells(measured, truth),
                "loss": float(np.mean(losses[1:])) / losses[0],
                "last loss": losses[-1] / losses[0],
                "sharpness": last_sharpness(results),
                "seconds": float(np.mean(seconds[1:])),
            }
            if "previous" in starts:
                previous = previous or measured.error
                row["to previous"] = measured.error / previous
            rows.append(row)
            print_row(row)
            if options.pictures is not None:
                stem = "_".join([name, start_from, *title.split()])
                np.save(options.pictures / f"{stem}.npy", np.stack(results))
                save_strips(options.pictures, stem, scene, results)
                compared[stem] = results
        if options.pictures is not None:
            save_comparison(options.pictures / f"{name}.jpg", scene, compared)
    if len(options.scenes) > 1:
        print_summary(rows)


if __name__ == "__main__":
    main()
