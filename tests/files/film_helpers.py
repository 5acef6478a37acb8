"""Films for tests, written with PyAV."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.reformatter import Interpolation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SOUND_RATE = 48_000
ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def scene(k: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Return a frame with a slope of colours and a white square that moves with `k`."""
    y, x = np.mgrid[:height, :width]
    frame = np.stack([x * 2 + 20, y * 3 + 30, 180 - (x + y)], axis=-1).clip(0, 255)
    left = 4 + 3 * k % (width - 16)
    frame[8:20, left : left + 12] = 255
    return frame.astype(np.uint8)


def make_film(
    path: Path,
    frames: Sequence[NDArray[np.uint8]],
    codec: str = "libx264",
    *,
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    rate: int = 25,
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    sound: str | Sequence[str] = (),
    turned: tuple[int, bool] | None = None,
    pixel_aspect: Fraction | None = None,
    matrix: int = 5,
    tags: dict[str, int] | None = None,
) -> Path:
    """Write frames to a film.

    Parameters
    ----------
    path : Path
        The film.
    frames : sequence of ndarray
        Frames in RGB.
    codec, pixel_format, options
        Encoder, its pixel format and its options.
    times, time_base, rate
        When frames are shown, by default one after the other.
    sound : str or sequence of str
        Encoders of streams of sound, each with a tone as long as the frames.
    turned : tuple of int and bool, optional
        Degrees by which players rotate frames counterclockwise, and whether they mirror them first.
    pixel_aspect : Fraction, optional
        Width of a pixel divided by its height.
    matrix : int
        swscale's number of the matrix from RGB.
    tags : dict of str to int, optional
        Colours that the film states.
    """
    times = range(len(frames)) if times is None else times
    seconds = float((max(times) + 1) * time_base)
    with av.open(str(path), "w", format="mp4" if path.suffix == ".m4v" else None) as film:
        video = film.add_stream(codec, rate=rate, options=options or {})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = pixel_format
        video.codec_context.time_base = time_base
        if pixel_aspect is not None:
            video.codec_context.sample_aspect_ratio = pixel_aspect
        for name, value in (tags or {}).items():
            setattr(video.codec_context, name, value)
        if turned is not None:
            video.set_display_rotation(turned[0], hflip=turned[1])
        sounds = [add_sound(film, name) for name in ([sound] if isinstance(sound, str) else sound)]
        for time, pixels in zip(times, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(
                format=pixel_format,
                dst_colorspace=matrix,
                src_color_range=2,
                dst_color_range=2 if pixel_format.startswith("yuvj") else 1,
                interpolation=ACCURATE,
            )
            frame.pts, frame.time_base = time, time_base
            film.mux(video.encode(frame))
        film.mux(video.encode())
        for number, stream in enumerate(sounds):
            write_tone(film, stream, 440 * (number + 1), seconds)
    return path


def add_sound(film: Any, codec: str) -> Any:
    """Add a stream of sound to a film."""
    return film.add_stream(codec, rate=SOUND_RATE, layout="stereo")


def write_tone(film: Any, stream: Any, hertz: float, seconds: float) -> None:
    """Write a sine tone to a stream."""
    resampler = av.AudioResampler(stream.codec_context.format, "stereo", SOUND_RATE)
    size = stream.codec_context.frame_size or 1024
    for start in range(0, int(seconds * SOUND_RATE), size):
        time = np.arange(start, start + size) / SOUND_RATE
        tone = (np.sin(2 * np.pi * hertz * time) * 20_000).astype(np.int16)
        block = av.AudioFrame.from_ndarray(np.repeat(tone, 2)[None], format="s16", layout="stereo")
        block.sample_rate, block.pts, block.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
        for piece in resampler.resample(block):
            film.mux(stream.encode(piece))
    film.mux(stream.encode())


def times_of(path: Path) -> list[Fraction]:
    """Return the times in seconds at which frames are shown, as PyAV decodes them."""
    with av.open(str(path)) as film:
        return [frame.pts * frame.time_base for frame in film.decode(video=0)]


def end_of(path: Path) -> Fraction:
    """Return the time in seconds at which the last frame ends."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        if stream.duration is not None:
            return (stream.start_time + stream.duration) * stream.time_base
        packets = [packet for packet in film.demux(stream) if packet.size]
        return max(packet.pts + packet.duration for packet in packets) * stream.time_base


def sounds_of(path: Path) -> list[list[tuple[Fraction, bytes]]]:
    """Return the times and bytes of the packets of each stream of sound."""
    with av.open(str(path)) as film:
        found: list[list[tuple[Fraction, bytes]]] = [[] for _ in film.streams.audio]
        numbers = {stream.index: n for n, stream in enumerate(film.streams.audio)}
        for packet in film.demux(film.streams.audio) if found else ():
            if packet.size:
                time = packet.pts * packet.time_base
                found[numbers[packet.stream.index]].append((time, bytes(packet)))
        return found
