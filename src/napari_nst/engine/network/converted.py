"""VGG-19's convolutions in half precision, stored in the cache directory beside their hash."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors.torch import save

from napari_nst.atomic import atomic_write
from napari_nst.cache import cache_directory
from napari_nst.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

__all__ = ["Converted", "cannot_write", "find", "find_intact", "sha256_of", "write"]

_NAME = "vgg19_features"


class Converted(NamedTuple):
    """A file of converted weights and its expected sha256."""

    file: Path
    sha256: str


def find() -> Converted | None:
    """Return the file if it was written completely; its content is not checked."""
    file, note = _paths()
    try:
        sha256 = json.loads(note.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Converted(file, sha256) if isinstance(sha256, str) and file.is_file() else None


def find_intact() -> Path | None:
    """Return the file if it exists and has the expected hash."""
    found = find()
    try:
        return found.file if found and sha256_of(found.file) == found.sha256 else None
    except OSError:
        return None


def write(tensors: Mapping[str, Tensor], source: str) -> Path:
    """Convert and write the weights, and return the file.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        ``"conv1_1.weight"`` and so on, in any precision.
    source : str
        Origin of the weights, for the metadata of the file.

    Raises
    ------
    WeightsError
        If the cache directory cannot be written to.
    """
    file, note = _paths()
    half = {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}
    content = save(half, metadata={"source": source})
    described = {"sha256": hashlib.sha256(content).hexdigest(), "source": source}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # The hash comes last: a file without it is ignored.
        with atomic_write(file) as scratch:
            scratch.write_bytes(content)
        with atomic_write(note) as scratch:
            scratch.write_text(json.dumps(described, indent=1), encoding="utf-8")
    except OSError as error:
        raise cannot_write(file, error) from None
    return file


def cannot_write(file: Path, error: OSError) -> WeightsError:
    """Return the error for a file in the cache directory that cannot be written."""
    return WeightsError(
        f"{file} cannot be written ({error.strerror}): make room there, or name another "
        "directory in the environment variable NAPARI_NST_CACHE."
    )


def sha256_of(file: Path) -> str:
    """Return the hash of a file, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _paths() -> tuple[Path, Path]:
    directory = cache_directory()
    return directory / f"{_NAME}.safetensors", directory / f"{_NAME}.json"
