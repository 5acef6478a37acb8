"""Write a film with the times and the sound of another film."""

from __future__ import annotations

import io
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import av

from napari_nst.errors import InputError
from napari_nst.files._common import detail
from napari_nst.files._film_formats import FILM_FORMATS
from napari_nst.files._film_open import open_film

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from fractions import Fraction
    from pathlib import Path

    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from napari_nst.files._film_index import FilmIndex

__all__ = ["check_film_writable", "write_film"]

_LIMITED_RANGE, _FULL_RANGE = 1, 2


def check_film_writable(source: Path, index: FilmIndex) -> None:
    """Raise InputError if no film like another can be written, for example with its sound."""
    with _output(io.BytesIO(), source, index) as (film, _, _):
        film.start_encoding()


def write_film(path: Path, source: Path, index: FilmIndex, planes: Iterable[NDArray[Any]]) -> None:
    """Write frames with the times, the size, the colours and the sound of another film.

    Parameters
    ----------
    path : Path
        The destination; any suffix.
    source : Path
        The film with the sound; its suffix selects the format.
    index : FilmIndex
        Frames of that film.
    planes : iterable of ndarray of uint8, shape (H, W, 3)
        The frames, as many as in the film.

    Raises
    ------
    InputError
        If the film cannot be encoded, or its container cannot hold the sound.
    """
    with _output(str(path), source, index) as (film, video, sound):
        pixel_format = str(video.pix_fmt)
        colour = index.colour.as_written(pixel_format)
        durations = {time: end - time for time, end in pairwise(index.times)}
        for time, plane in zip(durations, planes, strict=True):
            sound.copy_until(time * index.time_base)
            frame = colour.from_rgb(plane, pixel_format)
            frame.pts, frame.time_base = time, index.time_base
            _mux(film, video.encode(frame), durations)
        _mux(film, video.encode(), durations)
        sound.copy_until(None)


def _mux(
    film: OutputContainer, packets: Iterable[Packet[Any]], durations: Mapping[int, int]
) -> None:
    """Write packets with the durations of their frames, which encoders do not pass on."""
    for packet in packets:
        if packet.pts is not None:
            packet.duration = durations[packet.pts]
        film.mux(packet)


class _Sound:
    """Copies the sound of a film to another, packet by packet."""

    def __init__(self, path: Path, source: InputContainer, target: OutputContainer) -> None:
        # FFmpeg finds no codec for some sound, such as the spatial one beside that of an iPhone.
        streams = [stream for stream in source.streams.audio if stream.codec_context is not None]
        self._copies = {}
        for stream in streams:
            try:
                copy = target.add_stream_from_template(stream)
            except ValueError as error:
                raise InputError(
                    f"{path} has sound of the kind {stream.codec.name}, which cannot be copied to "
                    f"a {path.suffix} film: convert it to .mkv, for example with FFmpeg."
                ) from error
            copy.metadata.update(stream.metadata)  # such as its language
            copy.disposition = stream.disposition
            self._copies[stream.index] = copy
        self._target = target
        self._packets = source.demux(streams) if streams else iter(())
        self._next = next(self._packets, None)

    def copy_until(self, seconds: Fraction | None) -> None:
        """Copy what begins before a time, or the rest."""
        while (packet := self._next) is not None:
            late = packet.dts is not None and packet.dts * packet.time_base >= (seconds or 0)
            if seconds is not None and late:
                return
            if packet.size:  # the last packets are empty
                packet.stream = self._copies[packet.stream.index]
                self._target.mux(packet)
            self._next = next(self._packets, None)


@contextmanager
def _output(
    file: str | io.BytesIO, source: Path, index: FilmIndex
) -> Iterator[tuple[OutputContainer, VideoStream, _Sound]]:
    """Yield a film to write to, its stream of pictures, and its sound."""
    written = FILM_FORMATS[source.suffix.lower()]
    reproducible = {"fflags": "bitexact"}  # without the random numbers of Matroska
    try:
        with (
            open_film(source) as sound_source,
            av.open(file, "w", format=written.container, container_options=reproducible) as film,
        ):
            video = film.add_stream(written.encoder, rate=index.rate, options=dict(written.options))
            assert isinstance(video, av.VideoStream)
            even = index.width % 2 == index.height % 2 == 0
            _set_up(video, index, written.pixel_format if even else written.odd_pixel_format)
            yield film, video, _Sound(source, sound_source, film)
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, (InputError, OSError)):
            raise
        raise InputError(
            f"{source} cannot be encoded again as a {source.suffix} film ({detail(error)}): "
            "convert it to .mkv, for example with FFmpeg."
        ) from error


def _set_up(video: VideoStream, index: FilmIndex, pixel_format: str) -> None:
    """Set size, times and colours."""
    context, colour = video.codec_context, index.colour.as_written(pixel_format)
    context.width, context.height = index.width, index.height
    context.pix_fmt = pixel_format
    context.time_base = index.time_base
    context.sample_aspect_ratio = index.pixel_aspect
    context.color_range = _FULL_RANGE if colour.full_range else _LIMITED_RANGE
    context.colorspace = colour.matrix
    context.color_primaries = colour.primaries
    context.color_trc = colour.transfer
