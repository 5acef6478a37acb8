"""Recognise and open stacks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from napari_nst.errors import InputError
from napari_nst.files._common import decoding
from napari_nst.files._film_formats import FILM_FORMATS
from napari_nst.files._limits import MAX_PLANES, check_bytes, check_size
from napari_nst.files._stack_animation import (
    ANIMATION_FORMATS,
    AnimationStack,
    is_animation,
)
from napari_nst.files._stack_tiff import TiffStack, is_tiff_stack
from napari_nst.files._stack_zarr import ZarrStack, is_zarr
from napari_nst.files._tiff import is_tiff

if TYPE_CHECKING:
    from napari_nst.files._stack import Stack

__all__ = ["STACK_SUFFIXES", "is_film", "is_stack", "open_stack"]

STACK_SUFFIXES = (".tif", ".tiff", *FILM_FORMATS, *ANIMATION_FORMATS)  # written by `write_stack`


def is_stack(path: Path | str) -> bool:
    """Return whether a file is for `open_stack`, and not a picture for `read_image`.

    Stacks are Zarr stores, films by their suffix, animated GIF, PNG and WebP, and TIFF files that
    have several planes, that OME or ImageJ describes, or whose values are neither uint8 nor uint16.
    Unreadable files are not.

    Parameters
    ----------
    path : Path or str
        The file or folder.
    """
    path = Path(path)
    if path.is_dir():
        return is_zarr(path)
    if is_film(path):
        return True
    try:
        return is_tiff_stack(path) if is_tiff(path) else is_animation(path)
    except Exception:  # reading the file raises the error
        return False


def is_film(path: Path) -> bool:
    """Return whether the suffix of a file is that of a film."""
    return path.suffix.lower() in FILM_FORMATS


def open_stack(path: Path | str) -> Stack:
    """Open the stack in a file or a Zarr store without keeping its planes in memory.

    Parameters
    ----------
    path : Path or str
        OME-TIFF, ImageJ TIFF or any other TIFF of one image; a Zarr array, or an OME-Zarr image,
        which is read at full resolution; a film (.mp4, .m4v, .mov, .mkv, .webm, .avi), which is
        decoded once to find its frames; an animated GIF, PNG or WebP.

    Returns
    -------
    Stack
        The planes, with axes, dtype, physical sizes and units; the caller closes it.

    Raises
    ------
    InputError
        If it is missing, damaged, of another kind, or has planes of more than 2**29 pixels or
        4 GiB; or if it needs the package zarr or av, which is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: name a stack that does.")
    with decoding(path, "cannot be read as a stack", "name a TIFF file, a Zarr store or a film"):
        if path.is_dir():
            if not is_zarr(path):
                raise InputError(f"{path} is a folder but not a Zarr store: name a file in it.")
            return _check(ZarrStack(path))
        if is_film(path):
            return _check(_open_film(path))
        if path.suffix.lower() in ANIMATION_FORMATS and is_animation(path):
            with decoding(path, "is damaged or cut short", "save or copy it again"):
                return _check(AnimationStack(path))
        return _check(TiffStack(path))


def _open_film(path: Path) -> Stack:
    try:
        from napari_nst.files._stack_film import FilmStack
    except ImportError:
        raise InputError(
            f"{path} is a film, and the package av is not installed: install it with "
            "'pip install napari-nst[film]'."
        ) from None
    failure = "is not a film, or is damaged or cut short"
    with decoding(path, failure, "save or copy it again"):
        return FilmStack(path)


def _check(stack: Stack) -> Stack:
    """Return the stack if its planes can be read; otherwise close it and raise InputError."""
    try:
        height, width = stack.plane_shape[:2]
        check_size(stack.path, width, height)
        check_bytes(stack.path, math.prod(stack.plane_shape) * stack.dtype.itemsize, "plane")
        if stack.dtype.kind not in "biuf":
            raise InputError(
                f"{stack.path} holds values of {stack.dtype}: a plane is of integers or of "
                "floating point."
            )
        count = math.prod(stack.leading_shape)
        if not 0 < count <= MAX_PLANES:
            raise InputError(
                f"{stack.path} says that it has {count} planes: a stack has at least 1 and at most "
                f"{MAX_PLANES}."
            )
    except BaseException:
        stack.close()
        raise
    return stack
