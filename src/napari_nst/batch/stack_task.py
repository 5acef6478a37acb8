"""Make one stack of a batch, plane by plane, starting with the first unfinished plane."""

from __future__ import annotations

import shutil
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_nst.batch.chunks import Chunk, automatic_length, blend, chunks_of
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
from napari_nst.stacks.motion import flow_method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from napari_nst.batch.plan import BatchJob
    from napari_nst.batch.records import JobFingerprint
    from napari_nst.engine.run.snapshots import Snapshot, StyleTransferResult
    from napari_nst.engine.run.style_cache import StyleCache
    from napari_nst.stacks.motion import FlowMethod

    OnProgress = Callable[[Snapshot], object]

__all__ = ["StackWriter", "has_chunks", "make_chunk", "make_plane", "make_stack"]

_FOLDER = "chunks-of-"  # and their length: the stores of the chunks


class StackWriter:
    """Stores of a stack's planes, which become the result file when they are complete.

    Parameters
    ----------
    job : BatchJob
        A job whose content is a stack.
    fingerprint : JobFingerprint
        Fingerprint of the result; stored planes with another one are deleted.
    tasks : int, optional
        Number of tasks into which a stack is divided if the job does not give the length of chunks
        and no chunks are stored.  None: as the fingerprint says.

    Attributes
    ----------
    fingerprint : JobFingerprint
        The fingerprint, with the length of the chunks.
    chunks : tuple of Chunk
        The chunks; one with all pictures if the stack is not divided.

    Raises
    ------
    InputError
        If the stack or its mask cannot be read, or the disk is full.
    """

    def __init__(
        self, job: BatchJob, fingerprint: JobFingerprint, tasks: int | None = None
    ) -> None:
        self.job = job
        self.stack: Stack = open_stack(job.content)
        try:
            height, width = self.stack.plane_shape[:2]
            self._mask_size = None
            if job.mask is not None:
                self._mask_size = check_mask(job.mask, (height, width))
            self.stack.check_writable()
            self.conversion = StackConversion.from_stack(self.stack, job.intensities, job.channels)
            self._open(fingerprint, tasks)
        except BaseException:
            self.stack.close()
            raise

    def _open(self, fingerprint: JobFingerprint, tasks: int | None) -> None:
        """Open the stores, and delete those of another result."""
        if tasks is not None and self.job.chunk is None:
            for length in _stored_lengths(self.job):
                with suppress(InputError):
                    return self._open_chunks(fingerprint, length)
            length = automatic_length(self.conversion.layout, tasks)
        else:
            length = fingerprint.chunk
        try:
            self._open_chunks(fingerprint, length)
        except InputError:
            if not self.job.planes.exists():
                raise
            shutil.rmtree(self.job.planes)  # made with other settings, or damaged
            self._open_chunks(fingerprint, length)

    def _open_chunks(self, fingerprint: JobFingerprint, length: int) -> None:
        self.fingerprint = fingerprint.model_copy(update={"chunk": length})
        self.chunks = chunks_of(self.conversion.layout, length)
        self._stores = self._open_stores()
        for folder in self.job.planes.iterdir():
            if folder.name != f"{_FOLDER}{length}":
                shutil.rmtree(folder, ignore_errors=True)

    def _open_stores(self) -> list[PlaneStore]:
        arguments = (self.job, self.fingerprint, self.stack, self.conversion)
        return [_open_store(*arguments, chunk) for chunk in self.chunks]

    def __enter__(self) -> StackWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the stack; the stores keep the finished planes."""
        self.stack.close()

    @property
    def store(self) -> PlaneStore:
        """The store of a stack that is not divided."""
        (store,) = self._stores
        return store

    @property
    def missing(self) -> tuple[int, ...]:
        """Planes that are not finished, of a stack that is not divided."""
        return tuple(k for k in range(len(self.conversion.layout)) if k not in self.store.finished)

    @property
    def missing_chunks(self) -> tuple[int, ...]:
        """Indices of the chunks with planes that are not finished."""
        return tuple(index for index, store in enumerate(self._stores) if not store.complete)

    @property
    def flow_method(self) -> FlowMethod | None:
        """Method of the motion for all chunks: that of finished planes, else of this machine."""
        if self.job.start_from != "warped":
            return None
        headers = [store.header for store in self._stores if store.header]
        known: FlowMethod | None = headers[0]["flow_method"] if headers else None
        return known or flow_method()

    def put(self, k: int, plane: NDArray[Any], record: StackRecord) -> None:
        """Store a finished plane; see `stacks.put_plane`."""
        put_plane(self.store, k, plane, record)

    def finish(self) -> None:
        """Write the result, its mask and its record, and delete the stores."""
        job = self.job
        self._stores = self._open_stores()  # other processes may have written to them
        with suppress(FileNotFoundError):  # an old record does not describe the new result
            job.record.unlink()
        write_stack(job.result, self.stack, self._planes())
        height, width = self.stack.plane_shape[:2]
        write_mask_and_record(
            job,
            self.fingerprint,
            mask_size=self._mask_size,
            size=(height, width),
            limits=self.conversion.limits,
            run=self._record(),
        )
        self._stores.clear()  # their arrays are memory-mapped, and Windows deletes no open files
        shutil.rmtree(job.planes, ignore_errors=True)

    def _planes(self) -> Iterator[NDArray[Any]]:
        """Yield the planes in the order of the stack."""
        layout = self.conversion.layout
        for k in range(len(self.stack)):
            picture, channel = layout.picture(k)
            plane = self._picture(picture)
            yield plane[channel] if layout.together else plane

    def _picture(self, n: int) -> NDArray[Any]:
        """Return a finished picture, cross-faded where two chunks have it."""
        found = [
            (store.plane(position), chunk.shares[position])
            for chunk, store in zip(self.chunks, self._stores, strict=True)
            if (position := chunk.positions.get(n)) is not None
        ]
        planes, shares = zip(*found, strict=True)
        return blend(planes, shares)

    def _record(self) -> StackRecord:
        """Return the record of all chunks."""
        records = [stored_record(store) for store in self._stores]
        planes = [
            plane.model_copy(
                update={"plane": chunk.pictures[plane.plane], "share": chunk.shares[plane.plane]}
            )
            for chunk, record in zip(self.chunks, records, strict=True)
            for plane in record.finished
        ]
        content = records[0].content
        shape = (len(self.conversion.layout), *content.shape[1:])
        return records[0].model_copy(
            update={
                "content": content.model_copy(update={"shape": shape}),
                "finished": tuple(sorted(planes, key=lambda plane: plane.plane)),
            }
        )


class _ChunkPictures:
    """The pictures of a chunk as a sequence, and their conversion."""

    def __init__(self, stack: Stack, conversion: StackConversion, chunk: Chunk) -> None:
        self._pictures = StackPictures(stack, conversion)
        self._conversion, self._chunk = conversion, chunk

    def __len__(self) -> int:
        return len(self._chunk.pictures)

    def __getitem__(self, k: int) -> NDArray[Any]:
        return self._pictures[self._chunk.pictures[k]]

    def from_engine(self, k: int, image: NDArray[Any]) -> NDArray[Any]:
        return self._conversion.from_engine(self._chunk.pictures[k], image)

    def to_engine(self, k: int, plane: NDArray[Any]) -> NDArray[Any]:
        return self._conversion.to_engine(self._chunk.pictures[k], plane)


def has_chunks(job: BatchJob) -> bool:
    """Return whether chunks of a divided stack are stored."""
    return any(_stored_lengths(job))


def _stored_lengths(job: BatchJob) -> list[int]:
    """Return the lengths of the chunks that are stored; 0 for a stack that is not divided."""
    names = [path.name.removeprefix(_FOLDER) for path in job.planes.glob(f"{_FOLDER}*")]
    return [int(name) for name in names if name.isdecimal()]


def _open_store(
    job: BatchJob,
    fingerprint: JobFingerprint,
    stack: Stack,
    conversion: StackConversion,
    chunk: Chunk,
) -> PlaneStore:
    layout = conversion.layout
    channels = (layout.channel_count,) if layout.together else ()
    identity = {
        "fingerprint": fingerprint.model_dump(mode="json"),
        "limits": conversion.limits,
    }
    return PlaneStore(
        _store_folder(job, fingerprint.chunk) / str(chunk.pictures[0]),
        (len(chunk.pictures), *channels, *stack.plane_shape),
        stack.dtype,
        0,
        identity,
    )


def _store_folder(job: BatchJob, length: int) -> Path:
    return job.planes / f"{_FOLDER}{length}"


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
        (chunk,) = writer.chunks
        run = _chunk_run(job, writer.stack, writer.conversion, chunk, writer.store, style_cache)
        for snapshot in run:
            on_progress(snapshot)
        writer.finish()


def make_chunk(
    job: BatchJob,
    fingerprint: JobFingerprint,
    conversion: StackConversion,
    chunk: Chunk,
    flow_method: FlowMethod | None,
    style_cache: StyleCache,
) -> None:
    """Make the planes of a chunk in its store, starting with the first that is not finished.

    Parameters
    ----------
    job : BatchJob
        A job whose content is a stack.
    fingerprint : JobFingerprint
        Fingerprint of the result, with the length of the chunks.
    conversion : StackConversion
        Conversion of all planes.
    chunk : Chunk
        The chunk.
    flow_method : {"dis", "tvl1"} or None
        The method of the motion in all chunks.
    style_cache : StyleCache
        Networks and style statistics of earlier runs.
    """
    with open_stack(job.content) as stack:
        store = _open_store(job, fingerprint, stack, conversion, chunk)
        for _ in _chunk_run(job, stack, conversion, chunk, store, style_cache, flow_method):
            pass


def _chunk_run(
    job: BatchJob,
    stack: Stack,
    conversion: StackConversion,
    chunk: Chunk,
    store: PlaneStore,
    style_cache: StyleCache,
    flow_method: FlowMethod | None = None,
) -> ResumableStack:
    pictures = _ChunkPictures(stack, conversion, chunk)
    return ResumableStack(
        pictures,
        read_styles_of(job),
        job.settings,
        store=store,
        conversion=pictures,
        flow_method=flow_method,
        before=partial(chunk.before, conversion.layout),
        **_options(job, style_cache),
    )


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
