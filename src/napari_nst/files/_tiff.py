"""Open TIFF files whose claims are checked before anything is allocated for them."""

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
from napari_nst.files._kinds import camera_raw, check_kind
from napari_nst.files._limits import MOST_PLANES, check_bytes, check_size
from napari_nst.files._pillow import lenient_pillow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["check_page", "is_tiff", "open_tiff"]

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_REDUCED = 1  # the bit of NewSubfileType that is set for a preview
_MOSAICS = (tifffile.PHOTOMETRIC.CFA, tifffile.PHOTOMETRIC.LINEAR_RAW)

# Compressions whose strips and tiles have headers of their own, which claim sizes of their own.
_JPEG = (6, 7, 33007, 34892)
_WITH_HEADER = (33003, 33004, 33005, 34712, 34933, 50001)
_PILLOW = ("JPEG2000", "PNG", "WEBP")
_JPEG_XL = (50002, 52546)  # whose headers nothing here reads before they are decoded
_SEGMENT_HEAD = 2**16  # bytes of a strip or tile in which that header is
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PADDING = 4, 2**16  # how many times as many pixels a strip or tile may have, and how many more

_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^<>]*>")
_SIZE = re.compile(r"\bSize[XYZCT]\s*=\s*[\"']\s*(\d+)")
_PLACE = re.compile(r"\b(?:First[ZCT]|IFD|NumPlanes|PlaneCount)\s*=\s*[\"']\s*(\d+)")


def is_tiff(path: Path) -> bool:
    """Return whether a file begins as TIFF does."""
    with path.open("rb") as stream:
        return stream.read(4) in _SIGNATURES


def open_tiff(path: Path) -> tifffile.TiffFile:
    """Open a TIFF file after its claims are checked.

    Returns
    -------
    TiffFile
        To be closed, or used in a ``with``.

    Raises
    ------
    InputError
        If the file is a camera's raw file, or claims too much.
    Exception
        Of any type, if it is damaged.
    """
    check_kind(path)
    tiff = tifffile.TiffFile(path)
    try:
        page = tiff.pages.first
        preview = page.subfiletype & _REDUCED and page.subifds
        if page.photometric in _MOSAICS or preview:
            raise camera_raw(path)
        check_page(path, page)
        _check_planes(path, tiff)
    except BaseException:
        tiff.close()
        raise
    return tiff


def check_page(path: Path, page: Any) -> None:
    """Check that a page of a TIFF can be decoded in the memory that a plane may take.

    Counts of bytes in strips and tiles are cut to the size of the file.

    Raises
    ------
    InputError
        If it claims too much.
    ValueError
        If it claims what its strips and tiles cannot hold.
    """
    key = page.keyframe
    if key.compression in _JPEG_XL:
        raise InputError(f"{path} is compressed as JPEG XL: save it with another compression.")
    check_size(path, key.imagewidth, key.imagelength * key.imagedepth)
    itemsize = 1 if key.dtype is None else key.dtype.itemsize
    segment = math.prod(key.chunks)
    check_bytes(path, max(key.size, segment) * itemsize)
    held = page.parent.filehandle.size
    if key.is_contiguous and page.dataoffsets[0] + key.nbytes > held:
        raise ValueError(f"its header claims {key.nbytes} bytes, and the file has {held}")
    if max(page.databytecounts, default=0) > held:
        # Wrong counts are common, and do no harm to those who read no further than the file goes.
        page.databytecounts = tuple(min(count, held) for count in page.databytecounts)
    if key.compression in (*_JPEG, *_WITH_HEADER):
        for width, height in _sizes_of_segments(page):
            if width * height > _PADDING[0] * segment + _PADDING[1]:
                raise ValueError(f"one of its strips or tiles claims {width} x {height} pixels")


def _sizes_of_segments(page: Any) -> Iterator[tuple[int, int]]:
    """Yield the width and height that strips and tiles claim, where they say so themselves."""
    file = page.parent.filehandle
    read = _size_of_jpeg if page.keyframe.compression in _JPEG else _size_with_pillow
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        file.seek(offset)
        head = file.read(min(count, _SEGMENT_HEAD))
        with suppress(Exception):  # whoever decodes it says what is wrong with it
            yield read(head)


def _size_of_jpeg(head: bytes) -> tuple[int, int]:
    start = 2  # behind the marker of the beginning
    while True:
        marker, length = struct.unpack(">xBH", head[start : start + 4])
        if marker in _START_OF_FRAME:
            height, width = struct.unpack(">HH", head[start + 5 : start + 9])
            return width, height
        start += 2 + length


def _size_with_pillow(head: bytes) -> tuple[int, int]:
    with lenient_pillow(), Image.open(io.BytesIO(head), formats=_PILLOW) as image:
        return image.size


def _check_planes(path: Path, tiff: tifffile.TiffFile) -> None:
    """Refuse a file whose metadata claim more planes than tifffile should make a list of."""
    page = tiff.pages.first
    claims = [1]
    if tiff.is_ome:
        text = tiff.ome_metadata or ""
        claims += map(int, _PLACE.findall(text))
        claims += (
            math.prod(map(int, _SIZE.findall(pixels))) // (page.imagewidth * page.imagelength)
            for pixels in _PIXELS.findall(text)
        )
    if tiff.is_micromanager:
        about = tiff.micromanager_metadata or {}
        summary, index = about.get("Summary", {}), about.get("IndexMap")
        found = [0] * 4 if index is None else index[:, :4].max(axis=0).tolist()
        axes = zip(("Channels", "Slices", "Frames", "Positions"), found, strict=True)
        claims.append(math.prod(max(int(summary.get(name, 1)), last + 1) for name, last in axes))
    if max(claims) > MOST_PLANES:
        raise InputError(
            f"{path} says that it has {max(claims)} planes: a stack has at most {MOST_PLANES}."
        )
