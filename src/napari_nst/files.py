"""Image files in and out: what a file holds becomes plain sRGB pixels, and back.

Neither torch nor Qt. Pillow reads and writes what has 8 bits; tifffile reads and writes TIFF;
imagecodecs does what neither can: PNG with 16 bits, and colour profiles at any depth.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import tempfile
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

__all__ = ["check_writable", "read_image", "write_image"]

_MOST_PIXELS = 2**29  # 23,170 pixels square: beyond it a header is rather damaged than true
_JPEG_COMMENT_BYTES = 65_533  # what the 16-bit length of a JPEG segment leaves
_PNG_DEPTH = 24  # where the header chunk, which comes first, holds the bits of a sample
_PNG_HEADER = 33  # signature and header chunk together
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UPRIGHT = 1  # the EXIF orientation that asks for nothing
_SAMPLES = {"gray": 1, "rgb": 3, "cmyk": 4}

# The colours of a TIFF that can be read straight from its samples. Pillow translates the others
# (palettes, YCbCr), which have 8 bits in practice.
_TIFF_SPACES = {"MINISWHITE": "gray", "MINISBLACK": "gray", "RGB": "rgb", "SEPARATED": "cmyk"}
_TIFF_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)

_pillow_globals = threading.RLock()


class _Decoded(NamedTuple):
    """What a decoder hands on: samples as stored, and what the file says about them."""

    pixels: NDArray[Any]  # (H, W, S): the samples of the colour space, then alpha or nothing
    space: str  # of _SAMPLES; 0 is black, and no ink in CMYK
    profile: bytes | None  # ICC
    orientation: int  # EXIF, 1 to 8


def read_image(path: Path | str) -> NDArray[Any]:
    """Read the picture in an image file.

    PNG, JPEG, TIFF and what else Pillow reads, known by their content rather than their suffix.
    Palettes and CMYK become RGB, grey with transparency becomes RGBA, an alpha channel that is
    multiplied into the colours is divided out, bit depths in between are stretched to 8 or 16
    bits, an embedded ICC profile is converted to sRGB (one that is damaged or belongs to another
    kind of image is ignored, as browsers do), and the EXIF orientation is applied.

    Only the first frame of an animation and the first page of a TIFF are read; the channels of
    one page, interleaved or plane by plane, are one picture. Samples beyond the colours that a
    TIFF does not call alpha are left out.

    Parameters
    ----------
    path : Path or str
        The file.

    Returns
    -------
    ndarray of uint8, uint16 or float32, shape (H, W), (H, W, 3) or (H, W, 4)
        Grey, RGB or RGBA; contiguous, writable and in native byte order. The values of a TIFF in
        floating point are passed on as they are, without a range or a colour conversion.

    Raises
    ------
    InputError
        If the file is missing, unreadable, damaged, not an image or not one picture of at most
        2**29 pixels.
    """
    path = Path(path)
    head = _read_head(path)
    try:
        decoded = _decode_tiff(path) if head.startswith(_TIFF_SIGNATURES) else None
        decoded = decoded or _decode_with_pillow(path, head)
    except (InputError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not an image: name a PNG, JPEG or TIFF file.") from error
    except Exception as error:  # decoders fail on damaged files with whatever they stumble over
        raise InputError(
            f"{path} is damaged or cut short ({_detail(error)}): save or copy it again."
        ) from error
    return _assemble(decoded)


def write_image(
    path: Path | str,
    image: NDArray[np.floating[Any]],
    *,
    dtype: Literal["uint8", "uint16"] = "uint8",
    metadata: str | None = None,
) -> None:
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
    dtype : {"uint8", "uint16"}
        The samples of the file.
    metadata : str, optional
        A text to go with the picture, such as its record as JSON: in a PNG the iTXt chunk
        "napari-nst", in a TIFF the image description, in a JPEG the comment, which is left out
        if it is longer than the 65,533 bytes that one holds. All in UTF-8.

    Raises
    ------
    InputError
        If `image` is no picture, or the file cannot be written.
    """
    path = Path(path)
    check_writable(path)
    flat = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
    if image.dtype.kind != "f" or not flat or image.size == 0:
        raise InputError(
            f"{path} cannot hold an array of {image.dtype} with shape {image.shape}: a picture is "
            "floating point, (H, W), (H, W, 3) or (H, W, 4), and at least one pixel high and wide."
        )
    encode = _ENCODERS[path.suffix.lower()]
    image = np.nan_to_num(image).clip(0, 1).astype(np.float32)
    if encode is _encode_jpeg:
        dtype = "uint8"
        if image.shape[2:] == (4,):
            image = 1 - image[..., 3:] * (1 - image[..., :3])
    try:
        _replace(path, encode(_rounded(image * np.iinfo(dtype).max, dtype), metadata))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be written ({_detail(error)}): name another file or format."
        ) from error


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
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it.")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise InputError(f"{path} cannot be written, for {folder} is no folder: make it first.")
    try:
        # Permission bits tell neither of a read-only disk nor of root; a file does.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({_detail(error)}): name a file in a folder that is yours."
        ) from error


def _read_head(path: Path) -> bytes:
    """Read the first bytes of a file, enough to tell what it is."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: name an image file in it.")
    try:
        with path.open("rb") as stream:
            head = stream.read(_PNG_HEADER)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: name an image file that does.") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({_detail(error)}): name an image file that can."
        ) from error
    if not head:
        raise InputError(f"{path} is an empty file: name an image file.")
    return head


def _detail(error: BaseException) -> str:
    """Say in one line what someone else's error says."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__


def _check_size(path: Path, width: int, height: int) -> None:
    if not 0 < width * height <= _MOST_PIXELS:
        raise InputError(
            f"{path} says that it is {width} x {height} pixels: "
            f"an image has at least 1 and at most {_MOST_PIXELS} pixels."
        )


@contextmanager
def _lenient_pillow() -> Iterator[None]:
    """Silence Pillow's warnings and lift its limit of pixels, which a large camera exceeds.

    Both are global to the process, so one thread at a time has them, and gives them back.
    """
    with _pillow_globals, warnings.catch_warnings(action="ignore"):
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decode_with_pillow(path: Path, head: bytes) -> _Decoded:
    # Given a stream, not a path, for Pillow misreads a turned TIFF that it maps into memory.
    with _lenient_pillow(), path.open("rb") as stream, Image.open(stream) as image:
        _check_size(path, *image.size)
        image.load()
        space, pixels = _pillow_samples(path, image)
        if image.format == "PNG" and head[_PNG_DEPTH] == 16:
            # Pillow keeps only the upper 8 bits of all but grey.
            pixels = np.atleast_3d(imagecodecs.png_decode(path.read_bytes()))
            space = "gray" if pixels.shape[2] < 3 else "rgb"
        orientation = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
        return _Decoded(pixels, space, image.info.get("icc_profile"), orientation)


def _pillow_samples(path: Path, image: Image.Image) -> tuple[str, NDArray[Any]]:
    """Get the colour space of an image and its samples, shape (H, W, S), alpha last."""
    transparent = image.has_transparency_data
    if image.mode == "CMYK":
        return "cmyk", np.array(image)
    if image.mode in ("1", "L", "LA", "La"):
        return "gray", np.atleast_3d(np.array(image.convert("LA" if transparent else "L")))
    if image.mode in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr", "HSV"):
        return "rgb", np.array(image.convert("RGBA" if transparent else "RGB"))
    pixels = np.atleast_3d(np.array(image))
    if image.mode == "F":
        return "gray", pixels
    if image.mode.startswith("I") and 0 <= pixels.min() <= pixels.max() < 2**16:
        return "gray", pixels.astype(np.uint16)  # Pillow reads some formats of 16 bits as 32
    raise InputError(
        f"{path} has pixels of the kind {image.mode!r}: save it as grey or RGB of 8 or 16 bits."
    )


def _decode_tiff(path: Path) -> _Decoded | None:
    """Decode the first page of a TIFF, or return None if its colours are a task for Pillow."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        space = _TIFF_SPACES.get(tifffile.PHOTOMETRIC(page.photometric).name)
        if space is None:
            return None
        _check_size(path, page.imagewidth, page.imagelength)
        pixels = page.asarray()
        profile = page.tags.valueof("InterColorProfile")
        orientation = page.tags.valueof("Orientation", default=_UPRIGHT)
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = _full_range(path, np.atleast_3d(pixels), page.bitspersample)
    samples = _SAMPLES[space]
    alpha = [n for n, kind in enumerate(page.extrasamples, samples) if kind in _TIFF_ALPHA][:1]
    channels = pixels.shape[2]
    if "Z" in page.axes or channels < samples or (samples == 1 and channels > 2 and not alpha):
        raise InputError(
            f"{path} holds {' x '.join(map(str, page.shape))} samples that are not one picture: "
            "save a plane of it as grey, RGB or RGBA."
        )
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
        pixels[..., :1] = _whole(pixels) - pixels[..., :1]
    pixels = pixels[..., [*range(samples), *alpha]]
    if alpha and page.extrasamples[alpha[0] - samples] == tifffile.EXTRASAMPLE.ASSOCALPHA:
        pixels = _divide_by_alpha(pixels)
    return _Decoded(pixels, space, profile, orientation)


def _full_range(path: Path, pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Bring samples of any usual depth to uint8, uint16 or float32, in an array of their own."""
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return pixels.astype(np.float32)
    if pixels.dtype.kind not in "bu" or bits > 16:
        raise InputError(
            f"{path} has pixels of {pixels.dtype}: "
            "save it with 8 or 16 bits without a sign, or in floating point."
        )
    depth = np.uint8 if bits <= 8 else np.uint16
    if bits in (8, 16):
        return pixels.astype(depth)
    return _rounded(pixels * (np.iinfo(depth).max / (2**bits - 1)), depth)


def _rounded(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Round to the nearest value of an integer type; floating point stays as it is."""
    if np.issubdtype(dtype, np.integer):
        values = np.rint(values).clip(0, np.iinfo(np.dtype(dtype)).max)
    return values.astype(dtype)


def _whole(pixels: NDArray[Any]) -> int:
    """Give the value of full light, ink or opacity."""
    return int(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else 1


def _divide_by_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """Undo a multiplication with alpha, the last channel; what is invisible becomes black."""
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    divided = colour * np.float64(_whole(pixels)) / np.where(alpha > 0, alpha, np.inf)
    return np.dstack([_rounded(divided, pixels.dtype), alpha])


def _assemble(decoded: _Decoded) -> NDArray[Any]:
    samples = _SAMPLES[decoded.space]
    pixels = _to_srgb(decoded.pixels[..., :samples], decoded.space, decoded.profile)
    alpha = decoded.pixels[..., samples:]
    if alpha.size:
        pixels = np.dstack([np.broadcast_to(pixels, (*pixels.shape[:2], 3)), alpha])
    elif pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    upright = _turn_upright(pixels, decoded.orientation)
    return np.ascontiguousarray(upright, dtype=upright.dtype.newbyteorder("="))


def _to_srgb(colour: NDArray[Any], space: str, profile: bytes | None) -> NDArray[Any]:
    """Convert the samples of a colour space to grey, shape (H, W, 1), or RGB of sRGB."""
    if profile and colour.dtype.kind == "u":
        exact = space == "gray" or colour.dtype.itemsize == 2
        try:
            converted = imagecodecs.cms_transform(
                colour if space != "gray" else colour[..., 0],
                profile,
                imagecodecs.cms_profile("srgb"),
                colorspace=space,
                outcolorspace="rgb",
                # LittleCMS speeds up with tables that are too coarse for grey and for 16 bits.
                flags=imagecodecs.CMS.FLAGS.NOOPTIMIZE if exact else 0,
            )
        except imagecodecs.CmsError:
            pass  # damaged, or for another kind of image: no better than no profile
        else:
            return converted[..., 1:2] if space == "gray" else converted
    if space != "cmyk":
        return colour
    paper = _whole(colour) - colour.astype(np.float32)
    return _rounded(paper[..., :3] * paper[..., 3:] / _whole(colour), colour.dtype)


def _turn_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply an EXIF orientation: which sides of the scene the first row and column are."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _encode_png(samples: NDArray[Any], metadata: str | None) -> bytes:
    encoded = bytes(imagecodecs.png_encode(samples))
    chunks = io.BytesIO()
    PngImagePlugin.putchunk(chunks, b"sRGB", b"\0")
    if metadata is not None:
        # Neither compressed nor translated, and of no language.
        PngImagePlugin.putchunk(chunks, b"iTXt", b"napari-nst\0\0\0\0\0", metadata.encode())
    return encoded[:_PNG_HEADER] + chunks.getvalue() + encoded[_PNG_HEADER:]


def _encode_jpeg(samples: NDArray[np.uint8], metadata: str | None) -> bytes:
    comment = (metadata or "").encode()
    if len(comment) > _JPEG_COMMENT_BYTES:
        comment = b""
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG", quality=95, subsampling=0, comment=comment)
    return buffer.getvalue()


def _encode_tiff(samples: NDArray[Any], metadata: str | None) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        samples,
        photometric="minisblack" if samples.ndim == 2 else "rgb",
        planarconfig=None if samples.ndim == 2 else "contig",
        extrasamples=["unassalpha"] if samples.shape[2:] == (4,) else None,
        compression="adobe_deflate",
        predictor=True,
        description=None if metadata is None else metadata.encode(),
        metadata=None,
    )
    return buffer.getvalue()


_ENCODERS = {
    ".png": _encode_png,
    **dict.fromkeys((".jpg", ".jpeg"), _encode_jpeg),
    **dict.fromkeys((".tif", ".tiff"), _encode_tiff),
}


def _replace(path: Path, content: bytes) -> None:
    """Put new content in the place of a file, all at once."""
    target = Path(os.path.realpath(path))
    scratch = target.with_name(f".napari-nst-{secrets.token_hex(8)}.tmp")
    try:
        with scratch.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, scratch)
        scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
