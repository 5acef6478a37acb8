"""Make one stack of a batch, plane by plane, starting with the first unfinished plane."""

from __future__ import annotations

import shutil
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_nst.batch.masks import check_mask
from napari_nst.batch.reading import StackConversion, StackPictures
from napari_nst.batch.task import names_of, read_styles_of, write_mask_and_record
from napari_nst.errors import InputError
from napari_nst.files import Stack, open_stack, write_stack
from napari_nst.stacks import (
    PlaneStore,
    ResumableStack,
    StackRecord,
    StackTransfer,
    put_plane,
    stored_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray

    from napari_nst.batch.plan import BatchJob
    from napari_nst.batch.records import JobFingerprint
    from napari_nst.engine.run.snapshots import Snapshot, StyleTransferResult
    from napari_nst.engine.run.style_cache import StyleCache

    OnProgress = Callable[[Snapshot], object]

__all__ = ["StackWriter", "make_plane", "make_stack"]


class StackWriter:
    """Store of a stack's planes, which becomes the result file when they are complete.

    Parameters
    ----------
    job : BatchJob
        A job whose content is a stack.
    fingerprint : JobFingerprint
        Fingerprint of the result; stored planes with another one are deleted.

    Raises
    ------
    InputError
        If the stack or its mask cannot be read, or the disk is full.
    """

    def __init__(self, job: BatchJob, fingerprint: JobFingerprint) -> None:
        self.job, self._fingerprint = job, fingerprint
        self.stack: Stack = open_stack(job.content)
        try:
            height, width = self.stack.plane_shape[:2]
            self._mask_size = None
            if job.mask is not None:
                self._mask_size = check_mask(job.mask, (height, width))
            self.stack.check_writable()
            self.conversion = StackConversion.from_stack(self.stack, job.intensities, job.channels)
            self.store = self._open_store()
        except BaseException:
            self.stack.close()
            raise

    def _open_store(self) -> PlaneStore:
        layout, job = self.conversion.layout, self.job
        identity = {
            "fingerprint": self._fingerprint.model_dump(mode="json"),
            "limits": self.conversion.limits,
        }
        channels = (layout.channel_count,) if layout.together else ()
        shape = (len(layout), *channels, *self.stack.plane_shape)
        open_store = partial(PlaneStore, job.planes, shape, self.stack.dtype, 0, identity)
        try:
            return open_store()
        except InputError:
            if not job.planes.exists():
                raise
            shutil.rmtree(job.planes)  # made with other settings, or damaged
            return open_store()

    def __enter__(self) -> StackWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the stack; the store keeps the finished planes."""
        self.stack.close()

    @property
    def missing(self) -> tuple[int, ...]:
        """Planes that are not finished."""
        return tuple(k for k in range(len(self.conversion.layout)) if k not in self.store.finished)

    def put(self, k: int, plane: NDArray[Any], record: StackRecord) -> None:
        """Store a finished plane; see `stacks.put_plane`."""
        put_plane(self.store, k, plane, record)

    def finish(self) -> None:
        """Write the result, its mask and its record, and delete the store."""
        job = self.job
        with suppress(FileNotFoundError):  # an old record does not describe the new result
            job.record.unlink()
        write_stack(job.result, self.stack, self._planes())
        height, width = self.stack.plane_shape[:2]
        write_mask_and_record(
            job,
            self._fingerprint,
            mask_size=self._mask_size,
            size=(height, width),
            limits=self.conversion.limits,
            run=stored_record(self.store),
        )
        folder = self.store.path
        del self.store  # its array is memory-mapped, and Windows deletes no open files
        shutil.rmtree(folder, ignore_errors=True)

    def _planes(self) -> Iterator[NDArray[Any]]:
        """Yield the planes in the order of the stack."""
        layout = self.conversion.layout
        for k in range(len(self.stack)):
            picture, channel = layout.picture(k)
            plane = self.store.plane(picture)
            yield plane[channel] if layout.together else plane


def make_stack(
    job: BatchJob, fingerprint: JobFingerprint, style_cache: StyleCache, on_progress: OnProgress
) -> None:
    """Make a result, starting with the first plane that is not finished.

    Parameters
    ----------
    job, fingerprint, style_cache, on_progress
        As for `make_picture`.

    Raises
    ------
    StyleTransferError
        If a file or the run fails; finished planes are kept for the next batch.
    """
    with StackWriter(job, fingerprint) as writer:
        run = ResumableStack(
            StackPictures(writer.stack, writer.conversion),
            read_styles_of(job),
            job.settings,
            store=writer.store,
            conversion=writer.conversion,
            before=writer.conversion.layout.previous,
            **_options(job, style_cache),
        )
        for snapshot in run:
            on_progress(snapshot)
        writer.finish()


def make_plane(
    job: BatchJob, conversion: StackConversion, k: int, style_cache: StyleCache
) -> tuple[NDArray[Any], StackRecord]:
    """Return one plane of a stack whose planes start from their own content, and its record.

    Parameters
    ----------
    job : BatchJob
        A job whose content is a stack.
    conversion : StackConversion
        Conversion of all planes.
    k : int
        Index of the plane.
    style_cache : StyleCache
        Networks and style statistics of earlier runs.
    """
    results: list[StyleTransferResult] = []
    with open_stack(job.content) as stack:
        run = StackTransfer(
            StackPictures(stack, conversion),
            read_styles_of(job),
            job.settings,
            on_plane_done=lambda _, result: results.append(result),
            finished=set(range(len(conversion.layout))) - {k},
            **_options(job, style_cache),
        )
        for _ in run:
            pass
        return conversion.from_engine(k, results[0].image), run.record


def _options(job: BatchJob, style_cache: StyleCache) -> dict[str, Any]:
    from napari_nst.engine.run.transfer import StyleTransfer

    return {
        "start_from": job.start_from,
        "long_term": job.long_term,
        "names": names_of(job),
        "engine": partial(StyleTransfer, style_cache=style_cache),
    }
