"""Read labels from files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import ExifTags

from napari_nst.errors import InputError
from napari_nst.files._colour import apply_orientation
from napari_nst.files._common import decoding
from napari_nst.files._limits import check_bytes
from napari_nst.files._npy import read_npy
from napari_nst.files._pillow import open_picture
from napari_nst.files._tiff import is_tiff, open_tiff

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray
    from PIL import Image

__all__ = ["read_labels"]

_LOSSY = {"JPEG", "WEBP", "MPO", "AVIF"}
_LOSSY_COMPRESSIONS = (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)


def read_labels(path: Path | str) -> NDArray[Any]:
    """Read labels from a file.

    Accepts TIFF of any integer type, .npy, and lossless formats of Pillow: grey of any depth,
    palette indices, and colours.  Numbers are labels as stored, also with 0 as white, as in masks
    of ImageJ.  The label of a colour is 65536 R + 256 G + B, so black is 0.  The orientation in the
    file is applied.

    Parameters
    ----------
    path : Path or str
        The file.

    Returns
    -------
    ndarray
        Shape (H, W), integers.

    Raises
    ------
    InputError
        If the file cannot be read, is not one plane, or has a lossy compression such as JPEG.
    """
    path = Path(path)
    with decoding(path, "cannot be read as labels", if_missing="name a file with labels"):
        if path.suffix.lower() == ".npy":
            labels = read_npy(path, "labels")
        elif is_tiff(path):
            labels = _from_tiff(path)
        else:
            labels = _with_pillow(path)
    _check(path, labels.shape, labels.dtype)
    if labels.ndim == 3:
        labels = labels[..., :3].astype(np.int64) @ np.array([65536, 256, 1])
    return np.ascontiguousarray(labels)


def _check(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
    colored = len(shape) == 3 and shape[2] in (3, 4) and dtype == np.uint8
    if not (len(shape) == 2 or colored) or np.dtype(dtype).kind not in "biu":
        raise InputError(
            f"{path} has shape {shape} and dtype {dtype}; labels are one plane of integers."
        )


def _from_tiff(path: Path) -> NDArray[Any]:
    with open_tiff(path) as tiff:
        if len(tiff.series) > 1:
            raise InputError(f"{path} holds {len(tiff.series)} images; labels are one plane.")
        series = tiff.series[0]
        page = series.keyframe
        planar = page.axes == "SYX" and len(series.shape) == 3
        shape = (*series.shape[1:], series.shape[0]) if planar else tuple(series.shape)
        _check(path, shape, series.dtype)  # before reading a whole stack
        check_bytes(path, series.nbytes)
        if page.compression in _LOSSY_COMPRESSIONS:
            raise InputError(
                f"{path} is compressed as JPEG, which blurs labels: save them without loss."
            )
        labels: NDArray[Any] = series.asarray()
        orientation = page.tags.valueof("Orientation", default=1)
    return apply_orientation(np.moveaxis(labels, 0, -1) if planar else labels, orientation)


def _with_pillow(path: Path) -> NDArray[Any]:
    with open_picture(path) as file:
        if file.format in _LOSSY:
            raise InputError(
                f"{path} is a {file.format} file, which blurs labels: save them as PNG or TIFF."
            )
        frames = getattr(file, "n_frames", 1)
        if frames > 1:
            raise InputError(f"{path} is an animation of {frames} frames; labels are one plane.")
        image: Image.Image = file
        orientation = file.getexif().get(ExifTags.Base.Orientation, 1)
        if image.mode in ("LA", "PA"):  # alpha is no label
            image = image.getchannel(0)
        elif image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "RGB", "RGBA"):
            image = image.convert("RGB")
        return apply_orientation(np.asarray(image), orientation)
