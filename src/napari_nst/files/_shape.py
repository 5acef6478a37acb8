"""How large a picture is, by what its file says first."""

from __future__ import annotations

from pathlib import Path

from napari_nst.errors import InputError
from napari_nst.files._common import detail
from napari_nst.files._pillow import open_picture
from napari_nst.files._tiff import is_tiff, open_tiff

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
        If it says nothing of the kind, or is none that `read_image` accepts.
    """
    path = Path(path)
    try:
        if is_tiff(path):
            with open_tiff(path) as tiff:
                page = tiff.pages.first
                return int(page.imagelength), int(page.imagewidth)
        with open_picture(path) as image:
            return image.height, image.width
    except InputError:
        raise
    except Exception as error:  # decoders fail on damaged files with whatever they stumble over
        raise InputError(f"{path} does not say how large it is ({detail(error)}).") from error
