"""Run the cells of a sweep one after the other, and write the contact sheet."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer

from napari_nst import speed
from napari_nst.batch.reading import as_unit, write_result
from napari_nst.batch.run import make_folder
from napari_nst.cli._grid import common_choices, setting_text
from napari_nst.cli._interrupt import INTERRUPTED, StopOnCtrlC
from napari_nst.cli._progress import JobsProgress, say
from napari_nst.cli._sheet import Tile, draw_sheet, shrink
from napari_nst.durations import format_duration
from napari_nst.engine.resources import costs
from napari_nst.errors import InputError, WeightsError
from napari_nst.failures import error_sentence, log_traceback, unexpected_traceback
from napari_nst.files import check_writable, read_image, read_metadata, write_image
from napari_nst.record import RunRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_nst.cli._grid import Cell, Grid
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.ranges import RangedImage

__all__ = ["sweep_files"]

_FAILED = 2
_LOG = "napari-nst-sweep.log"  # beside the sheet
_MAX_TILE = 1024  # pixels: the sheet is looked at as a whole


def sweep_files(
    sources: Sequence[Path],
    pictures: Sequence[RangedImage],
    out: Path,
    grid: Grid,
    keep: Path | None,
) -> None:
    """Run the cells of a grid, and write the sheet.

    Parameters
    ----------
    sources, pictures : sequence of Path, sequence of RangedImage
        Files and images of the content and the styles.
    out : Path
        File of the sheet.
    grid : Grid
        The cells.
    keep : Path or None
        Folder for the single pictures; created if missing.

    Raises
    ------
    StyleTransferError
        If an input, a cell or an output is invalid, before the first run starts.
    typer.Exit
        If Ctrl-C was pressed or a run failed; the sheet is written if a picture is on it.
    """
    check_writable(out)
    if os.path.exists(out) and any(map(out.samefile, sources)):
        raise InputError(f"{out} is also an input: name another file for the sheet.")
    if keep is not None:
        make_folder(keep, "--keep")
    grid = grid.with_default_size(max(pictures[0].values.shape[:2]))
    sweep = _Sweep(sources, pictures, grid, keep)
    sweep.say_before()
    began = time.monotonic()
    failed, stopped = sweep.run(out.with_name(_LOG))
    shown = sum(tile.picture is not None for tile in sweep.tiles.values())
    if not shown:
        say(f"there is no picture; {out} was not written.")
    else:
        write_image(out, sweep.sheet())
        say(
            f"{'stopped early; ' if stopped else ''}wrote {out}, {shown} of {len(sweep.jobs)} "
            f"pictures in {format_duration(time.monotonic() - began)}."
        )
    if stopped or failed:
        raise typer.Exit(INTERRUPTED if stopped else _FAILED)


@dataclass(frozen=True)
class _SweepJob:
    """A cell that can run; `record` is the record of its run before the first iteration."""

    cell: Cell
    record: RunRecord
    operations: float
    file: Path | None  # of the picture to keep

    @property
    def shape(self) -> tuple[int, int]:
        last = self.record.resolved.scales[-1]
        return last.height, last.width

    @property
    def device(self) -> str:
        return self.record.resolved.device.partition(":")[0]

    def read_kept(self) -> NDArray[Any] | None:
        """Return the picture of an earlier sweep with the same inputs and settings."""
        if self.file is None or not self.file.exists():
            return None
        try:
            record = RunRecord.model_validate_json(read_metadata(self.file) or "")
            same = record.status == "finished" and _identity(record) == _identity(self.record)
            return as_unit(read_image(self.file), self.record) if same else None
        except ValueError:  # another program's, damaged, or of an older version
            return None


class _Sweep:
    """The jobs of a sweep and the tiles of its sheet."""

    def __init__(
        self,
        sources: Sequence[Path],
        pictures: Sequence[RangedImage],
        grid: Grid,
        keep: Path | None,
    ) -> None:
        self.sources = sources
        self.pictures = pictures
        self.grid = grid
        self.tiles = {(cell.row, cell.column): self._tile(cell, "not made") for cell in grid.cells}
        self.jobs = [job for cell in grid.cells if (job := self._make_job(cell, keep))]
        if not self.jobs:
            raise InputError("No preset can run on this machine: name others.")
        height, width = (max(job.shape[side] for job in self.jobs) for side in (0, 1))
        scale = min(1, _MAX_TILE / max(height, width))
        self.box = round(height * scale), round(width * scale)
        self.pending = []
        for job in self.jobs:
            picture = job.read_kept()
            if picture is None:
                self.pending.append(job)
            else:
                self._put(job.cell, "kept from before", picture)

    def say_before(self) -> None:
        """Print how many pictures will be made, and how long that takes."""
        count, kept = len(self.pending), len(self.jobs) - len(self.pending)
        if not count:
            say(f"{kept} pictures, all kept from before.")
            return
        sizes = sorted({job.shape for job in self.pending})
        height, width = sizes[-1]
        speeds = {job.device: speed.load_speed(job.device) for job in self.pending}
        seconds = sum(job.operations / speeds[job.device][0] for job in self.pending)
        measured = all(measured for _, measured in speeds.values())
        say(
            f"{f'{kept} kept from before; ' if kept else ''}{count} picture{'s' * (count > 1)} of "
            f"{'at most ' if len(sizes) > 1 else ''}{width} x {height} pixels to make: "
            f"{'about' if measured else 'roughly'} {format_duration(seconds)} on "
            f"{' and '.join(sorted(speeds))}."
        )

    def run(self, log: Path) -> tuple[bool, bool]:
        """Run the pending jobs; return whether one failed, and whether Ctrl-C was pressed.

        The traceback of an unexpected error is appended to `log`.
        """
        failed = False
        progress = JobsProgress(len(self.pending), sum(job.operations for job in self.pending))
        with StopOnCtrlC() as ctrl_c, progress.bar:
            for job in self.pending:
                try:
                    self._run_job(job, ctrl_c, progress)
                except Exception as error:
                    failed = True
                    if self.tiles[job.cell.row, job.cell.column].picture is None:
                        self._put(job.cell, "failed")
                    sentence, text = error_sentence(error, "It"), unexpected_traceback(error)
                    if text is not None:
                        sentence = log_traceback(sentence, text, log)
                    progress.end(job.cell.heading, job.operations, error=sentence)
                if ctrl_c.pressed:
                    break
        return failed, ctrl_c.pressed

    def sheet(self) -> NDArray[np.float32]:
        """Return the sheet."""
        several = len(self.sources) > 2
        kinds = [
            "content",
            *(f"style {n}" if several else "style" for n in range(1, len(self.sources))),
        ]
        captions = [f"{kind}: {path.name}" for kind, path in zip(kinds, self.sources, strict=True)]
        shapes = {job.shape for job in self.jobs}
        iterations = {job.cell.settings.iterations for job in self.jobs}
        about = [f"{width} x {height} pixels" for height, width in shapes if len(shapes) == 1]
        about += [f"{count} iterations" for count in iterations if len(iterations) == 1]
        common = common_choices(job.cell.settings for job in self.jobs)
        rows = groupby(self.tiles.items(), lambda item: item[0][0])
        return draw_sheet(
            [(p.to_unit(), caption) for p, caption in zip(self.pictures, captions, strict=True)],
            about + [setting_text(name, value) for name, value in common.items()],
            [[tile for _, tile in row] for _, row in rows],
            self.grid.rows,
            self.grid.columns,
            self.box,
        )

    def _make_job(self, cell: Cell, keep: Path | None) -> _SweepJob | None:
        """Return the job of a cell; None if it is one of all presets and lacks its weights."""
        try:
            record = self._make_run(cell).record
        except WeightsError as error:
            if not self.grid.all_presets:
                raise
            say(f"{cell.heading} is left out. {error}")
            self._put(cell, "its network's weights are not on this machine")
            return None
        height, width = self.pictures[0].values.shape[:2]
        device = record.resolved.device.partition(":")[0]
        hashes = [image.sha256 for image in (record.content, *record.styles)]
        operations = costs.estimate(cell.settings, height, width, device).operations
        file = None if keep is None else keep / cell.file_name(*hashes)
        return _SweepJob(cell, record, operations, file)

    def _make_run(self, cell: Cell) -> StyleTransfer:
        # imports torch, which takes seconds: errors in files are reported before
        from napari_nst.engine.run.transfer import StyleTransfer

        names = [path.name for path in self.sources]
        return StyleTransfer(self.pictures[0], self.pictures[1:], cell.settings, names=names)

    def _run_job(self, job: _SweepJob, ctrl_c: StopOnCtrlC, progress: JobsProgress) -> None:
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
                self._put(job.cell, note, result.image)
            return
        seconds = time.monotonic() - began
        if iterations >= speed.MIN_ITERATIONS:
            speed.save_speed(job.device, job.operations / seconds)
        self._put(job.cell, f"{seconds:.{0 if seconds >= 10 else 1}f} s", result.image)
        if job.file is not None:
            write_result(job.file, result)
        progress.end(job.cell.heading, job.operations, seconds)

    def _put(self, cell: Cell, note: str, picture: NDArray[Any] | None = None) -> None:
        self.tiles[cell.row, cell.column] = self._tile(cell, note, picture)

    def _tile(self, cell: Cell, note: str, picture: NDArray[Any] | None = None) -> Tile:
        small = None if picture is None else shrink(picture, *self.box)
        return Tile(small, note, cell.heading if self.grid.titled else "")


def _identity(record: RunRecord) -> tuple[Any, ...]:
    """Return the parts of a record that determine the picture."""
    inputs = (record.content, *record.styles)
    hashes = [(image.sha256, image.range, image.bits) for image in inputs]
    return record.settings, record.resolved.weights_sha256, record.steering, hashes
