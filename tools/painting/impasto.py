"""Impasto: a night sky over a wheat field, in thick strokes that follow swirls of wind."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from painting.canvas import (
    blur,
    fractal,
    grid,
    levels,
    lit,
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

__all__ = ["impasto"]

_OVERSAMPLING = 1.5
# Length and radius of the strokes, mean number of strokes at a pixel, standard deviation of tones.
_BRUSHES = ((93, 13, 2.0, 0.10), (60, 7.5, 1.3, 0.13), (33, 4.5, 0.45, 0.17))

_SKY = palette("0b1a4a", "12307a", "1f57a8", "3a86c8", "7fb9d9", "cfe3d4", "f3e6a0")
_LAMP = palette("5aa0cc", "a8cfc0", "f0e08a", "fbc02d", "f58a12", "fff3c0")
_MOUNTAIN = palette("111a3e", "1d2c66", "314c93", "5a6fb0", "8f7fb5")
_HILL = palette("0d2b2b", "17493f", "2f6f4e", "5d9a58", "a7b95c")
_WHEAT = palette("7a3b0c", "b8650f", "dd9016", "f3b92b", "fbdc6a", "fff0b0")
_CYPRESS = palette("0a1512", "10241c", "1d3b24", "3b5a2a", "6a5a20")
_RAMPS = (_SKY, _LAMP, _MOUNTAIN, _HILL, _WHEAT, _CYPRESS)
_ACCENTS = palette("f08a24", "e8b040", "d9683a", "d2432c", "2d5fa8", "a5401c")


class _Scene(NamedTuple):
    """Region, colour and stroke direction of each pixel."""

    region: NDArray[np.int8]
    tone: Floats
    heading: Floats


def _scene(rng: np.random.Generator, height: int, width: int) -> _Scene:
    y, x = grid(height, width)
    shape = (height, width)
    aspect = width / height
    ax = x * np.float32(aspect)
    phase = rng.uniform(0, 6, 8).tolist()

    def distance_to(row: float, column: float) -> Floats:
        return np.sqrt((y - row) ** 2 + (ax - column * aspect) ** 2)

    # Sky: wind in level bands, with two large swirls.
    wind = y + 0.05 * np.sin(ax * 5 + phase[0]) + 0.012 * noise(rng, shape, height / 6)
    turn = np.zeros(shape, dtype=np.float32)
    for row, column, size, depth in ((0.36, 0.50, 0.15, 0.21), (0.46, 0.73, 0.09, 0.13)):
        bell = np.exp(-((distance_to(*rng.normal((row, column), 0.015).tolist()) / size) ** 2))
        wind = wind + depth * bell
        turn += 0.35 * bell
    # Turn the direction inwards, so that the rings of a swirl become a spiral.
    heading = levels(wind)
    heading = heading * np.cos(turn) + np.stack([heading[1], -heading[0]]) * np.sin(turn)
    bands = 0.5 + 0.5 * np.sin(70 * wind + 1.2 * noise(rng, shape, height / 9))
    tone = 0.04 + 0.55 * bands * (0.45 + 0.7 * smoothstep(0.05, 0.5, y))
    tone = tone + 0.06 * fractal(rng, shape, height / 8) + 0.22 * smoothstep(0.40, 0.62, y)
    region = np.zeros(shape, dtype=np.int8)

    def put(number: int, where: Bools, potential: Floats, shade: Floats) -> None:
        """Assign pixels to a palette; their strokes follow the level lines of the potential."""
        region[where] = number
        np.copyto(tone, shade, where=where)
        np.copyto(heading, levels(potential), where=where)

    lamps = [(0.18, 0.85, 0.18), (0.11, 0.09, 0.085), (0.33, 0.07, 0.055), (0.09, 0.36, 0.075)]
    lamps += [(0.10, 0.62, 0.095), (0.42, 0.94, 0.05), (0.28, 0.62, 0.04), (0.22, 0.38, 0.04)]
    for row, column, size in lamps:
        distance = distance_to(*rng.normal((row, column), 0.012).tolist()) + 0.006 * noise(
            rng, shape, height / 20
        )
        ring = distance / (size * rng.uniform(0.9, 1.1))
        rings = 0.14 * np.cos(ring * max(1, round(size / 0.05)) * 2 * np.pi)
        put(1, ring < 1, distance, 1.02 - ring + rings)

    ridge = 0.60 - 0.06 * np.sin(ax * 4.3 + phase[1]) - 0.03 * np.sin(ax * 11 + phase[2])
    under = y - ridge
    folds = np.sin(ax * 15 + 24 * under + phase[3])
    put(2, under > 0, 0.6 * under + 0.02 * folds, 0.5 + 0.4 * folds - 1.5 * under)
    ridge = 0.70 + 0.05 * np.sin(ax * 3.1 + phase[4]) + 0.012 * np.sin(ax * 17)
    under = y - ridge
    furrows = np.sin(75 * under + 5 * ax)
    put(3, under > 0, under + 0.015 * np.sin(ax * 12), 0.70 - 3 * under + 0.35 * furrows)
    ridge = 0.80 - 0.03 * np.sin(ax * 2.2 + phase[5])
    for place in np.linspace(-0.02, 1.02, 11).tolist():
        size = rng.uniform(0.022, 0.05)
        distance = distance_to(*rng.normal((0.80 - size * 0.6, place), (0.01, 0.02)).tolist())
        shade = 0.15 + 14 * size * (1 - distance / size) - 0.3 * (x > place)
        put(3, distance < size, distance, shade)
    under = y - ridge
    gust = ax + 0.55 * under * np.sin(ax * 5) + 0.03 * np.sin(ax * 9 + 14 * under + phase[6])
    sheaves = np.sin(34 * gust + 20 * under) + 0.5 * np.sin(90 * under + 7 * ax)
    put(4, under > 0, 0.4 * gust + 0.25 * y, 0.38 + 0.9 * under + 0.22 * sheaves)
    # Two cypresses.
    for column, top, broad in ((0.215, 0.17, 0.085), (0.315, 0.46, 0.05)):
        rise = np.clip((y - top) / (1.02 - top), 0, 1)
        sway = ax - column * aspect + 0.018 * np.sin(13 * y + phase[7]) * rise
        half = broad * rise**0.75 * (1.05 - 0.45 * rise**4) * (1 + 0.10 * np.sin(40 * y))
        flame = sway / (half + 0.03)
        licks = 0.1 * flame + 0.012 * np.sin(28 * y + 5 * flame)
        put(5, np.abs(sway) < half, licks, 0.38 + 0.4 * np.sin(7 * flame + 9 * y))
    return _Scene(region, tone, heading)


def impasto(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Return the picture, (height, width, 3), between 0 and 1."""
    tall, wide = int(height * _OVERSAMPLING), int(width * _OVERSAMPLING)
    scene = _scene(rng, tall, wide)
    image = np.empty((tall, wide, 3), dtype=np.float32)
    for number, colors in enumerate(_RAMPS):
        here = scene.region == number
        image[here] = ramp(colors, scene.tone[here] - 0.15)
    relief = np.zeros((tall, wide), dtype=np.float32)
    # Streaks of the bristles: narrow across a stroke, long along it.
    bristles = noise(rng, (64, 1024), 1.6, 30)

    for length, radius, cover, jitter in _BRUSHES:
        starts = scatter(rng, tall, wide, (2 * length * radius / cover) ** 0.5)
        layer = paint_strokes(rng, starts, scene.heading, scene.region, length, radius)
        painted = layer.stroke >= 0
        stroke, along, across = layer.stroke[painted], layer.along[painted], layer.across[painted]
        begin = rng.integers(0, 1024, len(starts[0]))[stroke]
        bristle = bristles[
            ((across + 1) * 31.5).astype(np.intp), (along.astype(np.intp) + begin) % 1024
        ]
        first, second = _loads(rng, scene.region[starts], scene.tone[starts], jitter)
        share = smoothstep(-0.3, 1.1, bristle + 0.5 * across)[:, None]
        image[painted] = first[stroke] * (1 - share) + second[stroke] * share
        # Paint is thicker at the sides and at the end of a stroke.
        body = 1 + 0.5 * np.abs(across) ** 3 + 0.35 * bristle + 0.4 * np.minimum(along / length, 1)
        relief[painted] = 0.5 * relief[painted] + radius / 5 * body
    light = lit(blur(relief, 0.9), 0.9)[..., None]
    return shrink(image * (1 + 0.3 * light) + 0.1 * np.clip(light, 0, 1) ** 2, height, width)


def _loads(
    rng: np.random.Generator, region: NDArray[np.int8], tone: Floats, jitter: float
) -> tuple[Floats, Floats]:
    """Return two colours for each stroke, which its bristles mix."""
    count = len(tone)
    tones = tone + rng.normal(0, jitter, count), tone + rng.normal(0, 1.6 * jitter, count)
    first, second = np.empty((2, count, 3), dtype=np.float32)
    for number, colors in enumerate(_RAMPS):
        here = region == number
        first[here], second[here] = (ramp(colors, each[here]) for each in tones)
    loud = rng.random(count) < 0.03
    second[loud] = _ACCENTS[region[loud]]
    return first, second
