"""One stack of a batch, plane by plane, and from the first unfinished plane on."""

from __future__ import annotations

import shutil
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_nst.batch.masks import check_mask
from napari_nst.batch.reading import StackConversion, StackPictures
from napari_nst.batch.records import write_record
from napari_nst.batch.task import read_style_of, write_mask_and_record
from napari_nst.errors import InputError
from napari_nst.files import Stack, open_stack, write_stack
from napari_nst.stacks import PlaneRecord, PlaneStore, StackRecord, StackTransfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray

    from napari_nst.batch.plan import BatchJob
    from napari_nst.batch.records import JobFingerprint
    from napari_nst.engine.run.snapshots import StyleTransferResult
    from napari_nst.engine.run.style_cache import StyleCache

    Watch = Callable[[float], object]

__all__ = ["Filling", "make_plane", "make_stack"]


class Filling:
    """A stack's result while it is being filled.

    Parameters
    ----------
    job : BatchJob
        Of a content that is a stack.
    fingerprint : JobFingerprint
        What the result is of: planes that are of something else are begun anew.

    Raises
    ------
    InputError
        If the stack or its mask cannot be read, or there is no room for the planes.
    """

    def __init__(self, job: BatchJob, fingerprint: JobFingerprint) -> None:
        self.job, self._fingerprint = job, fingerprint
        self.stack: Stack = open_stack(job.content)
        try:
            shape = self.stack.plane_shape
            size = shape[:2]
            self._mask_size = None
            if job.mask is not None:
                self._mask_size = check_mask(job.mask, (size[0], size[1]))
            self.reading = StackConversion.from_stack(self.stack, job.intensities, job.channels)
            layout = self.reading.layout
            identity = {
                "fingerprint": fingerprint.model_dump(mode="json"),
                "limits": self.reading.limits,
            }
            channels = (layout.channel_count,) if layout.together else ()
            whole = (len(layout), *channels, *shape)
            place = (job.planes, whole, self.stack.dtype, 0, identity)
            try:
                self.store = PlaneStore(*place)
            except InputError:
                if not job.planes.exists():
                    raise
                shutil.rmtree(job.planes)  # of other settings, or damaged
                self.store = PlaneStore(*place)
        except BaseException:
            self.stack.close()
            raise

    def __enter__(self) -> Filling:
        """Return it, to be closed in the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the stack; the planes that are done stay where they are."""
        self.stack.close()

    @property
    def missing(self) -> tuple[int, ...]:
        """The planes, or pictures of several, that are still to be made."""
        return tuple(k for k in range(len(self.reading.layout)) if k not in self.store.finished)

    def put(self, k: int, plane: NDArray[Any], record: StackRecord) -> None:
        """Keep a plane that is done.

        Parameters
        ----------
        k : int
            Which.
        plane : ndarray
            As the file will have it.
        record : StackRecord
            Of the run that made it, with the plane's own.
        """
        (own,) = (known for known in record.finished if known.plane == k)
        if not self._head.exists():
            write_record(self._head, record.model_copy(update={"finished": ()}))
        self.store.put(k, plane, own.model_dump(mode="json"))

    def finish(self) -> None:
        """Write the result, its mask and its record, and let go of the planes."""
        job = self.job
        with suppress(FileNotFoundError):  # a stack with the record of another is not that other
            job.record.unlink()
        write_stack(job.result, self.stack, self._planes())
        head = StackRecord.model_validate_json(self._head.read_text(encoding="utf-8"))
        planes = tuple(
            PlaneRecord.model_validate(note) for _, note in sorted(self.store.notes.items())
        )
        record = head.model_copy(update={"finished": planes, "status": "finished"})
        height, width = self.stack.plane_shape[:2]
        write_mask_and_record(
            job,
            self._fingerprint,
            mask_size=self._mask_size,
            size=(height, width),
            limits=self.reading.limits,
            run=record,
        )
        folder = self.store.path
        del self.store  # whose array is mapped: Windows removes no open files
        shutil.rmtree(folder, ignore_errors=True)

    def _planes(self) -> Iterator[NDArray[Any]]:
        """Yield the planes in the order of the stack."""
        layout = self.reading.layout
        for k in range(len(self.stack)):
            n, c = layout.picture(k)
            made = self.store.plane(n)
            yield made[c] if layout.together else made

    @property
    def _head(self) -> Any:
        return self.store.path / "record.json"


def make_stack(
    job: BatchJob, fingerprint: JobFingerprint, style_cache: StyleCache, watch: Watch
) -> None:
    """Make a result, from the first plane on that is not done yet.

    Parameters
    ----------
    job, fingerprint, style_cache, watch
        As for `make_picture`.

    Raises
    ------
    StyleTransferError
        If a file or the run fails; planes that are done are kept for the next time.
    """
    with Filling(job, fingerprint) as filling:
        reading = filling.reading

        def put(k: int, result: StyleTransferResult) -> None:
            filling.put(k, reading.from_engine(k, result.image), transfer.record)

        transfer = _transfer(
            job,
            StackPictures(filling.stack, reading),
            style_cache,
            before=reading.layout.previous,
            on_plane_done=put,
            finished=filling.store.notes,
            load_previous=lambda k: reading.to_engine(k, filling.store.plane(k)),
        )
        for snapshot in transfer:
            watch(snapshot.progress)
        filling.finish()


def make_plane(
    job: BatchJob, reading: StackConversion, k: int, style_cache: StyleCache
) -> tuple[NDArray[Any], StackRecord]:
    """Return one plane of a stack whose planes start from their own content, and its record.

    Parameters
    ----------
    job : BatchJob
        Of a content that is a stack.
    reading : StackConversion
        How all of its planes are read.
    k : int
        Which.
    style_cache : StyleCache
        What earlier runs left.
    """
    made: list[NDArray[Any]] = []
    with open_stack(job.content) as stack:
        others = set(range(len(reading.layout))) - {k}
        transfer = _transfer(
            job,
            StackPictures(stack, reading),
            style_cache,
            on_plane_done=lambda _, result: made.append(reading.from_engine(k, result.image)),
            finished=others,
        )
        for _ in transfer:
            pass
        return made[0], transfer.record


def _transfer(
    job: BatchJob, planes: StackPictures, style_cache: StyleCache, **options: Any
) -> StackTransfer:
    from napari_nst.engine.run.transfer import StyleTransfer

    sequence: Any = planes  # it has a length and items, which is all that is asked of it
    return StackTransfer(
        sequence,
        [read_style_of(job)],
        job.settings,
        start_from=job.start_from,
        names=[job.content.name, job.style.name],
        engine=partial(StyleTransfer, style_cache=style_cache),
        **options,
    )
