"""Write a file or a folder completely or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["atomic_write"]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and move it to `path` if the block raises nothing.

    Parameters
    ----------
    path : Path
        The destination, in an existing folder.  What is there is replaced, except that a file
        never replaces a folder; a replaced file keeps its permissions.

    Yields
    ------
    Path
        A path in the same folder, at which the block creates a file or a folder.  It is deleted
        if the block raises.
    """
    # Not tempfile: only the owner could read its files, and other users may share the folder.
    scratch = path.with_name(f".napari-nst-{secrets.token_hex(8)}.tmp")
    try:
        yield scratch
        if scratch.is_file():
            with scratch.open("rb+") as stream:
                os.fsync(stream.fileno())
            if path.is_file():
                shutil.copymode(path, scratch)
        _replace(scratch, path)
    finally:
        _remove(scratch)


def _replace(scratch: Path, path: Path) -> None:
    """Move a file or folder; a folder must be moved out of the way first."""
    if not scratch.is_dir():
        scratch.replace(path)  # refuses to replace a folder by a file
        return
    old = scratch.with_suffix(".old")
    if path.exists():
        path.replace(old)
    scratch.replace(path)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
