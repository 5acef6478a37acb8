"""Which files are stacks, and how one is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_nst.errors import InputError
from napari_nst.files._common import TIFF_SIGNATURES, detail
from napari_nst.files._stack_tiff import TiffStack, is_tiff_stack
from napari_nst.files._stack_zarr import ZarrStack, is_zarr

if TYPE_CHECKING:
    from napari_nst.files._stack import Stack

__all__ = ["is_stack", "open_stack"]


def is_stack(path: Path | str) -> bool:
    """Return whether a file is for `open_stack`, and not a picture for `read_image`.

    Zarr stores are; so are TIFF files of several planes, of OME and of ImageJ, and those whose
    values are neither 8 nor 16 bits without a sign.  What cannot be read is not.

    Parameters
    ----------
    path : Path or str
        The file or folder.
    """
    path = Path(path)
    if path.is_dir():
        return is_zarr(path)
    try:
        with path.open("rb") as stream:
            if stream.read(4) not in TIFF_SIGNATURES:
                return False
        return is_tiff_stack(path)
    except Exception:  # whoever reads the file says what is wrong with it
        return False


def open_stack(path: Path | str) -> Stack:
    """Open the stack in a TIFF file or a Zarr store, and read none of its planes yet.

    Parameters
    ----------
    path : Path or str
        OME-TIFF, ImageJ's TIFF, any other TIFF of one image; a Zarr array or an OME-Zarr image, of
        which the full resolution is taken.

    Returns
    -------
    Stack
        A sequence of planes, with axes, dtype, physical sizes and units; to be closed.

    Raises
    ------
    InputError
        If it is missing, damaged or none of these, or needs the package zarr where that is not
        installed.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: name a stack that does.")
    try:
        if path.is_dir():
            if not is_zarr(path):
                raise InputError(f"{path} is a folder, and no Zarr store: name a file in it.")
            return ZarrStack(path)
        return TiffStack(path)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # decoders fail on damaged files with whatever they stumble over
        raise InputError(
            f"{path} cannot be read as a stack ({detail(error)}): name a TIFF file or a Zarr store."
        ) from error
