"""Run a batch: find the jobs whose result is missing or outdated, and execute them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_nst.batch.cluster import run_on_cluster
from napari_nst.batch.execute import execute_job
from napari_nst.batch.plan import BatchJob, make_plan
from napari_nst.batch.reading import read_style
from napari_nst.batch.records import JobFingerprint, is_up_to_date
from napari_nst.batch.report import BatchReport, JobOutcome, JobProgress
from napari_nst.errors import InputError
from napari_nst.files import check_writable
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from distributed import Client

    from napari_nst.batch.layout import Channels
    from napari_nst.engine.run.snapshots import Snapshot
    from napari_nst.ranges import Intensities
    from napari_nst.stacks import StartFrom

__all__ = ["Batch", "batch", "make_folder"]


@dataclass(frozen=True)
class Batch:
    """The jobs of a batch; those to run and those with a known outcome, by index.

    Attributes
    ----------
    jobs : tuple of BatchJob
        All jobs.
    fingerprints : dict of int to JobFingerprint
        Fingerprints of the jobs to run.
    known_outcomes : dict of int to JobOutcome
        Outcomes of jobs that are up to date, or whose files cannot be read.
    outdated : dict of int to str
        Why an existing result is made again.
    """

    jobs: tuple[BatchJob, ...]
    fingerprints: dict[int, JobFingerprint]
    known_outcomes: dict[int, JobOutcome]
    outdated: dict[int, str]

    @classmethod
    def from_jobs(cls, jobs: Sequence[BatchJob]) -> Batch:
        """Compare the jobs with the results that exist.

        Raises
        ------
        InputError
            If no style can be read, or the folder of the results cannot be written to.
        """
        jobs = tuple(jobs)
        bad_styles = _bad_styles(jobs)
        if jobs:
            make_folder(jobs[0].result.parent, "the results")
        fingerprints, known_outcomes, outdated = {}, {}, {}
        for index, job in enumerate(jobs):
            try:
                for style in bad_styles.keys() & set(job.styles):
                    raise bad_styles[style]
                fingerprint = JobFingerprint.from_job(job)
                up_to_date, difference = is_up_to_date(job, fingerprint)
            except Exception as error:
                outcome = JobOutcome.from_error(job, error)
                known_outcomes[index] = outcome.with_logged_traceback()
                continue
            if up_to_date:
                known_outcomes[index] = JobOutcome(job, "skipped")
                continue
            fingerprints[index] = fingerprint
            if difference is not None:
                outdated[index] = difference
        return cls(jobs, fingerprints, known_outcomes, outdated)

    @property
    def pending(self) -> tuple[BatchJob, ...]:
        """The jobs to run."""
        return tuple(self.jobs[index] for index in self.fingerprints)

    def run(
        self,
        scheduler: str | Client | None = None,
        progress: Callable[[JobProgress], object] | None = None,
    ) -> BatchReport:
        """Run the pending jobs.

        Parameters
        ----------
        scheduler, progress
            As for `batch`.

        Raises
        ------
        InputError, WeightsError
            If no job can run: the device, the weights or the cluster is missing.
        """
        divided = next((job for job in self.pending if job.chunk), None)
        if scheduler is None and divided is not None:
            raise InputError(
                f"chunk is {divided.chunk}, and only a cluster divides stacks: name its scheduler, "
                "or leave out chunk."
            )
        began = time.monotonic()
        report_progress = progress or (lambda _: None)
        outcomes = dict(self.known_outcomes)
        ended: Iterator[tuple[int, JobOutcome]] = iter(())
        if self.fingerprints and scheduler is None:
            ended = self._run_here(report_progress)
        elif self.fingerprints:
            assert scheduler is not None
            ended = run_on_cluster(self.jobs, self.fingerprints, scheduler)
        for index, outcome in ended:
            outcomes[index] = outcome = outcome.with_logged_traceback()
            report_progress(JobProgress(outcome.job, 1.0, outcome))
        in_order = tuple(outcomes[index] for index in range(len(self.jobs)))
        return BatchReport(in_order, time.monotonic() - began)

    def _run_here(
        self, report_progress: Callable[[JobProgress], object]
    ) -> Iterator[tuple[int, JobOutcome]]:
        """Run the jobs one after the other in this process."""
        from napari_nst.engine.resources.device import Device
        from napari_nst.engine.run.style_cache import StyleCache

        for device in dict.fromkeys(job.settings.device for job in self.pending):
            Device.from_name(device)
        style_cache = StyleCache()
        for index, fingerprint in self.fingerprints.items():
            job = self.jobs[index]

            def on_progress(snapshot: Snapshot, job: BatchJob = job) -> None:
                try:
                    report_progress(JobProgress(job, snapshot.progress, snapshot=snapshot))
                except Exception as error:
                    raise _CallbackError from error

            try:
                outcome = execute_job(job, fingerprint, style_cache, on_progress)
            except _CallbackError as error:
                assert error.__cause__ is not None
                raise error.__cause__ from None
            yield index, outcome


class _CallbackError(BaseException):
    """Carries an exception of the progress callback past `execute_job`, which catches Exception."""


def batch(
    contents: Any,
    styles: Any,
    out: str | os.PathLike[str],
    settings: StyleTransferSettings | None = None,
    *,
    seeds: Sequence[int] | None = None,
    masks: str | os.PathLike[str] | None = None,
    intensities: Intensities = "auto",
    start_from: StartFrom | None = None,
    long_term: bool = False,
    channels: Channels = "separate",
    style_plane: int | tuple[int, ...] | None = None,
    scheduler: str | Client | None = None,
    chunk: int | None = None,
    progress: Callable[[JobProgress], object] | None = None,
    **choices: Any,
) -> BatchReport:
    """Restyle many images with several styles, and write the results to a folder.

    A result has the name of its content, and the name of the style and the seed where there are
    several; if contents share a name, its suffix or folder is added.  Its record is written beside
    it as "NAME.napari-nst.json".  Results that exist and were made from the same files and
    settings are skipped, so an interrupted batch continues where it stopped.

    Parameters
    ----------
    contents, styles : PathLike or sequence of PathLike
        Images, folders of images, or patterns such as ``"photos/*.png"``.  Contents can be stacks
        (TIFF, Zarr), whose result has the same axes, type and physical sizes, or films and
        animations, whose result has the same times and sound.
    out : PathLike
        The folder of the results; created if missing.
    settings : StyleTransferSettings, optional
        All settings; `choices` override single ones.
    seeds : sequence of int, optional
        One result per seed; by default only the seed of the settings.
    masks : PathLike, optional
        A folder.  The mask with the name of a content is copied to the folder "masks" in `out`
        under the name of its result; for a result of another size, its nearest pixels are taken.
    intensities : {"auto", "full", "percentiles"} or tuple of float
        Which values are black and white in the run and in the result.  "auto": the range of the
        bits in use (8, 10, 12, 14, 16 and so on), 0 to 1 for floats in that range, otherwise the
        extremes.  "full": the range of the data type, if it shows the values.  "percentiles": 0.1
        and 99.9 of the image.  Two values: the same for all contents.  A stack has one range per
        channel for all its planes.
    start_from : {"warped", "previous", "content"}, optional
        Initial image of each plane of a stack: see `StackTransfer`.  By default "warped" for films
        and for stacks along time, otherwise "previous".
    long_term : bool
        See `StackTransfer`; implies "warped" for all stacks.
    channels : {"separate", "together"}
        Whether each channel of a stack is restyled by itself, or its two or three channels
        together as red, green and blue.
    style_plane : int or tuple of int, optional
        The plane of a style with several planes: an index along each of its axes, from 0.
    scheduler : str or distributed.Client, optional
        A Dask cluster or its address; its workers must see the files under the same paths.
        Results are the same bytes on the same processors and threads per picture, except of stacks
        that are divided into chunks.
    chunk : int, optional
        Planes in each chunk of a stack whose planes start from their previous planes; each chunk is
        a task of the cluster, and neighbouring chunks are cross-faded.  0: stacks are not divided.
        By default they are if there are fewer jobs than workers, into chunks of 16 planes or more.
    progress : callable, optional
        Called with a `JobProgress` after each iteration and at the end of each job.
    **choices
        Settings by name.

    Returns
    -------
    BatchReport
        The outcome of each job.  An error of one file only fails the jobs of that file; the
        traceback of an unexpected error is written to "napari-nst-batch.log" in `out`.

    Raises
    ------
    InputError, WeightsError
        If an argument is invalid, or no job can run.
    """
    if choices:
        settings = (settings or StyleTransferSettings()).replace(**choices)
    jobs = make_plan(
        _as_list(contents),
        _as_list(styles),
        out,
        settings,
        seeds=seeds,
        masks=masks,
        intensities=intensities,
        start_from=start_from,
        long_term=long_term,
        channels=channels,
        style_plane=(style_plane,) if isinstance(style_plane, int) else style_plane,
        chunk=chunk,
    )
    return Batch.from_jobs(jobs).run(scheduler, progress)


def _as_list(paths: Any) -> list[str | os.PathLike[str]]:
    return [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)


def _bad_styles(jobs: Sequence[BatchJob]) -> dict[Path, Exception]:
    """Return the error of each style that cannot be read.

    Raises
    ------
    InputError
        If no style can be read.
    """
    styles = dict.fromkeys(
        (style, job.intensities, plane)
        for job in jobs
        for style, plane in zip(job.styles, job.style_planes, strict=True)
    )
    bad: dict[Path, Exception] = {}
    for style, intensities, plane in styles:
        try:
            read_style(style, intensities, plane)
        except Exception as error:
            bad[style] = error
    first = next(iter(bad.values()), None)
    if len(bad) == len(styles) and isinstance(first, InputError):
        raise first
    return bad


def make_folder(folder: Path, purpose: str) -> None:
    """Make a folder that pictures can be written to.

    Raises
    ------
    InputError
        If that fails; the message asks for another folder for `purpose`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be made a folder ({error.strerror}): name another for {purpose}."
        ) from None
    check_writable(folder / "picture.png")
