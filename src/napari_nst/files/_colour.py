"""Samples as a file stores them become grey or RGB of sRGB, upright and not multiplied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import imagecodecs
import numpy as np

from napari_nst.files._common import rounded

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SAMPLES", "Decoded", "assemble", "divide_by_alpha", "turn_upright", "whole"]

SAMPLES = {"gray": 1, "rgb": 3, "cmyk": 4}  # of the colour spaces, without alpha


class Decoded(NamedTuple):
    """What a decoder hands on: samples as stored, and what the file says about them."""

    pixels: NDArray[Any]  # (H, W, S): the samples of the colour space, then alpha or nothing
    space: str  # of SAMPLES; 0 is black, and no ink in CMYK
    profile: bytes | None  # ICC
    orientation: int  # EXIF, 1 to 8


def assemble(decoded: Decoded) -> NDArray[Any]:
    """Return samples as grey, RGB or RGBA of sRGB, upright, an array of its own."""
    samples = SAMPLES[decoded.space]
    pixels = to_srgb(decoded.pixels[..., :samples], decoded.space, decoded.profile)
    alpha = decoded.pixels[..., samples:]
    if alpha.size:
        pixels = np.dstack([np.broadcast_to(pixels, (*pixels.shape[:2], 3)), alpha])
    elif pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    upright = turn_upright(pixels, decoded.orientation)
    return np.ascontiguousarray(upright, dtype=upright.dtype.newbyteorder("="))


def whole(pixels: NDArray[Any]) -> int:
    """Give the value of full light, ink or opacity."""
    return int(np.iinfo(pixels.dtype).max) if pixels.dtype.kind in "iu" else 1


def divide_by_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """Undo a multiplication with alpha, the last channel; what is invisible becomes black."""
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    divided = colour * np.float64(whole(pixels)) / np.where(alpha > 0, alpha, np.inf)
    return np.dstack([rounded(divided, pixels.dtype), alpha])


def to_srgb(colour: NDArray[Any], space: str, profile: bytes | None) -> NDArray[Any]:
    """Convert the samples of a colour space to grey, shape (H, W, 1), or RGB of sRGB."""
    if profile and colour.dtype.kind == "u" and colour.dtype.itemsize <= 2:
        exact = space == "gray" or colour.dtype.itemsize == 2
        try:
            converted = imagecodecs.cms_transform(
                colour if space != "gray" else colour[..., 0],
                profile,
                imagecodecs.cms_profile("srgb"),
                colorspace=space,
                outcolorspace="rgb",
                # LittleCMS speeds up with tables that are too coarse for grey and for 16 bits.
                flags=imagecodecs.CMS.FLAGS.NOOPTIMIZE if exact else 0,
            )
        except imagecodecs.CmsError:
            pass  # damaged, or for another kind of image: no better than no profile
        else:
            return converted[..., 1:2] if space == "gray" else converted
    if space != "cmyk":
        return colour
    paper = whole(colour) - colour.astype(np.float32)
    return rounded(paper[..., :3] * paper[..., 3:] / whole(colour), colour.dtype)


def turn_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply an EXIF orientation: which sides of the scene the first row and column are."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
