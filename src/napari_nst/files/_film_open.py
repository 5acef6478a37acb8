"""Open films: which files are films, and which of their streams is the film."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
from av.stream import Disposition

from napari_nst.errors import InputError
from napari_nst.files._limits import MAX_PIXELS, check_size

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["open_film", "video_stream"]

# FFmpeg also opens a list of files that is named like a film, and shows what the list names.
_OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi",
    "protocol_whitelist": "file",
}


def open_film(path: Path) -> InputContainer:
    """Open a film; the caller closes it.  Raises errors of PyAV."""
    return av.open(f"file:{path}", "r", options=_OPTIONS, metadata_errors="replace")


def video_stream(path: Path, container: InputContainer) -> VideoStream:
    """Return the stream with the pictures, ready to be decoded.

    Raises
    ------
    InputError
        If there is none, or its pictures are too large.
    """
    films = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic  # the cover of an album
    ]
    streams = [stream for stream in films if stream.codec_context is not None]
    if films and not streams:
        raise InputError(f"{path} has pictures of a kind that PyAV lacks: convert it to H.264.")
    if not streams and container.streams.audio:
        raise InputError(f"{path} has no pictures, only sound: name a film.")
    if not streams:
        raise InputError(f"{path} has no pictures; it is damaged or cut short: copy it again.")
    best = container.streams.best("video")
    stream = next((each for each in streams if each is best), streams[0])
    check_size(path, stream.width, stream.height)
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    # Not by frames: then what stands for damaged parts depends on which thread is faster.
    stream.thread_type = "SLICE"
    return stream
