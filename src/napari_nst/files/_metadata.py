"""Read the text that `write_image` stored in a picture."""

from __future__ import annotations

from pathlib import Path

from napari_nst.files._common import RECORD_MARK, RECORD_TAG, decoding
from napari_nst.files._pillow import open_picture
from napari_nst.files._tiff import is_tiff, open_tiff

__all__ = ["read_metadata"]


def read_metadata(path: Path | str) -> str | None:
    """Return the text that `write_image` stored in a picture or beside it.

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
    with decoding(path, "cannot be read", "name a picture that napari-nst wrote"):
        beside = path.with_name(f"{path.name}.napari-nst.json")
        if beside.is_file():
            return beside.read_text(encoding="utf-8")
        if is_tiff(path):
            return _of_tiff(path)
        with open_picture(path) as image:
            if image.format == "PNG":
                # `text` decodes the pixels: other programs store the chunk behind them.
                found = image.info.get("napari-nst") or getattr(image, "text", {}).get("napari-nst")
            else:
                found = image.info.get("comment")
        return _decoded(found) if found else None


def _of_tiff(path: Path) -> str | None:
    with open_tiff(path) as tiff:
        page = tiff.pages.first
        found = _decoded(page.tags.valueof(RECORD_TAG, default=""))
        if found.startswith(RECORD_MARK):
            return found.removeprefix(RECORD_MARK)
        return page.description or None  # used by earlier versions


def _decoded(text: object) -> str:
    """Return a text; other programs store bytes of UTF-8 as text, and the reverse."""
    return text.decode() if isinstance(text, bytes) else str(text)
