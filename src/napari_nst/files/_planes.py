"""Planes of an array into a TIFF file, for which no other file is the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_nst.atomic import atomic_write
from napari_nst.errors import InputError
from napari_nst.files._common import detail

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

__all__ = ["write_planes"]

_LEADING = {0: "", 1: "Z", 2: "TZ", 3: "TCZ"}  # names that OME-TIFF has for the axes of planes

# Types that OME-TIFF lacks, and those that hold their values.
_SUBSTITUTES = {"bool": "uint8", "float16": "float32", "int64": "float64", "uint64": "float64"}


def write_planes(
    path: Path,
    planes: Iterable[NDArray[Any]],
    leading: tuple[int, ...],
    plane_shape: tuple[int, ...],
    dtype: DTypeLike,
    metadata: Mapping[str, Any],
) -> None:
    """Write planes as an OME-TIFF stack, with the values that they have.

    The file is written beside its destination, plane by plane, and moved there when it is whole.

    Parameters
    ----------
    path : Path
        The file, which is replaced if it exists.
    planes : iterable of ndarray
        In C order of the leading axes, each of `plane_shape`.
    leading : tuple of int
        The lengths of the axes that the planes lie along, at most three.
    plane_shape : tuple of int
        (H, W), (H, W, 3) or (H, W, 4).
    dtype : dtype_like
        Of real numbers.  What OME-TIFF lacks becomes the next type that holds it: booleans are 0
        and 255 in 8 bits, halves floats of 32 bits, integers of 64 bits floats of as many (exact
        up to 2**53).
    metadata : mapping
        More for the OME-XML, such as "PhysicalSizeX".

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    found = np.dtype(dtype).newbyteorder("=")
    written = np.dtype(_SUBSTITUTES.get(found.name, found))
    colours = len(plane_shape) == 3
    axes = f"{_LEADING[len(leading)]}YX{'S' if colours else ''}"
    try:
        with atomic_write(path) as scratch:
            tifffile.imwrite(
                scratch,
                (_as(plane, written) for plane in planes),
                shape=(*leading, *plane_shape),
                dtype=written,
                ome=True,
                photometric="rgb" if colours else "minisblack",
                extrasamples=["unassalpha"] if plane_shape[2:] == (4,) else None,
                compression="adobe_deflate",
                predictor=written.kind in "iu",
                metadata={"axes": axes, **metadata},
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be written ({detail(error)}): name another file."
        ) from error


def _as(plane: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    return plane * np.uint8(255) if plane.dtype.kind == "b" else plane.astype(dtype)
