"""What became of the jobs of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari_nst.batch.plan import Job

__all__ = ["BatchReport", "Outcome", "Step"]


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
    """

    job: Job
    state: Literal["made", "kept", "failed"]
    error: str | None = None
    seconds: float = 0.0


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
