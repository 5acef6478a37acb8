"""Read the frames of a film in any order, each exactly as when the film is played."""

from __future__ import annotations

import bisect
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import av

from napari_nst.errors import InputError
from napari_nst.files._film_index import FilmIndex, checksum, decode
from napari_nst.files._film_open import open_film, video_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

__all__ = ["FilmReader"]


class FilmReader:
    """Decoder of a film, with a few frames in memory.

    Frames in order are decoded once.  For another frame, the decoder begins at the key frame before
    it.  In a damaged film that may give other pixels, which the checksum shows; then it begins with
    the first frame.

    Parameters
    ----------
    path : Path
        The film.
    index : FilmIndex
        Its frames.
    """

    def __init__(self, path: Path, index: FilmIndex) -> None:
        self._path, self._index = path, index
        self._by_stamp = {stamp: k for k, stamp in enumerate(index.stamps)}
        self._open()

    def close(self) -> None:
        """Close the film."""
        self._film.close()

    def read(self, k: int) -> NDArray[Any]:
        """Return the pixels of frame `k`, upright, (H, W, 3) of uint8.

        Raises
        ------
        InputError
            If the film has changed since the index was read.
        """
        key = self._key_before(k)
        if self._next is None or not key <= self._next <= k:
            self._seek(key)
        try:
            frame = self._decode_until(k)
        except av.FFmpegError:
            frame = None
        if not self._is_right(k, frame):
            self._restart()
            frame = self._decode_until(k)
        if frame is None or not self._is_right(k, frame):
            raise InputError(f"{self._path} was changed while it was read: start again.")
        return self._index.orientation.apply(self._index.colour.to_rgb(frame))

    def _key_before(self, k: int) -> int:
        """Return the last key frame that is not after frame `k`."""
        place = bisect.bisect_right(self._index.keys, k)
        return self._index.keys[place - 1] if place else 0

    def _is_right(self, k: int, frame: VideoFrame | None) -> bool:
        return frame is not None and checksum(frame) == self._index.checksums[k]

    def _open(self) -> None:
        """Open the film at its first frame."""
        self._film = open_film(self._path)
        self._stream = video_stream(self._path, self._film)
        self._frames = self._decode()
        self._next: int | None = 0  # frame that the decoder returns next, if known

    def _restart(self) -> None:
        self._film.close()
        self._open()

    def _seek(self, key: int) -> None:
        """Continue with a key frame, or with one before it."""
        stamp = self._index.stamps[key]
        if key and stamp is not None:
            with suppress(av.FFmpegError):  # not all films have a table of key frames
                self._film.seek(stamp, stream=self._stream)
                self._frames, self._next = self._decode(), None
                return
        self._restart()

    def _decode(self) -> Iterator[VideoFrame]:
        """Yield the frames from here on, without those that cannot be decoded after a seek."""
        begun = False
        for packet in self._film.demux(self._stream):
            frames = decode(self._stream, packet, begun=begun)
            begun = begun or bool(frames)
            yield from frames

    def _decode_until(self, k: int) -> VideoFrame | None:
        """Return frame `k`, or None if the decoder is not before it."""
        for frame in self._frames:
            if self._next is None:
                self._next = self._by_stamp.get(frame.pts)
                if self._next is None:
                    return None
            self._next += 1
            if self._next > k:
                return frame if self._next == k + 1 else None
        return None
