"""Animated GIF, PNG and WebP: frames, durations, transparency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from file_helpers import error_of
from film_helpers import scene
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_nst.errors import InputError
from napari_nst.files import is_stack, open_stack, read_image, write_stack

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FRAMES = [scene(k) for k in range(5)]
TIMES = [100, 50, 30, 200, 70]
NAMES = ["a.gif", "a.png", "a.webp"]


def save(path: Path, frames: list[NDArray[np.uint8]] | None = None, **options: Any) -> Path:
    """Write an animation with Pillow; lossless, except for GIF."""
    first, *others = map(Image.fromarray, FRAMES if frames is None else frames)
    options = {"duration": TIMES, "lossless": True, **options}
    first.save(path, save_all=True, append_images=others, **options)
    return path


def moving_spot(k: int) -> NDArray[np.uint8]:
    """Return a transparent frame with an opaque rectangle."""
    frame = np.zeros((48, 64, 4), np.uint8)
    frame[8:30, 4 + 9 * k : 24 + 9 * k] = (200, 40 * k, 90, 255)
    return frame


def frames_of(path: Path) -> NDArray[np.uint8]:
    with open_stack(path) as stack:
        return np.stack(list(stack))


def times_of(path: Path) -> list[float]:
    with Image.open(path) as image:
        times = []
        for k in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(k)
            image.load()
            times.append(image.info.get("duration", 0))
        return times


def loops_of(path: Path) -> int | None:
    with Image.open(path) as image:
        return image.info.get("loop")


def rewrite(path: Path) -> Path:
    with open_stack(path) as stack:
        write_stack(path.with_name(f"new-{path.name}"), stack, stack)
    return path.with_name(f"new-{path.name}")


@pytest.mark.parametrize("name", NAMES)
def test_an_animation_is_a_stack_of_the_frames_that_are_shown(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name)
    assert is_stack(path)
    with open_stack(path) as stack:
        assert (stack.axes, stack.shape) == (("frame", "y", "x", "s"), (5, 48, 64, 3))
        assert stack.dtype == np.uint8
        for k, frame in enumerate(stack):
            np.testing.assert_array_equal(frame, read_image(path, k)[..., :3])
            assert np.abs(frame.astype(int) - FRAMES[k]).mean() < 4


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_frames_are_the_same_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, name: str, order: list[int]
) -> None:
    path = save(tmp_path_factory.mktemp("animation") / name)
    sequential = frames_of(path)
    with open_stack(path) as stack:
        for k in order:
            np.testing.assert_array_equal(stack[k], sequential[k])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loop", [None, 0, 3])
def test_a_round_trip_keeps_frames_durations_and_loops(
    tmp_path: Path, name: str, loop: int | None
) -> None:
    path = save(tmp_path / name, **({} if loop is None else {"loop": loop}))
    again = rewrite(path)
    with Image.open(again) as image:
        assert image.format == {"a.gif": "GIF", "a.png": "PNG", "a.webp": "WEBP"}[name]
    assert times_of(again) == TIMES
    assert loops_of(again) == loops_of(path)
    assert loop is None or loops_of(again) == loop
    assert np.abs(frames_of(again).astype(int) - frames_of(path)).mean() < 4


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_frames_of_a_gif_are_composed_as_players_do(tmp_path: Path, disposal: int) -> None:
    # Frames that store only a part, with a palette of their own, over what remains of the others.
    frames = [moving_spot(k) for k in range(4)]
    path = save(tmp_path / "a.gif", frames, duration=80, loop=0, disposal=disposal)
    with Image.open(path) as image:
        expected = []
        for k in range(4):
            image.seek(k)
            expected.append(np.asarray(image.convert("RGBA")))
    found = frames_of(path)
    assert found.shape == (4, 48, 64, 4)
    np.testing.assert_array_equal(found, expected)
    again = frames_of(rewrite(path))
    np.testing.assert_array_equal(again[..., 3], found[..., 3])
    visible = found[..., 3] > 0
    np.testing.assert_allclose(again[visible].astype(int), found[visible], atol=2)


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_transparency_is_kept(tmp_path: Path, name: str) -> None:
    frames = [moving_spot(k) for k in range(5)]
    frames[2][10:20, :10] = (10, 200, 30, 128)
    again = rewrite(save(tmp_path / name, frames))
    np.testing.assert_array_equal(frames_of(again)[..., 3], np.stack(frames)[..., 3])
    assert times_of(again) == TIMES


def test_a_gif_may_be_transparent_everywhere(tmp_path: Path) -> None:
    frames = [moving_spot(0), np.zeros((48, 64, 4), np.uint8)]
    path = save(tmp_path / "a.gif", frames, duration=80, disposal=2)
    with open_stack(path) as stack:
        write_stack(tmp_path / "b.gif", stack, [frames[1]] * 2)
    assert frames_of(tmp_path / "b.gif")[..., 3].max() == 0


def test_a_gif_keeps_frames_that_are_equal(tmp_path: Path) -> None:
    path = save(tmp_path / "a.gif")
    with open_stack(path) as stack:
        write_stack(tmp_path / "b.gif", stack, [stack[0]] * 5)
    assert times_of(tmp_path / "b.gif") == TIMES
    assert (frames_of(tmp_path / "b.gif") == frames_of(tmp_path / "b.gif")[0]).all()


def test_a_still_part_of_a_gif_does_not_flicker(tmp_path: Path) -> None:
    """A palette for each frame, or dithering, would change it."""
    rng = np.random.default_rng(0)
    frames = [scene(0) for _ in range(5)]
    for frame in frames:
        frame[:24] = rng.integers(0, 256, (24, 64, 3))
    found = frames_of(rewrite(save(tmp_path / "a.png", frames).rename(tmp_path / "b.png")))
    np.testing.assert_array_equal(found, frames)
    path = save(tmp_path / "c.gif")
    with open_stack(path) as stack:
        write_stack(tmp_path / "d.gif", stack, frames)
    still = frames_of(tmp_path / "d.gif")[:, 24:]
    assert (still == still[0]).all()


def test_the_picture_for_programs_without_animation_is_kept(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", duration=TIMES[1:], default_image=True)
    again = rewrite(path)
    np.testing.assert_array_equal(frames_of(again), FRAMES)
    assert times_of(again) == [0, *TIMES[1:]]
    with Image.open(again) as image:
        assert image.info["default_image"]


def test_pictures_and_animations_of_another_suffix_are_no_stacks(tmp_path: Path) -> None:
    for name in NAMES:
        Image.fromarray(FRAMES[0]).save(tmp_path / name)
        assert not is_stack(tmp_path / name)
    save(tmp_path / "b.gif").rename(tmp_path / "b.png")
    assert not is_stack(tmp_path / "b.png")
    with pytest.raises(InputError, match="cannot be read as a stack"):
        open_stack(tmp_path / "b.png")


def test_a_damaged_animation_raises_a_message(tmp_path: Path) -> None:
    path = save(tmp_path / "a.gif")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "is damaged or cut short (" in error_of(open_stack, path)
