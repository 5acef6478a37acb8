"""The README's animation: how its frames are encoded."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from make_animation import FILE, MOST_BYTES, encode


def noise(count: int) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)) for _ in range(count)]


def test_animation_keeps_frames_and_times_and_never_ends() -> None:
    with Image.open(io.BytesIO(encode(noise(3), [1000, 50, 200]))) as animation:
        times = []
        for frame in range(animation.n_frames):
            animation.seek(frame)
            animation.load()
            times.append(animation.info["duration"])

    assert times == [1000, 50, 200]
    assert animation.info["loop"] == 0


def test_quality_falls_until_the_animation_is_small_enough() -> None:
    frames, times = noise(3), [100] * 3
    best = encode(frames, times)

    smaller = encode(frames, times, most_bytes=len(best) - 1)

    assert len(smaller) < len(best)
    with pytest.raises(ValueError, match="of 100"):
        encode(frames, times, most_bytes=100)


def test_the_animation_of_the_readme_is_small_enough_and_not_too_long() -> None:
    assert FILE.stat().st_size <= MOST_BYTES
    with Image.open(FILE) as animation:
        assert animation.format == "WEBP"
        milliseconds = 0
        for frame in range(animation.n_frames):
            animation.seek(frame)
            animation.load()
            milliseconds += animation.info["duration"]
    assert 5_000 <= milliseconds <= 15_000
