"""Masks go with their pictures: untouched, at the result's size."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tifffile
from PIL import Image

from napari_nst.atomic import atomic_write
from napari_nst.errors import InputError
from napari_nst.files import is_stack, open_stack, read_labels, read_npy

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["check_mask", "copy_mask"]


def check_mask(mask: Path, content: tuple[int, int]) -> tuple[int, int]:
    """Return a mask's height and width, if it can be that of a content.

    Parameters
    ----------
    mask : Path
        The file.
    content : tuple of int
        Height and width of the content.

    Raises
    ------
    InputError
        If it cannot be read, or is not of the content's proportions.
    """
    if is_stack(mask):
        with open_stack(mask) as stack:
            height, width = stack.plane_shape[:2]
    else:
        height, width = read_labels(mask).shape
    # As many pixels of the mask in one of the content down as across, but for a pixel.
    if abs(height * content[1] - width * content[0]) > max(height, width, *content):
        raise InputError(
            f"{mask} is {width} x {height} pixels, and its content {content[1]} x {content[0]}: a "
            "mask has its content's proportions."
        )
    return height, width


def copy_mask(
    mask: Path, target: Path, size: tuple[int, int], wanted: tuple[int, int]
) -> Literal["copied", "resampled"]:
    """Copy a mask; to another size by its nearest pixels, in the type it has.

    Parameters
    ----------
    mask, target : Path
        Where it is, and where it goes.
    size, wanted : tuple of int
        Its height and width, and those of the result.

    Raises
    ------
    InputError
        If it cannot be written, or is a stack that would have to be resampled.
    """
    if size != wanted and is_stack(mask) and _planes(mask) > 1:
        raise InputError(
            f"{mask} is {size[1]} x {size[0]} pixels, and its content {wanted[1]} x {wanted[0]}: "
            "the mask of a stack has the stack's size."
        )
    try:
        target.parent.mkdir(exist_ok=True)
        with atomic_write(target) as scratch:
            if size != wanted:
                _resample(mask, scratch, wanted)
            elif mask.is_dir():
                shutil.copytree(mask, scratch)
            else:
                shutil.copyfile(mask, scratch)
    except OSError as error:
        raise InputError(
            f"{target} cannot be written ({error.strerror or error}): name another folder."
        ) from None
    return "copied" if size == wanted else "resampled"


def _planes(mask: Path) -> int:
    with open_stack(mask) as stack:
        return len(stack)


def _resample(mask: Path, path: Path, wanted: tuple[int, int]) -> None:
    suffix = mask.suffix.lower()
    if suffix == ".npy":
        with path.open("wb") as stream:
            np.save(stream, _nearest(read_npy(mask), wanted))
    elif suffix in (".tif", ".tiff"):
        with tifffile.TiffFile(mask) as tiff:
            page = tiff.pages.first
            labels, kind = page.asarray(), tifffile.PHOTOMETRIC(page.photometric).name.lower()
            table = page.colormap if kind == "palette" else None
        if page.axes == "SYX":
            labels = np.moveaxis(labels, 0, -1)
        tifffile.imwrite(
            path,
            _nearest(labels, wanted),
            photometric=kind,  # it shows its labels in the same colours
            colormap=table,
            compression="adobe_deflate",
            metadata=None,
        )
    else:
        with Image.open(mask) as image:  # a palette stays one
            image.resize(wanted[::-1], Image.Resampling.NEAREST).save(path, format=image.format)


def _nearest(labels: NDArray[Any], wanted: tuple[int, int]) -> NDArray[Any]:
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.intp)
        for new, old in zip(wanted, labels.shape[:2], strict=True)
    )
    return np.ascontiguousarray(labels[np.ix_(rows, columns)])
