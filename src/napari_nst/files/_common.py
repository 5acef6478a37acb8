"""Helpers of reading and writing: error messages, rounding, constants."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.atomic import atomic_write
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

__all__ = [
    "PNG_HEADER",
    "RECORD_MARK",
    "RECORD_TAG",
    "decoding",
    "detail",
    "rounded",
    "sidecar",
    "write_atomically",
]

PNG_HEADER = 33  # bytes of the signature and the header chunk

# A private TIFF tag that no program known to tifffile uses. Not ImageDescription: tifffile would
# parse JSON there as the shape of the image.
RECORD_TAG = 65301
RECORD_MARK = "napari-nst\n"


def detail(error: BaseException) -> str:
    """Return the message of an exception from another library, in one line."""
    text = getattr(error, "strerror", None) or str(error)  # of OSError and of PyAV's errors
    return " ".join(text.split()).rstrip(".") or type(error).__name__


@contextmanager
def decoding(
    subject: object, failure: str, advice: str = "", *, if_missing: str = ""
) -> Iterator[None]:
    """Raise any exception of a decoder as InputError: damaged files cause all kinds of them.

    The message is "`subject` `failure` (reason): `advice`."  `if_missing` is the advice if the file
    does not exist.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if if_missing and isinstance(error, FileNotFoundError):
            raise InputError(f"{subject} does not exist: {if_missing}.") from error
        raise InputError(
            f"{subject} {failure} ({detail(error)}){advice and f': {advice}'}."
        ) from error


@contextmanager
def write_atomically(path: Path, advice: str) -> Iterator[Path]:
    """Yield a temporary path as `atomic_write` does; raise InputError if writing fails.

    A symbolic link stays one: its target is replaced.
    """
    try:
        with atomic_write(Path(os.path.realpath(path))) as scratch:
            yield scratch
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} cannot be written ({detail(error)}): {advice}.") from error


def sidecar(path: Path) -> Path:
    """Return the file for a record that is too long for a JPEG comment."""
    return path.with_name(f"{path.name}.napari-nst.json")


def rounded(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Convert values to a type: rounded and clipped for integers, unchanged for floats."""
    if np.issubdtype(dtype, np.integer):
        values = np.rint(values).clip(0, np.iinfo(np.dtype(dtype)).max)
    return values.astype(dtype)
