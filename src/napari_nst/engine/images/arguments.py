"""Convert images and labels from callers to arrays, with helpful messages on errors."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_nst.errors import InputError, abridged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["UNCHANGED", "as_array", "as_list", "refuse_path", "style_names"]

UNCHANGED: Final[Any] = object()
"""Sentinel: leave an input unchanged.  None removes it."""

# PIL modes whose values are grey or RGB(A); others, such as CMYK, have the same shapes.
_MODES = ("L", "RGB", "RGBA", "I;16", "F")

_MIN_ROWS = 8  # of an image


def as_array(given: Any, name: str, reader: str = "read_image") -> NDArray[Any]:
    """Return an image or labels as an array.

    Parameters
    ----------
    given : array_like
        Also a torch tensor, a PIL image, or a lazy array.
    name : str
        Name of the argument for messages.
    reader : str
        Function in `napari_nst.files` that reads such a file, for the message about a path.

    Raises
    ------
    InputError
        If it cannot be converted; the message says what to give instead.
    """
    refuse_path(given, name, f"read the file with napari_nst.files.{reader}")
    if hasattr(given, "as_layer_data_tuple"):
        raise InputError(
            f"{name} is the napari layer {abridged(getattr(given, 'name', None))}, and it must be "
            "an array: use napari_nst.stylize_layer, or give the layer's data."
        )
    if _is_of("torch", "Tensor", given):
        given = given.detach().cpu()
        # NumPy has no bfloat16.
        return np.asarray((given.float() if given.is_floating_point() else given).numpy())
    if _is_of("PIL.Image", "Image", given) and given.mode not in _MODES:
        raise InputError(
            f"{name} is a PIL image of mode {given.mode!r}; it must be of 'L', 'RGB' or 'RGBA': "
            "convert it, image.convert('RGB')."
        )
    if isinstance(given, np.ma.MaskedArray):
        count = int(np.count_nonzero(np.ma.getmaskarray(given)))
        if count:
            raise InputError(
                f"{name} is a masked array with {count} values masked; give an array without a "
                "mask: of a content, one with NaN there, and nan='keep'."
            )
        return np.asarray(given.data)
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} cannot be made an array ({error}); it must be an image as an array."
        ) from None


def refuse_path(given: Any, name: str, advice: str) -> None:
    """Raise if an argument is a path and not an array.

    Raises
    ------
    InputError
        If it is a path; the message contains the advice.
    """
    if isinstance(given, (str, bytes, os.PathLike)):
        raise InputError(
            f"{name} is {abridged(given)}, and it must be an array: {advice}, or use the command "
            "line (napari-nst stylize)."
        )


def as_list(given: Any) -> list[Any]:
    """Return one or several images or labels as a list.

    Nested lists of numbers or colours are one image.

    Parameters
    ----------
    given : array_like or sequence of array_like or None
        The styles or style labels of a `StyleTransfer`.
    """
    if isinstance(given, (list, tuple)) and not _is_image(given):
        return list(given)
    return [given]


def style_names(count: int) -> list[str]:
    """Return default names of styles."""
    return ["style"] if count == 1 else [f"style {index}" for index in range(1, count + 1)]


def _is_image(given: Sequence[Any]) -> bool:
    """Return whether a list contains the rows of one image, grey or coloured."""
    shapes = [_shape(row) for row in given]
    grey = all(shape is not None and len(shape) < 2 for shape in shapes)
    # A row of colours looks like a grey image 3 or 4 pixels wide, but a few rows are no image.
    colors = len(given) >= _MIN_ROWS and all(
        shape is not None and len(shape) == 2 and shape[1] in (3, 4) for shape in shapes
    )
    return bool(given) and (grey or colors)


def _shape(given: Any) -> tuple[int, ...] | None:
    """Return the shape of an array or of nested lists (by their first items), or None."""
    if isinstance(given, (list, tuple)):
        inner = _shape(given[0]) if given else ()
        return None if inner is None else (len(given), *inner)
    if isinstance(given, (bool, int, float, complex)):
        return ()
    shape = getattr(given, "shape", None)
    return tuple(shape) if isinstance(shape, tuple) else None


def _is_of(module: str, kind: str, given: Any) -> bool:
    """Return whether an object is an instance of a class, without importing its module."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(given, getattr(loaded, kind))
