"""What a batch takes in, and what its results are called."""

from __future__ import annotations

import glob
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from napari_nst.errors import InputError
from napari_nst.files import is_stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["expand", "split_name", "suffix_of_result", "tell_apart"]

_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")  # of a folder
_COMPOUND = (".ome.tif", ".ome.tiff", ".ome.zarr")
_TIFF = (".tif", ".tiff")


def expand(what: str, given: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the files that names, patterns and folders stand for, each once.

    A folder stands for the images in it, in the order of their names; those in folders within it
    are not looked at, but for Zarr stores.  A pattern (``*``, ``?``, ``[...]``, and ``**`` for
    folders within folders) is expanded here, for not every shell does it.

    Parameters
    ----------
    what : str
        What messages call them, for example "content".
    given : iterable of path-like
        In the order that the results are to be made in.

    Raises
    ------
    InputError
        If one of them stands for nothing.
    """
    found: dict[str, Path] = {}
    for entry in given:
        paths = list(_meant(os.fspath(entry)))
        if not paths:
            raise InputError(
                f"There is no {what} {os.fspath(entry)}: name a file, a folder with images, or a "
                "pattern such as 'photos/*.png'."
            )
        for path in paths:
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _meant(entry: str) -> Iterator[Path]:
    path = Path(entry)
    if not path.exists() and glob.has_magic(entry):
        for match in sorted(glob.glob(os.path.expanduser(entry), recursive=True)):
            yield from _inside(Path(match))
    elif path.expanduser().exists():
        yield from _inside(path.expanduser())


def _inside(path: Path) -> Iterator[Path]:
    if not path.is_dir() or is_stack(path):
        yield path
        return
    for inner in sorted(path.iterdir()):
        if inner.name.startswith("."):
            continue
        if is_stack(inner) if inner.is_dir() else inner.suffix.lower() in _IMAGES:
            yield inner


def split_name(path: Path) -> tuple[str, str]:
    """Return a file's name without its suffix, and the suffix, of which ".ome.tif" is one."""
    for suffix in _COMPOUND:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.name[: -len(suffix)], path.name[-len(suffix) :]
    return path.stem, path.suffix


def suffix_of_result(content: Path, stack: bool) -> str:
    """Return the suffix of a result: the content's own, if a result can have it."""
    suffix = split_name(content)[1]
    if stack:
        return suffix if content.is_dir() or suffix.lower().endswith(_TIFF) else ".tif"
    return suffix if suffix.lower() in (".png", ".jpg", ".jpeg", *_TIFF) else ".png"


def tell_apart(paths: Sequence[Path]) -> list[str]:
    """Return a name for each file: what it is called without its suffix, if no other one is.

    Those that share it, be it in other letters' case, get their suffix, too, or where that is the
    same the names of their folders: "a_png" and "a_tif", "left_a" and "right_a".

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
    """Return the names, those that are there twice with a number."""
    taken: set[str] = set()
    found = []
    for name in names:
        count, numbered = 1, name
        while numbered.casefold() in taken:
            count += 1
            numbered = f"{name}-{count}"
        taken.add(numbered.casefold())
        found.append(numbered)
    return found


def _candidates(path: Path) -> Iterator[str]:
    stem, suffix = split_name(path)
    full = f"{stem}_{suffix.strip('.').replace('.', '_')}".rstrip("_")
    yield stem
    yield full
    before = ""
    for folder in reversed(Path(os.path.abspath(path)).parent.parts):
        before = re.sub(r"[^\w.-]+", "", folder) + "_" + before
        yield before + stem
        yield before + full
