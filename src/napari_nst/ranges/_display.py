"""Convert values to displayed colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.ranges._range import Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Display"]

_LEVELS = 256  # of a display and of a colour table


@dataclass(frozen=True)
class Display:
    """Display settings: contrast limits, gamma, and a colour table.

    Attributes
    ----------
    limits : tuple of float
        The contrast limits.
    gamma : float
        Exponent applied after scaling to the contrast limits.
    table : str
        256 RGB colours for grey values, as hexadecimal bytes; empty if the values are colours.
    """

    limits: tuple[float, float]
    gamma: float = 1.0
    table: str = ""

    def show(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the displayed colours of values.

        Parameters
        ----------
        values : ndarray
            Grey values; without a table, RGB or RGBA in the last axis.

        Returns
        -------
        ndarray
            RGB or RGBA, uint8.  If values are NaN: float32 in [0, 1], with NaN there.
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
