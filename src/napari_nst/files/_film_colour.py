"""Convert between the colours of a film and RGB of 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FilmColour"]

# Without these flags, swscale is off by up to 4 of 255, and repeats colours instead of
# interpolating between them.
_ACCURATE = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)

# Numbers of ITU-T H.273 for the matrix between YCbCr and RGB, and swscale's names.
_UNSPECIFIED, _BT709, _BT470BG, _SMPTE170M = 2, 1, 5, 6
_MATRICES = {
    _BT709: Colorspace.ITU709,
    4: Colorspace.FCC,
    _BT470BG: Colorspace.ITU601,
    _SMPTE170M: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
_HD_WIDTH, _HD_HEIGHT = 1280, 576  # from this width, or above this height, players use BT.709


class FilmColour(NamedTuple):
    """How a film stores colours, by the numbers of ITU-T H.273.

    Attributes
    ----------
    matrix : int
        Matrix between YCbCr and RGB; what players assume, if the film does not say.
    full_range : bool
        Whether black and white are 0 and 255, not 16 and 235.
    primaries, transfer : int
        Primaries and transfer function; the values of pixels are not converted.
    """

    matrix: int
    full_range: bool
    primaries: int
    transfer: int

    @classmethod
    def from_frame(cls, path: Path, frame: VideoFrame) -> FilmColour:
        """Return the colours of a frame; `path` is for messages.

        Raises
        ------
        InputError
            If they are of a kind that cannot be converted.
        """
        name, matrix = frame.format.name, int(frame.colorspace)
        if matrix == _UNSPECIFIED or frame.format.is_rgb:
            large = frame.width >= _HD_WIDTH or frame.height > _HD_HEIGHT
            matrix = _BT709 if large else _SMPTE170M
        if matrix not in _MATRICES:
            raise InputError(
                f"{path} has colours with matrix {matrix} of ITU-T H.273, which cannot be "
                "converted: save it with BT.709."
            )
        full = frame.format.is_rgb or name.startswith(("yuvj", "gray", "pal8"))
        return cls(
            matrix,
            full or frame.color_range == ColorRange.JPEG,
            int(frame.color_primaries),
            int(frame.color_trc),
        )

    @property
    def _range(self) -> ColorRange:
        return ColorRange.JPEG if self.full_range else ColorRange.MPEG

    def as_written(self, pixel_format: str) -> FilmColour:
        """Return the colours of a film that is written: in limited range, except for JPEG."""
        if pixel_format.startswith("yuvj"):
            return self._replace(matrix=_BT470BG, full_range=True)
        return self._replace(full_range=False)

    def to_rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return the pixels of a frame, (H, W, 3), without alpha."""
        converted = frame.reformat(
            format="rgb24",
            src_colorspace=_MATRICES[self.matrix],
            src_color_range=self._range,
            dst_color_range=ColorRange.JPEG,
            interpolation=_ACCURATE,
        )
        return np.asarray(converted.to_ndarray(), np.uint8)

    def from_rgb(self, pixels: NDArray[Any], pixel_format: str) -> VideoFrame:
        """Return a frame with the matrix and the range of the film."""
        rgb = VideoFrame.from_ndarray(np.ascontiguousarray(pixels, np.uint8), format="rgb24")
        return rgb.reformat(
            format=pixel_format,
            src_color_range=ColorRange.JPEG,
            dst_color_range=self._range,
            dst_colorspace=_MATRICES[self.matrix],
            interpolation=_ACCURATE,
        )
