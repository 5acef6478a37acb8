"""Open TIFF files, checking the sizes in their headers before memory is allocated for them."""

from __future__ import annotations

import io
import math
import re
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import tifffile
from PIL import Image

from napari_nst.errors import InputError
from napari_nst.files._kinds import camera_raw_error, check_kind
from napari_nst.files._limits import MAX_PLANES, check_bytes, check_size
from napari_nst.files._pillow import without_pillow_limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["check_page", "is_tiff", "open_tiff"]

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_REDUCED = 1  # bit of NewSubfileType: a preview
_CAMERA_RAW = (tifffile.PHOTOMETRIC.CFA, tifffile.PHOTOMETRIC.LINEAR_RAW)

# Compressions whose strips and tiles ("segments") have headers with sizes of their own.
_JPEG = (6, 7, 33007, 34892)
_OTHER_WITH_HEADER = (33003, 33004, 33005, 34712, 34933, 50001)
_PILLOW_FORMATS = ("JPEG2000", "PNG", "WEBP")
_JPEG_XL = (50002, 52546)  # headers that no library here reads without decoding
_HEADER_BYTES = 2**16  # at the start of a segment
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PADDING_FACTOR, _PADDING_PIXELS = 4, 2**16  # tolerated in the header of a segment

_OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^<>]*>")
_OME_SIZE = re.compile(r"\bSize[XYZCT]\s*=\s*[\"']\s*(\d+)")
_OME_INDEX = re.compile(r"\b(?:First[ZCT]|IFD|NumPlanes|PlaneCount)\s*=\s*[\"']\s*(\d+)")


def is_tiff(path: Path) -> bool:
    """Return whether a file begins with a TIFF signature."""
    with path.open("rb") as stream:
        return stream.read(4) in _SIGNATURES


def open_tiff(path: Path) -> tifffile.TiffFile:
    """Open a TIFF file after checking the sizes in its header; the caller closes it.

    Raises InputError for camera raw files and excessive sizes, and any exception for damaged files.
    """
    check_kind(path)
    tiff = tifffile.TiffFile(path)
    try:
        page = tiff.pages.first
        preview = page.subfiletype & _REDUCED and page.subifds
        if page.photometric in _CAMERA_RAW or preview:
            raise camera_raw_error(path)
        check_page(path, page)
        _check_plane_count(path, tiff)
    except BaseException:
        tiff.close()
        raise
    return tiff


def check_page(path: Path, page: Any) -> None:
    """Check that a page can be decoded within the memory limit.

    Byte counts of segments are reduced to the size of the file.  Raises InputError for excessive
    sizes, and ValueError if the file is too short or a segment's own header claims more pixels.
    """
    key = page.keyframe
    if key.compression in _JPEG_XL:
        raise InputError(f"{path} is compressed as JPEG XL: save it with another compression.")
    check_size(path, key.imagewidth, key.imagelength * key.imagedepth)
    itemsize = 1 if key.dtype is None else key.dtype.itemsize
    segment_pixels = math.prod(key.chunks)
    check_bytes(path, max(key.size, segment_pixels) * itemsize)
    file_size = page.parent.filehandle.size
    if key.is_contiguous and page.dataoffsets[0] + key.nbytes > file_size:
        raise ValueError(f"its header claims {key.nbytes} bytes, and the file has {file_size}")
    if max(page.databytecounts, default=0) > file_size:
        # Wrong counts are common, and harmless if nothing is read beyond the end of the file.
        page.databytecounts = tuple(min(count, file_size) for count in page.databytecounts)
    if key.compression in (*_JPEG, *_OTHER_WITH_HEADER):
        for width, height in _segment_sizes(page):
            if width * height > _PADDING_FACTOR * segment_pixels + _PADDING_PIXELS:
                raise ValueError(f"one of its strips or tiles claims {width} x {height} pixels")


def _segment_sizes(page: Any) -> Iterator[tuple[int, int]]:
    """Yield the width and height in the headers of the segments, if they can be read."""
    file = page.parent.filehandle
    read = _jpeg_size if page.keyframe.compression in _JPEG else _size_with_pillow
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        file.seek(offset)
        head = file.read(min(count, _HEADER_BYTES))
        with suppress(Exception):  # decoding reports the error
            yield read(head)


def _jpeg_size(head: bytes) -> tuple[int, int]:
    start = 2  # after the start-of-image marker
    while True:
        marker, length = struct.unpack(">xBH", head[start : start + 4])
        if marker in _START_OF_FRAME:
            height, width = struct.unpack(">HH", head[start + 5 : start + 9])
            return width, height
        start += 2 + length


def _size_with_pillow(head: bytes) -> tuple[int, int]:
    with (
        without_pillow_limits(),
        Image.open(io.BytesIO(head), formats=_PILLOW_FORMATS) as image,
    ):
        return image.size


def _check_plane_count(path: Path, tiff: tifffile.TiffFile) -> None:
    """Raise InputError if the metadata claim more planes than tifffile should list."""
    page = tiff.pages.first
    counts = [1]
    if tiff.is_ome:
        text = tiff.ome_metadata or ""
        counts += map(int, _OME_INDEX.findall(text))
        counts += (
            math.prod(map(int, _OME_SIZE.findall(pixels))) // (page.imagewidth * page.imagelength)
            for pixels in _OME_PIXELS.findall(text)
        )
    if tiff.is_micromanager:
        metadata = tiff.micromanager_metadata or {}
        summary, index = metadata.get("Summary", {}), metadata.get("IndexMap")
        last_indices = [0] * 4 if index is None else index[:, :4].max(axis=0).tolist()
        axes = ("Channels", "Slices", "Frames", "Positions")
        counts.append(
            math.prod(
                max(int(summary.get(axis, 1)), last + 1)
                for axis, last in zip(axes, last_indices, strict=True)
            )
        )
    if max(counts) > MAX_PLANES:
        raise InputError(
            f"{path} says that it has {max(counts)} planes: a stack has at most {MAX_PLANES}."
        )
