"""Check masks, and copy them beside the results at the size of the result."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tifffile
from PIL import Image

from napari_nst.errors import InputError
from napari_nst.files import is_stack, open_stack, read_labels, read_npy, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["check_mask", "copy_mask"]


def check_mask(mask: Path, content: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of a mask after comparing its proportions with the content.

    Raises InputError if the mask cannot be read, or has other proportions.
    """
    if is_stack(mask):
        with open_stack(mask) as stack:
            height, width = stack.plane_shape[:2]
    else:
        height, width = read_labels(mask).shape
    # The same scale along both axes, within one pixel.
    if abs(height * content[1] - width * content[0]) > max(height, width, *content):
        raise InputError(
            f"{mask} is {width} x {height} pixels, and its content {content[1]} x {content[0]}: a "
            "mask has its content's proportions."
        )
    return height, width


def copy_mask(
    mask: Path, target: Path, size: tuple[int, int], result_size: tuple[int, int]
) -> Literal["copied", "resampled"]:
    """Copy a mask, resampled by nearest neighbour if the size differs; its type is kept.

    Parameters
    ----------
    mask, target : Path
        Source and destination.
    size, result_size : tuple of int
        Height and width of the mask and of the result.

    Raises
    ------
    InputError
        If it cannot be written, or the mask is a stack of another size.
    """
    if size != result_size and is_stack(mask) and _plane_count(mask) > 1:
        raise InputError(
            f"{mask} is {size[1]} x {size[0]} pixels, and its content {result_size[1]} x "
            f"{result_size[0]}: the mask of a stack has the stack's size."
        )
    with suppress(OSError):  # writing the mask raises the error with its path
        target.parent.mkdir(exist_ok=True)
    with write_atomically(target, "name another folder") as scratch:
        if size != result_size:
            _resample(mask, scratch, result_size)
        elif mask.is_dir():
            shutil.copytree(mask, scratch)
        else:
            shutil.copyfile(mask, scratch)
    return "copied" if size == result_size else "resampled"


def _plane_count(mask: Path) -> int:
    with open_stack(mask) as stack:
        return len(stack)


def _resample(mask: Path, path: Path, size: tuple[int, int]) -> None:
    suffix = mask.suffix.lower()
    if suffix == ".npy":
        with path.open("wb") as stream:
            np.save(stream, _nearest(read_npy(mask), size))
    elif suffix in (".tif", ".tiff"):
        with tifffile.TiffFile(mask) as tiff:
            page = tiff.pages.first
            labels, kind = page.asarray(), tifffile.PHOTOMETRIC(page.photometric).name.lower()
            table = page.colormap if kind == "palette" else None
        if page.axes == "SYX":
            labels = np.moveaxis(labels, 0, -1)
        tifffile.imwrite(
            path,
            _nearest(labels, size),
            photometric=kind,  # keeps the colours of the labels
            colormap=table,
            compression="adobe_deflate",
            metadata=None,
        )
    else:
        with Image.open(mask) as image:  # keeps the palette
            image.resize(size[::-1], Image.Resampling.NEAREST).save(path, format=image.format)


def _nearest(labels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.intp)
        for new, old in zip(size, labels.shape[:2], strict=True)
    )
    return np.ascontiguousarray(labels[np.ix_(rows, columns)])
