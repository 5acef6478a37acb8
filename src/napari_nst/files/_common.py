"""What reading and writing share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["PNG_HEADER", "RECORD_MARK", "RECORD_TAG", "detail", "rounded"]

PNG_HEADER = 33  # bytes of signature and header chunk together

# A private tag of TIFF, of a number that no program known to tifffile uses. In ImageDescription,
# tifffile and all that read with it take JSON for the shape of the pixels.
RECORD_TAG = 65301
RECORD_MARK = "napari-nst\n"


def detail(error: BaseException) -> str:
    """Say in one line what someone else's error says."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__


def rounded(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Round to the nearest value of an integer type; floating point stays as it is."""
    if np.issubdtype(dtype, np.integer):
        values = np.rint(values).clip(0, np.iinfo(np.dtype(dtype)).max)
    return values.astype(dtype)
