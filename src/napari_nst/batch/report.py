"""Outcomes of the jobs of a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from napari_nst.failures import error_sentence, log_traceback, unexpected_traceback

if TYPE_CHECKING:
    from napari_nst.batch.plan import BatchJob
    from napari_nst.engine.run.snapshots import Snapshot

__all__ = ["BatchReport", "JobOutcome", "JobProgress"]

_LOG = "napari-nst-batch.log"

Status: TypeAlias = Literal["made", "skipped", "failed"]


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended.

    Attributes
    ----------
    job : BatchJob
        The job.
    status : {"made", "skipped", "failed"}
        "skipped": the result existed, made from the same files and settings.
    error : str or None
        Why it failed, in one sentence.
    seconds : float
        Duration.
    traceback : str or None
        Traceback of an unexpected error.
    """

    job: BatchJob
    status: Status
    error: str | None = None
    seconds: float = 0.0
    traceback: str | None = None

    @classmethod
    def from_error(cls, job: BatchJob, error: Exception, seconds: float = 0.0) -> JobOutcome:
        """Return the outcome of a job that raised any exception."""
        sentence = error_sentence(error, job.content)
        return cls(job, "failed", sentence, seconds, unexpected_traceback(error))

    def with_logged_traceback(self) -> JobOutcome:
        """Append the traceback, if any, to the log beside the results, and name it in `error`."""
        if self.traceback is None or self.error is None:
            return self
        log = self.job.log or self.job.result.parent / _LOG
        return replace(self, error=log_traceback(self.error, self.traceback, log))


@dataclass(frozen=True)
class JobProgress:
    """Progress of a job, reported after each iteration and at its end.

    Attributes
    ----------
    job : BatchJob
        The job.
    progress : float
        Finished share of the job, 0 to 1.
    outcome : JobOutcome or None
        How it ended; None while it runs.
    snapshot : Snapshot or None
        The run after the iteration; None at the end of the job.
    """

    job: BatchJob
    progress: float
    outcome: JobOutcome | None = None
    snapshot: Snapshot | None = None


@dataclass(frozen=True)
class BatchReport:
    """Outcomes of a batch.

    Attributes
    ----------
    outcomes : tuple of JobOutcome
        One per job, in the order of the jobs.
    seconds : float
        Duration of the batch.
    """

    outcomes: tuple[JobOutcome, ...]
    seconds: float

    @property
    def made(self) -> tuple[JobOutcome, ...]:
        """Jobs whose result was made."""
        return self._with_status("made")

    @property
    def skipped(self) -> tuple[JobOutcome, ...]:
        """Jobs whose result existed already."""
        return self._with_status("skipped")

    @property
    def failed(self) -> tuple[JobOutcome, ...]:
        """Jobs without a result."""
        return self._with_status("failed")

    def _with_status(self, status: Status) -> tuple[JobOutcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status == status)
