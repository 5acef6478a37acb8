"""One picture of a batch, from its files to its result."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_nst.batch.masks import check_mask, hand_on
from napari_nst.batch.reading import Reading, read_style
from napari_nst.batch.records import BatchRecord, write_record
from napari_nst.errors import InputError
from napari_nst.files import read_image, write_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_nst.batch.plan import Intensities, Job
    from napari_nst.batch.records import Asked
    from napari_nst.engine.shared import Shared
    from napari_nst.engine.snapshots import Snapshot
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


def make_picture(job: Job, asked: Asked, shared: Shared, watch: Watch) -> None:
    """Make a result, with its mask and its record.

    Parameters
    ----------
    job : Job
        Of a content that is a picture.
    asked : Asked
        What the record will say it is of.
    shared : Shared
        What earlier runs left.
    watch : callable
        Called with the share that is done.

    Raises
    ------
    StyleTransferError
        If a file or the run fails.
    """
    from napari_nst.engine.transfer import StyleTransfer

    pixels = read_image(job.content)
    size = None if job.mask is None else check_mask(job.mask, pixels.shape[:2])
    reading = Reading.of([pixels], job.intensities)
    run = StyleTransfer(
        reading.to_engine(pixels),
        [style_of(job)],
        job.settings,
        names=[job.content.name, job.style.name],
        shared=shared,
    )
    progress = Progress(run.scales, watch)
    for snapshot in run:
        progress(snapshot)
    result = run.result()
    picture = result.image
    if reading.range is not None:
        steps = np.float32(np.iinfo(reading.dtype).max)
        picture = reading.back(picture).astype(np.float32) / steps
    depth: Literal["uint8", "uint16"] = "uint8" if reading.dtype == np.uint8 else "uint16"
    # A picture with the record of another must not be taken for that other.
    _remove(job.record)
    write_image(job.result, picture, dtype=depth, metadata=result.record.to_json())
    conclude(job, asked, size, picture.shape[:2], reading, result.record)


def conclude(
    job: Job,
    asked: Asked,
    mask_size: tuple[int, int] | None,
    size: tuple[int, int],
    reading: Reading,
    run: RunRecord | StackRecord,
) -> None:
    """Hand on the mask of a result that is written, and write its record, which finishes it.

    Parameters
    ----------
    job, asked
        As for `make_picture`.
    mask_size, size : tuple of int
        Height and width of the mask, and of the result.
    reading : Reading
        How the content was read.
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
            limits=reading.limits,
            run=run,
        ),
    )


def style_of(job: Job) -> NDArray[Any]:
    """Read the style of a job; the one that was read last is still there."""
    return _style(job.style, job.style.stat().st_mtime_ns, job.intensities)


@lru_cache(maxsize=1)
def _style(path: Path, changed: int, intensities: Intensities) -> NDArray[Any]:
    style = read_style(path, intensities)
    style.flags.writeable = False
    return style


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path} cannot be replaced ({error.strerror}): name another folder."
        ) from None
