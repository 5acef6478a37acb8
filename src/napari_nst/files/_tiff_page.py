"""Decode one page of a TIFF according to its tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_nst.errors import InputError
from napari_nst.files._colour import COLOUR_CHANNELS, Decoded, unpremultiply
from napari_nst.files._common import rounded
from napari_nst.ranges import Summary, significant_bits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "MAX_SAMPLE_VALUE",
    "alpha_index",
    "colour_space",
    "declared_bits",
    "decode_page",
    "has_packed_bits",
    "is_supported",
]

MAX_SAMPLE_VALUE = 281  # a tag

_UPRIGHT = 1  # EXIF orientation
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)

# Colour spaces by PhotometricInterpretation; palettes are converted to RGB.
_SPACES = {
    "MINISWHITE": "gray",
    "MINISBLACK": "gray",
    "RGB": "rgb",
    "PALETTE": "rgb",
    "SEPARATED": "cmyk",
}


def is_supported(page: Any) -> bool:
    """Return whether `decode_page` supports the colours of a page as stored: not YCbCr or Lab."""
    return tifffile.PHOTOMETRIC(page.photometric).name in _SPACES


def colour_space(path: Path, page: Any) -> str:
    """Return the colour space of a page after decoding; raise InputError if it is not supported."""
    name = tifffile.PHOTOMETRIC(page.photometric).name
    if name == "YCBCR" and page.compression == tifffile.COMPRESSION.JPEG:
        return "rgb"  # converted by the JPEG decoder
    if name not in _SPACES:
        raise InputError(f"{path} has colours of the kind {name}: save it as grey or RGB.")
    return _SPACES[name]


def has_packed_bits(page: Any) -> bool:
    """Return whether a sample has a number of bits that no NumPy type has, such as 12."""
    return page.bitspersample not in (1, 8, 16, 32, 64)


def declared_bits(page: Any) -> int | None:
    """Return the significant bits of a sample, if the tags declare fewer than its type has."""
    bits = page.bitspersample
    highest = page.tags.valueof(MAX_SAMPLE_VALUE)
    if highest is not None and np.dtype(page.dtype).kind == "u":
        highest = max(highest) if isinstance(highest, tuple) else highest
        bits = min(bits, int(highest).bit_length())
    return bits if 1 < bits < 8 * np.dtype(page.dtype).itemsize else None


def alpha_index(page: Any, space: str) -> int | None:
    """Return the index of the alpha channel of a page, if any."""
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        return None
    extra = enumerate(page.extrasamples, COLOUR_CHANNELS[space])
    return next((index for index, kind in extra if kind in _ALPHA), None)


def decode_page(
    path: Path, page: Any, stored: NDArray[Any], *, as_picture: bool = False
) -> Decoded:
    """Return the samples of a page, with palettes looked up and alpha unpremultiplied.

    Parameters
    ----------
    path : Path
        The file, for messages.
    page : TiffPage
        The page with the tags.
    stored : ndarray
        Its samples as returned by tifffile.
    as_picture : bool
        Whether samples become uint8, uint16 or float32, and integers with 0 as white are inverted.
        Otherwise their types and values are kept, except for palettes.
    """
    if page.axes.endswith("SYX"):
        stored = np.moveaxis(stored, -3, -1)
    pixels = np.atleast_3d(stored)
    space = colour_space(path, page)
    colours, alpha = COLOUR_CHANNELS[space], alpha_index(page, space)
    channels = pixels.shape[2]
    photometric = tifffile.PHOTOMETRIC(page.photometric).name
    profile = page.tags.valueof("InterColorProfile")
    orientation = page.tags.valueof("Orientation", default=_UPRIGHT)
    orientation = orientation if orientation in range(1, 9) else _UPRIGHT
    if photometric == "PALETTE" and page.colormap is not None:
        return Decoded(_apply_palette(page.colormap, pixels[..., 0]), space, profile, orientation)
    wrong = channels < colours or (colours == 1 and channels > 2 and alpha is None)
    if "Z" in page.axes or wrong:
        raise InputError(
            f"{path} holds {' x '.join(map(str, page.shape))} samples that are not one picture: "
            "save a plane of it as grey, RGB or RGBA."
        )
    if as_picture or (alpha is not None and has_packed_bits(page)):
        pixels = _scale_to_type(path, pixels, page.bitspersample)
    if as_picture and photometric == "MINISWHITE" and pixels.dtype.kind == "u":
        highest = Summary.from_values(pixels[..., :1]).high
        top = 2 ** significant_bits(highest, declared_bits(page)) - 1
        pixels[..., :1] = top - pixels[..., :1]
    pixels = pixels[..., [*range(colours), *([] if alpha is None else [alpha])]]
    if alpha is not None and page.extrasamples[alpha - colours] == _ALPHA[0]:
        pixels = unpremultiply(pixels)
    return Decoded(pixels, space, profile, orientation)


def _apply_palette(palette: NDArray[np.uint16], indices: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the colours of palette indices, (H, W, 3)."""
    # The standard has 16 bits, but some programs write 8.
    colours = palette if palette.max() < 256 else palette >> 8
    return np.moveaxis(colours.astype(np.uint8)[:, indices], 0, -1)


def _scale_to_type(path: Path, pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Scale samples to the range of uint8 or uint16; convert floats to float32.  Returns a copy."""
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return pixels.astype(np.float32)
    if pixels.dtype.kind not in "bu" or bits > 16:
        raise InputError(
            f"{path} has pixels of {pixels.dtype}: "
            "save it with 8 or 16 bits without a sign, or in floating point."
        )
    dtype = np.uint8 if bits <= 8 else np.uint16
    if bits in (8, 16):
        return pixels.astype(dtype)
    return rounded(pixels * (np.iinfo(dtype).max / (2**bits - 1)), dtype)
