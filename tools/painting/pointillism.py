"""Pointillism: a bay at sunset, in dots of a few pure colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from painting.canvas import (
    blur,
    fractal,
    grid,
    levels,
    lit,
    mix,
    noise,
    palette,
    ramp,
    scatter,
    shrink,
    smoothstep,
)
from painting.strokes import paint_strokes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from painting.canvas import Bools, Floats

__all__ = ["pointillism"]

_OVERSAMPLING = 1.5
# Length and radius of the dots, mean number of dots at a pixel, standard deviation of colours.
_DOTS = ((17, 5.2, 1.7, 0.09), (11, 3.7, 1.0, 0.13), (7, 2.8, 0.4, 0.18))

# The colours of the dots.
_COLORS = palette(
    "fffbe6",
    "fff08a",
    "ffd21f",
    "ffa01f",
    "f4661e",
    "d8321f",
    "f28aa8",
    "c2569a",
    "7a4fb0",
    "3f3f9f",
    "2260c0",
    "3f9bdc",
    "9fd4ea",
    "2fb5a0",
    "1f8a4c",
    "74b52f",
    "c2dc3f",
    "16492f",
    "1c2250",
    "8a4a22",
)
_SKY = palette("2f57b8", "5a8fdc", "93c8e4", "d6e4b8", "ffe08a", "ffb070", "f58a8a")
_SEA = palette("1f3f9a", "2a6ac0", "3f9fcf", "7fcfd0", "d8eec0")
_CLIFF = palette("54408f", "8a5aa8", "c87a9a", "f0a070", "ffd090")
_MEADOW = palette("1f3a6a", "1f6a4a", "4f9a35", "a8c83a", "eee060")
_LEAVES = palette("1a2456", "1a4a3a", "2f8040", "8ab830", "f2d040")
_BARK = palette("1c2250", "4a3060", "8a4a22", "e88a3a")
_GOLD, _SUN, _HALO = palette("ffb84c", "ff7a1f", "ffe059")
_SAIL = palette("f07a2a", "ffc890", "fffbe6")

# Column, row of the hull and height of the mast.
_BOATS = ((0.42, 0.56, 0.19), (0.70, 0.52, 0.10), (0.81, 0.60, 0.22), (0.53, 0.49, 0.06))
# Row, column, half the height and half the width: the crown of a round tree, then poplars.
_TREES = (
    (0.34, 0.10, 0.17, 0.15),
    (0.24, 0.20, 0.12, 0.12),
    (0.44, 0.19, 0.11, 0.12),
    (0.22, 0.06, 0.13, 0.12),
    (0.57, 0.925, 0.27, 0.038),
    (0.62, 0.975, 0.23, 0.034),
    (0.66, 0.885, 0.17, 0.028),
)


class _Scene(NamedTuple):
    """Region, colour and stroke direction of each pixel."""

    region: NDArray[np.int8]
    color: Floats
    heading: Floats


def _scene(rng: np.random.Generator, height: int, width: int) -> _Scene:
    y, x = grid(height, width)
    shape = (height, width)
    aspect = width / height
    ax = x * np.float32(aspect)
    phase = rng.uniform(0, 6, 5).tolist()
    sun_row, sun_column = rng.normal((0.27, 0.60), (0.015, 0.03)).tolist()
    east = ax - sun_column * aspect
    distance = np.sqrt((y - sun_row) ** 2 + east**2)

    region = np.zeros(shape, dtype=np.int8)
    heading = levels(distance)
    # Sky: rings of light around the sun, and long clouds above the horizon.
    cloud = smoothstep(
        0.2, 1.2, fractal(rng, shape, height / 7) + np.sin(26 * y + 3 * ax + phase[0])
    )
    glow = np.exp(-distance / 0.22)
    tone = 0.70 - 1.0 * np.sqrt(distance) + 0.62 * y + 0.07 * np.sin(distance * 90)
    color = ramp(_SKY, tone + 0.30 * cloud * (0.3 + distance))
    color[distance < 0.085] = _HALO
    color[distance < 0.062] = _SUN

    rough = fractal(rng, shape, 22)

    def put(where: Bools, potential: Floats, colors: Floats, shade: Floats) -> None:
        region[where] = region.max() + 1
        color[where] = ramp(colors, shade[where])
        np.copyto(heading, levels(potential), where=where)

    # Hills behind the bay.
    ridge = 0.40 + 0.035 * np.sin(ax * 5 + phase[1]) + 0.02 * np.sin(ax * 13 + phase[2])
    put(y > ridge, y - ridge, _CLIFF, 0.10 + 1.6 * (y - ridge) + 0.25 * glow)
    swell = np.sin(y * 150 / (0.4 + y) + 1.5 * noise(rng, shape, 6, 40))
    path = np.exp(-((east / (0.03 + 0.22 * (y - 0.46))) ** 2)) * (0.7 + 0.6 * swell)
    sea = y > 0.47
    put(sea, y + 0.01 * np.sin(ax * 9), _SEA, 0.62 - 0.9 * (y - 0.47) + 0.13 * swell)
    color[...] = mix(color, _GOLD, np.clip(path, 0, 1) * sea)
    for column, row, tall in _BOATS:
        aft, mast = ax - column * aspect, (row - y) / tall
        sail = (mast > 0.08) & (aft > -0.02 * tall) & (aft < 0.45 * tall * (1 - mast))
        jib = (mast > 0.1) & (aft < -0.05 * tall) & (aft > -0.32 * tall * (0.85 - mast))
        put(sail | jib, ax + 0.4 * y, _SAIL, 0.9 - 1.6 * aft / tall + 0.3 * mast)
        hull = (np.abs(aft) < 0.42 * tall * (1 + 0.3 * mast)) & (mast <= 0.08) & (mast > -0.06)
        put(hull, y, _LEAVES, 0.12 + 0 * y)
        mirror = (mast < -0.06) & (mast > -0.75) & sea
        mirror &= np.abs(aft - 0.05 * tall + 0.02 * swell) < 0.30 * tall * (0.9 + mast)
        put(mirror & (swell > -0.2), y, _SAIL, 0.3 + 0.4 * swell)

    bank = 0.80 - 0.05 * np.sin(ax * 2.4 + phase[3]) - 0.10 * smoothstep(0.45, 0.0, x)
    under = y - bank
    shadow = smoothstep(0.25, 0.9, np.sin(8 * ax + 26 * under + phase[4]) + 0.4 * rough)
    put(under > 0, under + 0.25 * ax * under, _MEADOW, 0.95 - 0.9 * under - 0.62 * shadow)

    # A round tree at the left and poplars at the right, lit by the sun.
    trunk = np.abs(ax - 0.13 * aspect - 0.02 * np.sin(9 * y)) < 0.014 + 0.03 * smoothstep(
        0.75, 0.9, y
    )
    put(trunk & (y > 0.4) & (y < 0.87), ax, _BARK, 0.5 + 22 * (ax - 0.13 * aspect))
    for row, column, tall, broad in _TREES:
        lean = (ax - column * aspect) / broad
        rise = (y - row) / tall
        near = np.hypot(lean, rise) + 0.07 * rough
        toward = (lean * np.sign(sun_column - column) - rise) * 0.28
        put(near < 1, np.hypot(lean, rise * tall / broad), _LEAVES, 0.46 + toward + 0.16 * rough)
    return _Scene(region, color, heading)


def pointillism(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Return the picture, (height, width, 3), between 0 and 1."""
    tall, wide = int(height * _OVERSAMPLING), int(width * _OVERSAMPLING)
    scene = _scene(rng, tall, wide)
    image = np.zeros((tall, wide, 3), dtype=np.float32) + _COLORS[0] * 0.9
    relief = np.zeros((tall, wide), dtype=np.float32)
    anywhere = np.zeros((tall, wide), dtype=np.int8)
    for length, radius, cover, spread in _DOTS:
        starts = scatter(rng, tall, wide, (2 * length * radius / cover) ** 0.5)
        layer = paint_strokes(rng, starts, scene.heading, anywhere, length, radius, wear=0.1)
        painted = layer.stroke >= 0
        stroke, across = layer.stroke[painted], layer.across[painted]
        image[painted] = _COLORS[_nearest_color(rng, scene.color[starts], spread)][stroke]
        relief[painted] = 0.3 * relief[painted] + radius * (1 - 0.5 * across**2)
    light = lit(blur(relief, 0.9), 0.4)[..., None]
    return shrink(image * (1 + 0.16 * light), height, width)


def _nearest_color(rng: np.random.Generator, target: Floats, spread: float) -> NDArray[np.intp]:
    """Return the index of the pure colour nearest to each target after adding noise."""
    gray = target.mean(axis=1, keepdims=True)
    wanted = gray + 1.25 * (target - gray) + rng.normal(0, spread, target.shape)
    # One dot in twelve has the complementary colour.
    contrary = rng.random(len(target)) < 0.08
    wanted[contrary] = 0.9 * gray[contrary] + 0.1 + 0.9 * (gray - target)[contrary]
    distance = ((wanted[:, None] - _COLORS) ** 2).sum(axis=2)
    nearest: NDArray[np.intp] = distance.argmin(axis=1)
    return nearest
