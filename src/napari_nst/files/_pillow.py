"""Open with Pillow what people keep pictures in, whatever else Pillow can read."""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from napari_nst.files._kinds import check_kind, not_an_image
from napari_nst.files._limits import check_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["lenient_pillow", "open_picture"]

# JPEG's includes MPO. Pillow reads many more, some by running another program (EPS) or by opening
# pictures within pictures (ICNS, ICO), whose claims nobody checks.
_FORMATS = "PNG JPEG TIFF WEBP AVIF JPEG2000 BMP DIB GIF PPM PSD TGA".split()

_pillow_globals = threading.RLock()


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """Open a picture with Pillow, of which no pixel is read yet.

    Raises
    ------
    InputError
        If its format is not accepted, or it says that it is larger than a picture can be.
    """
    check_kind(path)
    # Given a stream, not a path, for Pillow misreads a turned TIFF that it maps into memory.
    with lenient_pillow(), path.open("rb") as stream:
        Image.init()
        try:
            image = Image.open(stream, formats=[name for name in _FORMATS if name in Image.OPEN])
        except UnidentifiedImageError as error:
            raise not_an_image(path) from error
        with image:
            check_size(path, *image.size)
            yield image


@contextmanager
def lenient_pillow() -> Iterator[None]:
    """Silence Pillow's warnings and lift its limit of pixels, which a large camera exceeds.

    Both are global to the process, so one thread at a time has them, and gives them back.
    """
    with _pillow_globals, warnings.catch_warnings(action="ignore"):
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
