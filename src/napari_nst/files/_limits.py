"""Check the sizes in a header before memory is allocated for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MAX_BYTES", "MAX_PIXELS", "MAX_PLANES", "check_bytes", "check_size"]

MAX_PIXELS = 2**29  # 23,170 x 23,170: a header with more is probably damaged
MAX_BYTES = 2**32  # of a plane or a chunk: RGBA of 16 bits with MAX_PIXELS
MAX_PLANES = 2**24  # of a stack: readers keep a list with an entry for each plane


def check_size(path: Path, width: int, height: int) -> None:
    """Raise InputError for a picture or plane without pixels, or of more than `MAX_PIXELS`."""
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(
            f"{path} says that it is {width} x {height} pixels: "
            f"an image has at least 1 and at most {MAX_PIXELS} pixels."
        )


def check_bytes(path: Path, count: int, part: str = "picture") -> None:
    """Raise InputError if decoding a part of a file takes more than `MAX_BYTES` of memory."""
    if count > MAX_BYTES:
        raise InputError(
            f"{path} says that a {part} in it takes {count} bytes of memory: at most {MAX_BYTES} "
            "bytes are read at once."
        )
