"""What is kept beside a result, and whether it is the result that is asked for."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from napari_nst.atomic import atomic_write
from napari_nst.errors import InputError, abridged
from napari_nst.files import read_metadata
from napari_nst.record import RunRecord
from napari_nst.settings import StyleTransferSettings
from napari_nst.stacks import StackRecord

if TYPE_CHECKING:
    from napari_nst.batch.plan import Job

__all__ = ["Asked", "BatchRecord", "FileRecord", "asked_of", "found", "write_record"]

_CHUNK = 2**20


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class FileRecord(_Record):
    """A file that went in.

    Attributes
    ----------
    name : str
        Without its folder.
    sha256 : str
        Of its bytes; of a folder, of the names and bytes of the files in it.
    """

    name: str
    sha256: str


class Asked(_Record):
    """What a result is of: where this is the same, the result is.

    Attributes
    ----------
    settings : StyleTransferSettings
        Every choice.
    content, style : FileRecord
        What it was made of.
    mask : FileRecord or None
        The content's mask.
    weights : FileRecord or None
        The file of weights that the settings name.
    intensities : str or tuple of float
        As `batch` takes them.
    start_from : {"previous", "content"} or None
        What a stack's planes start from.
    channels : {"separate", "together"}
        Whether the channels of a stack are pictures, or the colours of one.
    style_plane : tuple of int or None
        Which plane of the style.
    """

    settings: StyleTransferSettings
    content: FileRecord
    style: FileRecord
    mask: FileRecord | None = None
    weights: FileRecord | None = None
    intensities: Literal["auto", "full", "percentiles"] | tuple[float, float] = "full"
    start_from: Literal["previous", "content"] | None = None
    channels: Literal["separate", "together"] = "separate"
    style_plane: tuple[int, ...] | None = None

    def unlike(self, other: Asked) -> str | None:
        """Say in a few words how another is not this; None if it is."""
        for part in ("content", "style", "mask", "weights"):
            mine, its = getattr(self, part), getattr(other, part)
            if (mine and mine.sha256) != (its and its.sha256):
                return f"its {part} was another"
        for name, value in self.settings:
            before = getattr(other.settings, name)
            if before != value:
                return f"its {name} was {abridged(before)}, not {abridged(value)}"
        for name in ("intensities", "start_from", "channels", "style_plane"):
            value, before = getattr(self, name), getattr(other, name)
            if before != value:
                return f"its {name} was {abridged(before)}, not {abridged(value)}"
        return None


class BatchRecord(_Record):
    """A result of a batch, and how it came to be.

    Restyled pixels are not measurements: this record says what they are instead.

    Attributes
    ----------
    asked : Asked
        Settings and files.
    result : str
        The file's name.
    mask_result : str or None
        What was done with the mask: "copied" or "resampled".
    limits : tuple of float, or tuple of tuple of float
        The values that were 0 and 1 for the run; of a stack whose channels have each their own,
        those of each.
    run : RunRecord or StackRecord
        The run itself.
    """

    asked: Asked
    result: str
    mask_result: Literal["copied", "resampled"] | None = None
    limits: tuple[float, float] | tuple[tuple[float, float], ...]
    run: RunRecord | StackRecord

    def to_json(self) -> str:
        """Return the record as JSON."""
        return self.model_dump_json(indent=2)


def asked_of(job: Job) -> Asked:
    """Return what a job asks for, its files read to know them again.

    Raises
    ------
    InputError
        If one of them cannot be read.
    """
    weights = job.settings.weights
    return Asked(
        settings=job.settings,
        content=_record_of(job.content),
        style=_record_of(job.style),
        mask=None if job.mask is None else _record_of(job.mask),
        weights=None if weights is None else _record_of(Path(weights).expanduser()),
        intensities=job.intensities,
        start_from=job.start_from if job.stack else None,
        channels=job.channels if job.stack else "separate",
        style_plane=job.style_plane,
    )


def found(job: Job, asked: Asked) -> tuple[bool, str | None]:
    """Return whether a job's result is there already, and if another is there, what it is.

    A result without a record was not finished: the record is written last.

    Raises
    ------
    InputError
        If a file is there that no batch has made.
    """
    _spare_others(job)
    if not os.path.lexists(job.result):
        return False, None
    try:
        text = job.record.read_text(encoding="utf-8")
        record = BatchRecord.model_validate_json(text)
    except FileNotFoundError:
        return False, "it has no record"
    except (OSError, ValueError):  # no text, no record, or none of this version
        return False, "its record cannot be read"
    unlike = asked.unlike(record.asked)
    if unlike is None and record.result != job.result.name:
        unlike = f"its record is of {record.result}"
    if unlike is None and job.mask_result is not None and not job.mask_result.exists():
        unlike = "its mask is missing"
    return unlike is None, unlike


def _spare_others(job: Job) -> None:
    """Refuse to replace files that are no results: without a record, beside them or inside."""
    if os.path.lexists(job.record) or job.planes.exists() or _has_record_inside(job.result):
        return
    same = (
        job.mask is not None
        and job.mask_result is not None
        and (
            job.mask.is_file()
            and job.mask_result.is_file()
            and filecmp.cmp(job.mask, job.mask_result, False)
        )
    )
    for path in (job.result, None if same else job.mask_result):
        if path is not None and os.path.lexists(path):
            raise InputError(
                f"{path} is there already and is no result of a batch: move it, or name another "
                f"folder than {job.result.parent} for the results."
            )


def _has_record_inside(path: Path) -> bool:
    """Return whether a picture has the record of a run in its metadata."""
    try:
        return "settings" in json.loads(read_metadata(path) or "")
    except (InputError, ValueError, TypeError):
        return False


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record, all at once.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    text = json.dumps(record.model_dump(mode="json"), indent=2)
    try:
        with atomic_write(path) as scratch:
            scratch.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}): name another folder."
        ) from None


def _record_of(path: Path) -> FileRecord:
    try:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        hashes = []
        for file in files:
            about = file.stat()
            hashes.append(_sha256(os.path.realpath(file), about.st_size, about.st_mtime_ns))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    if not path.is_dir():
        return FileRecord(name=path.name, sha256=hashes[0])
    names = [file.relative_to(path).as_posix() for file in files]
    told = json.dumps(list(zip(names, hashes, strict=True)))
    return FileRecord(name=path.name, sha256=hashlib.sha256(told.encode()).hexdigest())


@lru_cache(maxsize=4096)
def _sha256(path: str, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
