"""How large a picture is, by what its file says first."""

from __future__ import annotations

import warnings
from pathlib import Path

import tifffile
from PIL import Image

from napari_nst.errors import InputError
from napari_nst.files._common import detail

__all__ = ["shape_of"]


def shape_of(path: Path | str) -> tuple[int, int]:
    """Return the height and width of a picture, of which no pixel is read.

    Parameters
    ----------
    path : Path or str
        A file for `read_image`; whether it is upright is not looked at.

    Raises
    ------
    InputError
        If it says nothing of the kind.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages.first
                return int(page.imagelength), int(page.imagewidth)
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            return image.height, image.width
    except Exception as error:  # decoders fail on damaged files with whatever they stumble over
        raise InputError(f"{path} does not say how large it is ({detail(error)}).") from error
