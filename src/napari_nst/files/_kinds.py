"""Recognise unsupported kinds of files by their first bytes, and advise what to do instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["camera_raw_error", "check_kind", "not_an_image_error"]

_SUPPORTED = "PNG, JPEG, JPEG 2000, TIFF, WebP, AVIF, BMP, GIF, PPM, TGA or PSD"

_HEAD_BYTES = 4096  # examined; an SVG may begin with comments
_EXPORT = "export it as PNG, JPEG or TIFF"
_CONVERT = (
    "open it in napari with a reader plugin for it, or convert it to OME-TIFF, for example with "
    "Fiji"
)
_DEVELOP = "export it as TIFF, PNG or JPEG from a program for photos"
_STILL = "save a frame of it as PNG or TIFF, or restyle it as .mp4 with 'napari-nst batch'"

_HEIC = (
    "a HEIC photo",
    "export it as JPEG or PNG; an iPhone takes JPEG with Settings > Camera > Formats > Most "
    "Compatible",
)
_RAW = ("a camera's raw file", _DEVELOP)
_VIDEO = ("a video", _STILL)

# Kinds by the brands in the "ftyp" box of ISO media files. AVIF, which is supported, shares some.
_READABLE_BRANDS = {b"avif", b"avis"}
_BRANDS = {
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), _HEIC
    ),
    **dict.fromkeys((b"mif1", b"msf1", b"mif2"), _HEIC),
    b"crx ": _RAW,
    **dict.fromkeys((b"qt  ", b"isom", b"iso2", b"mp41", b"mp42", b"avc1", b"M4V "), _VIDEO),
}

_KINDS = [
    (re.compile(pattern, re.DOTALL), kind, advice)
    for pattern, kind, advice in (
        (rb"ZISRAWFILE", "a CZI file of Zeiss", _CONVERT),
        (rb"p\0\0\0.{4}\*", "a LIF file of Leica", _CONVERT),
        (rb"\xda\xce\xbe\x0a", "an ND2 file of Nikon", _CONVERT),
        (
            rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "a compound document, such as OIB of Olympus or ZVI of Zeiss",
            _CONVERT,
        ),
        (rb"\x89HDF\r\n\x1a\n", "an HDF5 file, such as IMS of Imaris", _CONVERT),
        (rb"(?!II|MM).{128}DICM", "a DICOM file", _CONVERT),
        (rb"SIMPLE  =", "a FITS file", _CONVERT),
        (rb".{344}(?:n\+1|ni1)\0", "a NIfTI file", _CONVERT),
        (rb"FUJIFILMCCD-RAW|FOVb|\0MRM|II\x1a\0\0\0HEAPCCDR|IIR[OS]|MMOR|IIU\0", *_RAW),
        (rb"II\*\0.{4}CR", *_RAW),
        (rb"\xff\x0a|\0\0\0\x0cJXL \r\n", "a JPEG XL picture", _EXPORT),
        (rb"\x76\x2f\x31\x01", "an OpenEXR picture", "export it as TIFF in floating point"),
        (rb"#\?(?:RADIANCE|RGBE)", "an HDR picture", "export it as TIFF in floating point"),
        (
            rb"(?:\xef\xbb\xbf)?\s*<(?:svg\b|[?!].*<svg\b)",
            "an SVG drawing",
            "export it as PNG in the size you need",
        ),
        (rb"(?i:\s*<(?:!doctype\s+html|html)\b)", "a web page", "save the picture that it shows"),
        (rb"%PDF-", "a PDF document", "export a page of it as PNG"),
        (
            rb"%!PS|\xc5\xd0\xd3\xc6",
            "a PostScript drawing",
            "export it as PNG in the size you need",
        ),
        (
            rb"RIFF.{4}AVI |\x1a\x45\xdf\xa3|\x00\x00\x01\xba|FLV\x01|\x30\x26\xb2\x75\x8e\x66",
            *_VIDEO,
        ),
        (rb"(?!GIF8)(?:.{4})?G.{187}(?:.{4})?G.{187}(?:.{4})?G", *_VIDEO),  # MPEG-TS
        (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive", "unpack the pictures in it"),
        (rb"\x93NUMPY", "an array of NumPy", "save it as PNG or TIFF"),
    )
]

# Camera raw files based on TIFF: their first page is a small preview or a colour filter mosaic.
_RAW_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .dcr .dng .erf .fff .iiq .k25 .kdc .mef .mos .nef .nrw .orf .pef .rw2 .rwl "
    ".sr2 .srf .srw".split()
)


def check_kind(path: Path) -> None:
    """Raise InputError with advice for a file of a known unsupported kind."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    found = _kind_from_brands(head) if head[4:8] == b"ftyp" else None
    for pattern, kind, advice in () if found else _KINDS:
        if pattern.match(head):
            found = kind, advice
            break
    if found is not None:
        raise _unsupported_error(path, *found)
    if head.startswith((b"II*\0", b"MM\0*")) and path.suffix.lower() in _RAW_SUFFIXES:
        raise camera_raw_error(path)


def camera_raw_error(path: Path) -> InputError:
    """Return the error for a camera's raw file."""
    return _unsupported_error(path, *_RAW)


def not_an_image_error(path: Path) -> InputError:
    """Return the error for a file of an unknown kind."""
    return InputError(f"{path} is not an image of a supported format: name a {_SUPPORTED} file.")


def _unsupported_error(path: Path, kind: str, advice: str) -> InputError:
    return InputError(f"{path} is {kind}, which cannot be read: {advice}.")


def _kind_from_brands(head: bytes) -> tuple[str, str] | None:
    """Return the kind of an ISO media file by its major and compatible brands."""
    end = int.from_bytes(head[:4])
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, min(end, 256), 4))]
    if _READABLE_BRANDS.intersection(brands):
        return None
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)
