"""Kinds of films that are read and written, by the suffix of their files."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FILM_FORMATS", "FilmFormat"]


class FilmFormat(NamedTuple):
    """How films with a suffix are written.

    Attributes
    ----------
    container : str
        FFmpeg's name of the container.
    encoder : str
        FFmpeg's name of the encoder.
    options : dict of str to str
        Options of the encoder.
    pixel_format : str
        FFmpeg's name of the pixel format that players expect.
    odd_pixel_format : str
        The pixel format for films with an odd width or height.
    """

    container: str
    encoder: str
    options: dict[str, str]
    pixel_format: str = "yuv420p"
    odd_pixel_format: str = "yuv420p"


# Qualities at which the frames are hardly distinguishable from those that are encoded.
_H264 = (
    "libx264",
    # With B-frames, MP4 misstates how long uneven frames are shown.  With mbtree, the same frames
    # give other bytes in some runs.
    {"crf": "16", "bf": "0", "mbtree": "0"},
    "yuv420p",
    "yuv444p",  # H.264 in 4:2:0 has no odd sizes
)
_VP9 = ("libvpx-vp9", {"crf": "16", "b": "0", "row-mt": "1", "cpu-used": "3"})
_MOTION_JPEG = (
    "mjpeg",
    {"flags": "qscale", "global_quality": "236"},  # the best: 2, in units of 1/118
    "yuvj420p",
    "yuvj420p",
)

FILM_FORMATS = {
    ".mp4": FilmFormat("mp4", *_H264),
    ".m4v": FilmFormat("mp4", *_H264),
    ".mov": FilmFormat("mov", *_H264),
    ".mkv": FilmFormat("matroska", *_H264),
    ".webm": FilmFormat("webm", *_VP9),
    # AVI has no time stamps, so that H.264 is shown too late; ImageJ reads Motion JPEG in it.
    ".avi": FilmFormat("avi", *_MOTION_JPEG),
}
