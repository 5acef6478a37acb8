"""Execute one job in this process, whatever its content is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from napari_nst.batch.report import JobOutcome
from napari_nst.batch.stack_task import make_stack
from napari_nst.batch.task import make_picture
from napari_nst.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_nst.batch.plan import BatchJob
    from napari_nst.batch.records import JobFingerprint
    from napari_nst.engine.run.snapshots import Snapshot
    from napari_nst.engine.run.style_cache import StyleCache

__all__ = ["execute_job"]


def execute_job(
    job: BatchJob,
    fingerprint: JobFingerprint,
    style_cache: StyleCache,
    on_progress: Callable[[Snapshot], object] = lambda snapshot: None,
) -> JobOutcome:
    """Execute a job and return its outcome; an error of one job never ends a batch.

    Raises
    ------
    WeightsError
        If the network's weights are missing or damaged: every other job would fail as well.
    """
    began = time.monotonic()
    make = make_stack if job.stack else make_picture
    try:
        make(job, fingerprint, style_cache, on_progress)
    except WeightsError:
        raise
    except Exception as error:
        return JobOutcome.from_error(job, error, time.monotonic() - began)
    return JobOutcome(job, "made", seconds=time.monotonic() - began)
