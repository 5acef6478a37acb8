"""What a screen shows of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.ranges._range import Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Display"]

_LEVELS = 256  # of a screen, and so of a colour table


@dataclass(frozen=True)
class Display:
    """What a screen makes of values: contrast limits, gamma, and a table of colours.

    Attributes
    ----------
    limits : tuple of float
        The contrast limits.
    gamma : float
        The power that what lies between them is raised to.
    table : str
        256 colours for grey values, red, green and blue as hexadecimal bytes; empty: the values
        are colours already.
    """

    limits: tuple[float, float]
    gamma: float = 1.0
    table: str = ""

    def show(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values as the screen shows them.

        Parameters
        ----------
        values : ndarray
            Grey values, or colours if there is no table: then the last axis is red, green, blue
            and perhaps alpha.

        Returns
        -------
        ndarray
            Colours, uint8.  Where a value is missing (NaN), the screen shows nothing: then the
            same colours as float32 in [0, 1], and NaN there.
        """
        unit = Range(*self.limits).to_unit(values if self.table else values[..., :3])
        levels = np.rint(unit.astype(np.float64) ** self.gamma * (_LEVELS - 1))
        missing: NDArray[np.bool_] = np.isnan(levels)
        shown = np.where(missing, 0, levels).astype(np.uint8)
        if self.table:
            colors = np.frombuffer(bytes.fromhex(self.table), np.uint8).reshape(_LEVELS, 3)
            shown, missing = colors[shown], np.expand_dims(missing, -1)
        elif values.shape[-1] == 4:
            alpha = Range.from_dtype(values.dtype).to_unit(values[..., 3:])
            shown = np.concatenate([shown, Range(0, 255).from_unit(alpha, np.uint8)], axis=-1)
            missing = np.logical_or.reduce(missing, axis=-1, keepdims=True)
        if not missing.any():
            return shown
        return np.where(missing, np.nan, shown / 255).astype(np.float32)
