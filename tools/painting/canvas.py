"""Functions shared by the painters: noise, blur, palettes, light.

A picture consists of regions. Each region has a potential, a smooth function of the position;
brush strokes and carved lines follow its level lines. Blur and noise are separable: each is a
product with two small matrices.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Bools: TypeAlias = NDArray[np.bool_]

__all__ = [
    "Bools",
    "Floats",
    "blur",
    "fractal",
    "grid",
    "levels",
    "lit",
    "mix",
    "noise",
    "palette",
    "ramp",
    "scatter",
    "seams",
    "shrink",
    "smoothstep",
    "to_uint8",
]


def grid(height: int, width: int) -> tuple[Floats, Floats]:
    """Return y from 0 (top) to 1 and x from 0 (left) to 1, each of shape (height, width)."""
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    x = (np.arange(width, dtype=np.float32) + 0.5) / width
    rows, columns = np.meshgrid(y, x, indexing="ij")
    return rows, columns


def _bells(size: int, sigma: float, centers: Floats) -> Floats:
    """Return Gaussians over ``size`` pixels, (size, centres)."""
    at = np.arange(size, dtype=np.float32)[:, None]
    # A narrower Gaussian between two pixels would vanish.
    return np.exp(-0.5 * ((at - centers) / max(sigma, 0.3)) ** 2).astype(np.float32)


def blur(image: Floats, sigma: float) -> Floats:
    """Return an (H, W) image blurred by a Gaussian with weights normalised at the border."""
    rows, columns = (_bells(size, sigma, np.arange(size, dtype=np.float32)) for size in image.shape)
    rows /= rows.sum(axis=1, keepdims=True)
    columns /= columns.sum(axis=1, keepdims=True)
    return rows @ image @ columns.T


def noise(
    rng: np.random.Generator, shape: tuple[int, int], down: float, across: float | None = None
) -> Floats:
    """Return smooth noise of mean 0 and variance 1, correlated over ``down``, ``across`` pixels."""
    sides = []
    for size, scale in zip(shape, (down, across or down), strict=True):
        centers = np.arange(-3 * scale, size + 3 * scale, scale, dtype=np.float32)
        bells = _bells(size, 0.8 * scale, centers)
        sides.append(bells / np.sqrt((bells**2).sum(axis=1, keepdims=True)))
    knots = rng.standard_normal((sides[0].shape[1], sides[1].shape[1]), dtype=np.float32)
    field: Floats = sides[0] @ knots @ sides[1].T
    return field


def fractal(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Floats:
    """Return noise with four octaves: ``scale``, a half, a quarter and an eighth of it."""
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(4):
        total += noise(rng, shape, max(scale / 2**octave, 1)) / 1.8**octave
    return total / np.float32(1.2)


def scatter(
    rng: np.random.Generator, height: int, width: int, spacing: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of a jittered lattice of pixels, ``spacing`` apart, in random order.

    The jitter stays within a cell of the lattice, which avoids clusters and gaps.
    """
    down, across = (max(1, round(size / spacing)) for size in (height, width))
    cell = rng.permutation(down * across)
    row = (cell // across + rng.random(len(cell))) * height / down
    column = (cell % across + rng.random(len(cell))) * width / across
    return row.astype(np.intp), column.astype(np.intp)


def seams(number: NDArray[np.integer[Any]]) -> Floats:
    """Return 1 where the right or lower neighbour of a pixel has another number, else 0."""
    seam = np.zeros(number.shape, dtype=np.float32)
    seam[:, :-1] = number[:, :-1] != number[:, 1:]
    seam[:-1] = np.maximum(seam[:-1], number[:-1] != number[1:])
    return seam


def shrink(image: Floats, height: int, width: int) -> Floats:
    """Return an (H, W, C) image reduced by averaging areas."""
    sides = []
    for size, target in zip(image.shape, (height, width), strict=False):
        edges = np.arange(target + 1, dtype=np.float64) * size / target
        at = np.arange(size)
        cover = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
        sides.append((np.clip(cover, 0, 1) * target / size).astype(np.float32))
    return np.stack([sides[0] @ channel @ sides[1].T for channel in np.moveaxis(image, 2, 0)], 2)


def levels(potential: Floats) -> Floats:
    """Return the vectors (down, across) along the level lines of a potential, (2, H, W).

    The gradient of the potential, turned by 90 degrees: the potential rises to the right.
    """
    down, across = np.gradient(potential)
    return np.stack([-across, down])


def lit(relief: Floats, strength: float) -> Floats:
    """Return the brightness of a relief that is lit from the top left; 0 where it is flat."""
    down, across = np.gradient(relief)
    light: Floats = np.tanh(strength * (down * 0.8 + across * 0.6))
    return light


def palette(*colors: str) -> Floats:
    """Return colours given as ``rrggbb`` as a (K, 3) array between 0 and 1."""
    return np.array([list(bytes.fromhex(color)) for color in colors], dtype=np.float32) / 255


def ramp(colors: Floats, tone: Floats) -> Floats:
    """Return interpolated colours of a palette: tone 0 is the first and 1 the last."""
    at = np.linspace(0, 1, len(colors))
    channels = [np.interp(tone, at, colors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    """Return 0 below ``low``, 1 above ``high`` and a cubic in between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    step: Floats = t * t * (3 - 2 * t)
    return step


def mix(under: Floats, over: Floats, share: Floats) -> Floats:
    """Return ``over``, an image or a colour, blended over ``under`` with weights (H, W)."""
    weight = share[..., None]
    return under * (1 - weight) + over * weight


def to_uint8(image: Floats) -> NDArray[np.uint8]:
    """Return an image as uint8, clipped to [0, 1] before."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
