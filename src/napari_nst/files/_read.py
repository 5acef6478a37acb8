"""From a file to pixels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image

from napari_nst.errors import InputError
from napari_nst.files._colour import SAMPLES, divide_by_alpha, to_srgb, turn_upright, whole
from napari_nst.files._common import PNG_HEADER, detail, rounded
from napari_nst.files._pillow import open_picture
from napari_nst.files._tiff import is_tiff, open_tiff

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_image"]

_PNG_DEPTH = 24  # where the header chunk, which comes first, holds the bits of a sample
_UPRIGHT = 1  # the EXIF orientation that asks for nothing

# The colours of a TIFF that can be read straight from its samples. Pillow translates the others
# (palettes, YCbCr), which have 8 bits in practice.
_TIFF_SPACES = {"MINISWHITE": "gray", "MINISBLACK": "gray", "RGB": "rgb", "SEPARATED": "cmyk"}
_TIFF_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)


class _Decoded(NamedTuple):
    """What a decoder hands on: samples as stored, and what the file says about them."""

    pixels: NDArray[Any]  # (H, W, S): the samples of the colour space, then alpha or nothing
    space: str  # of SAMPLES; 0 is black, and no ink in CMYK
    profile: bytes | None  # ICC
    orientation: int  # EXIF, 1 to 8


def read_image(path: Path | str) -> NDArray[Any]:
    """Read the picture in an image file.

    PNG, JPEG, JPEG 2000, TIFF, WebP, AVIF, BMP, GIF, PPM, TGA and PSD, known by their content
    rather than their suffix.
    Palettes and CMYK become RGB, grey with transparency becomes RGBA, an alpha channel that is
    multiplied into the colours is divided out, bit depths in between are stretched to 8 or 16
    bits, an embedded ICC profile is converted to sRGB (one that is damaged or belongs to another
    kind of image is ignored, as browsers do), and the EXIF orientation is applied.

    Only the first frame of an animation and the first page of a TIFF are read; the channels of
    one page, interleaved or plane by plane, are one picture. Samples beyond the colours that a
    TIFF does not call alpha are left out.

    Parameters
    ----------
    path : Path or str
        The file.

    Returns
    -------
    ndarray of uint8, uint16 or float32, shape (H, W), (H, W, 3) or (H, W, 4)
        Grey, RGB or RGBA; contiguous, writable and in native byte order. The values of a TIFF in
        floating point are passed on as they are, without a range or a colour conversion.

    Raises
    ------
    InputError
        If the file is missing, unreadable, damaged, of another kind or not one picture of at most
        2**29 pixels and 4 GiB.
    """
    path = Path(path)
    head = _read_head(path)
    try:
        decoded = _decode_tiff(path) if is_tiff(path) else None
        decoded = decoded or _decode_with_pillow(path, head)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # decoders fail on damaged files with whatever they stumble over
        raise InputError(
            f"{path} is damaged or cut short ({detail(error)}): save or copy it again."
        ) from error
    return _assemble(decoded)


def _read_head(path: Path) -> bytes:
    """Read the first bytes of a file, enough to tell what it is."""
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


def _decode_with_pillow(path: Path, head: bytes) -> _Decoded:
    with open_picture(path) as image:
        image.load()
        space, pixels = _pillow_samples(path, image)
        if image.format == "PNG" and head[_PNG_DEPTH] == 16:
            # Pillow keeps only the upper 8 bits of all but grey.
            pixels = np.atleast_3d(imagecodecs.png_decode(path.read_bytes()))
            space = "gray" if pixels.shape[2] < 3 else "rgb"
        orientation = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
        return _Decoded(pixels, space, image.info.get("icc_profile"), orientation)


def _pillow_samples(path: Path, image: Image.Image) -> tuple[str, NDArray[Any]]:
    """Get the colour space of an image and its samples, shape (H, W, S), alpha last."""
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
        return "gray", pixels.astype(np.uint16)  # Pillow reads some formats of 16 bits as 32
    raise InputError(
        f"{path} has pixels of the kind {image.mode!r}: save it as grey or RGB of 8 or 16 bits."
    )


def _decode_tiff(path: Path) -> _Decoded | None:
    """Decode the first page of a TIFF, or return None if its colours are a task for Pillow."""
    with open_tiff(path) as tiff:
        page = tiff.pages.first
        space = _TIFF_SPACES.get(tifffile.PHOTOMETRIC(page.photometric).name)
        if space is None:
            return None
        pixels = page.asarray()
        profile = page.tags.valueof("InterColorProfile")
        orientation = page.tags.valueof("Orientation", default=_UPRIGHT)
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = _full_range(path, np.atleast_3d(pixels), page.bitspersample)
    samples = SAMPLES[space]
    alpha = [n for n, kind in enumerate(page.extrasamples, samples) if kind in _TIFF_ALPHA][:1]
    channels = pixels.shape[2]
    if "Z" in page.axes or channels < samples or (samples == 1 and channels > 2 and not alpha):
        raise InputError(
            f"{path} holds {' x '.join(map(str, page.shape))} samples that are not one picture: "
            "save a plane of it as grey, RGB or RGBA."
        )
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
        pixels[..., :1] = whole(pixels) - pixels[..., :1]
    pixels = pixels[..., [*range(samples), *alpha]]
    if alpha and page.extrasamples[alpha[0] - samples] == tifffile.EXTRASAMPLE.ASSOCALPHA:
        pixels = divide_by_alpha(pixels)
    return _Decoded(pixels, space, profile, orientation)


def _full_range(path: Path, pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Bring samples of any usual depth to uint8, uint16 or float32, in an array of their own."""
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return pixels.astype(np.float32)
    if pixels.dtype.kind not in "bu" or bits > 16:
        raise InputError(
            f"{path} has pixels of {pixels.dtype}: "
            "save it with 8 or 16 bits without a sign, or in floating point."
        )
    depth = np.uint8 if bits <= 8 else np.uint16
    if bits in (8, 16):
        return pixels.astype(depth)
    return rounded(pixels * (np.iinfo(depth).max / (2**bits - 1)), depth)


def _assemble(decoded: _Decoded) -> NDArray[Any]:
    samples = SAMPLES[decoded.space]
    pixels = to_srgb(decoded.pixels[..., :samples], decoded.space, decoded.profile)
    alpha = decoded.pixels[..., samples:]
    if alpha.size:
        pixels = np.dstack([np.broadcast_to(pixels, (*pixels.shape[:2], 3)), alpha])
    elif pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    upright = turn_upright(pixels, decoded.orientation)
    return np.ascontiguousarray(upright, dtype=upright.dtype.newbyteorder("="))
