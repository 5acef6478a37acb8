"""A batch on a Dask cluster: a task for each picture, and for each plane that stands alone."""

from __future__ import annotations

import dataclasses
import threading
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst.batch.report import Outcome
from napari_nst.batch.run import make
from napari_nst.batch.stack_task import Filling, make_plane
from napari_nst.errors import InputError, StyleTransferError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client, Future

    from napari_nst.batch.plan import Job
    from napari_nst.batch.reading import Reading
    from napari_nst.batch.records import Asked
    from napari_nst.batch.run import Batch
    from napari_nst.engine.run.style_cache import StyleCache

__all__ = ["carry_out"]

_SECONDS_TO_CONNECT = 15
_RETRIES = 2  # of a task that failed of itself; one whose worker died begins anew anyway

_one_at_a_time = threading.Lock()  # a worker with several threads computes one image with all


def carry_out(batch: Batch, scheduler: str | Client) -> Iterator[tuple[int, Outcome]]:
    """Do the jobs of a batch on a cluster, and tell of each when it is done.

    Parameters
    ----------
    batch : Batch
        Its jobs.
    scheduler : str or Client
        The cluster.

    Yields
    ------
    int
        The job's number.
    Outcome
        What became of it.

    Raises
    ------
    InputError
        If the package or the cluster is missing.
    StyleTransferError
        If the cluster is lost.
    """
    with ExitStack() as stack:
        client = scheduler
        if isinstance(client, str):
            client = stack.enter_context(_connect(client))
        crew = _Crew(client)
        stack.callback(crew.cancel)  # whatever ends this, nobody works for nothing
        opened: dict[int, _Opened] = {}
        for number, asked in batch.asked.items():
            job = _anywhere(batch.jobs[number])
            if job.stack and job.start_from == "content":
                try:
                    filling = stack.enter_context(Filling(job, asked))
                except Exception as error:
                    yield number, Outcome.of_error(batch.jobs[number], error)
                    continue
                opened[number] = _Opened(filling, set(filling.missing), time.monotonic())
                for plane in filling.missing:
                    crew.hire(_plane_there, (number, plane), job, filling.reading, plane)
                if not filling.missing:
                    yield number, opened.pop(number).end(batch.jobs[number])
            else:
                crew.hire(_make_there, (number, None), job, asked)
        for (number, k), answer in crew.answers():
            job = batch.jobs[number]
            if isinstance(answer, Exception):
                answer = Outcome.of_error(job, answer)
            if k is None:
                yield number, dataclasses.replace(answer, job=job)
            elif number in opened:
                planes = opened[number]
                planes.take(k, answer)
                if planes.failure is not None or not planes.missing:
                    crew.dismiss(number)
                    yield number, opened.pop(number).end(job)


class _Opened:
    """A stack whose planes are made elsewhere, and come in as they are done."""

    def __init__(self, filling: Filling, missing: set[int], began: float) -> None:
        self.filling, self.missing, self.began = filling, missing, began
        self.failure: Outcome | None = None

    def take(self, k: int, answer: Any) -> None:
        """Take in a plane, or how its task failed."""
        self.missing.discard(k)
        if isinstance(answer, Outcome):
            self.failure = answer
            return
        try:
            self.filling.put(k, *answer)
        except Exception as error:
            self.failure = Outcome.of_error(self.filling.job, error)

    def end(self, job: Job) -> Outcome:
        """Write the result, if all planes are there."""
        try:
            if self.failure is None:
                self.filling.finish()
        except Exception as error:
            self.failure = Outcome.of_error(job, error)
        outcome = self.failure or Outcome(job, "made")
        return dataclasses.replace(outcome, job=job, seconds=time.monotonic() - self.began)


class _Crew:
    """The tasks that a cluster has been given."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._tasks: dict[Future[Any], tuple[int, int | None]] = {}

    def hire(self, work: Callable[..., Any], place: tuple[int, int | None], *given: Any) -> None:
        """Give out a task."""
        task = self._client.submit(work, *given, pure=False, retries=_RETRIES)
        self._tasks[task] = place

    def answers(self) -> Iterator[tuple[tuple[int, int | None], Any]]:
        """Yield what comes back, in the order in which it does: an answer, or an exception."""
        import distributed

        completed: Any = distributed.as_completed  # untyped, as is much of distributed
        for task in completed(list(self._tasks)):
            place = self._tasks.pop(task, None)
            if place is None:  # dismissed
                continue
            if task.status == "finished":
                answer = task.result()
            elif task.status == "error":
                answer = task.exception()
                if isinstance(answer, WeightsError):
                    raise answer  # which no worker has
                if isinstance(answer, distributed.KilledWorker):
                    answer = StyleTransferError(
                        f"It ended {answer.allowed_failures + 1} worker processes, one after the "
                        "other: see their logs; too little memory is the usual cause."
                    )
                else:
                    answer = answer.with_traceback(task.traceback())
            else:
                raise StyleTransferError(
                    "The Dask cluster took its tasks back: its scheduler has ended, or somebody "
                    "cancelled them.  What is finished is kept."
                )
            yield place, answer

    def dismiss(self, number: int) -> None:
        """Take back what is left of a job."""
        gone = [task for task, place in self._tasks.items() if place[0] == number]
        for task in gone:
            del self._tasks[task]
        if gone:
            self._client.cancel(gone)

    def cancel(self) -> None:
        """Take back everything that is left."""
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
            "which says its address."
        ) from None


def _anywhere(job: Job) -> Job:
    """Return a job whose files have names that hold whatever folder a worker runs in."""
    weights = job.settings.weights
    if weights is not None:
        job = dataclasses.replace(
            job, settings=job.settings.replace(weights=str(Path(weights).expanduser().absolute()))
        )
    return dataclasses.replace(
        job,
        content=job.content.absolute(),
        style=job.style.absolute(),
        result=job.result.absolute(),
        mask=None if job.mask is None else job.mask.absolute(),
    )


def _make_there(job: Job, asked: Asked) -> Outcome:
    """Do a job on a worker."""
    made: Outcome = _on_worker(make, job, asked)
    return made


def _plane_there(job: Job, reading: Reading, k: int) -> Any:
    """Make a plane on a worker, or say why it cannot be."""
    try:
        return _on_worker(make_plane, job, reading, k)
    except WeightsError:
        raise
    except Exception as error:
        return Outcome.of_error(job, error)


def _on_worker(work: Callable[..., Any], *given: Any) -> Any:
    """Compute with the threads that the worker has, and the network of the last time."""
    from distributed import get_worker

    from napari_nst.engine.resources.threads import threads

    with _one_at_a_time, threads(get_worker().state.nthreads):
        return work(*given, _shared())


@cache
def _shared() -> StyleCache:
    """Return what the runs of this process have in common."""
    from napari_nst.engine.run.style_cache import StyleCache

    return StyleCache()
