"""Woodcut: a large wave in front of a mountain, carved in lines and printed in colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from painting.canvas import (
    blur,
    fractal,
    grid,
    mix,
    noise,
    palette,
    seams,
    smoothstep,
)

if TYPE_CHECKING:
    from painting.canvas import Bools, Floats

__all__ = ["woodcut"]

_PERIOD = 6.5  # pixels from one carved line to the next
_PAPER, _INK, _PRUSSIAN, _BLUE, _MIST, _VERMILION, _OCHRE = palette(
    "f3e5c6", "131726", "1d4373", "6f9fb8", "cfd8c6", "cf3d26", "e8b977"
)


class _Block:
    """The key block, which prints the black lines, and the colours under it."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng = rng
        self.y, x = grid(height, width)
        self.aspect = width / height
        self.ax = x * np.float32(self.aspect)
        self.color = np.zeros((height, width, 3), dtype=np.float32) + _PAPER
        self.ink = np.zeros((height, width), dtype=np.float32)
        self.shapes = np.zeros((height, width), dtype=np.int64)
        self.shiver = 0.16 * fractal(rng, (height, width), 14)
        self._widths = rng.normal(0, 0.10, 257).astype(np.float32)

    def carve(self, where: Bools, potential: Floats, tone: Floats, spacing: float = 1) -> None:
        """Carve lines along the level lines of the potential, wide where the tone is dark.

        The unit of the potential is the height of the picture.
        """
        turns = potential * (len(self.y) / (_PERIOD * spacing)) + 0.5 * self.shiver
        line = np.floor(turns).astype(np.int64)
        off = np.abs(turns - line - 0.5) * 2
        broad = tone + self.shiver + self._widths[line % 257]
        soft = 1.3 / (_PERIOD * spacing)
        ink = smoothstep(-soft, soft, broad - off) * smoothstep(0.04, 0.14, broad)
        np.copyto(self.ink, ink, where=where, casting="same_kind")

    def shape(self, where: Bools, color: Floats, *, outlined: bool = True) -> None:
        """Fill a shape with colour, and erase its lines; optionally outline it."""
        self.color[where] = color[where] if color.ndim == 3 else color
        self.ink[where] = 0
        if outlined:
            self.shapes[where] = self.shapes.max() + 1

    def foam(self, rows: Floats, columns: Floats, sizes: Floats, *, outlined: bool = True) -> None:
        """Draw discs of foam as one white shape, shaded by arcs at their lower right."""
        height, width = self.ink.shape
        arcs = np.zeros((height, width), dtype=np.float32)
        shade = np.zeros((height, width), dtype=np.float32)
        mass = np.zeros((height, width), dtype=bool)
        for row, column, size in np.stack([rows, columns, sizes], axis=1).tolist():
            top, left, reach = (int(height * each) for each in (row, column, size + 2 / height))
            window = (
                slice(max(0, top - reach), max(0, top + reach + 1)),
                slice(max(0, left - reach), max(0, left + reach + 1)),
            )
            down, across = self.y[window] - row, self.ax[window] - column
            distance = np.sqrt(down**2 + across**2)
            inside = distance < size
            mass[window] |= inside
            arcs[window][inside] = (distance - size)[inside]
            shade[window][inside] = ((down + across) / size)[inside]
        self.shape(mass, _PAPER, outlined=outlined)
        self.carve(mass, arcs - 0.5 / height, 0.62 * shade - 0.25, 0.8)


def woodcut(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Return the picture, (height, width, 3), between 0 and 1."""
    block = _Block(rng, height, width)
    _sky(block)
    _mountain(block)
    swing = rng.uniform(0, 6)
    for level, deep in ((0.60, 0.012), (0.655, 0.02)):
        under = block.y - level + deep * np.abs(np.sin(block.ax * 5.5 + swing + 30 * level))
        block.shape(under > 0, mix(_MIST, _BLUE, smoothstep(0, 0.10, under)))
        lines = under + 0.01 * np.sin(block.ax * 14 + 50 * under)
        block.carve(under > 0, lines, 0.10 + 2.5 * under)
    _great_wave(block)
    for level, high, often in ((0.80, 0.12, 3.6), (0.90, 0.14, 2.7), (1.01, 0.12, 4.4)):
        _swell(block, level, high, often, swing)
    return _press(block)


def _sky(block: _Block) -> None:
    """Draw a sky that fades from blue to ochre, with a sun and white bands of mist."""
    y, ax, aspect = block.y, block.ax, block.aspect
    phase = block.rng.uniform(0, 6, 3).tolist()
    sky = mix(_PAPER, _PRUSSIAN, 0.85 * smoothstep(0.30, 0.0, y))
    sky = mix(sky, _OCHRE, 0.75 * smoothstep(0.35, 0.62, y))
    everywhere = np.ones(y.shape, dtype=bool)
    block.shape(everywhere, sky, outlined=False)
    drift = y + 0.012 * np.sin(ax * 7 + phase[0]) + 0.006 * np.sin(ax * 19 + phase[1])
    block.carve(everywhere, drift, 0.52 - 1.25 * y, 0.9)
    sun = np.hypot(y - 0.24, ax - 0.80 * aspect) < 0.13
    block.shape(sun, _VERMILION)
    block.carve(sun, y + 0.02 * np.sin(ax * 9), 1.1 * y - 0.18)
    for row, left, right in ((0.085, 0.36, 0.66), (0.115, 0.46, 0.80), (0.325, 0.87, 1.2)):
        ends = np.clip(np.maximum(left * aspect - ax, ax - right * aspect), 0, None)
        mist = np.hypot(y - row - 0.004 * np.sin(ax * 9 + phase[2]), ends) < 0.019
        block.shape(mist, _PAPER)
        block.carve(mist, y, 9 * (y - row))


def _mountain(block: _Block) -> None:
    """Draw a mountain with snow, and lines that fan out from its peak."""
    y, across = block.y, block.ax - 0.80 * block.aspect
    run = np.abs(across)
    side = 0.36 + 0.62 * run - 0.22 * run**2 - 0.03 * np.exp(-((run / 0.05) ** 2))
    side = side + 0.02 * np.exp(-((run / 0.035) ** 2)) + 0.004 * noise(block.rng, y.shape, 9)
    rock, below = y > side, y - side
    block.shape(rock, mix(_BLUE, _PRUSSIAN, smoothstep(0.75, 0.45, y)))
    fan, lee = np.arctan2(across, y - 0.20) * 0.42, np.sign(across)
    block.carve(rock, fan + 0.008 * np.sin(y * 45), 0.55 + 0.25 * lee - 0.6 * below)
    tongues = np.abs(np.sin(fan * 60 + block.rng.uniform(0, 6)))
    snow = rock & (below < 0.055 + 0.05 * tongues - 0.05 * run)
    block.shape(snow, _PAPER)
    block.carve(snow, fan, 0.15 + 0.15 * lee + 1.2 * (y - 0.46))


def _great_wave(block: _Block) -> None:
    """Draw a crescent wave between two circles, with lines that run to its tip."""
    middle = 0.33 * block.aspect
    circles = (0.64, middle, 0.43), (0.60, middle + 0.21, 0.29)
    outer, inner = (
        radius - np.hypot(block.y - row, block.ax - column) for row, column, radius in circles
    )
    body = (outer > 0) & (inner < 0)
    share = np.clip(outer / (np.abs(outer) + np.abs(inner) + 1e-6), 0, 1)
    water = mix(_PRUSSIAN, _BLUE, smoothstep(0.25, 0.6, share))
    block.shape(body, mix(water, _MIST, smoothstep(0.6, 0.95, share)))
    block.carve(body, share * 0.26 + 0.004 * np.sin(20 * block.y), 0.62 - 0.45 * share)
    # Foam on both circles, up to the angles at which they meet.
    _crest(block, circles[0], (-3.0, -0.84), 90)
    _crest(block, circles[1], (-3.3, -1.30), 80)
    spray = block.rng.normal((0.40, middle + 0.28), (0.10, 0.09), (70, 2))
    block.foam(spray[:, 0], spray[:, 1], block.rng.uniform(0.002, 0.007, 70), outlined=False)


def _crest(
    block: _Block, circle: tuple[float, float, float], between: tuple[float, float], count: int
) -> None:
    """Draw foam along an arc of a circle (row, column, radius), denser towards the end."""
    row, column, radius = circle
    at = np.sort(block.rng.uniform(0, 1, count)) ** 0.7
    angle = between[0] + (between[1] - between[0]) * at
    sizes = (0.006 + 0.019 * at) * block.rng.uniform(0.6, 1.5, count)
    distance = radius + block.rng.normal(0, 0.004 + 0.018 * at**2, count)
    block.foam(row + distance * np.sin(angle), column + distance * np.cos(angle), sizes)


def _swell(block: _Block, level: float, high: float, often: float, swing: float) -> None:
    """Draw a swell in the foreground, with foam where it is steep."""

    def steepness(across: Floats) -> Floats:
        crest: Floats = (1 - np.abs(np.sin(often * across + swing + 9 * level))) ** 1.6
        return crest

    under = block.y - level + high * steepness(block.ax)
    water = mix(_MIST, _BLUE, smoothstep(0.0, 0.05, under))
    block.shape(under > 0, mix(water, _PRUSSIAN, smoothstep(0.05, 0.13, under)))
    lines = under * (1 + 0.3 * np.sin(often * block.ax))
    block.carve(under > 0, lines, 0.12 + 3.2 * under)
    places = block.rng.uniform(0, block.aspect, round(110 * block.aspect))
    places = places[steepness(places) > 0.12]
    steep = steepness(places)
    sizes = 0.006 + 0.016 * steep * block.rng.uniform(0.4, 1.6, len(steep))
    block.foam(level - high * steep + 0.6 * sizes, places, sizes)


def _press(block: _Block) -> Floats:
    """Return the printed picture, with outlines, wood grain and paper fibres."""
    rng, shape = block.rng, block.ink.shape
    contour = blur(seams(block.shapes), 1.2) * 3.0
    key = np.maximum(block.ink, smoothstep(0.42, 0.62, contour + 0.9 * block.shiver))
    grain = noise(rng, shape, 1.8, 50) + 0.8 * noise(rng, shape, 6, 90)
    worn = smoothstep(-2.6, -1.0, grain + noise(rng, shape, 2) * 0.6)
    # Shift the colours against the lines by up to two pixels, as in a print.
    rows, columns = (np.clip(np.arange(size) + rng.integers(-2, 3), 0, size - 1) for size in shape)
    color = block.color[rows[:, None], columns]
    color = _PAPER + (color - _PAPER) * (0.72 + 0.28 * worn + 0.05 * grain)[..., None]
    fibres = 0.012 * noise(rng, shape, 1) + 0.012 * noise(rng, shape, 1, 8)
    pressed = mix(color, _INK, key * (0.88 + 0.12 * worn))
    return pressed + fibres[..., None]
