"""Pictures of a stylized scene: its planes side by side, and where neighbours differ."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from scenes import warp  # beside this file
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from scenes import Scene

    Array = NDArray[Any]

__all__ = ["save_comparison", "save_strips"]

_GAIN = 4  # of differences
_OCCLUDED = (0.0, 0.15, 0.5)  # RGB
_ZOOM = 4
_COMPARED = 6  # planes of a comparison
_LINE = 4  # pixels between the rows of a comparison


def save_strips(folder: Path, name: str, scene: Scene, results: Sequence[Array]) -> None:
    """Save two PNG files: all of the planes, and enlarged the part where most detail moves.

    Below the contents and the results is the difference of each result to the one before, sampled
    along the true flow: four times the root of the mean square, blue where it is occluded.
    """
    rows = (scene.contents, results, difference_pictures(scene, results))
    for suffix, part, zoom in (
        ("", (slice(None), slice(None)), 1),
        ("_detail", moves(scene), _ZOOM),
    ):
        strip = np.vstack([np.hstack([in_color(plane)[part] for plane in row]) for row in rows])
        values = np.rint(np.clip(strip, 0, 1) * 255).astype(np.uint8)
        Image.fromarray(values.repeat(zoom, axis=0).repeat(zoom, axis=1)).save(
            folder / f"{name}{suffix}.png"
        )


def save_comparison(
    path: Path, scene: Scene, results: Mapping[str, Sequence[Array]], count: int = _COMPARED
) -> None:
    """Save some planes of the contents and, below them, of each run."""
    last = len(scene.contents) - 1
    chosen = np.unique(np.linspace(0, last, count).round().astype(int))
    rows = [
        np.hstack([in_color(planes[k]) for k in chosen])
        for planes in (scene.contents, *results.values())
    ]
    line = np.ones((_LINE, *rows[0].shape[1:]))
    parts = [part for row in rows for part in (line, row)][1:]
    values = np.rint(np.clip(np.vstack(parts), 0, 1) * 255).astype(np.uint8)
    Image.fromarray(values).save(path, quality=88)


def in_color(image: Array) -> Array:
    """Return a grey or colour image in colour."""
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def difference_pictures(scene: Scene, results: Sequence[Array]) -> list[Array]:
    """Return the difference of each result to the one before along the flow; the first is black."""
    pictures = [np.zeros((*results[0].shape[:2], 3))]
    for (before, after), flow, occluded in zip(
        itertools.pairwise(results), scene.flows, scene.occluded, strict=True
    ):
        square = in_color(warp(before, flow) - after) ** 2
        picture = in_color(_GAIN * square.mean(axis=-1) ** 0.5)
        picture[occluded] = _OCCLUDED
        pictures.append(picture)
    return pictures


def moves(scene: Scene) -> tuple[slice, slice]:
    """Return the part of the planes, a third wide, where most detail moves."""
    size = len(scene.contents[0])
    side = size // 3
    detail = np.mean([np.abs(ndimage.laplace(in_color(c)[..., 1])) for c in scene.contents], axis=0)
    speed = np.mean([np.linalg.norm(flow, axis=-1) for flow in scene.flows], axis=0)
    inner = slice(side // 2, size - side // 2)
    # A small speed everywhere: in a still scene, the part with most detail.
    amount = ndimage.uniform_filter((speed + 1e-3) * detail, side)[inner, inner]
    top, left = map(int, np.unravel_index(np.argmax(amount), amount.shape))
    return slice(top, top + side), slice(left, left + side)
