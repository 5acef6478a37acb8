"""Let glibc keep freed main memory while a run needs it again and again.

glibc returns large blocks to the system as soon as they are freed.  A run frees and allocates its
features hundreds of times in every iteration, and each new block costs a page fault for every
4 KiB: an iteration takes a tenth to a fourth longer.  If glibc keeps them, the process grows by up
to a third more than it must, which is acceptable where memory is ample.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["keep_freed_memory", "release_freed_memory"]

# Parameters of mallopt, in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# During a run: blocks up to the first size come from the heap, which keeps as much free memory as
# the second at its end.  Larger blocks are few, and would leave holes in the heap: with 128 and
# 512 MiB the process grew by up to seven tenths more, for iterations that were hardly faster.
_DURING_RUN = 48 * 2**20, 192 * 2**20

# After it.  Once mallopt was called, glibc no longer adapts its thresholds, and offers no way to
# let it do so again: these are the largest that it adapts itself to.
_AFTER_RUN = 32 * 2**20, 64 * 2**20

_lock = threading.Lock()
_runs = 0


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Let the process keep freed main memory while this context lasts.

    It applies to all threads; of overlapping contexts the last one ends it.  Nothing happens
    without glibc, or if the user has tuned it through environment variables.
    """
    global _runs
    with _lock:
        _runs += 1
        if _runs == 1:
            _set_thresholds(*_DURING_RUN)
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            if _runs == 0:
                _set_thresholds(*_AFTER_RUN)


def release_freed_memory() -> None:
    """Return unused memory of glibc's heap to the system."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _set_thresholds(mmap: int, trim: int) -> None:
    library = _glibc()
    if library is not None and not _tuned_by_user():
        library.mallopt(_M_MMAP_THRESHOLD, mmap)
        library.mallopt(_M_TRIM_THRESHOLD, trim)


def _tuned_by_user() -> bool:
    names = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"}
    return bool(names & os.environ.keys()) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")


@cache
def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
