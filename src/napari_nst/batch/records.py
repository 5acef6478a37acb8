"""Records beside the results, and the check whether a result is up to date."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict

from napari_nst.errors import InputError, abridged
from napari_nst.files import read_metadata, write_atomically
from napari_nst.record import RunRecord
from napari_nst.settings import StyleTransferSettings
from napari_nst.stacks import StackRecord

if TYPE_CHECKING:
    from napari_nst.batch.plan import BatchJob

__all__ = ["BatchRecord", "FileRecord", "JobFingerprint", "is_up_to_date", "write_record"]

_CHUNK = 2**20


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class FileRecord(_Record):
    """An input file.

    Attributes
    ----------
    name : str
        Name without the folder.
    sha256 : str
        Hash of its bytes; for a folder, of the names and bytes of its files.
    """

    name: str
    sha256: str


class JobFingerprint(_Record):
    """Everything that determines a result: equal fingerprints mean equal results.

    Attributes
    ----------
    settings : StyleTransferSettings
        All settings.
    content : FileRecord
        The content.
    styles : tuple of FileRecord
        The styles.
    mask : FileRecord or None
        The mask of the content.
    weights : FileRecord or None
        The file of weights named in the settings.
    intensities : str or tuple of float
        As for `batch`.
    start_from : {"warped", "previous", "content"} or None
        Initial image of the planes; None for a picture.
    long_term : bool
        Whether results are also carried from two and four planes back.
    channels : {"separate", "together"}
        Whether the channels of a stack are separate pictures, or the colours of one.
    plane : tuple of int or None
        The plane of the content.
    style_planes : tuple of (tuple of int or None)
        The plane of each style.
    chunk : int
        Planes of each chunk of a stack that was divided; 0 if it was not.
    """

    settings: StyleTransferSettings
    content: FileRecord
    styles: tuple[FileRecord, ...]
    mask: FileRecord | None = None
    weights: FileRecord | None = None
    intensities: Literal["auto", "full", "percentiles"] | tuple[float, float] = "full"
    start_from: Literal["warped", "previous", "content"] | None = None
    long_term: bool = False
    channels: Literal["separate", "together"] = "separate"
    plane: tuple[int, ...] | None = None
    style_planes: tuple[tuple[int, ...] | None, ...]
    chunk: int = 0

    @classmethod
    def from_job(cls, job: BatchJob) -> Self:
        """Hash the files of a job.

        Raises
        ------
        InputError
            If a file cannot be read.
        """
        weights = job.settings.weights
        return cls(
            settings=job.settings,
            content=_hash_file(job.content),
            styles=tuple(map(_hash_file, job.styles)),
            mask=None if job.mask is None else _hash_file(job.mask),
            weights=None if weights is None else _hash_file(Path(weights).expanduser()),
            intensities=job.intensities,
            start_from=job.start_from if job.stack else None,
            long_term=job.long_term and job.stack,
            channels=job.channels if job.stack else "separate",
            plane=job.plane,
            style_planes=job.style_planes,
            chunk=job.chunk or 0 if job.has_dependent_planes else 0,
        )

    def difference_to(self, earlier: JobFingerprint) -> str | None:
        """Describe the first difference to an earlier fingerprint; None if there is none."""
        if [style.sha256 for style in self.styles] != [style.sha256 for style in earlier.styles]:
            return "its style was another"
        for part in ("content", "mask", "weights"):
            file, before = getattr(self, part), getattr(earlier, part)
            if (file and file.sha256) != (before and before.sha256):
                return f"its {part} was another"
        options = (
            *("intensities", "start_from", "long_term", "channels"),
            *("plane", "style_planes", "chunk"),
        )
        values = [
            *((name, value, getattr(earlier.settings, name)) for name, value in self.settings),
            *((name, getattr(self, name), getattr(earlier, name)) for name in options),
        ]
        for name, value, before in values:
            if before != value:
                return f"its {name} was {abridged(before)}, not {abridged(value)}"
        return None


class BatchRecord(_Record):
    """How a result of a batch was made.

    Restyled pixels are not measurements; the record documents their origin.

    Attributes
    ----------
    fingerprint : JobFingerprint
        Settings and files.
    result : str
        Name of the file.
    file_size : int or None
        Its bytes; None for a folder.
    mask_result : {"copied", "resampled"} or None
        How the mask of the result was made.
    limits : tuple of float, or tuple of tuple of float
        The values that were 0 and 1 in the run; one pair per channel if they differ.
    run : RunRecord or StackRecord
        Record of the run.
    """

    fingerprint: JobFingerprint
    result: str
    file_size: int | None
    mask_result: Literal["copied", "resampled"] | None = None
    limits: tuple[float, float] | tuple[tuple[float, float], ...]
    run: RunRecord | StackRecord


def is_up_to_date(job: BatchJob, fingerprint: JobFingerprint) -> tuple[bool, str | None]:
    """Return whether the result of a job exists with this fingerprint; if it is outdated, why.

    A result without a record is unfinished: the record is written last.

    Raises
    ------
    InputError
        If the result would replace a file that no batch has made.
    """
    _check_replaceable(job)
    if not os.path.lexists(job.result):
        return False, None
    try:
        text = job.record.read_text(encoding="utf-8")
        record = BatchRecord.model_validate_json(text)
    except FileNotFoundError:
        return False, "it has no record"
    except (OSError, ValueError):  # not text, not a record, or of another version
        return False, "its record cannot be read"
    if job.chunk is None:  # any
        fingerprint = fingerprint.model_copy(update={"chunk": record.fingerprint.chunk})
    difference = fingerprint.difference_to(record.fingerprint)
    if difference is None and record.result != job.result.name:
        difference = f"its record is of {record.result}"
    if difference is None and record.file_size not in (None, job.result.stat().st_size):
        difference = "it is damaged"
    if difference is None and job.mask_result is not None and not job.mask_result.exists():
        difference = "its mask is missing"
    return difference is None, difference


def _check_replaceable(job: BatchJob) -> None:
    """Raise InputError for files in the way that no batch or run has made."""
    if os.path.lexists(job.record) or job.planes.exists() or _has_record_inside(job.result):
        return
    mask, mask_result = job.mask, job.mask_result
    if (
        mask is not None
        and mask_result is not None
        and mask.is_file()
        and mask_result.is_file()
        and filecmp.cmp(mask, mask_result, shallow=False)
    ):
        mask_result = None  # an identical copy
    for path in (job.result, mask_result):
        if path is not None and os.path.lexists(path):
            raise InputError(
                f"{path} exists and is not a result of a batch: move it, or name another "
                f"folder than {job.result.parent} for the results."
            )


def _has_record_inside(path: Path) -> bool:
    """Return whether the metadata of a picture has the record of a run."""
    try:
        return "settings" in json.loads(read_metadata(path) or "")
    except (InputError, ValueError, TypeError):
        return False


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record as JSON, completely or not at all; raise InputError if that fails."""
    text = json.dumps(record.model_dump(mode="json"), indent=2)
    with write_atomically(path, "name another folder") as scratch:
        scratch.write_text(text, encoding="utf-8")


def _hash_file(path: Path) -> FileRecord:
    try:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        hashes = []
        for file in files:
            stat = file.stat()
            hashes.append(_sha256(os.path.realpath(file), stat.st_size, stat.st_mtime_ns))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    if not path.is_dir():
        return FileRecord(name=path.name, sha256=hashes[0])
    names = [file.relative_to(path).as_posix() for file in files]
    listing = json.dumps(list(zip(names, hashes, strict=True)))
    return FileRecord(name=path.name, sha256=hashlib.sha256(listing.encode()).hexdigest())


@lru_cache(maxsize=4096)
def _sha256(path: str, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
