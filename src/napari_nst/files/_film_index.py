"""List the frames of a film: their times, and checksums by which they are found again."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from napari_nst.errors import InputError
from napari_nst.files._film_colour import FilmColour
from napari_nst.files._film_open import open_film, video_stream
from napari_nst.files._film_orientation import Orientation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["FilmIndex", "checksum", "decode", "read_index"]

_DEFAULT_RATE = Fraction(25)
# The header of a film that was cut short states a longer duration.  The last frame of a screen
# recording may be shown for long, without a duration of its own.
_MISSING_SECONDS, _MISSING_SHARE = Fraction(1), Fraction(1, 20)


@dataclass(frozen=True)
class FilmIndex:
    """The frames of a film in the order in which they are shown.

    Attributes
    ----------
    height, width : int
        Size of an upright frame.
    time_base : Fraction
        Seconds of a unit of `times`.
    times : tuple of int
        When each frame is shown, and when the last one ends; increasing.
    rate : Fraction
        Average frames in a second.
    pixel_aspect : Fraction
        Width of a pixel divided by its height.
    colour : FilmColour
        How the film stores colours.
    orientation : Orientation
        How a frame is turned before it is shown.
    stamps : tuple of (int or None)
        Time stamps of the decoder, by which it finds frames: neither unique nor in order in all
        films.
    keys : tuple of int
        Frames that can be decoded without the frames before them.
    checksums : tuple of int
        Checksum of each decoded frame.
    """

    height: int
    width: int
    time_base: Fraction
    times: tuple[int, ...]
    rate: Fraction
    pixel_aspect: Fraction
    colour: FilmColour
    orientation: Orientation
    stamps: tuple[int | None, ...]
    keys: tuple[int, ...]
    checksums: tuple[int, ...]


def read_index(path: Path) -> FilmIndex:
    """Decode all frames of a film once, because headers count frames that no player shows.

    Raises
    ------
    InputError
        If the film is damaged, has no pictures, or changes its size.
    """
    stat = path.stat()
    return _read_index(path, path.absolute(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=32)
def _read_index(path: Path, key: Path, size: int, changed: int) -> FilmIndex:
    stamps: list[int | None] = []
    keys: list[int] = []
    checksums: list[int] = []
    first: VideoFrame | None = None
    with open_film(path) as film:
        stream = video_stream(path, film)
        length = _Length()
        for packet in film.demux():  # of all streams, because the sound may be cut short
            if packet.is_corrupt:
                raise InputError(f"{path} is damaged or cut short: save or copy it again.")
            length.add(packet)
            if packet.stream.index != stream.index:
                continue
            for frame in decode(stream, packet, begun=first is not None):
                first = first or frame
                _check_size(path, frame, first, len(stamps))
                if frame.key_frame:
                    keys.append(len(stamps))
                stamps.append(frame.pts)
                checksums.append(checksum(frame))
                duration = frame.duration
        if first is None:
            raise InputError(
                f"{path} has no picture that can be decoded; it is damaged or cut short: copy it "
                "again."
            )
        rate = stream.average_rate or stream.guessed_rate or _DEFAULT_RATE
        length.check(path, max(Fraction(film.duration or 0, av.time_base), stream.frames / rate))
        time_base = stream.time_base or 1 / rate
        step = max(1, round(1 / rate / time_base))
        times = _increasing(stamps, step)
        orientation = Orientation.from_frame(first)
        height, width = first.height, first.width
        pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
        if orientation.transposed:
            height, width, pixel_aspect = width, height, 1 / pixel_aspect
        return FilmIndex(
            height,
            width,
            time_base,
            (*times, _end(stream, times[-1], duration or step)),
            rate,
            pixel_aspect,
            FilmColour.from_frame(path, first),
            orientation,
            tuple(stamps),
            tuple(keys),
            tuple(checksums),
        )


class _Length:
    """Time from the beginning of the first packet to the end of the last one."""

    def __init__(self) -> None:
        self._begin = self._end = Fraction(0)

    def add(self, packet: Packet[Any]) -> None:
        """Count a packet of any stream."""
        if packet.pts is not None and packet.time_base is not None:
            begin = packet.pts * packet.time_base
            self._begin = min(self._begin, begin)
            self._end = max(self._end, begin + (packet.duration or 0) * packet.time_base)

    def check(self, path: Path, stated: Fraction) -> None:
        """Raise InputError if the film is much shorter than its header states."""
        found = self._end - self._begin
        if stated - found > max(_MISSING_SECONDS, _MISSING_SHARE * stated):
            raise InputError(
                f"{path} is cut short: its header states {float(stated):.1f} s, and it has "
                f"{float(found):.1f} s. Copy it again."
            )


def _check_size(path: Path, frame: VideoFrame, first: VideoFrame, k: int) -> None:
    if (frame.width, frame.height) != (first.width, first.height):
        raise InputError(
            f"{path} changes its size from {first.width} x {first.height} to {frame.width} x "
            f"{frame.height} pixels at frame {k}: save the parts as separate files."
        )


def _end(stream: VideoStream, last: int, duration: int) -> int:
    """Return when the last frame ends; `duration` is what its packet states.

    In MP4, packets state the time to the next packet, which may be of an earlier frame.
    """
    if stream.duration is not None:
        end = (stream.start_time or 0) + stream.duration
        if end > last:
            return end
    return last + duration


def _increasing(stamps: Sequence[int | None], step: int) -> tuple[int, ...]:
    """Return increasing times for time stamps, some of which may be wrong or missing."""
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < len(stamps):  # as in AVI, whose frames follow each other at a constant rate
        start = min(known, default=0)
        return tuple(start + step * k for k in range(len(stamps)))
    times: list[int] = []
    for stamp in sorted(known):  # decoders confuse the stamps of frames in AVI, not the frames
        times.append(max(stamp, times[-1] + 1) if times else stamp)
    return tuple(times)


def decode(stream: VideoStream, packet: Packet[Any], *, begun: bool) -> Sequence[VideoFrame]:
    """Decode a packet; errors before the first frame mean that the film begins within a scene."""
    try:
        return stream.decode(packet)
    except av.FFmpegError:
        if begun:
            raise
        return ()


def checksum(frame: VideoFrame) -> int:
    """Return a checksum of the pixels of a frame, or of a part of each row if it is not planar."""
    bits = min(8, frame.format.padded_bits_per_pixel)
    value = 0
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)
        # The memory between the rows has any values.
        value = zlib.crc32(rows[:, : plane.width * bits // 8].tobytes(), value)
    return value
