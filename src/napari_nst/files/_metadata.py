"""Read the text that `write_image` stored in a picture."""

from __future__ import annotations

from pathlib import Path

from napari_nst.files._common import RECORD_MARK, RECORD_TAG, decoding, sidecar
from napari_nst.files._pillow import open_picture
from napari_nst.files._tiff import is_tiff, open_tiff

__all__ = ["read_metadata"]


def read_metadata(path: Path | str) -> str | None:
    """Return the text that `write_image` stored in a picture or beside it.

    Parameters
    ----------
    path : Path or str
        A PNG, JPEG or TIFF file, recognised by its content.

    Returns
    -------
    str or None
        The text, from the picture or from the file beside a JPEG; None if there is none.

    Raises
    ------
    InputError
        If the file cannot be read or is not a picture.
    """
    path = Path(path)
    with decoding(path, "cannot be read", "name a picture that napari-nst wrote"):
        record = sidecar(path)
        if record.is_file():
            return record.read_text(encoding="utf-8")
        if is_tiff(path):
            return _read_tiff(path)
        with open_picture(path) as image:
            if image.format == "PNG":
                # `text` decodes the pixels, after which other programs store the chunk.
                text = image.info.get("napari-nst") or getattr(image, "text", {}).get("napari-nst")
            else:
                text = image.info.get("comment")
        return _as_text(text) if text else None


def _read_tiff(path: Path) -> str | None:
    with open_tiff(path) as tiff:
        page = tiff.pages.first
        text = _as_text(page.tags.valueof(RECORD_TAG, default=""))
        if text.startswith(RECORD_MARK):
            return text.removeprefix(RECORD_MARK)
        return page.description or None  # used by earlier versions


def _as_text(text: object) -> str:
    """Return a text; other programs convert it to bytes of UTF-8, or the reverse."""
    return text.decode() if isinstance(text, bytes) else str(text)
