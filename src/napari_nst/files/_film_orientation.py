"""How the frames of a film are turned before they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from av.sidedata.sidedata import Type

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

__all__ = ["Orientation"]


class Orientation(NamedTuple):
    """Rotation by a multiple of 90 degrees, and reflection: phones store frames as the chip lies.

    Attributes
    ----------
    transposed : bool
        Whether rows and columns are exchanged first.
    flip_rows, flip_columns : bool
        Whether the order of the rows and of the columns is then reversed.
    """

    transposed: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def from_frame(cls, frame: VideoFrame) -> Orientation:
        """Return the orientation by the display matrix of a frame, to the nearest 90 degrees."""
        try:
            matrix: Any = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
        except ValueError:  # side data that this version of PyAV does not know
            matrix = None
        if matrix is None:
            return cls()
        # A pixel at (x, y) is shown at (a x + c y, b x + d y), and then moved into the frame.
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
        if abs(a) >= abs(b):
            return cls(False, d < 0, a < 0)
        return cls(True, b < 0, c < 0)

    def apply(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the frame as it is shown."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        if self.flip_rows:
            pixels = pixels[::-1]
        return pixels[:, ::-1] if self.flip_columns else pixels
