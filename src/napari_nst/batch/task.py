"""Make one picture of a batch: read its files, run the transfer, write the result."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from napari_nst.batch.masks import check_mask, copy_mask
from napari_nst.batch.reading import read_picture, read_style, write_result
from napari_nst.batch.records import BatchRecord, write_record
from napari_nst.errors import InputError
from napari_nst.ranges import Range

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_nst.batch.plan import BatchJob
    from napari_nst.batch.records import JobFingerprint
    from napari_nst.engine.run.snapshots import Snapshot
    from napari_nst.engine.run.style_cache import StyleCache
    from napari_nst.ranges import Intensities, RangedImage
    from napari_nst.record import RunRecord
    from napari_nst.stacks import StackRecord

    OnProgress = Callable[[Snapshot], object]

__all__ = ["make_picture", "names_of", "read_styles_of", "write_mask_and_record"]


def make_picture(
    job: BatchJob, fingerprint: JobFingerprint, style_cache: StyleCache, on_progress: OnProgress
) -> None:
    """Make a result with its mask and its record.

    Parameters
    ----------
    job : BatchJob
        A job whose content is a picture.
    fingerprint : JobFingerprint
        Fingerprint for the record.
    style_cache : StyleCache
        Networks and style statistics of earlier runs.
    on_progress : callable
        Called with the snapshot after each iteration.

    Raises
    ------
    StyleTransferError
        If a file or the run fails.
    """
    from napari_nst.engine.run.transfer import StyleTransfer

    content = read_picture(job.content, job.intensities, job.plane, option=None)
    mask_size = None if job.mask is None else check_mask(job.mask, content.values.shape[:2])
    run = StyleTransfer(
        content,
        read_styles_of(job),
        job.settings,
        names=names_of(job),
        style_cache=style_cache,
    )
    for snapshot in run:
        on_progress(snapshot)
    result = run.result()
    _remove(job.record)  # it would not match the new result until it is written
    write_result(job.result, result)
    span = content.range or Range.from_dtype(content.values.dtype)
    write_mask_and_record(
        job,
        fingerprint,
        mask_size=mask_size,
        size=result.image.shape[:2],
        limits=(span.low, span.high),
        run=result.record,
    )


def write_mask_and_record(
    job: BatchJob,
    fingerprint: JobFingerprint,
    *,
    mask_size: tuple[int, int] | None,
    size: tuple[int, int],
    limits: tuple[float, float] | tuple[tuple[float, float], ...],
    run: RunRecord | StackRecord,
) -> None:
    """Copy the mask of a result that is written; then write its record, which completes it.

    `mask_size` and `size` are the heights and widths of the mask and of the result; see
    `BatchRecord` for `limits` and `run`.
    """
    mask_result = None
    if job.mask is not None and job.mask_result is not None and mask_size is not None:
        mask_result = copy_mask(job.mask, job.mask_result, mask_size, size)
    write_record(
        job.record,
        BatchRecord(
            fingerprint=fingerprint,
            result=job.result.name,
            file_size=job.result.stat().st_size if job.result.is_file() else None,
            mask_result=mask_result,
            limits=limits,
            run=run,
        ),
    )


def names_of(job: BatchJob) -> list[str]:
    """Return the names of the content and the styles."""
    return [path.name for path in (job.content, *job.styles)]


def read_styles_of(job: BatchJob) -> list[RangedImage]:
    """Read the styles of a job; those of the last job are cached."""
    return [
        _read_style(style, style.stat().st_mtime_ns, job.intensities, plane)
        for style, plane in zip(job.styles, job.style_planes, strict=True)
    ]


@lru_cache(maxsize=4)
def _read_style(
    path: Path, changed: int, intensities: Intensities, plane: tuple[int, ...] | None
) -> RangedImage:
    style = read_style(path, intensities, plane)
    style.values.flags.writeable = False
    return style


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path} cannot be replaced ({error.strerror}): name another folder."
        ) from None
