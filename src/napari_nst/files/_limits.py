"""Check the sizes that a file claims before memory is allocated for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MOST_BYTES", "MOST_PIXELS", "MOST_PLANES", "check_bytes", "check_size"]

MOST_PIXELS = 2**29  # 23,170 pixels square: a larger header is more likely damaged than true
MOST_BYTES = 2**32  # of a plane or a chunk: RGBA of 16 bits at that size
MOST_PLANES = 2**24  # of a stack: readers keep a list with an entry for each plane


def check_size(path: Path, width: int, height: int) -> None:
    """Refuse a picture or plane of no pixels, or of more than `MOST_PIXELS`."""
    if not 0 < width * height <= MOST_PIXELS:
        raise InputError(
            f"{path} says that it is {width} x {height} pixels: "
            f"an image has at least 1 and at most {MOST_PIXELS} pixels."
        )


def check_bytes(path: Path, count: int, part: str = "picture") -> None:
    """Refuse a part of a file that takes more than `MOST_BYTES` of memory to decode."""
    if count > MOST_BYTES:
        raise InputError(
            f"{path} says that a {part} in it takes {count} bytes of memory: at most {MOST_BYTES} "
            "bytes are read at once."
        )
