"""Main memory that a run frees and asks for again, hundreds of times in every iteration.

The C library of Linux gives large blocks back to the system as soon as they are freed.  Getting
them again costs a page fault for every 4 KiB: with fresh pages for all features an iteration takes
a tenth to a fourth longer.  So that a run finds its memory where it left it, the library can be
told to keep more.  The process then grows by up to a third more than it must: this is for where
memory is plenty.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

__all__ = ["give_back", "keep_freed_memory"]

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# Blocks up to here come from the heap, which keeps so much that is free at its end.  Larger ones
# are few, and kept they would leave holes: with 128 MiB, and 512 at the end, the process grew by up
# to seven tenths more, for iterations that were hardly faster.
_LARGEST_KEPT = 48 * 2**20
_KEPT_AT_END = 192 * 2**20


def keep_freed_memory() -> bool:
    """Have the process keep main memory that is freed; return whether it can be told to.

    Only glibc can.  It holds for the whole process, from now on.
    """
    library = _glibc()
    if library is None:
        return False
    kept = library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
    return bool(library.mallopt(_M_TRIM_THRESHOLD, _KEPT_AT_END) and kept)


def give_back() -> None:
    """Give what is kept and free back to the system."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
