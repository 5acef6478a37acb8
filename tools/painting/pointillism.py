"""Pointillism: a bay in the evening sun, in dots of pure colour that the eye mixes."""

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
from painting.strokes import lay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from painting.canvas import Bools, Floats

__all__ = ["pointillism"]

_OVERSAMPLING = 1.5
# length, radius, how often the dots cover the canvas, how far their colours stray
_DOTS = ((17, 5.2, 1.7, 0.09), (11, 3.7, 1.0, 0.13), (7, 2.8, 0.4, 0.18))

# the tubes on the table: a dot is one of these and never a mixture
_TUBES = palette(
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

# column, row of the hull and height of the mast
_BOATS = ((0.42, 0.56, 0.19), (0.70, 0.52, 0.10), (0.81, 0.60, 0.22), (0.53, 0.49, 0.06))
# row, column, half the height and half the width: a round tree's crown, then poplars
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
    wide = width / height
    ax = x * np.float32(wide)
    phase = rng.uniform(0, 6, 5).tolist()
    sun_row, sun_column = rng.normal((0.27, 0.60), (0.015, 0.03)).tolist()
    east = ax - sun_column * wide
    away = np.sqrt((y - sun_row) ** 2 + east**2)

    region = np.zeros(shape, dtype=np.int8)
    heading = levels(away)
    # the sky glows in rings round the sun, with clouds drawn out along the horizon
    cloud = smoothstep(
        0.2, 1.2, fractal(rng, shape, height / 7) + np.sin(26 * y + 3 * ax + phase[0])
    )
    glow = np.exp(-away / 0.22)
    tone = 0.70 - 1.0 * np.sqrt(away) + 0.62 * y + 0.07 * np.sin(away * 90)
    color = ramp(_SKY, tone + 0.30 * cloud * (0.3 + away))
    color[away < 0.085] = _HALO
    color[away < 0.062] = _SUN

    rough = fractal(rng, shape, 22)

    def put(where: Bools, potential: Floats, colors: Floats, shade: Floats) -> None:
        region[where] = region.max() + 1
        color[where] = ramp(colors, shade[where])
        np.copyto(heading, levels(potential), where=where)

    # hills behind the bay
    ridge = 0.40 + 0.035 * np.sin(ax * 5 + phase[1]) + 0.02 * np.sin(ax * 13 + phase[2])
    put(y > ridge, y - ridge, _CLIFF, 0.10 + 1.6 * (y - ridge) + 0.25 * glow)
    swell = np.sin(y * 150 / (0.4 + y) + 1.5 * noise(rng, shape, 6, 40))
    path = np.exp(-((east / (0.03 + 0.22 * (y - 0.46))) ** 2)) * (0.7 + 0.6 * swell)
    sea = y > 0.47
    put(sea, y + 0.01 * np.sin(ax * 9), _SEA, 0.62 - 0.9 * (y - 0.47) + 0.13 * swell)
    color[...] = mix(color, _GOLD, np.clip(path, 0, 1) * sea)
    for column, row, tall in _BOATS:
        aft, mast = ax - column * wide, (row - y) / tall
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

    # a great round tree at the left, poplars at the right: lit from the sun, blue in the shade
    trunk = np.abs(ax - 0.13 * wide - 0.02 * np.sin(9 * y)) < 0.014 + 0.03 * smoothstep(
        0.75, 0.9, y
    )
    put(trunk & (y > 0.4) & (y < 0.87), ax, _BARK, 0.5 + 22 * (ax - 0.13 * wide))
    for row, column, tall, broad in _TREES:
        lean = (ax - column * wide) / broad
        rise = (y - row) / tall
        near = np.hypot(lean, rise) + 0.07 * rough
        toward = (lean * np.sign(sun_column - column) - rise) * 0.28
        put(near < 1, np.hypot(lean, rise * tall / broad), _LEAVES, 0.46 + toward + 0.16 * rough)
    return _Scene(region, color, heading)


def pointillism(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Return the picture, (height, width, 3), between 0 and 1."""
    tall, wide = int(height * _OVERSAMPLING), int(width * _OVERSAMPLING)
    scene = _scene(rng, tall, wide)
    image = np.zeros((tall, wide, 3), dtype=np.float32) + _TUBES[0] * 0.9
    relief = np.zeros((tall, wide), dtype=np.float32)
    anywhere = np.zeros((tall, wide), dtype=np.int8)
    for length, radius, cover, stray in _DOTS:
        starts = scatter(rng, tall, wide, (2 * length * radius / cover) ** 0.5)
        layer = lay(rng, starts, scene.heading, anywhere, length, radius, wear=0.1)
        wet = layer.stroke >= 0
        stroke, across = layer.stroke[wet], layer.across[wet]
        image[wet] = _TUBES[_tube(rng, scene.color[starts], stray)][stroke]
        relief[wet] = 0.3 * relief[wet] + radius * (1 - 0.5 * across**2)
    light = lit(blur(relief, 0.9), 0.4)[..., None]
    return shrink(image * (1 + 0.16 * light), height, width)


def _tube(rng: np.random.Generator, target: Floats, stray: float) -> NDArray[np.intp]:
    """Return, for each colour wanted, a tube close to it; on average they mix to it."""
    gray = target.mean(axis=1, keepdims=True)
    wanted = gray + 1.25 * (target - gray) + rng.normal(0, stray, target.shape)
    # one dot in twelve is the complement, that sets its neighbours off
    contrary = rng.random(len(target)) < 0.08
    wanted[contrary] = 0.9 * gray[contrary] + 0.1 + 0.9 * (gray - target)[contrary]
    away = ((wanted[:, None] - _TUBES) ** 2).sum(axis=2)
    nearest: NDArray[np.intp] = away.argmin(axis=1)
    return nearest
