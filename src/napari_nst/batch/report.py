"""What became of the jobs of a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from napari_nst.failures import in_a_sentence, keep_traceback, traceback_of

if TYPE_CHECKING:
    from napari_nst.batch.plan import Job

__all__ = ["BatchReport", "Outcome", "Step"]

_LOG = "napari-nst-batch.log"


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    job : Job
        The job.
    state : {"made", "kept", "failed"}
        "kept": it was there from before, of the same files and settings.
    error : str or None
        Why it failed, in one sentence.
    seconds : float
        That it took.
    traceback : str or None
        Of an error that no message is written for.
    """

    job: Job
    state: Literal["made", "kept", "failed"]
    error: str | None = None
    seconds: float = 0.0
    traceback: str | None = None

    @classmethod
    def of_error(cls, job: Job, error: Exception, seconds: float = 0.0) -> Outcome:
        """Return the outcome of a job that an error ended, whichever it is."""
        sentence = in_a_sentence(error, job.content)
        return cls(job, "failed", sentence, seconds, traceback_of(error))

    def noted(self) -> Outcome:
        """Write the traceback, if there is one, to the log beside the results, and say so."""
        if self.traceback is None or self.error is None:
            return self
        log = self.job.result.parent / _LOG
        return replace(self, error=keep_traceback(self.error, self.traceback, log))


@dataclass(frozen=True)
class Step:
    """Something that happened to a job.

    Attributes
    ----------
    job : Job
        The job.
    share : float
        How much of it is done, from 0 to 1.
    outcome : Outcome or None
        How it ended, if it did.
    """

    job: Job
    share: float
    outcome: Outcome | None = None


@dataclass(frozen=True)
class BatchReport:
    """What became of a batch.

    Attributes
    ----------
    outcomes : tuple of Outcome
        One for each job, in their order.
    seconds : float
        That all of it took.
    """

    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def made(self) -> tuple[Outcome, ...]:
        """The results that were made."""
        return self._those("made")

    @property
    def kept(self) -> tuple[Outcome, ...]:
        """The results that were there from before."""
        return self._those("kept")

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The jobs that have no result."""
        return self._those("failed")

    def _those(self, state: str) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.state == state)
