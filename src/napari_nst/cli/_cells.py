"""The runs of a sweep, one after the other, and the sheet of what came out."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import typer

from napari_nst import speed
from napari_nst.batch.reading import as_unit, write_result
from napari_nst.cli._grid import common_choices, in_words
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
    from types import FrameType

    import numpy as np
    from numpy.typing import NDArray

    from napari_nst.cli._grid import Cell, Grid
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.ranges import RangedImage

__all__ = ["sweep_files"]

_FAILED, _INTERRUPTED = 2, 130
_LOG = "napari-nst-sweep.log"  # beside the sheet
_LARGEST_TILE = 1024  # pixels; a sheet is to be looked at as a whole


def sweep_files(
    sources: Sequence[Path],
    pictures: Sequence[RangedImage],
    out: Path,
    grid: Grid,
    keep: Path | None,
) -> None:
    """Carry out the runs of a grid on one pair, and write the sheet.

    Parameters
    ----------
    sources, pictures : sequence of Path, sequence of RangedImage
        The content and the styles, and what is in them.
    out : Path
        Where the sheet goes.
    grid : Grid
        The runs.
    keep : Path or None
        A folder for each picture, made if it is not there.

    Raises
    ------
    StyleTransferError
        If a file, a picture, a run or an output cannot be; before the first run begins.
    typer.Exit
        If Ctrl-C ended it, or a run failed; the sheet is written, if there is anything on it.
    """
    check_writable(out)
    if os.path.exists(out) and any(map(out.samefile, sources)):
        raise InputError(f"{out} is also an input: name another file for the sheet.")
    if keep is not None:
        _make_folder(keep)
    log = out.with_name(_LOG)
    longest = max(pictures[0].values.shape[:2])
    sweep = _Sweep(sources, pictures, grid.fitted(longest), keep, log)
    sweep.say_beforehand()
    began = time.monotonic()
    sweep.carry_out()
    shown = sum(tile.picture is not None for tile in sweep.tiles.values())
    if not shown:
        say(f"there is no picture; {out} was not written.")
    else:
        write_image(out, sweep.sheet())
        say(
            f"{'stopped early; ' if sweep.stopped else ''}wrote {out}, {shown} of "
            f"{len(sweep.jobs)} pictures in {format_duration(time.monotonic() - began)}."
        )
    if sweep.stopped or sweep.failed:
        raise typer.Exit(_INTERRUPTED if sweep.stopped else _FAILED)


@dataclass(frozen=True)
class _Job:
    """A run to come: it has been tried whether it can begin."""

    cell: Cell
    record: RunRecord  # as it will be, but for how it goes
    operations: float
    file: Path | None  # where its picture is kept

    @property
    def shape(self) -> tuple[int, int]:
        last = self.record.resolved.scales[-1]
        return last.height, last.width

    @property
    def device(self) -> str:
        return self.record.resolved.device.partition(":")[0]

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        return self.operations / speed.load_speed(self.device)[0]

    def kept(self) -> NDArray[Any] | None:
        """Return the picture if it is there from before, made of the same in the same way."""
        if self.file is None or not self.file.exists():
            return None
        try:
            record = RunRecord.model_validate_json(read_metadata(self.file) or "")
            same = record.status == "finished" and _identity(record) == _identity(self.record)
            return as_unit(read_image(self.file), self.record) if same else None
        except ValueError:  # another program's, damaged, or of an older version
            return None


class _CtrlC:
    """Stop the current run and skip the others at the first Ctrl-C; interrupt at the second.

    Attributes
    ----------
    pressed : bool
        Whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._run: StyleTransfer | None = None

    def __enter__(self) -> Self:
        """Handle SIGINT."""
        self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the previous handler."""
        signal.signal(signal.SIGINT, self._before)

    def watch(self, run: StyleTransfer) -> None:
        """Set the current run."""
        self._run = run
        if self.pressed:
            run.stop()

    def _press(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self._before)
        self.pressed = True
        if self._run is not None:
            self._run.stop()


class _Sweep:
    """Runs, and what has become of them."""

    def __init__(
        self,
        sources: Sequence[Path],
        pictures: Sequence[RangedImage],
        grid: Grid,
        keep: Path | None,
        log: Path,
    ) -> None:
        self.sources = sources
        self._log = log
        self.pictures = pictures
        self.grid = grid
        self.jobs: list[_Job] = []
        self.tiles: dict[tuple[int, int], Tile] = {}
        self.failed = False
        self.stopped = False
        for cell in grid.cells:
            self._put(cell, None, "not made")
            try:
                self.jobs.append(self._plan(cell, keep))
            except WeightsError as error:
                # Nobody named this preset: it came with all the others.
                if not grid.any_preset:
                    raise
                say(f"{cell.heading} is left out. {error}")
                self._put(cell, None, "its network's weights are not on this machine")
        if not self.jobs:
            raise InputError("No preset can run on this machine: name others.")
        high, wide = (max(job.shape[side] for job in self.jobs) for side in (0, 1))
        share = min(1, _LARGEST_TILE / max(high, wide))
        self.box = round(high * share), round(wide * share)
        self._to_do = []
        for job in self.jobs:
            picture = job.kept()
            if picture is None:
                self._to_do.append(job)
            else:
                self._put(job.cell, picture, "kept from before")

    def say_beforehand(self) -> None:
        """Say what it will come to."""
        count, kept = len(self._to_do), len(self.jobs) - len(self._to_do)
        before = f"{kept} kept from before; " if kept else ""
        if not count:
            say(f"{kept} pictures, all kept from before.")
            return
        sizes = sorted({job.shape for job in self._to_do})
        height, width = sizes[-1]
        most = "at most " if len(sizes) > 1 else ""
        measured = all(speed.load_speed(job.device)[1] for job in self._to_do)
        seconds = sum(job.seconds for job in self._to_do)
        devices = " and ".join(sorted({job.device for job in self._to_do}))
        say(
            f"{before}{count} picture{'s' * (count > 1)} of {most}{width} x {height} pixels to "
            f"make: {'about' if measured else 'roughly'} {format_duration(seconds)} on {devices}."
        )

    def carry_out(self) -> None:
        """Carry out the runs that are still to be done, until the end or Ctrl-C."""
        progress = JobsProgress(len(self._to_do), sum(job.operations for job in self._to_do))
        with _CtrlC() as ctrl_c, progress.bar:
            for job in self._to_do:
                try:
                    self._carry_out(job, ctrl_c, progress)
                except Exception as error:
                    self.failed = True
                    if self.tiles[job.cell.row, job.cell.column].picture is None:
                        self._put(job.cell, None, "failed")
                    sentence, text = error_sentence(error, "It"), unexpected_traceback(error)
                    if text is not None:
                        sentence = log_traceback(sentence, text, self._log)
                    progress.end(job.cell.heading, job.operations, error=sentence)
                if ctrl_c.pressed:
                    self.stopped = True
                    break

    def sheet(self) -> NDArray[np.float32]:
        """Return the sheet, with what is missing marked."""
        rows: dict[int, list[Tile]] = {}
        for (row, _), tile in self.tiles.items():
            rows.setdefault(row, []).append(tile)
        names = [path.name for path in self.sources]
        several = len(names) > 2
        captions = [f"content: {names[0]}"] + [
            f"style{f' {number}' if several else ''}: {name}"
            for number, name in enumerate(names[1:], start=1)
        ]
        shown = [picture.to_unit() for picture in self.pictures]
        sources = list(zip(shown, captions, strict=True))
        return draw_sheet(
            sources,
            self._about(),
            list(rows.values()),
            self.grid.rows,
            self.grid.columns,
            self.box,
        )

    def _plan(self, cell: Cell, keep: Path | None) -> _Job:
        """Find out whether a cell can run, and what that will take."""
        run = self._run(cell)
        record = run.record
        height, width = self.pictures[0].values.shape[:2]
        device = record.resolved.device.partition(":")[0]
        hashes = [image.sha256 for image in (record.content, *record.styles)]
        return _Job(
            cell,
            record,
            costs.estimate(cell.settings, height, width, device).operations,
            None if keep is None else keep / cell.file_name(*hashes),
        )

    def _run(self, cell: Cell) -> StyleTransfer:
        # Only now, for torch takes seconds to load: a wrong file is named at once.
        from napari_nst.engine.run.transfer import StyleTransfer

        names = [path.name for path in self.sources]
        return StyleTransfer(self.pictures[0], self.pictures[1:], cell.settings, names=names)

    def _carry_out(self, job: _Job, ctrl_c: _CtrlC, progress: JobsProgress) -> None:
        began = time.monotonic()
        run = self._run(job.cell)
        ctrl_c.watch(run)
        for snapshot in run:
            progress.update(job.cell.heading, snapshot.progress * job.operations)
        result = run.result()
        record = result.record
        if record.status == "finished":
            seconds = time.monotonic() - began
            progress.end(job.cell.heading, job.operations, seconds)
            if record.iterations >= speed.MIN_ITERATIONS:
                speed.save_speed(job.device, job.operations / seconds)
            self._put(job.cell, result.image, f"{seconds:.{0 if seconds >= 10 else 1}f} s")
            if job.file is not None:
                write_result(job.file, result)
        elif record.iterations:
            note = f"stopped after {record.iterations} of {job.cell.settings.iterations} iterations"
            self._put(job.cell, result.image, note)

    def _put(self, cell: Cell, picture: NDArray[Any] | None, note: str) -> None:
        """Put a picture in its place on the sheet, or say why there is none."""
        title = cell.heading if self.grid.titled else ""
        small = None if picture is None else shrink(picture, *self.box)
        self.tiles[cell.row, cell.column] = Tile(small, note, title)

    def _about(self) -> list[str]:
        """Say what all pictures have in common."""
        shapes = {job.shape for job in self.jobs}
        iterations = {job.cell.settings.iterations for job in self.jobs}
        lines = []
        if len(shapes) == 1:
            height, width = shapes.pop()
            lines.append(f"{width} x {height} pixels")
        if len(iterations) == 1:
            lines.append(f"{iterations.pop()} iterations")
        common = common_choices(job.cell.settings for job in self.jobs)
        return lines + [in_words(name, value) for name, value in common.items()]


def _identity(record: RunRecord) -> tuple[Any, ...]:
    """Return what has to be the same for the same picture."""
    inputs = (record.content, *record.styles)
    hashes = [(image.sha256, image.range, image.bits) for image in inputs]
    return record.settings, record.resolved.weights_sha256, record.steering, hashes


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be made a folder ({error.strerror}): name another for --keep."
        ) from None
    check_writable(folder / "picture.png")
