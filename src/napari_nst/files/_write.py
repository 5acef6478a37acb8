"""Write a picture as PNG, JPEG or TIFF."""

from __future__ import annotations

import io
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, PngImagePlugin

from napari_nst.errors import InputError
from napari_nst.files._common import (
    PNG_HEADER,
    RECORD_MARK,
    RECORD_TAG,
    detail,
    rounded,
    sidecar,
    write_atomically,
)
from napari_nst.files._tiff_options import tiff_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_writable", "write_image"]

# A segment has at most 65,533 bytes, and Pillow before 13 fails beyond 65,511: the comment shares
# its buffer of 64 KiB with the header.
_JPEG_COMMENT_BYTES = 65_000
_UNDEFINED = 7  # TIFF type of private bytes


def write_image(
    path: Path | str,
    image: NDArray[Any],
    *,
    dtype: Literal["uint8", "uint16"] | None = "uint8",
    metadata: str | None = None,
) -> Path | None:
    """Write a picture in the format of the suffix: PNG, JPEG or TIFF.

    The file is written completely or not at all. A replaced file keeps its permissions, and a
    symbolic link stays one.

    JPEG always has 8 bits and no transparency: a picture with alpha is blended over white.

    Parameters
    ----------
    path : Path or str
        The destination; ends in .png, .jpg, .jpeg, .tif or .tiff.
    image : ndarray of float, shape (H, W), (H, W, 3) or (H, W, 4)
        Grey, RGB or RGBA as sRGB in [0, 1]; clipped and rounded, NaN becomes 0.
    dtype : {"uint8", "uint16"} or None
        Type of the samples.  None, only for TIFF: `image` is written unchanged, in any type.
    metadata : str, optional
        A text to store in the picture, such as its record as JSON: PNG iTXt chunk "napari-nst",
        TIFF tag 65301, JPEG comment; UTF-8.

    Returns
    -------
    Path or None
        The file with the text, if it exceeds 65,000 bytes, too many for a JPEG comment: it is
        written beside the picture with the suffix ".napari-nst.json", and the comment names it.
        None: the text is in the picture.

    Raises
    ------
    InputError
        If `image` is not a picture, or a file cannot be written; the picture is written first.
    """
    path = Path(path)
    check_writable(path)
    is_picture = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
    encode = _ENCODERS[path.suffix.lower()]
    if dtype is None and encode is not _encode_tiff:
        raise InputError(f"{path} cannot hold values as they are: name a .tif file.")
    if not (dtype is None or image.dtype.kind == "f") or not is_picture or image.size == 0:
        raise InputError(
            f"{path} cannot hold an array of {image.dtype} with shape {image.shape}: a picture is "
            "floating point, (H, W), (H, W, 3) or (H, W, 4), and at least one pixel high and wide."
        )
    if dtype is not None:
        image = np.nan_to_num(image).clip(0, 1).astype(np.float32)
    if encode is _encode_jpeg:
        dtype = "uint8"
        if image.shape[2:] == (4,):
            image = 1 - image[..., 3:] * (1 - image[..., :3])
    record_file, text = sidecar(path), (metadata or "").encode()
    too_long = encode is _encode_jpeg and len(text) > _JPEG_COMMENT_BYTES
    if too_long:
        metadata = f"The record is too long for JPEG; it is in {record_file.name}"
    if dtype is not None:
        # In float64, like the values of layers, so that halves are rounded the same way.
        image = rounded(image.astype(np.float64) * np.iinfo(dtype).max, dtype)
    with write_atomically(path, "name another file or format") as scratch:
        scratch.write_bytes(encode(image, metadata))
    if not too_long:
        with suppress(OSError):  # of the picture that was replaced
            record_file.unlink()
        return None
    try:
        with write_atomically(record_file, "name a .png or .tif file, which holds it") as scratch:
            scratch.write_bytes(text)
    except InputError as error:
        raise InputError(f"{path} was written, but its record {error}") from error
    return record_file


def check_writable(path: Path | str) -> None:
    """Check before a long run that `write_image` can write to a path.

    Parameters
    ----------
    path : Path or str
        The destination; nothing is changed.

    Raises
    ------
    InputError
        If the suffix cannot be written, the folder is missing or not writable, or the path is a
        folder.
    """
    path = Path(path)
    if path.suffix.lower() not in _ENCODERS:
        raise InputError(f"{path} has no suffix that can be written: use {', '.join(_ENCODERS)}.")
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder: name a file in it.")
    folder = Path(os.path.realpath(path)).parent
    if not os.path.isdir(folder):
        raise InputError(f"{path} cannot be written: there is no folder {folder}.")
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:  # an invalid name, for example too long
        raise InputError(
            f"{path} cannot be written ({detail(error)}): name another file."
        ) from error
    try:
        # Permission bits do not show a read-only disk; creating a file does.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({detail(error)}): name a file in a folder that is yours."
        ) from error


def _encode_png(samples: NDArray[Any], metadata: str | None) -> bytes:
    encoded = bytes(imagecodecs.png_encode(samples))
    chunks = io.BytesIO()
    PngImagePlugin.putchunk(chunks, b"sRGB", b"\0")
    if metadata is not None:
        # The zero bytes: uncompressed, without language and translated keyword.
        PngImagePlugin.putchunk(chunks, b"iTXt", b"napari-nst\0\0\0\0\0", metadata.encode())
    return encoded[:PNG_HEADER] + chunks.getvalue() + encoded[PNG_HEADER:]


def _encode_jpeg(samples: NDArray[np.uint8], metadata: str | None) -> bytes:
    comment = (metadata or "").encode()
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG", quality=95, subsampling=0, comment=comment)
    return buffer.getvalue()


def _encode_tiff(samples: NDArray[Any], metadata: str | None) -> bytes:
    buffer = io.BytesIO()
    text = None if metadata is None else (RECORD_MARK + metadata).encode()
    tifffile.imwrite(
        buffer,
        samples,
        metadata=None,
        extratags=[] if text is None else [(RECORD_TAG, _UNDEFINED, len(text), text, True)],
        **tiff_options(samples.dtype, samples.shape),
    )
    return buffer.getvalue()


_ENCODERS = {
    ".png": _encode_png,
    **dict.fromkeys((".jpg", ".jpeg"), _encode_jpeg),
    **dict.fromkeys((".tif", ".tiff"), _encode_tiff),
}
