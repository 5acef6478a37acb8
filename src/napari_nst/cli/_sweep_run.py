"""Run the cells of a sweep one after the other, and write the contact sheet."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from napari_nst import speed
from napari_nst.batch.reading import as_unit, write_result
from napari_nst.cli._grid import setting_text
from napari_nst.cli._interrupt import INTERRUPTED, StopOnCtrlC
from napari_nst.cli._progress import JobsProgress, say, time_estimate
from napari_nst.cli._sheet import Thumbnail, draw_sheet, shrink
from napari_nst.durations import format_duration
from napari_nst.engine.resources import costs
from napari_nst.errors import InputError, WeightsError
from napari_nst.failures import error_sentence, log_traceback, unexpected_traceback
from napari_nst.files import read_image, write_image
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_nst.cli._grid import Cell, Grid
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.ranges import RangedImage
    from napari_nst.record import RunRecord

__all__ = ["Sweep"]

_FAILED = 2
_LOG = "napari-nst-sweep.log"  # beside the sheet
_MAX_THUMBNAIL = 1024  # pixels: the sheet is looked at as a whole
_SHOWN_ELSEWHERE = {"size", "output_size", "iterations"}  # a sheet has its own lines for these


class _Job(NamedTuple):
    """A cell that can run; `record` is the record of its run before the first iteration."""

    number: int  # of the cell
    cell: Cell
    record: RunRecord
    device: str  # "cpu", "cuda" or "mps"
    shape: tuple[int, int]  # of the picture
    operations: float
    file: Path | None  # of the picture to keep


class Sweep:
    """The runs of a grid's cells; the image and the note of each cell.

    Parameters
    ----------
    sources, pictures : sequence of Path, sequence of RangedImage
        Files and images of the content and the styles.
    grid : Grid
        The cells.
    keep : Path or None
        Folder for the single pictures.
    all_presets : bool
        Whether to leave out cells whose weights are missing.

    Raises
    ------
    StyleTransferError
        If a cell is invalid.
    """

    def __init__(
        self,
        sources: Sequence[Path],
        pictures: Sequence[RangedImage],
        grid: Grid,
        keep: Path | None,
        *,
        all_presets: bool,
    ) -> None:
        self.sources, self.pictures, self.grid = sources, pictures, grid
        self.images: list[NDArray[np.uint8] | None] = [None] * len(grid.cells)
        self.notes = ["not made"] * len(grid.cells)
        self.jobs = []
        for number, cell in enumerate(grid.cells):
            try:
                self.jobs.append(self._make_job(number, cell, keep))
            except WeightsError as error:
                if not all_presets:
                    raise
                say(f"{cell.heading} is left out. {error}")
                self.notes[number] = "its network's weights are not on this machine"
        if not self.jobs:
            raise InputError("No preset can run on this machine: name others.")
        height, width = (max(job.shape[side] for job in self.jobs) for side in (0, 1))
        scale = min(1, _MAX_THUMBNAIL / max(height, width))
        self.box = round(height * scale), round(width * scale)
        self.pending = [job for job in self.jobs if not self._show_kept(job)]

    def run(self, out: Path) -> None:
        """Run the pending jobs, and write the sheet if a picture is on it.

        The traceback of an unexpected error is appended to a log file beside the sheet.

        Raises
        ------
        typer.Exit
            If Ctrl-C was pressed or a run failed.
        """
        self._say_before()
        began, failed = time.monotonic(), False
        progress = JobsProgress(len(self.pending), sum(job.operations for job in self.pending))
        with StopOnCtrlC() as ctrl_c, progress.bar:
            for job in self.pending:
                try:
                    self._run_job(job, ctrl_c, progress)
                except Exception as error:
                    failed = True
                    if self.images[job.number] is None:
                        self.notes[job.number] = "failed"
                    sentence, text = error_sentence(error, "It"), unexpected_traceback(error)
                    if text is not None:
                        sentence = log_traceback(sentence, text, out.with_name(_LOG))
                    progress.end(job.cell.heading, job.operations, error=sentence)
                if ctrl_c.pressed:
                    break
        shown = sum(image is not None for image in self.images)
        if not shown:
            say(f"there is no picture; {out} was not written.")
        else:
            write_image(out, self._sheet())
            say(
                f"{'stopped early; ' if ctrl_c.pressed else ''}wrote {out}, {shown} of "
                f"{len(self.jobs)} pictures in {format_duration(time.monotonic() - began)}."
            )
        if ctrl_c.pressed or failed:
            raise typer.Exit(INTERRUPTED if ctrl_c.pressed else _FAILED)

    def _sheet(self) -> NDArray[np.float32]:
        """Return the sheet."""
        styles = [f"style {n}" for n in range(1, len(self.sources))]
        kinds = ["content", *(styles if len(styles) > 1 else ["style"])]
        captions = [f"{kind}: {path.name}" for kind, path in zip(kinds, self.sources, strict=True)]
        sources = zip((picture.to_unit() for picture in self.pictures), captions, strict=True)
        titled = not (self.grid.rows or self.grid.columns)
        thumbnails = [
            Thumbnail(image, note, cell.heading if titled else "")
            for image, note, cell in zip(self.images, self.notes, self.grid.cells, strict=True)
        ]
        width = self.grid.width
        lines = [thumbnails[start : start + width] for start in range(0, len(thumbnails), width)]
        return draw_sheet(
            list(sources), self._about(), lines, self.grid.rows, self.grid.columns, self.box
        )

    def _about(self) -> list[str]:
        """Return what all runs have in common, unless it is the default."""
        shapes = {job.shape for job in self.jobs}
        first, *others = (job.cell.settings for job in self.jobs)
        common = {
            name: value
            for name, value in first
            if all(getattr(other, name) == value for other in others)
        }
        defaults = StyleTransferSettings()
        return [
            *(f"{width} x {height} pixels" for height, width in shapes if len(shapes) == 1),
            *([f"{first.iterations} iterations"] if "iterations" in common else []),
            *(
                setting_text(name, value)
                for name, value in common.items()
                if name not in _SHOWN_ELSEWHERE and value != getattr(defaults, name)
            ),
        ]

    def _make_job(self, number: int, cell: Cell, keep: Path | None) -> _Job:
        record = self._make_run(cell).record
        height, width = self.pictures[0].values.shape[:2]
        device, last = record.resolved.device.partition(":")[0], record.resolved.scales[-1]
        operations = costs.estimate(cell.settings, height, width, device).operations
        file = None if keep is None else keep / f"{cell.name}-{_digest(record)}.png"
        shape = last.height, last.width
        return _Job(number, cell, record, device, shape, operations, file)

    def _make_run(self, cell: Cell) -> StyleTransfer:
        # imports torch, which takes seconds: errors in files are reported before
        from napari_nst.engine.run.transfer import StyleTransfer

        names = [path.name for path in self.sources]
        return StyleTransfer(self.pictures[0], self.pictures[1:], cell.settings, names=names)

    def _show_kept(self, job: _Job) -> bool:
        """Show the picture of an earlier sweep with the same inputs and settings, if any."""
        if job.file is None or not job.file.exists():
            return False
        try:
            self._show(job, "kept from before", as_unit(read_image(job.file), job.record))
        except InputError:  # damaged
            return False
        return True

    def _say_before(self) -> None:
        """Print how many pictures will be made, and how long that takes."""
        count, kept = len(self.pending), len(self.jobs) - len(self.pending)
        if not count:
            say(f"{kept} pictures, all kept from before.")
            return
        sizes = sorted({job.shape for job in self.pending})
        height, width = sizes[-1]
        operations: defaultdict[tuple[str, str], float] = defaultdict(float)
        for job in self.pending:
            operations[job.device, job.cell.settings.allowed_precision] += job.operations
        say(
            f"{f'{kept} kept from before; ' if kept else ''}{count} picture{'s' * (count > 1)} of "
            f"{'at most ' if len(sizes) > 1 else ''}{width} x {height} pixels to make: "
            f"{time_estimate(operations)}."
        )

    def _run_job(self, job: _Job, ctrl_c: StopOnCtrlC, progress: JobsProgress) -> None:
        began = time.monotonic()
        run = self._make_run(job.cell)
        ctrl_c.watch(run)
        for snapshot in run:
            progress.update(job.cell.heading, snapshot.progress * job.operations)
        result = run.result()
        iterations = result.record.iterations
        if result.record.status != "finished":
            if iterations:
                note = f"stopped after {iterations} of {job.cell.settings.iterations} iterations"
                self._show(job, note, result.image)
            return
        seconds = time.monotonic() - began
        if iterations >= speed.MIN_ITERATIONS:
            precision = job.cell.settings.allowed_precision
            speed.save_speed(job.device, job.operations / seconds, precision)
        self._show(job, f"{seconds:.{0 if seconds >= 10 else 1}f} s", result.image)
        if job.file is not None:
            write_result(job.file, result)
        progress.end(job.cell.heading, job.operations, seconds)

    def _show(self, job: _Job, note: str, image: NDArray[Any]) -> None:
        self.notes[job.number], self.images[job.number] = note, shrink(image, *self.box)


def _digest(record: RunRecord) -> str:
    """Return a hash of everything that determines the picture of a run."""
    inputs = (record.content, *record.styles)
    parts = [
        record.settings.to_json(),
        record.resolved.weights_sha256,
        *(f"{image.sha256} {image.range} {image.bits}" for image in inputs),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
