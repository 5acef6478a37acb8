"""What the numbers of an image mean: from any range to [0, 1], and back.  Numpy only."""

from __future__ import annotations

from napari_nst.intensities._choice import (
    Intensities,
    Ranged,
    Summary,
    check_intensities,
    significant_bits,
)
from napari_nst.intensities._display import Display
from napari_nst.intensities._range import Range, visible_values

__all__ = [
    "Display",
    "Intensities",
    "Range",
    "Ranged",
    "Summary",
    "check_intensities",
    "significant_bits",
    "visible_values",
]
