"""Stained glass: a sunrise over a lake, in panes of streaked glass with lead between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from painting.canvas import (
    blur,
    grid,
    lit,
    mix,
    noise,
    palette,
    ramp,
    seams,
    smoothstep,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from painting.canvas import Bools, Floats

__all__ = ["stained_glass"]

_GLASS = (
    palette("fff2b8", "ffd35a", "ff9a3c", "f0567a", "a8409a", "5a3aa8", "2a46b4", "14307c"),  # sky
    palette("ff6a10", "ff9418", "ffc42a", "fff0a0"),  # sun
    palette("2a1f66", "44308c", "6a4cae", "9a76c8", "4a78c0"),  # mountains
    palette("0c4a2c", "14733a", "3c9a3a", "8cbc34", "d4d04a"),  # hills
    palette("0a3a7a", "0f62a8", "1c94c4", "5cc8d0", "b4ecd8"),  # lake
    palette("ffd080", "ffb040", "ff8838", "f8e8a0"),  # the sun in the lake
    palette("3a1c10", "5e2e14", "8a4a1e"),  # trunk
    palette("8a0f1e", "c41e24", "e84a1c", "f88a1a", "ffc83a"),  # leaves
    palette("7a0a2a", "b8142e", "123a9a", "0e2a70", "d89a20"),  # frame
)
_FRAME = len(_GLASS) - 1
# Row, column and radius of the discs of the tree's crown.
_CROWN = (
    (0.26, 0.17, 0.15),
    (0.17, 0.27, 0.12),
    (0.36, 0.08, 0.11),
    (0.34, 0.28, 0.09),
    (0.13, 0.11, 0.10),
)
_LEAD = palette("0e0d12", "35333c", "8f8e98")


class _Panes(NamedTuple):
    """Number of the pane at each pixel, and the offset from the centre of the pane."""

    number: NDArray[np.int64]
    down: Floats
    across: Floats


def _cut(rng: np.random.Generator, v: Floats, u: Floats, jitter: float) -> _Panes:
    """Return the Voronoi cells of a brick lattice of unit size in the plane of ``v`` and ``u``.

    ``jitter`` is the largest shift of a point of the lattice: 0 gives bricks, 0.5 irregular panes.
    """
    table = rng.uniform(-jitter, jitter, (2, 1021)).astype(np.float32)
    row = np.floor(v).astype(np.int64)
    near = np.full(v.shape, np.inf, dtype=np.float32)
    number, down, across = np.zeros(v.shape, dtype=np.int64), np.zeros_like(v), np.zeros_like(u)
    for step_down in (-1, 0, 1):
        i = row + step_down
        shift = 0.5 * (i % 2)
        column = np.floor(u - shift).astype(np.int64)
        for step_across in (-1, 0, 1):
            j = column + step_across
            name = (i * 101 + j * 37) % 1021
            dv = v - (i + 0.5 + table[0][name])
            du = u - (j + 0.5 + shift + table[1][name])
            distance = dv * dv + du * du
            closer = distance < near
            np.copyto(near, distance, where=closer, casting="same_kind")
            np.copyto(number, i * 101 + j * 37, where=closer)
            np.copyto(down, dv, where=closer, casting="same_kind")
            np.copyto(across, du, where=closer, casting="same_kind")
    return _Panes(number, down, across)


def stained_glass(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Return the picture, (height, width, 3), between 0 and 1."""
    y, x = grid(height, width)
    aspect = width / height
    ax = x * np.float32(aspect)
    phase = rng.uniform(0, 6, 6).tolist()
    sun_row, sun_column = rng.normal((0.40, 0.60), 0.02).tolist()
    south, east = y - sun_row, ax - sun_column * aspect
    # The bearing is 0 straight up; it jumps below the horizon.
    radius, bearing = np.sqrt(south**2 + east**2), np.arctan2(east, -south) / (2 * np.pi)

    region = np.zeros((height, width), dtype=np.int8)
    panes = _cut(rng, np.log(radius / 0.115 + 0.2) * 2.2, bearing * 26, 0.16)
    tone = np.clip((radius - 0.11) / 0.68, 0, 1)

    def tint(number: int, where: Bools, shade: Floats) -> None:
        """Change the glass of pixels without cutting new panes."""
        region[where] = number
        tone[where] = shade[where]

    def put(number: int, where: Bools, v: Floats, u: Floats, jitter: float, shade: Floats) -> None:
        """Change the glass of pixels, and cut it to panes along v and u."""
        tint(number, where, shade)
        for own, cut in zip(panes, _cut(rng, v[where], u[where], jitter), strict=True):
            own[where] = cut

    put(1, radius < 0.115, radius / 0.062, bearing * 7, 0.1, 1 - radius / 0.115)
    ridge = 0.52 - 0.07 * np.abs(np.sin(ax * 3.4 + phase[0])) - 0.05 * np.sin(ax * 7 + phase[1])
    under = y - ridge
    put(2, under > 0, under / 0.085, (ax + 0.5 * under) / 0.10, 0.42, 0.2 + 3 * under)
    shore = 0.60 + 0.015 * np.sin(ax * 5 + phase[2])
    under = y - shore + 0.05 + 0.05 * np.sin(ax * 2.6 + phase[3])
    put(3, under > 0, under / 0.055, ax / 0.11, 0.3, 0.25 + 6 * under)
    under = y - shore
    ripples = y + 0.018 * np.sin(ax * 6 + phase[4]) + 0.008 * np.sin(ax * 15)
    put(4, under > 0, ripples / 0.042, ax / 0.19, 0.3, 0.75 - 1.1 * under)
    wake = np.abs(east + 0.03 * np.sin(y * 50)) < 0.05 + 0.22 * under
    tint(5, (under > 0) & wake, 0.2 + 1.2 * under)
    under = y - 0.86 + 0.10 * np.cos(ax * 2.4 + 0.4) - 0.015 * np.sin(ax * 9 + phase[5])
    put(3, under > 0, under / 0.06, (ax + 0.3 * y) / 0.10, 0.38, 0.15 + 3 * under)

    # Tree at the left.
    crown = np.full_like(y, np.inf)
    for row, column, size in _CROWN:
        crown = np.minimum(crown, np.hypot(y - row, ax - column * aspect) / size)
    sunlit = 0.25 + 0.9 * (ax - 0.2) + 0.7 * (0.30 - y)
    put(7, crown < 1, (y + 0.3 * ax) / 0.052, (ax - 0.3 * y) / 0.052, 0.4, sunlit)
    stem = ax - 0.20 * aspect - 0.10 * np.sin((y - 0.95) * 3.2)
    for sway, thick, top in ((0.0, 0.024, 0.30), (0.42, 0.013, 0.13), (-0.36, 0.011, 0.22)):
        lean = stem - sway * np.clip(0.50 - y, 0, 1) ** 1.2
        wood = np.abs(lean) < thick + 0.05 * np.clip(y - 0.45, 0, 1) ** 1.5
        put(6, wood & (y > top), y / 0.12, lean / 0.06, 0.2, 0.5 + 12 * lean)

    # Frame, one pane wide, with a square in each corner.
    level, upright = np.minimum(y, 1 - y), np.minimum(ax, aspect - ax)
    run = np.where(upright < level, y, ax) / 0.115
    run = np.where(np.maximum(upright, level) < 0.042, 0.5, run)
    put(_FRAME, np.minimum(upright, level) < 0.042, np.full_like(y, 0.5), run, 0.05, y)
    return _glaze(rng, region, panes, tone, radius)


def _glaze(
    rng: np.random.Generator, region: NDArray[np.int8], panes: _Panes, tone: Floats, radius: Floats
) -> Floats:
    """Return the picture of the window, lit from behind."""
    shape = region.shape
    number = region * np.int64(1 << 20) + panes.number
    random = rng.random((4, 4093)).astype(np.float32)[:, number % 4093]

    # Each pane has its own direction of streaks and its own gradient.
    streaks = noise(rng, (512, 512), 2.2, 26) + 0.7 * noise(rng, (512, 512), 9, 60)
    turn = random[0] * 2 * np.pi
    rows, columns = np.indices(shape, dtype=np.float32)
    v = rows * np.cos(turn) - columns * np.sin(turn) + 512 * random[1]
    u = rows * np.sin(turn) + columns * np.cos(turn) + 512 * random[2]
    # Mirror the texture at its edges, which hides them.
    streak = streaks[tuple(np.abs(at.astype(np.intp) % 1022 - 511) for at in (v, u))]
    fade = panes.down * np.cos(turn) + panes.across * np.sin(turn)
    tone = tone + 0.34 * (random[3] - 0.5) + 0.16 * fade + 0.06 * streak
    glass = np.empty((*shape, 3), dtype=np.float32)
    for index, colors in enumerate(_GLASS):
        here = region == index
        glass[here] = ramp(colors, random[3][here] if index == _FRAME else tone[here])
    hammered = lit(noise(rng, shape, 3.2), 0.5)
    seeds = smoothstep(2.6, 3.2, noise(rng, shape, 1.6))
    bright = 0.80 + 0.45 * np.exp(-((radius / 0.45) ** 2)) + 0.10 * streak + 0.15 * hammered

    outline, joints = seams(region.astype(np.int64)), seams(number)
    round_bar = np.maximum(blur(joints, 1.7) * 4.3, blur(outline, 2.6) * 6.5)
    grime = blur(np.minimum(joints + outline, 1), 7) * 5
    glass = glass * (bright * (1.12 - 0.5 * grime) + 0.5 * seeds)[..., None]
    lead = smoothstep(0.42, 0.60, round_bar)
    shine = lit(blur(np.sqrt(round_bar), 0.7), 5.0) + 0.15 * noise(rng, shape, 2)
    metal = ramp(_LEAD, 0.05 + 0.6 * np.clip(shine, 0, 1) + 0.12 * smoothstep(1.1, 1.6, round_bar))
    window = mix(glass, metal, lead)
    halo = np.stack([blur(window[..., channel], 8) for channel in range(3)], axis=2)
    return window * 0.92 + 0.16 * halo
