"""The text that `write_image` put into a picture."""

from __future__ import annotations

from pathlib import Path

import tifffile
from PIL import Image

from napari_nst.errors import InputError
from napari_nst.files._common import detail

__all__ = ["read_metadata"]


def read_metadata(path: Path | str) -> str | None:
    """Return the text that went with a picture when `write_image` wrote it.

    Parameters
    ----------
    path : Path or str
        A PNG, JPEG or TIFF file, known by its content.

    Returns
    -------
    str or None
        The text, from the picture or, where a JPEG was too small for it, from the file beside it;
        None if there is none.

    Raises
    ------
    InputError
        If the file cannot be read or is no picture.
    """
    path = Path(path)
    try:
        beside = path.with_name(f"{path.name}.napari-nst.json")
        if beside.is_file():
            return beside.read_text(encoding="utf-8")
        with Image.open(path) as image:
            if image.format == "PNG":
                image.load()  # the text may stand behind the pixels
                found = getattr(image, "text", {}).get("napari-nst")
            elif image.format == "TIFF":
                with tifffile.TiffFile(path) as tiff:
                    found = tiff.pages.first.description
            else:
                found = image.info.get("comment")
        return (found.decode() if isinstance(found, bytes) else str(found)) if found else None
    except Exception as error:  # decoders fail on damaged files with whatever they stumble over
        raise InputError(
            f"{path} cannot be read ({detail(error)}): name a picture that napari-nst wrote."
        ) from error
