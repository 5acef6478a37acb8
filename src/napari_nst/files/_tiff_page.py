"""One page of a TIFF: from its samples to colours, by what its tags say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_nst.errors import InputError
from napari_nst.files._colour import SAMPLES, Decoded, divide_by_alpha
from napari_nst.files._common import rounded
from napari_nst.ranges import Summary, significant_bits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "MAX_SAMPLE_VALUE",
    "alpha_of",
    "declared_bits",
    "decode_page",
    "is_known",
    "is_packed",
    "space_of",
]

MAX_SAMPLE_VALUE = 281  # a tag

_UPRIGHT = 1  # the orientation that asks for nothing
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)

# The colours that can be read straight from the samples; a palette's are looked up.
_SPACES = {
    "MINISWHITE": "gray",
    "MINISBLACK": "gray",
    "RGB": "rgb",
    "PALETTE": "rgb",
    "SEPARATED": "cmyk",
}


def is_known(page: Any) -> bool:
    """Return whether `decode_page` knows the colours of a page; YCbCr, for one, it does not.

    Those of a compressed page can be RGB once it is decoded: see `space_of`.
    """
    return tifffile.PHOTOMETRIC(page.photometric).name in _SPACES


def space_of(path: Path, page: Any) -> str:
    """Return the colour space of a page once it is decoded, one of `SAMPLES`.

    Raises
    ------
    InputError
        If it is none of these.
    """
    name = tifffile.PHOTOMETRIC(page.photometric).name
    # JPEG's own decoder makes RGB of YCbCr.
    if name == "YCBCR" and page.compression == tifffile.COMPRESSION.JPEG:
        return "rgb"
    if name not in _SPACES:
        raise InputError(f"{path} has colours of the kind {name}: save it as grey or RGB.")
    return _SPACES[name]


def is_packed(page: Any) -> bool:
    """Return whether a sample has a number of bits that no type has, such as 12."""
    return page.bitspersample not in (1, 8, 16, 32, 64)


def declared_bits(page: Any) -> int | None:
    """Return the significant bits of a sample, if a page says that they are not all."""
    bits = page.bitspersample
    highest = page.tags.valueof(MAX_SAMPLE_VALUE)
    if highest is not None and np.dtype(page.dtype).kind == "u":
        highest = max(highest) if isinstance(highest, tuple) else highest
        bits = min(bits, int(highest).bit_length())
    return bits if 1 < bits < 8 * np.dtype(page.dtype).itemsize else None


def alpha_of(page: Any, space: str) -> int | None:
    """Return which sample of a page is alpha, if one is."""
    if tifffile.PHOTOMETRIC(page.photometric).name == "PALETTE":
        return None
    found = (n for n, kind in enumerate(page.extrasamples, SAMPLES[space]) if kind in _ALPHA)
    return next(found, None)


def decode_page(
    path: Path, page: Any, stored: NDArray[Any], *, as_picture: bool = False
) -> Decoded:
    """Return the samples of a page with what it says of them, 0 as white still among it in stacks.

    Parameters
    ----------
    path : Path
        The file.
    page : TiffPage
        Whose tags hold.
    stored : ndarray
        Its samples as tifffile returns them.
    as_picture : bool
        Whether samples become uint8, uint16 or float32, and integers of which 0 is white are
        turned round; if not they keep their type and values, those of a palette aside.

    Raises
    ------
    InputError
        If they are not one picture, or of a type that a picture cannot have.
    """
    if page.axes.endswith("SYX"):
        stored = np.moveaxis(stored, -3, -1)
    pixels = np.atleast_3d(stored)
    space = space_of(path, page)
    samples, alpha = SAMPLES[space], alpha_of(page, space)
    channels = pixels.shape[2]
    photometric = tifffile.PHOTOMETRIC(page.photometric).name
    profile = page.tags.valueof("InterColorProfile")
    orientation = page.tags.valueof("Orientation", default=_UPRIGHT)
    orientation = orientation if orientation in range(1, 9) else _UPRIGHT
    if photometric == "PALETTE" and page.colormap is not None:
        return Decoded(_looked_up(page.colormap, pixels[..., 0]), space, profile, orientation)
    wrong = channels < samples or (samples == 1 and channels > 2 and alpha is None)
    if "Z" in page.axes or wrong:
        raise InputError(
            f"{path} holds {' x '.join(map(str, page.shape))} samples that are not one picture: "
            "save a plane of it as grey, RGB or RGBA."
        )
    if as_picture or (alpha is not None and is_packed(page)):
        pixels = _full_range(path, pixels, page.bitspersample)
    if as_picture and photometric == "MINISWHITE" and pixels.dtype.kind == "u":
        highest = Summary.from_values(pixels[..., :1]).high
        top = 2 ** significant_bits(highest, declared_bits(page)) - 1
        pixels[..., :1] = top - pixels[..., :1]
    pixels = pixels[..., [*range(samples), *([] if alpha is None else [alpha])]]
    if alpha is not None and page.extrasamples[alpha - samples] == _ALPHA[0]:
        pixels = divide_by_alpha(pixels)
    return Decoded(pixels, space, profile, orientation)


def _looked_up(table: NDArray[np.uint16], indices: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the colours of a palette, (H, W, 3)."""
    # Its colours have 16 bits; but some programs write 8.
    colours = table if table.max() < 256 else table >> 8
    return np.moveaxis(colours.astype(np.uint8)[:, indices], 0, -1)


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
