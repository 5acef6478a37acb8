"""Films: frames, times, sound, colours and errors."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from file_helpers import error_of
from film_helpers import add_sound, end_of, make_film, scene, sounds_of, times_of, write_tone
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.errors import InputError
from napari_nst.files import is_stack, open_stack, write_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

FRAMES = [scene(k) for k in range(12)]
UNEVEN = [0, 20, 45, 46, 100, 130, 131, 132, 300, 310, 320, 400]

# Films as other programs write them: encoder and its options, sound, and more.
KINDS: dict[str, dict[str, Any]] = {
    "bframes.mp4": {"options": {"bf": "3"}, "sound": "aac"},
    "hevc.m4v": {"codec": "libx265", "options": {"x265-params": "log-level=none"}, "sound": "aac"},
    "ten-bits.mov": {
        "codec": "prores_ks",
        "pixel_format": "yuv422p10le",
        "sound": "pcm_s16be",
    },
    "two-sounds.mkv": {"options": {"bf": "2"}, "sound": ["flac", "ac3"]},
    "vp9.webm": {"codec": "libvpx-vp9", "sound": "libopus"},
    "motion-jpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p", "sound": "pcm_s16le"},
    "mpeg4.avi": {"codec": "mpeg4", "sound": "libmp3lame"},
    "open-gop.mp4": {
        "options": {"x264-params": "open-gop=1:keyint=4:min-keyint=1:bframes=3:b-adapt=0"}
    },
    "refresh.mkv": {"options": {"x264-params": "intra-refresh=1:keyint=5:bframes=0"}},
    "uneven.mp4": {"times": UNEVEN, "time_base": Fraction(1, 600), "sound": "aac"},
    "no-bframes.mp4": {"times": UNEVEN, "time_base": Fraction(1, 600), "options": {"bf": "0"}},
    "uneven.webm": {
        "codec": "libvpx-vp9",
        "times": UNEVEN,
        "time_base": Fraction(1, 1000),
        "sound": "libopus",
    },
    "late.mkv": {"times": range(35, 47), "sound": "aac"},
    "late.mp4": {"times": range(35, 47), "sound": "aac"},
    "trimmed.mp4": {"times": range(-4, 8), "sound": "aac"},
    "lossless.mkv": {"codec": "ffv1", "pixel_format": "bgr0", "sound": "flac"},
    "png.mov": {"codec": "png", "pixel_format": "rgb24"},
    "bottom-up.avi": {"codec": "rawvideo", "pixel_format": "bgr24"},
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a film of each kind."""
    folder = tmp_path_factory.mktemp("films")
    for name, options in KINDS.items():
        make_film(folder / name, FRAMES, **options)
    return folder


def frames_of(path: Path) -> NDArray[np.uint8]:
    with open_stack(path) as stack:
        return np.stack(list(stack))


def difference(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean())


@pytest.mark.parametrize("name", KINDS)
def test_frames_are_those_that_are_shown_in_order(films: Path, name: str) -> None:
    assert is_stack(films / name)
    with open_stack(films / name) as stack:
        shown = FRAMES[4:] if name == "trimmed.mp4" else FRAMES
        assert len(stack) == len(shown) == len(times_of(films / name))
        assert (stack.axes, stack.shape[1:]) == (("frame", "y", "x", "s"), (48, 64, 3))
        assert stack.dtype == np.uint8
        for k, frame in enumerate(stack):
            distances = [difference(frame, other) for other in shown]
            assert distances[k] == min(distances) < 6


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=10)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=12))
def test_frames_are_the_same_in_any_order(films: Path, name: str, order: list[int]) -> None:
    sequential = frames_of(films / name)
    with open_stack(films / name) as stack:
        for k in order:
            np.testing.assert_array_equal(stack[k], sequential[k])


@pytest.mark.parametrize("name", KINDS)
def test_a_round_trip_keeps_frames_times_and_sound(films: Path, tmp_path: Path, name: str) -> None:
    result = tmp_path / f"result{(films / name).suffix}"
    with open_stack(films / name) as stack:
        stack.check_writable()
        write_stack(result, stack, stack)
    assert [path.name for path in tmp_path.iterdir()] == [result.name]
    before, after = frames_of(films / name), frames_of(result)
    assert after.shape == before.shape
    assert difference(before, after) < 4
    assert times_of(result) == times_of(films / name)
    assert sounds_of(result) == sounds_of(films / name)
    if name != "uneven.mp4":  # B-frames at uneven times, after which its end is wrong
        assert end_of(result) == end_of(films / name)
    with av.open(str(result)) as film:
        codec = {".webm": "vp9", ".avi": "mjpeg"}.get(result.suffix, "h264")
        assert film.streams.video[0].codec_context.name == codec
        expected = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        assert film.streams.video[0].codec_context.pix_fmt == expected


def test_the_same_frames_give_the_same_bytes(films: Path, tmp_path: Path) -> None:
    with open_stack(films / "two-sounds.mkv") as stack:
        for name in ("a.mkv", "b.mkv"):
            write_stack(tmp_path / name, stack, stack)
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


@pytest.mark.parametrize(
    ("degrees", "mirrored", "turn"),
    [
        (0, False, lambda frame: frame),
        (90, False, lambda frame: np.rot90(frame, 1)),
        (180, False, lambda frame: np.rot90(frame, 2)),
        (270, False, lambda frame: np.rot90(frame, 3)),
        (0, True, lambda frame: frame[:, ::-1]),
        (90, True, lambda frame: np.rot90(frame, 1)[:, ::-1]),
        (180, True, lambda frame: np.rot90(frame, 2)[:, ::-1]),
        (270, True, lambda frame: np.rot90(frame, 3)[:, ::-1]),
    ],
)
def test_films_of_phones_are_upright(
    tmp_path: Path, degrees: int, mirrored: bool, turn: Any
) -> None:
    path = make_film(tmp_path / "a.mp4", FRAMES[:2], turned=(degrees, mirrored))
    upright = np.stack([turn(frame) for frame in FRAMES[:2]])
    assert difference(frames_of(path), upright) < 6
    with open_stack(path) as stack:
        write_stack(tmp_path / "b.mp4", stack, stack)
    with av.open(str(tmp_path / "b.mp4")) as film:  # upright without a note for the player
        frame = next(film.decode(video=0))
        assert (frame.height, frame.width, frame.rotation) == (*upright.shape[1:3], 0)
        assert difference(frame.to_ndarray(format="rgb24"), upright[0]) < 6


@pytest.mark.parametrize("turned", [None, (90, False)])
def test_pixels_that_are_not_square_keep_their_shape(tmp_path: Path, turned: Any) -> None:
    path = make_film(tmp_path / "a.mp4", FRAMES[:2], pixel_aspect=Fraction(16, 15), turned=turned)
    with open_stack(path) as stack:
        assert stack.plane_shape == ((48, 64, 3) if turned is None else (64, 48, 3))
        write_stack(tmp_path / "b.mp4", stack, stack)
    with av.open(str(tmp_path / "b.mp4")) as film:
        aspect = film.streams.video[0].sample_aspect_ratio
        assert aspect == (Fraction(16, 15) if turned is None else Fraction(15, 16))


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.avi"])
def test_odd_sizes_are_kept(tmp_path: Path, name: str) -> None:
    codec = {"a.mp4": "mpeg4", "a.webm": "libvpx-vp9", "a.avi": "mjpeg"}[name]
    frames = [scene(k, 47, 63) for k in range(2)]
    pixel_format = "yuvj420p" if name == "a.avi" else "yuv420p"
    make_film(tmp_path / name, frames, codec, pixel_format=pixel_format)
    with open_stack(tmp_path / name) as stack:
        assert stack.shape == (2, 47, 63, 3)
        write_stack(tmp_path / f"new-{name}", stack, stack)
    assert frames_of(tmp_path / f"new-{name}").shape == (2, 47, 63, 3)


def test_frames_of_h264_in_avi_keep_their_order(tmp_path: Path) -> None:
    """AVI has no time stamps, and decoders guess wrong ones for B-frames."""
    path = make_film(tmp_path / "a.avi", FRAMES, options={"bf": "2"})
    assert times_of(path) != sorted(times_of(path))
    with open_stack(path) as stack:
        for k, frame in enumerate(stack):
            distances = [difference(frame, other) for other in FRAMES]
            assert distances[k] == min(distances) < 6
        write_stack(tmp_path / "b.avi", stack, stack)
    times = times_of(tmp_path / "b.avi")
    assert times == sorted(set(times))
    assert len(times) == 12 and times[-1] <= Fraction(12, 25)


def test_a_film_that_begins_within_a_scene_starts_at_its_first_whole_frame(tmp_path: Path) -> None:
    options = {"x264-params": "keyint=4:min-keyint=4:scenecut=0:bframes=0"}
    whole = make_film(tmp_path / "whole.mkv", FRAMES, options=options, sound="flac")
    cut = tmp_path / "cut.mkv"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        copies = [target.add_stream_from_template(stream) for stream in source.streams]
        for number, packet in enumerate(source.demux()):
            if packet.size and number:  # without the first key frame
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
    assert difference(frames_of(cut), frames_of(whole)[4:]) == 0
    with open_stack(cut) as stack:
        write_stack(tmp_path / "new.mkv", stack, stack)
    assert times_of(tmp_path / "new.mkv") == times_of(cut) == times_of(whole)[4:]
    assert sounds_of(tmp_path / "new.mkv") == sounds_of(whole)


# Colours

PATCHES = np.random.default_rng(0).integers(0, 256, (4, 6, 3))
PATCHES[0] = [(0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 0, 0), (0, 255, 0), (0, 0, 255)]
FLAT = np.repeat(np.repeat(PATCHES, 16, axis=0), 16, axis=1).astype(np.uint8)


def patches_of(frame: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean colour of each patch, without its borders."""
    blocks = frame.reshape(len(frame) // 16, 16, -1, 16, 3)[:, 4:-4, :, 4:-4]
    return blocks.mean(axis=(1, 3))


BT709, BT601, BT2020 = 1, 5, 9  # as swscale's numbers


@pytest.mark.parametrize(
    ("size", "matrix", "tags", "stated"),
    [
        ("small", BT601, {}, 6),
        ("small", BT709, {"colorspace": 1, "color_primaries": 1, "color_trc": 1}, 1),
        ("small", BT601, {"colorspace": 5, "color_primaries": 5, "color_trc": 6}, 5),
        ("small", BT2020, {"colorspace": 9, "color_primaries": 9, "color_trc": 18}, 9),
        ("large", BT709, {}, 1),  # as players assume
    ],
)
def test_a_film_keeps_its_colours(
    tmp_path: Path, size: str, matrix: int, tags: dict[str, int], stated: int
) -> None:
    flat = FLAT if size == "small" else np.tile(FLAT, (10, 1, 1))  # 640 rows
    path = make_film(tmp_path / "a.mkv", [flat], "ffv1", matrix=matrix, tags=tags)
    read = frames_of(path)[0]
    assert np.abs(patches_of(read) - patches_of(flat)).max() <= 3
    with open_stack(path) as stack:
        write_stack(tmp_path / "b.mkv", stack, stack)
    again = frames_of(tmp_path / "b.mkv")[0]
    assert np.abs(patches_of(again) - patches_of(read)).max() <= 3
    with av.open(str(tmp_path / "b.mkv")) as film:
        context = film.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (stated, 1)
        unspecified = 2
        assert context.color_primaries == tags.get("color_primaries", unspecified)
        assert context.color_trc == tags.get("color_trc", unspecified)


def test_grey_stays_grey_and_full_range_is_read(tmp_path: Path) -> None:
    ramp = np.repeat(np.repeat(np.arange(0, 256, 5, dtype=np.uint8), 4)[None], 16, axis=0)
    grey = np.repeat(ramp[..., None], 3, axis=2)
    best = {"flags": "qscale", "global_quality": "236"}
    make_film(tmp_path / "a.avi", [grey], "mjpeg", pixel_format="yuvj420p", options=best)
    make_film(tmp_path / "a.mkv", [grey], "ffv1", pixel_format="gray")
    for name in ("a.avi", "a.mkv"):
        read = frames_of(tmp_path / name)[0].astype(int)
        assert np.ptp(read, axis=2).max() <= 1
        assert np.abs(read - grey).max() <= 4
        with open_stack(tmp_path / name) as stack:
            write_stack(tmp_path / f"new-{name}", stack, stack)
        again = frames_of(tmp_path / f"new-{name}")[0].astype(int)
        assert np.ptp(again, axis=2).max() <= 2
        assert np.abs(again - grey).max() <= 8


# Errors


def test_files_that_are_not_films_raise_a_message(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("This is not a film.\n" * 100)
    (tmp_path / "empty.mkv").write_bytes(b"")
    (tmp_path / "playlist.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{tmp_path / 'other.ts'}\n")
    for name in ("text.mp4", "empty.mkv", "playlist.mp4"):
        assert is_stack(tmp_path / name)
        message = error_of(open_stack, tmp_path / name)
        assert message.startswith("is not a film, or is damaged or cut short (")
        assert message.endswith("): save or copy it again.")
    with av.open(str(tmp_path / "sound.mp4"), "w") as film:
        write_tone(film, add_sound(film, "aac"), 440, 1)
    assert error_of(open_stack, tmp_path / "sound.mp4") == (
        "has no pictures, only sound: name a film."
    )


def test_a_list_of_files_named_like_a_film_is_not_followed(tmp_path: Path) -> None:
    """FFmpeg shows the files that such a list names, wherever they are."""
    make_film(tmp_path / "other.mp4", FRAMES)
    path = tmp_path / "list.mkv"
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")
    with av.open(str(path)) as film:
        assert len(list(film.decode(video=0))) == 12
    assert "is not a film" in error_of(open_stack, path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.avi"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_films_that_are_cut_short_raise_a_message(tmp_path: Path, name: str, share: float) -> None:
    codec = {"a.webm": "libvpx-vp9", "a.avi": "mpeg4"}.get(name, "libx264")
    path = make_film(tmp_path / name, FRAMES, codec, rate=2, time_base=Fraction(1, 2))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cut short" in error_of(open_stack, path)


def test_frames_of_a_damaged_film_are_the_same_in_any_order(tmp_path: Path) -> None:
    """Decoders replace what is damaged by parts of the frames that they decoded before."""
    frames = [scene(k, 96, 128) for k in range(24)]
    path = make_film(tmp_path / "a.avi", frames, "mpeg4", options={"g": "6", "bf": "2"})
    content = path.read_bytes()
    opened = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        for place in rng.integers(len(content) // 10, len(content) * 8 // 10, 3):
            damaged[place] ^= int(rng.integers(1, 256))
        path = tmp_path / f"{seed}.avi"
        path.write_bytes(damaged)
        try:
            sequential = frames_of(path)
        except InputError:
            continue
        opened += 1
        with open_stack(path) as stack:
            for k in rng.integers(0, len(stack), 12).tolist():
                np.testing.assert_array_equal(stack[k], sequential[k])
    assert opened


def test_a_film_that_changes_its_size_raises_a_message(tmp_path: Path) -> None:
    # Motion JPEG has the size in each frame.
    small, large = (
        make_film(tmp_path / f"{n}.avi", [scene(0, 48, n)], "mjpeg", pixel_format="yuvj420p")
        for n in (64, 96)
    )
    packets = []
    for path in (small, large):
        with av.open(str(path)) as film:
            packets += [bytes(p) for p in film.demux(video=0) if p.size]
    with av.open(str(tmp_path / "a.avi"), "w") as film, av.open(str(small)) as source:
        stream = film.add_stream_from_template(source.streams.video[0])
        for time, content in enumerate(packets):
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts = stream, time, time
            packet.time_base, packet.is_keyframe = Fraction(1, 25), True
            film.mux(packet)
    assert "changes its size from 64 x 48 to 96 x 48 pixels at frame 1" in error_of(
        open_stack, tmp_path / "a.avi"
    )


def test_sound_that_the_container_cannot_hold_raises_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_film(tmp_path / "a.mkv", FRAMES[:2], sound="ac3")
    (tmp_path / "a.mkv").rename(tmp_path / "a.webm")  # Matroska, whose sounds WebM lacks
    with open_stack(tmp_path / "a.webm") as stack:
        assert len(list(stack)) == 2
        message = error_of(lambda path: stack.check_writable(), tmp_path / "a.webm")
    assert message == (
        "has sound of the kind ac3, which cannot be copied to a .webm film: convert it to .mkv, "
        "for example with FFmpeg."
    )


def test_sound_that_ffmpeg_does_not_know_is_left_out(tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mp4", FRAMES, sound=["aac", "libopus"])
    path.write_bytes(path.read_bytes().replace(b"Opus", b"apac"))  # as from an iPhone
    with open_stack(path) as stack:
        write_stack(tmp_path / "b.mp4", stack, stack)
    assert sounds_of(tmp_path / "b.mp4") == sounds_of(path)[:1]


def test_pictures_that_ffmpeg_does_not_know_raise_a_message(tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mp4", FRAMES[:2], "mpeg4")
    path.write_bytes(path.read_bytes().replace(b"mp4v", b"none").replace(b"esds", b"none"))
    assert error_of(open_stack, path) == (
        "has pictures of a kind that PyAV lacks: convert it to H.264."
    )


def test_the_cover_of_a_film_is_no_frame(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as film:
        video = film.add_stream("libx264", rate=25)
        cover = film.add_stream("mjpeg", rate=1)
        cover.disposition = Disposition.attached_pic
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        cover.width, cover.height, cover.pix_fmt = 320, 240, "yuvj420p"
        for stream, count in ((cover, 1), (video, 3)):
            for time in range(count):
                frame = av.VideoFrame(stream.width, stream.height, stream.pix_fmt)
                frame.pts = time
                film.mux(stream.encode(frame))
            film.mux(stream.encode())
    with open_stack(tmp_path / "a.mp4") as stack:
        assert stack.shape == (3, 48, 64, 3)


@pytest.mark.parametrize("side", [20_000, 60_000])  # a frame of 1.2 and of 10.8 GB
def test_sizes_are_checked_before_a_frame_is_decoded(tmp_path: Path, side: int) -> None:
    path = make_film(tmp_path / "a.avi", FRAMES[:2], "rawvideo", pixel_format="bgr24")
    content = bytearray(path.read_bytes())
    header = content.index(b"strf") + 12  # width and height
    assert struct.unpack_from("<ii", content, header) == (64, -48)
    struct.pack_into("<ii", content, header, side, -side)
    path.write_bytes(content)
    assert error_of(open_stack, path)


def test_a_missing_encoder_raises_a_message(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_nst.files import _film_write

    formats = {".mp4": _film_write.FILM_FORMATS[".mp4"]._replace(encoder="no-such-encoder")}
    monkeypatch.setattr(_film_write, "FILM_FORMATS", formats)
    with open_stack(films / "bframes.mp4") as stack:
        message = error_of(lambda path: stack.check_writable(), films / "bframes.mp4")
    assert "cannot be encoded again as a .mp4 film (" in message


def test_a_failed_write_keeps_the_old_film(films: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"old")

    def broken(stack: Any) -> Iterator[Any]:
        yield stack[0]
        raise InputError("no more planes")

    with open_stack(films / "bframes.mp4") as stack:
        with pytest.raises(InputError, match="no more planes"):
            write_stack(tmp_path / "out.mp4", stack, broken(stack))
        with pytest.raises(InputError, match=r"out\.mp4 cannot be written"):
            write_stack(tmp_path / "no folder" / "out.mp4", stack, stack)
    assert (tmp_path / "out.mp4").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_film_that_changes_while_it_is_read_raises_a_message(tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mp4", FRAMES)
    with open_stack(path) as stack:
        assert len(stack) == 12
        make_film(path, FRAMES[::-1])
        with pytest.raises(InputError, match="was changed while it was read"):
            [stack[k] for k in (11, 0, 5)]


def test_without_pyav_a_message_names_the_extra(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name == "av" or name.startswith(("av.", "napari_nst.files._stack_film")):
            monkeypatch.delitem(sys.modules, name)
        if name.startswith("napari_nst.files._film_"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "av", None)
    assert is_stack(films / "bframes.mp4")
    assert error_of(open_stack, films / "bframes.mp4") == (
        "is a film, and the package av is not installed: install it with "
        "'pip install napari-nst[film]'."
    )
