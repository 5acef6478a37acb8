"""A batch: what there is to do, and doing it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_nst.batch.plan import Job, StartFrom, make_plan
from napari_nst.batch.reading import read_style
from napari_nst.batch.records import Asked, asked_of, found
from napari_nst.batch.report import BatchReport, Outcome, Step
from napari_nst.batch.stack_task import make_stack
from napari_nst.batch.task import make_picture
from napari_nst.errors import InputError, WeightsError
from napari_nst.files import check_writable
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from distributed import Client

    from napari_nst.batch.layout import Channels
    from napari_nst.engine.run.style_cache import StyleCache
    from napari_nst.intensities import Intensities

__all__ = ["Batch", "batch", "make"]


@dataclass(frozen=True)
class Batch:
    """The jobs of a batch, and which of them are done.

    Attributes
    ----------
    jobs : tuple of Job
        All of them.
    asked : dict of int to Asked
        By a job's number, those that are still to be done, and what they are of.
    before : dict of int to Outcome
        Those that are done, or cannot begin.
    reasons : dict of int to str
        Of jobs whose result is there, but is to be made again: why.
    """

    jobs: tuple[Job, ...]
    asked: dict[int, Asked]
    before: dict[int, Outcome]
    reasons: dict[int, str]

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> Batch:
        """Find out what is done already.

        Raises
        ------
        InputError
            If no style can be read, or nothing can be written.
        """
        jobs = tuple(jobs)
        bad_styles = _bad_styles(jobs)
        if jobs:
            _make_folder(jobs[0].result.parent)
        asked, before, reasons = {}, {}, {}
        for number, job in enumerate(jobs):
            try:
                if job.style in bad_styles:
                    raise bad_styles[job.style]
                wanted = asked_of(job)
                done, why = found(job, wanted)
            except Exception as error:
                before[number] = Outcome.of_error(job, error).noted()
                continue
            if done:
                before[number] = Outcome(job, "kept")
            else:
                asked[number] = wanted
                if why is not None:
                    reasons[number] = why
        return cls(jobs, asked, before, reasons)

    @property
    def to_do(self) -> tuple[Job, ...]:
        """The jobs that are still to be done."""
        return tuple(self.jobs[number] for number in self.asked)

    def carry_out(
        self,
        scheduler: str | Client | None = None,
        progress: Callable[[Step], object] | None = None,
    ) -> BatchReport:
        """Do what is to be done.

        Parameters
        ----------
        scheduler, progress
            As `batch` takes them.

        Raises
        ------
        InputError, WeightsError
            If nothing at all can be made: the device, the weights or the cluster is missing.
        """
        began = time.monotonic()
        tell = progress or _silent
        outcomes = dict(self.before)
        if not self.asked:
            steps: Iterator[tuple[int, Outcome]] = iter(())
        elif scheduler is None:
            steps = self._here(tell)
        else:
            from napari_nst.batch.cluster import carry_out

            steps = carry_out(self, scheduler)
        for number, ended in steps:
            outcomes[number] = outcome = ended.noted()
            tell(Step(outcome.job, 1.0, outcome))
        in_order = tuple(outcomes[number] for number in range(len(self.jobs)))
        return BatchReport(in_order, time.monotonic() - began)

    def _here(self, tell: Callable[[Step], object]) -> Iterator[tuple[int, Outcome]]:
        """Do one job after the other in this process."""
        from napari_nst.engine.resources.device import Device
        from napari_nst.engine.run.style_cache import StyleCache

        for device in dict.fromkeys(job.settings.device for job in self.to_do):
            Device.from_name(device)
        style_cache = StyleCache()
        for number, asked in self.asked.items():
            job = self.jobs[number]

            def watch(share: float, job: Job = job) -> None:
                try:
                    tell(Step(job, share))
                except Exception as error:
                    raise _CallersError from error

            try:
                outcome = make(job, asked, style_cache, watch)
            except _CallersError as error:
                assert error.__cause__ is not None
                raise error.__cause__ from None
            yield number, outcome


class _CallersError(BaseException):
    """Carries an error of `progress` past `make`, which would take it for the job's."""


def make(
    job: Job, asked: Asked, style_cache: StyleCache, watch: Callable[[float], object] | None = None
) -> Outcome:
    """Do a job, and say how it ended: what is wrong with one file is no end to a batch.

    Raises
    ------
    WeightsError
        If the network's weights are missing or damaged, which no other job would survive.
    """
    began = time.monotonic()
    try:
        work = make_stack if job.stack else make_picture
        work(job, asked, style_cache, watch or _silent)
    except WeightsError:
        raise
    except Exception as error:
        return Outcome.of_error(job, error, time.monotonic() - began)
    return Outcome(job, "made", seconds=time.monotonic() - began)


def batch(
    contents: Any,
    styles: Any,
    out: str | os.PathLike[str],
    settings: StyleTransferSettings | None = None,
    *,
    seeds: Sequence[int] | None = None,
    masks: str | os.PathLike[str] | None = None,
    intensities: Intensities = "auto",
    start_from: StartFrom = "previous",
    channels: Channels = "separate",
    style_plane: int | tuple[int, ...] | None = None,
    scheduler: str | Client | None = None,
    progress: Callable[[Step], object] | None = None,
    **choices: Any,
) -> BatchReport:
    """Give each of many images each of several styles.

    Results are called what their contents are called, with the name of the style, and the seed,
    where there are several; contents whose names differ by suffix or folder only get those, too.
    Beside each result is its record, "NAME.napari-nst.json", and what is there already, of the
    same files and settings, is not made again: a batch that was interrupted goes on where it was.

    Parameters
    ----------
    contents, styles : path-like or sequence of path-like
        Images; folders of them; patterns such as ``"photos/*.png"``; contents can be stacks (TIFF,
        Zarr), whose result has the same axes, type and physical sizes.
    out : path-like
        A folder, made if it is not there.
    settings : StyleTransferSettings, optional
        Every choice; `choices` change single ones.
    seeds : sequence of int, optional
        A result for each; by default the settings' seed only.
    masks : path-like, optional
        A folder; the mask with the name of a content goes to the folder "masks" in `out`, under
        the name of its result: the same bytes, or at another size its nearest pixels.
    intensities : {"auto", "full", "percentiles"} or tuple of float
        Which values are black and white for the run, and are so again in the result.  "auto": the
        bits in use (8, 10, 12, 14, 16 and so on), 0 to 1 for floats that lie there, and else the
        extremes.  "full": the whole range of the type, if it shows the values.  "percentiles": the
        image's own 0.1 and 99.9.  Two values: the same for all contents.  Of a stack all planes
        count, and each channel has a range of its own.
    start_from : {"previous", "content"}
        What the planes of a stack start from: `StackTransfer`.
    channels : {"separate", "together"}
        Whether each channel of a stack is restyled by itself, or the two or three channels at a
        place as the red, green and blue of one picture.
    style_plane : int or tuple of int, optional
        Which plane of a style that has several: an index along each of its axes, from 0.
    scheduler : str or distributed.Client, optional
        A Dask cluster to work on, or its address; it has to see the files under the same names.
        Results are the same to the bytes where the processors, and the threads for each, are.
    progress : callable, optional
        Called with each `Step`.
    **choices
        Settings by name.

    Returns
    -------
    BatchReport
        What became of each; a file that fails, in whatever way, ends nothing but its own jobs.
        Of an unexpected error the traceback goes to "napari-nst-batch.log" in `out`.

    Raises
    ------
    InputError, WeightsError
        If a choice cannot be, or nothing at all can be made.
    """
    if choices:
        settings = (settings or StyleTransferSettings()).replace(**choices)
    jobs = make_plan(
        _listed(contents),
        _listed(styles),
        out,
        settings,
        seeds=seeds,
        masks=masks,
        intensities=intensities,
        start_from=start_from,
        channels=channels,
        style_plane=(style_plane,) if isinstance(style_plane, int) else style_plane,
    )
    return Batch.of(jobs).carry_out(scheduler, progress)


def _listed(given: Any) -> list[str | os.PathLike[str]]:
    return [given] if isinstance(given, (str, os.PathLike)) else list(given)


def _bad_styles(jobs: Sequence[Job]) -> dict[Path, Exception]:
    """Return the styles that cannot be read, and why.

    Raises
    ------
    InputError
        If none of them can be.
    """
    styles = dict.fromkeys((job.style, job.intensities, job.style_plane) for job in jobs)
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


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be made a folder ({error.strerror}): name another for the results."
        ) from None
    check_writable(folder / "picture.png")


def _silent(step: object) -> None:
    """Tell nobody."""
