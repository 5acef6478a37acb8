"""Open pictures with Pillow, limited to common formats and sizes."""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image, UnidentifiedImageError

from napari_nst.files._kinds import check_kind, not_an_image_error
from napari_nst.files._limits import check_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL.ImageFile import ImageFile

__all__ = ["open_picture", "open_picture_stream", "without_pillow_limits"]

# JPEG includes MPO. Pillow's other formats are not safe: EPS runs another program, ICNS and ICO
# contain pictures whose sizes are not checked.
_FORMATS = "PNG JPEG TIFF WEBP AVIF JPEG2000 BMP DIB GIF PPM PSD TGA".split()

_pillow_globals = threading.RLock()


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """Open a picture of a supported format and size with Pillow without decoding its pixels."""
    # From a stream: Pillow maps files opened by path into memory, and then misreads rotated TIFFs.
    with (
        without_pillow_limits(),
        path.open("rb") as stream,
        open_picture_stream(path, stream) as image,
    ):
        yield image


def open_picture_stream(path: Path, stream: BinaryIO) -> ImageFile:
    """Open a picture in a stream, which stays open, as `open_picture` does; `path` is its file."""
    check_kind(path)
    Image.init()
    try:
        image = Image.open(stream, formats=[name for name in _FORMATS if name in Image.OPEN])
    except UnidentifiedImageError as error:
        raise not_an_image_error(path) from error
    check_size(path, *image.size)
    return image


@contextmanager
def without_pillow_limits() -> Iterator[None]:
    """Silence Pillow's warnings and lift its pixel limit, which photos of large cameras exceed.

    Both are global, so a lock lets one thread at a time change them.
    """
    with _pillow_globals, warnings.catch_warnings(action="ignore"):
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
