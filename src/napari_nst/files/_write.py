"""From pixels to a file, whole or not at all."""

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

from napari_nst.atomic import atomic_write
from napari_nst.errors import InputError
from napari_nst.files._common import PNG_HEADER, RECORD_MARK, RECORD_TAG, detail, rounded

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_writable", "write_image"]

_JPEG_COMMENT_BYTES = 65_533  # what the 16-bit length of a JPEG segment leaves
_UNDEFINED = 7  # the type of a TIFF tag whose bytes only its writer understands


def write_image(
    path: Path | str,
    image: NDArray[Any],
    *,
    dtype: Literal["uint8", "uint16"] | None = "uint8",
    metadata: str | None = None,
) -> Path | None:
    """Write a picture as PNG, JPEG or TIFF, by the suffix of its name.

    The file is either the whole new picture or what it was before: the picture is encoded in
    memory, written beside its destination and moved there. A file that is replaced keeps its
    permissions, a new one gets the usual ones; a link stays one.

    JPEG has 8 bits and no transparency, whatever is asked for: a picture with alpha is laid over
    white, the paper it would be printed on.

    Parameters
    ----------
    path : Path or str
        Where to; ends in .png, .jpg, .jpeg, .tif or .tiff.
    image : ndarray of float, shape (H, W), (H, W, 3) or (H, W, 4)
        Grey, RGB or RGBA as sRGB in [0, 1]; values outside are clipped, NaN becomes 0, the rest
        is rounded to the nearest step.
    dtype : {"uint8", "uint16"} or None
        The samples of the file.  None: those of `image` as they are, of any type, in a TIFF.
    metadata : str, optional
        A text to go with the picture, such as its record as JSON: in a PNG the iTXt chunk
        "napari-nst", in a TIFF the private tag 65301, in a JPEG the comment. All in UTF-8.

    Returns
    -------
    Path or None
        Where the text went, if the picture could not hold it: a comment of JPEG ends at 65,533
        bytes, and no other place in one is both longer and generally read. A longer text is
        written to a file beside the picture, whose name ends in ".napari-nst.json", and the
        comment names that file. None: it is in the picture.

    Raises
    ------
    InputError
        If `image` is no picture, or the file or the one beside it cannot be written. The picture
        is written first.
    """
    path = Path(path)
    check_writable(path)
    flat = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
    as_it_is = dtype is None
    if as_it_is and _ENCODERS[path.suffix.lower()] is not _encode_tiff:
        raise InputError(f"{path} cannot hold values as they are: name a .tif file.")
    if not (as_it_is or image.dtype.kind == "f") or not flat or image.size == 0:
        raise InputError(
            f"{path} cannot hold an array of {image.dtype} with shape {image.shape}: a picture is "
            "floating point, (H, W), (H, W, 3) or (H, W, 4), and at least one pixel high and wide."
        )
    encode = _ENCODERS[path.suffix.lower()]
    if not as_it_is:
        image = np.nan_to_num(image).clip(0, 1).astype(np.float32)
    if encode is _encode_jpeg:
        dtype = "uint8"
        if image.shape[2:] == (4,):
            image = 1 - image[..., 3:] * (1 - image[..., :3])
    beside, text = path.with_name(f"{path.name}.napari-nst.json"), (metadata or "").encode()
    too_long = encode is _encode_jpeg and len(text) > _JPEG_COMMENT_BYTES
    if too_long:
        metadata = f"The record is too long for JPEG; it is in {beside.name}"
    if dtype is not None:
        # In float64, as layers are given their values: halves are rounded alike.
        image = rounded(image.astype(np.float64) * np.iinfo(dtype).max, dtype)
    try:
        _replace(path, encode(image, metadata))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be written ({detail(error)}): name another file or format."
        ) from error
    if not too_long:
        with suppress(OSError):  # it told of the picture that was here before
            beside.unlink()
        return None
    try:
        _replace(beside, text)
    except OSError as error:
        raise InputError(
            f"{path} was written, but {beside}, for its record, cannot be ({detail(error)}): "
            "name a .png or .tif file, which holds its own."
        ) from error
    return beside


def check_writable(path: Path | str) -> None:
    """Make sure that `write_image` will be able to write to a path, before the long run.

    Parameters
    ----------
    path : Path or str
        The path. What is there already is left alone.

    Raises
    ------
    InputError
        If the suffix is none that can be written, the folder is missing or not writable, or the
        path is a folder itself.
    """
    path = Path(path)
    if path.suffix.lower() not in _ENCODERS:
        raise InputError(f"{path} has no suffix that can be written: use {', '.join(_ENCODERS)}.")
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder: name a file in it.")
    folder = Path(os.path.realpath(path)).parent
    if not os.path.isdir(folder):
        raise InputError(f"{path} cannot be written, for {folder} is no folder: make it first.")
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:  # the name itself is wrong, such as too long
        raise InputError(
            f"{path} cannot be written ({detail(error)}): name another file."
        ) from error
    try:
        # Permission bits tell neither of a read-only disk nor of root; a file does.
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
        # Neither compressed nor translated, and of no language.
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
        photometric="minisblack" if samples.ndim == 2 else "rgb",
        planarconfig=None if samples.ndim == 2 else "contig",
        extrasamples=["unassalpha"] if samples.shape[2:] == (4,) else None,
        compression="adobe_deflate",
        predictor=samples.dtype in (np.uint8, np.uint16),
        metadata=None,
        extratags=[] if text is None else [(RECORD_TAG, _UNDEFINED, len(text), text, True)],
    )
    return buffer.getvalue()


_ENCODERS = {
    ".png": _encode_png,
    **dict.fromkeys((".jpg", ".jpeg"), _encode_jpeg),
    **dict.fromkeys((".tif", ".tiff"), _encode_tiff),
}


def _replace(path: Path, content: bytes) -> None:
    """Replace a file, or the file a link points to."""
    with atomic_write(Path(os.path.realpath(path))) as scratch:
        scratch.write_bytes(content)
