"""Options of tifffile for everything that is written as TIFF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["tiff_options"]


def tiff_options(dtype: DTypeLike, plane_shape: tuple[int, ...]) -> dict[str, Any]:
    """Return options for grey, RGB or RGBA planes that common readers support."""
    dtype, colour = np.dtype(dtype), len(plane_shape) == 3
    return {
        "photometric": "rgb" if colour else "minisblack",
        "planarconfig": "contig" if colour else None,
        "extrasamples": ["unassalpha"] if plane_shape[2:] == (4,) else None,
        "compression": "adobe_deflate",
        # TIFF has no predictor for 64 bits, and many readers lack the one for floats.
        "predictor": dtype.kind in "iu" and dtype.itemsize < 8,
    }
