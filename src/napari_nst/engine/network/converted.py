"""VGG-19's convolutions in half precision, in the cache directory, with their hash beside them."""

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

__all__ = ["Converted", "find", "intact", "sha256_of", "write"]

_NAME = "vgg19_features"


class Converted(NamedTuple):
    """The file, and the sha256 that it should have."""

    file: Path
    sha256: str


def find() -> Converted | None:
    """Return the file if it was written to its end; what it holds now is not looked at."""
    file, note = _places()
    try:
        sha256 = json.loads(note.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Converted(file, sha256) if isinstance(sha256, str) and file.is_file() else None


def intact() -> Path | None:
    """Return the file if it is there and has the hash that it should have."""
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
        Where they come from, for the file's metadata.

    Raises
    ------
    WeightsError
        If the cache directory cannot be written to.
    """
    file, note = _places()
    half = {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}
    content = save(half, metadata={"source": source})
    described = {"sha256": hashlib.sha256(content).hexdigest(), "source": source}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # The note comes last: without it the file does not count.
        with atomic_write(file) as scratch:
            scratch.write_bytes(content)
        with atomic_write(note) as scratch:
            scratch.write_text(json.dumps(described, indent=1), encoding="utf-8")
    except OSError as error:
        raise WeightsError(
            f"{file} cannot be written ({error.strerror}): make room there, or name another "
            "directory in the environment variable NAPARI_NST_CACHE."
        ) from None
    return file


def sha256_of(file: Path) -> str:
    """Return the hash of a file, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _places() -> tuple[Path, Path]:
    directory = cache_directory()
    return directory / f"{_NAME}.safetensors", directory / f"{_NAME}.json"
