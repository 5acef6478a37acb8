"""Find the input files of a batch, and name its results."""

from __future__ import annotations

import glob
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from napari_nst.errors import InputError
from napari_nst.files import STACK_SUFFIXES, is_stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["expand", "split_name", "suffix_of_result", "unique_stems"]

_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")  # taken from a folder
_COMPOUND = (".ome.tif", ".ome.tiff", ".ome.zarr")
_TIFF = (".tif", ".tiff")


def expand(what: str, given: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Expand names, patterns and folders to files, without duplicates.

    A folder gives its images sorted by name, without subfolders except Zarr stores.  Patterns
    (``*``, ``?``, ``[...]``, and ``**`` for any subfolders) are expanded here because not every
    shell does it.

    Parameters
    ----------
    what : str
        Name of the argument in messages, for example "content".
    given : iterable of path-like
        Names, patterns and folders, in order.

    Raises
    ------
    InputError
        If one of them matches no file.
    """
    by_real_path: dict[str, Path] = {}
    for entry in given:
        paths = list(_matches(os.fspath(entry)))
        if not paths:
            raise InputError(
                f"There is no {what} {os.fspath(entry)}: name a file, a folder with images, or a "
                "pattern such as 'photos/*.png'."
            )
        for path in paths:
            by_real_path.setdefault(os.path.realpath(path), path)
    return list(by_real_path.values())


def _matches(entry: str) -> Iterator[Path]:
    path = Path(entry)
    if not path.exists() and glob.has_magic(entry):
        for match in sorted(glob.glob(os.path.expanduser(entry), recursive=True)):
            yield from _files_in(Path(match))
    elif path.expanduser().exists():
        yield from _files_in(path.expanduser())


def _files_in(path: Path) -> Iterator[Path]:
    if not path.is_dir() or is_stack(path):
        yield path
        return
    for inner in sorted(path.iterdir()):
        if inner.name.startswith("."):
            continue
        if is_stack(inner) if inner.is_dir() else inner.suffix.lower() in _IMAGES:
            yield inner


def split_name(path: Path) -> tuple[str, str]:
    """Split a file name into stem and suffix; ".ome.tif" is one suffix."""
    for suffix in _COMPOUND:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.name[: -len(suffix)], path.name[-len(suffix) :]
    return path.stem, path.suffix


def suffix_of_result(content: Path, stack: bool) -> str:
    """Return the suffix of the content if results can have it; otherwise .tif or .png."""
    suffix = split_name(content)[1]
    if stack:
        return suffix if content.is_dir() or suffix.lower().endswith(STACK_SUFFIXES) else ".tif"
    return suffix if suffix.lower() in (".png", ".jpg", ".jpeg", *_TIFF) else ".png"


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Return a unique name for each file: its stem if unique, ignoring case.

    Otherwise the suffix is added, or the names of folders if the suffix is the same too: "a_png"
    and "a_tif", "left_a" and "right_a".

    Parameters
    ----------
    paths : sequence of Path
        Different files.
    """
    groups = defaultdict(list)
    for number, path in enumerate(paths):
        groups[split_name(path)[0].casefold()].append(number)
    names = [""] * len(paths)
    for group in groups.values():
        candidates = [list(_candidates(paths[number])) for number in group]
        for level in range(max(map(len, candidates))):
            chosen = [names_of[min(level, len(names_of) - 1)] for names_of in candidates]
            if len({name.casefold() for name in chosen}) == len(chosen):
                break
        for number, name in zip(group, chosen, strict=True):
            names[number] = name
    return unique(names)


def unique(names: Iterable[str]) -> list[str]:
    """Add numbers to repeated names."""
    taken: set[str] = set()
    numbered_names = []
    for name in names:
        count, numbered = 1, name
        while numbered.casefold() in taken:
            count += 1
            numbered = f"{name}-{count}"
        taken.add(numbered.casefold())
        numbered_names.append(numbered)
    return numbered_names


def _candidates(path: Path) -> Iterator[str]:
    stem, suffix = split_name(path)
    full = f"{stem}_{suffix.strip('.').replace('.', '_')}".rstrip("_")
    yield stem
    yield full
    prefix = ""
    for folder in reversed(Path(os.path.abspath(path)).parent.parts):
        prefix = re.sub(r"[^\w.-]+", "", folder) + "_" + prefix
        yield prefix + stem
        yield prefix + full
