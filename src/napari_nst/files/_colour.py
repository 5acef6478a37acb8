"""Convert decoded samples to grey or RGB in sRGB, upright, with straight alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import imagecodecs
import numpy as np

from napari_nst.files._common import rounded

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["COLOUR_CHANNELS", "Decoded", "apply_orientation", "to_srgb", "unpremultiply"]

COLOUR_CHANNELS = {"gray": 1, "rgb": 3, "cmyk": 4}  # by colour space, without alpha


class Decoded(NamedTuple):
    """Samples as a file stores them, and its metadata about them."""

    pixels: NDArray[Any]  # (H, W, C): the channels of the colour space, then alpha if any
    space: str  # of COLOUR_CHANNELS; 0 is black, and no ink in CMYK
    profile: bytes | None  # ICC
    orientation: int  # EXIF, 1 to 8


def to_srgb(decoded: Decoded) -> NDArray[Any]:
    """Return an upright image in sRGB: grey, RGB or RGBA, contiguous and in native byte order."""
    channels = COLOUR_CHANNELS[decoded.space]
    pixels = _colour_to_srgb(decoded.pixels[..., :channels], decoded.space, decoded.profile)
    alpha = decoded.pixels[..., channels:]
    if alpha.size:
        pixels = np.dstack([np.broadcast_to(pixels, (*pixels.shape[:2], 3)), alpha])
    elif pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    upright = apply_orientation(pixels, decoded.orientation)
    return np.ascontiguousarray(upright, dtype=upright.dtype.newbyteorder("="))


def _max_value(pixels: NDArray[Any]) -> int:
    """Return the value of full light, ink or opacity."""
    return int(np.iinfo(pixels.dtype).max) if pixels.dtype.kind in "iu" else 1


def unpremultiply(pixels: NDArray[Any]) -> NDArray[Any]:
    """Divide premultiplied colours by alpha, the last channel; colours under alpha 0 are black."""
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    divided = colour * np.float64(_max_value(pixels)) / np.where(alpha > 0, alpha, np.inf)
    return np.dstack([rounded(divided, pixels.dtype), alpha])


def _colour_to_srgb(colour: NDArray[Any], space: str, profile: bytes | None) -> NDArray[Any]:
    """Convert the channels of a colour space to grey, shape (H, W, 1), or RGB."""
    if profile and colour.dtype.kind == "u" and colour.dtype.itemsize <= 2:
        exact = space == "gray" or colour.dtype.itemsize == 2
        try:
            converted = imagecodecs.cms_transform(
                colour if space != "gray" else colour[..., 0],
                profile,
                imagecodecs.cms_profile("srgb"),
                colorspace=space,
                outcolorspace="rgb",
                # The tables of LittleCMS's optimization are too coarse for grey and for 16 bits.
                flags=imagecodecs.CMS.FLAGS.NOOPTIMIZE if exact else 0,
            )
        except imagecodecs.CmsError:
            pass  # ignore a profile that is damaged or for another colour space
        else:
            return converted[..., 1:2] if space == "gray" else converted
    if space != "cmyk":
        return colour
    light = _max_value(colour) - colour.astype(np.float32)
    return rounded(light[..., :3] * light[..., 3:] / _max_value(colour), colour.dtype)


def apply_orientation(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Flip and rotate an image by its EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
