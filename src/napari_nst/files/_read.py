"""Read pictures from files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from PIL import ExifTags, Image

from napari_nst.errors import InputError
from napari_nst.files._colour import Decoded, to_srgb
from napari_nst.files._common import PNG_HEADER, decoding, detail
from napari_nst.files._pillow import open_picture
from napari_nst.files._tiff import is_tiff, open_tiff
from napari_nst.files._tiff_page import decode_page, is_supported

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["count_frames", "read_image"]

_PNG_DEPTH = 24  # offset of the bit depth in the header chunk
_UPRIGHT = 1  # EXIF orientation

# Formats whose frames are an animation; in others they are sizes or layers of one picture.
_ANIMATED = ("AVIF", "GIF", "PNG", "WEBP")


def read_image(path: Path | str, frame: int = 0) -> NDArray[Any]:
    """Read the picture in an image file.

    Formats are PNG, JPEG, JPEG 2000, TIFF, WebP, AVIF, BMP, GIF, PPM, TGA and PSD, recognised by
    content rather than suffix.

    Palettes and CMYK become RGB, grey with transparency becomes RGBA, premultiplied alpha is
    divided out, bit depths in between are scaled to 8 or 16 bits, an embedded ICC profile is
    converted to sRGB (one that is damaged or belongs to another colour space is ignored, as
    browsers do), and the EXIF orientation is applied.

    Only one frame of an animation and the first page of a TIFF are read: see `count_frames` and
    `open_stack` for the others. The channels of one page, interleaved or planar, are one picture.
    Extra samples of a TIFF other than alpha are left out. Integers of a TIFF with 0 as white are
    inverted within the bits in use.

    Parameters
    ----------
    path : Path or str
        The file.
    frame : int
        Frame of an animation, from 0.

    Returns
    -------
    ndarray of uint8, uint16 or float32, shape (H, W), (H, W, 3) or (H, W, 4)
        Grey, RGB or RGBA; contiguous, writable and in native byte order. Floating-point values
        of a TIFF are unchanged.

    Raises
    ------
    InputError
        If the file is missing, unreadable, damaged, of another kind, or larger than 2**29 pixels
        or 4 GiB.
    """
    path = Path(path)
    head = _read_head(path)
    with decoding(path, "is damaged or cut short", "save or copy it again"):
        decoded = _decode_tiff(path) if is_tiff(path) else None
        decoded = decoded or _decode_with_pillow(path, head, frame)
    return to_srgb(decoded)


def count_frames(path: Path | str) -> int:
    """Return the number of frames of an animation, or 1.

    Parameters
    ----------
    path : Path or str
        A file for `read_image`; an unreadable file counts as one picture.
    """
    try:
        with open_picture(Path(path)) as image:
            return getattr(image, "n_frames", 1) if image.format in _ANIMATED else 1
    except Exception:  # reading the file raises the error
        return 1


def _read_head(path: Path) -> bytes:
    """Read the first bytes of a file."""
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder: name an image file in it.")
    try:
        with path.open("rb") as stream:
            head = stream.read(PNG_HEADER)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: name an image file that does.") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({detail(error)}): name an image file that can."
        ) from error
    if not head:
        raise InputError(f"{path} is an empty file: name an image file.")
    return head


def _decode_with_pillow(path: Path, head: bytes, frame: int) -> Decoded:
    with open_picture(path) as image:
        if frame:
            image.seek(frame)
        image.load()
        space, pixels = _pillow_samples(path, image)
        if image.format == "PNG" and head[_PNG_DEPTH] == 16 and not frame:
            # Pillow keeps only the upper 8 bits of all but grey.
            pixels = np.atleast_3d(imagecodecs.png_decode(path.read_bytes()))
            space = "gray" if pixels.shape[2] < 3 else "rgb"
        orientation = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
        return Decoded(pixels, space, image.info.get("icc_profile"), orientation)


def _pillow_samples(path: Path, image: Image.Image) -> tuple[str, NDArray[Any]]:
    """Return the colour space of an image and its samples, shape (H, W, C), alpha last."""
    transparent = image.has_transparency_data
    if image.mode == "CMYK":
        return "cmyk", np.array(image)
    if image.mode in ("1", "L", "LA", "La"):
        return "gray", np.atleast_3d(np.array(image.convert("LA" if transparent else "L")))
    if image.mode in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr", "HSV"):
        return "rgb", np.array(image.convert("RGBA" if transparent else "RGB"))
    pixels = np.atleast_3d(np.array(image))
    if image.mode == "F":
        return "gray", pixels
    if image.mode.startswith("I") and 0 <= pixels.min() <= pixels.max() < 2**16:
        return "gray", pixels.astype(np.uint16)  # some formats of 16 bits, read as 32
    raise InputError(
        f"{path} has pixels of the kind {image.mode!r}: save it as grey or RGB of 8 or 16 bits."
    )


def _decode_tiff(path: Path) -> Decoded | None:
    """Decode the first page of a TIFF, or return None if Pillow must convert its colours."""
    with open_tiff(path) as tiff:
        page = tiff.pages.first
        if not is_supported(page):
            return None
        return decode_page(path, page, page.asarray(), as_picture=True)
