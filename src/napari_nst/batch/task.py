"""One picture of a batch, from its files to its result."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from napari_nst.batch.masks import check_mask, hand_on
from napari_nst.batch.reading import read_picture, read_style, write_result
from napari_nst.batch.records import BatchRecord, write_record
from napari_nst.errors import InputError
from napari_nst.intensities import Range

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_nst.batch.plan import Job
    from napari_nst.batch.records import Asked
    from napari_nst.engine.run.snapshots import Snapshot
    from napari_nst.engine.run.style_cache import StyleCache
    from napari_nst.intensities import Intensities, Ranged
    from napari_nst.record import RunRecord
    from napari_nst.stacks import StackRecord

    Watch = Callable[[float], object]

__all__ = ["Progress", "conclude", "make_picture", "style_of"]


class Progress:
    """How much of a run is done: an iteration takes as long as it has pixels.

    Parameters
    ----------
    scales : sequence of Scale
        Of the run.
    watch : callable
        Called with the share.
    """

    def __init__(self, scales: Any, watch: Watch) -> None:
        self._total = sum(scale.height * scale.width * scale.iterations for scale in scales)
        self._done = 0
        self._watch = watch

    def __call__(self, snapshot: Snapshot) -> None:
        """Take note of an iteration."""
        self._done += snapshot.shape[0] * snapshot.shape[1]
        self._watch(self._done / self._total)


def make_picture(job: Job, asked: Asked, style_cache: StyleCache, watch: Watch) -> None:
    """Make a result, with its mask and its record.

    Parameters
    ----------
    job : Job
        Of a content that is a picture.
    asked : Asked
        What the record will say it is of.
    style_cache : StyleCache
        What earlier runs left.
    watch : callable
        Called with the share that is done.

    Raises
    ------
    StyleTransferError
        If a file or the run fails.
    """
    from napari_nst.engine.run.transfer import StyleTransfer

    content = read_picture(job.content, job.intensities, option=None)
    size = None if job.mask is None else check_mask(job.mask, content.values.shape[:2])
    run = StyleTransfer(
        content,
        [style_of(job)],
        job.settings,
        names=[job.content.name, job.style.name],
        style_cache=style_cache,
    )
    progress = Progress(run.scales, watch)
    for snapshot in run:
        progress(snapshot)
    result = run.result()
    # A picture with the record of another must not be taken for that other.
    _remove(job.record)
    write_result(job.result, result)
    span = content.range or Range.of_dtype(content.values.dtype)
    shape = result.image.shape[:2]
    conclude(job, asked, size, shape, (span.low, span.high), result.record)


def conclude(
    job: Job,
    asked: Asked,
    mask_size: tuple[int, int] | None,
    size: tuple[int, int],
    limits: tuple[float, float] | tuple[tuple[float, float], ...],
    run: RunRecord | StackRecord,
) -> None:
    """Hand on the mask of a result that is written, and write its record, which finishes it.

    Parameters
    ----------
    job, asked
        As for `make_picture`.
    mask_size, size : tuple of int
        Height and width of the mask, and of the result.
    limits : tuple of float, or tuple of tuple of float
        The values that were 0 and 1: of the content, or of each of its channels.
    run : RunRecord or StackRecord
        The run's own record.
    """
    done = None
    if job.mask is not None and job.mask_result is not None and mask_size is not None:
        done = hand_on(job.mask, job.mask_result, mask_size, size)
    write_record(
        job.record,
        BatchRecord(
            asked=asked,
            result=job.result.name,
            mask_result=done,
            limits=limits,
            run=run,
        ),
    )


def style_of(job: Job) -> Ranged:
    """Read the style of a job; the one that was read last is still there."""
    changed = job.style.stat().st_mtime_ns
    return _style(job.style, changed, job.intensities, job.style_plane)


@lru_cache(maxsize=1)
def _style(
    path: Path, changed: int, intensities: Intensities, plane: tuple[int, ...] | None
) -> Ranged:
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
