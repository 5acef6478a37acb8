"""From a file to the labels painted in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import ExifTags, Image, UnidentifiedImageError

from napari_nst.errors import InputError
from napari_nst.files._colour import turn_upright
from napari_nst.files._common import TIFF_SIGNATURES, detail

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_labels"]

_LOSSY = {"JPEG", "WEBP", "MPO"}
_LOSSY_COMPRESSIONS = (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)


def read_labels(path: Path | str) -> NDArray[Any]:
    """Read labels from a file.

    TIFF of any integer type, NumPy's .npy, and what Pillow reads without loss: grey of any
    depth, a palette's indices, and colours.  A number is the label that it is, whatever the file
    says of its colour: also where 0 is white, as in the masks of ImageJ.  A colour's label is
    65536 R + 256 G + B, so that one colour is one label in every file, and black is 0, where
    nothing was painted.  The orientation that a file names is applied.

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
        If the file cannot be read, is not one plane, or has lost what the labels were: JPEG
        blurs them.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".npy":
            labels = np.load(path, allow_pickle=False)
        else:
            with path.open("rb") as stream:
                is_tiff = stream.read(4) in TIFF_SIGNATURES
            labels = _with_tifffile(path) if is_tiff else _with_pillow(path)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: name a file with labels.") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not an image: name a TIFF or PNG file.") from error
    except Exception as error:  # decoders fail on damaged files with whatever they stumble over
        raise InputError(f"{path} cannot be read as labels ({detail(error)}).") from error
    if labels.ndim == 3 and labels.shape[2] in (3, 4) and labels.dtype == np.uint8:
        labels = labels[..., :3].astype(np.int64) @ np.array([65536, 256, 1])
    if labels.ndim != 2 or labels.dtype.kind not in "biu":
        raise InputError(
            f"{path} has shape {labels.shape} and dtype {labels.dtype}; labels are one plane of "
            "integers."
        )
    return np.ascontiguousarray(labels)


def _with_tifffile(path: Path) -> NDArray[Any]:
    with tifffile.TiffFile(path) as tiff:
        if len(tiff.series) > 1:
            raise InputError(f"{path} holds {len(tiff.series)} images; labels are one plane.")
        page = tiff.series[0].keyframe
        if page.compression in _LOSSY_COMPRESSIONS:
            raise InputError(
                f"{path} is compressed as JPEG, which blurs labels: save them without loss."
            )
        labels = tiff.asarray()
        orientation = page.tags.valueof("Orientation", default=1)
    if page.axes == "SYX" and labels.ndim == 3:
        labels = np.moveaxis(labels, 0, -1)
    return turn_upright(labels, orientation)


def _with_pillow(path: Path) -> NDArray[Any]:
    with Image.open(path) as file:
        if file.format in _LOSSY:
            raise InputError(
                f"{path} is a {file.format} file, which blurs labels: save them as PNG or TIFF."
            )
        frames = getattr(file, "n_frames", 1)
        if frames > 1:
            raise InputError(f"{path} is an animation of {frames} frames; labels are one plane.")
        image: Image.Image = file
        orientation = file.getexif().get(ExifTags.Base.Orientation, 1)
        if image.mode in ("LA", "PA"):  # nobody paints with transparency
            image = image.getchannel(0)
        elif image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "RGB", "RGBA"):
            image = image.convert("RGB")
        return turn_upright(np.asarray(image), orientation)
