"""Write the planes of an array to an OME-TIFF file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_nst.files._common import write_atomically
from napari_nst.files._tiff_options import tiff_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

__all__ = ["write_planes"]

_LEADING_AXES = {0: "", 1: "Z", 2: "TZ", 3: "TCZ"}  # by the number of leading axes

# Types that OME-TIFF lacks, and their substitutes.
_SUBSTITUTES = {"bool": "uint8", "float16": "float32", "int64": "float64", "uint64": "float64"}


def write_planes(
    path: Path,
    planes: Iterable[NDArray[Any]],
    leading: tuple[int, ...],
    plane_shape: tuple[int, ...],
    dtype: DTypeLike,
    metadata: Mapping[str, Any],
) -> None:
    """Write planes to an OME-TIFF file, completely or not at all.

    Parameters
    ----------
    path : Path
        The file, which is replaced if it exists.
    planes : iterable of ndarray
        In C order of the leading axes, each of `plane_shape`.
    leading : tuple of int
        Lengths of the leading axes, at most three.
    plane_shape : tuple of int
        (H, W), (H, W, 3) or (H, W, 4).
    dtype : dtype_like
        Real numbers.  Types that OME-TIFF lacks are converted: bool to 0 and 255 in uint8, float16
        to float32, int64 and uint64 to float64 (exact up to 2**53).
    metadata : mapping
        Entries for the OME-XML, such as "PhysicalSizeX".

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    native = np.dtype(dtype).newbyteorder("=")
    written = np.dtype(_SUBSTITUTES.get(native.name, native))
    axes = f"{_LEADING_AXES[len(leading)]}YX{'S' * (len(plane_shape) == 3)}"
    with write_atomically(path, "name another file") as scratch:
        tifffile.imwrite(
            scratch,
            (_convert(plane, written) for plane in planes),
            shape=(*leading, *plane_shape),
            dtype=written,
            ome=True,
            metadata={"axes": axes, **metadata},
            **tiff_options(written, plane_shape),
        )


def _convert(plane: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    return plane * np.uint8(255) if plane.dtype.kind == "b" else plane.astype(dtype)
