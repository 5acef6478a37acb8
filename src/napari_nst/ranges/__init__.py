"""Choose the values that are black and white, and convert to [0, 1] and back.  NumPy only."""

from __future__ import annotations

from napari_nst.ranges._choice import (
    Intensities,
    RangedImage,
    Summary,
    check_intensities,
    significant_bits,
)
from napari_nst.ranges._display import Display
from napari_nst.ranges._range import Range, visible_values

__all__ = [
    "Display",
    "Intensities",
    "Range",
    "RangedImage",
    "Summary",
    "check_intensities",
    "significant_bits",
    "visible_values",
]
