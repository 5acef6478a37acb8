"""Run a batch on a Dask cluster: a task per picture, independent plane, or chunk of a stack."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst.batch.execute import execute_job
from napari_nst.batch.report import JobOutcome
from napari_nst.batch.stack_task import StackWriter, has_chunks, make_chunk, make_plane
from napari_nst.errors import InputError, StyleTransferError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distributed import Client, Future

    from napari_nst.batch.plan import BatchJob
    from napari_nst.batch.reading import StackConversion
    from napari_nst.batch.records import JobFingerprint
    from napari_nst.engine.run.style_cache import StyleCache

__all__ = ["run_on_cluster"]

_SECONDS_TO_CONNECT = 15
_RETRIES = 2  # after an error in the task; Dask itself reruns tasks of a worker that died

_one_at_a_time = threading.Lock()  # each picture uses all threads of its worker


def run_on_cluster(
    jobs: Sequence[BatchJob], fingerprints: dict[int, JobFingerprint], scheduler: str | Client
) -> Iterator[tuple[int, JobOutcome]]:
    """Run the jobs with a fingerprint on a cluster, and yield their indices and outcomes.

    Raises
    ------
    InputError
        If the package distributed or the cluster is missing.
    StyleTransferError
        If the connection to the cluster is lost.
    """
    with ExitStack() as stack:
        client = scheduler
        if isinstance(client, str):
            client = stack.enter_context(_connect(client))
        tasks = _Tasks(client)
        stack.callback(tasks.cancel_all)
        open_stacks: dict[int, _StackOnCluster] = {}
        tasks_per_job = math.ceil(len(client.nthreads()) / len(fingerprints))
        for index, fingerprint in fingerprints.items():
            job = _with_absolute_paths(jobs[index])
            if not job.stack or (job.has_dependent_planes and _is_one_task(job, tasks_per_job)):
                tasks.submit(_execute_on_worker, (index, None), job, fingerprint)
                continue
            try:
                division = tasks_per_job if job.has_dependent_planes else None
                writer = stack.enter_context(StackWriter(job, fingerprint, division))
                planes = _StackOnCluster(writer)
                planes.submit(tasks, index)
            except Exception as error:
                yield index, JobOutcome.from_error(jobs[index], error)
                continue
            open_stacks[index] = planes
            if not planes.missing:
                yield index, open_stacks.pop(index).finish(jobs[index])
        for (index, k), answer in tasks.results():
            job = jobs[index]
            if isinstance(answer, Exception):
                answer = JobOutcome.from_error(job, answer)
            if k is None:
                yield index, dataclasses.replace(answer, job=job)
            elif index in open_stacks:
                planes = open_stacks[index]
                planes.add(k, answer)
                if planes.failure is not None or not planes.missing:
                    tasks.cancel(index)
                    yield index, open_stacks.pop(index).finish(job)


def _is_one_task(job: BatchJob, tasks_per_job: int) -> bool:
    """Return whether a stack is made by one worker, which can be known without reading it."""
    if job.chunk is None:
        return tasks_per_job < 2 and not has_chunks(job)
    return job.chunk == 0


class _StackOnCluster:
    """A stack whose planes or chunks are made by workers, and end in any order."""

    def __init__(self, writer: StackWriter) -> None:
        self._writer, self._began = writer, time.monotonic()
        dependent = writer.job.has_dependent_planes
        self.missing = set(writer.missing_chunks if dependent else writer.missing)
        self.failure: JobOutcome | None = None

    def submit(self, tasks: _Tasks, index: int) -> None:
        """Submit a task for each missing plane or chunk of the job `index`."""
        writer, job = self._writer, self._writer.job
        if not job.has_dependent_planes:
            for k in sorted(self.missing):
                tasks.submit(_make_plane_on_worker, (index, k), job, writer.conversion, k)
            return
        method = writer.flow_method
        for k in sorted(self.missing):
            arguments = (job, writer.fingerprint, writer.conversion, writer.chunks[k], method)
            tasks.submit(_make_chunk_on_worker, (index, k), *arguments)

    def add(self, k: int, answer: Any) -> None:
        """Store plane `k`, or the failure of its task; chunks are stored by their workers."""
        self.missing.discard(k)
        if isinstance(answer, JobOutcome):
            self.failure = answer
        if answer is None or isinstance(answer, JobOutcome):
            return
        try:
            self._writer.put(k, *answer)
        except Exception as error:
            self.failure = JobOutcome.from_error(self._writer.job, error)

    def finish(self, job: BatchJob) -> JobOutcome:
        """Write the result, unless a plane failed, and return the outcome."""
        try:
            if self.failure is None:
                self._writer.finish()
        except Exception as error:
            self.failure = JobOutcome.from_error(job, error)
        outcome = self.failure or JobOutcome(job, "made")
        return dataclasses.replace(outcome, job=job, seconds=time.monotonic() - self._began)


class _Tasks:
    """The tasks that were submitted to a cluster, each for a job, or for a part of a job."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._tasks: dict[Future[Any], tuple[int, int | None]] = {}

    def submit(
        self, function: Callable[..., Any], key: tuple[int, int | None], *arguments: Any
    ) -> None:
        """Submit a task for the job and the plane or chunk in `key`."""
        task = self._client.submit(function, *arguments, pure=False, retries=_RETRIES)
        self._tasks[task] = key

    def results(self) -> Iterator[tuple[tuple[int, int | None], Any]]:
        """Yield the key of each task and its result or exception, in order of completion."""
        import distributed

        completed: Any = distributed.as_completed  # untyped, as is much of distributed
        for task in completed(list(self._tasks), loop=self._client.loop):
            key = self._tasks.pop(task, None)
            if key is None:  # cancelled
                continue
            if task.status == "finished":
                answer = task.result()
            elif task.status == "error":
                answer = task.exception()
                if isinstance(answer, WeightsError):
                    raise answer  # no worker has the weights
                if isinstance(answer, distributed.KilledWorker):
                    answer = StyleTransferError(
                        f"It ended {answer.allowed_failures + 1} worker processes, one after the "
                        "other: see their logs; too little memory is the usual cause."
                    )
                else:
                    answer = answer.with_traceback(task.traceback())
            else:
                raise StyleTransferError(
                    "The Dask cluster cancelled the tasks: its scheduler has ended, or somebody "
                    "cancelled them.  Finished results are kept."
                )
            yield key, answer

    def cancel(self, index: int) -> None:
        """Cancel the remaining tasks of a job."""
        remaining = [task for task, key in self._tasks.items() if key[0] == index]
        for task in remaining:
            del self._tasks[task]
        if remaining:
            self._client.cancel(remaining)

    def cancel_all(self) -> None:
        """Cancel all remaining tasks."""
        if self._tasks and self._client.status == "running":
            self._client.cancel(list(self._tasks))


def _connect(address: str) -> Client:
    try:
        import distributed
    except ImportError:
        raise InputError(
            f"The scheduler is {address}, and the package distributed is not installed: install it "
            "with 'pip install napari-nst[distributed]'."
        ) from None
    connect: Any = distributed.Client
    try:
        client: Client = connect(address, timeout=_SECONDS_TO_CONNECT)
        return client
    except (OSError, ValueError) as error:
        raise InputError(
            f"No Dask scheduler answers at {address} ({error}): start one with 'dask scheduler', "
            "which prints its address."
        ) from None


def _with_absolute_paths(job: BatchJob) -> BatchJob:
    """Return a job with absolute paths: workers may run in another folder."""
    weights = job.settings.weights
    if weights is not None:
        job = dataclasses.replace(
            job, settings=job.settings.replace(weights=str(Path(weights).expanduser().absolute()))
        )
    return dataclasses.replace(
        job,
        content=job.content.absolute(),
        styles=tuple(style.absolute() for style in job.styles),
        result=job.result.absolute(),
        mask=None if job.mask is None else job.mask.absolute(),
    )


def _execute_on_worker(job: BatchJob, fingerprint: JobFingerprint) -> JobOutcome:
    outcome: JobOutcome = _call_on_worker(execute_job, job, fingerprint)
    return outcome


def _make_plane_on_worker(job: BatchJob, conversion: StackConversion, k: int) -> Any:
    """Return a plane and its record, or the outcome if it failed."""
    try:
        return _call_on_worker(make_plane, job, conversion, k)
    except WeightsError:
        raise
    except Exception as error:
        return JobOutcome.from_error(job, error)


def _make_chunk_on_worker(job: BatchJob, *arguments: Any) -> JobOutcome | None:
    """Make a chunk, and return the outcome if it failed."""
    try:
        _call_on_worker(make_chunk, job, *arguments)
    except WeightsError:
        raise
    except Exception as error:
        return JobOutcome.from_error(job, error)
    return None


def _call_on_worker(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function with the worker's number of threads and its cached networks and styles."""
    from distributed import get_worker

    from napari_nst.engine.resources.threads import threads

    with _one_at_a_time, threads(get_worker().state.nthreads):
        return function(*arguments, _style_cache())


@cache
def _style_cache() -> StyleCache:
    from napari_nst.engine.run.style_cache import StyleCache

    return StyleCache()
