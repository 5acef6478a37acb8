"""From a file to the labels painted in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from napari_nst.errors import InputError
from napari_nst.files._common import detail

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_labels"]

_LOSSY = {"JPEG", "WEBP", "MPO"}
_TIFF_SUFFIXES = (".tif", ".tiff")


def read_labels(path: Path | str) -> NDArray[Any]:
    """Read labels from a file.

    TIFF of any integer type, NumPy's .npy, and what Pillow reads without loss: grey of any
    depth, a palette's indices, and colours.  A colour's label is 65536 R + 256 G + B, so that one
    colour is one label in every file, and black is 0, where nothing was painted.

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
        elif path.suffix.lower() in _TIFF_SUFFIXES:
            labels = tifffile.imread(path)
        else:
            labels = _with_pillow(path)
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


def _with_pillow(path: Path) -> NDArray[Any]:
    with Image.open(path) as file:
        if file.format in _LOSSY:
            raise InputError(
                f"{path} is a {file.format} file, which blurs labels: save them as PNG or TIFF."
            )
        image: Image.Image = file
        if image.mode in ("LA", "PA"):  # nobody paints with transparency
            image = image.getchannel(0)
        elif image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "RGB", "RGBA"):
            image = image.convert("RGB")
        return np.asarray(image)
