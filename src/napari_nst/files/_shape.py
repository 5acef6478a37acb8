"""Read the size in the header of a picture."""

from __future__ import annotations

from pathlib import Path

from napari_nst.files._common import decoding
from napari_nst.files._pillow import open_picture
from napari_nst.files._tiff import is_tiff, open_tiff

__all__ = ["shape_of"]


def shape_of(path: Path | str) -> tuple[int, int]:
    """Return the height and width in the header of a picture, before any rotation by EXIF.

    Parameters
    ----------
    path : Path or str
        A file for `read_image`.

    Raises
    ------
    InputError
        If the header cannot be read, or `read_image` does not accept the kind of file.
    """
    path = Path(path)
    with decoding(path, "does not say how large it is"):
        if is_tiff(path):
            with open_tiff(path) as tiff:
                page = tiff.pages.first
                return int(page.imagelength), int(page.imagewidth)
        with open_picture(path) as image:
            return image.height, image.width
