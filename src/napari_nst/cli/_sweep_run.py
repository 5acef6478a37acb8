"""The cells of a sweep, their pictures, which a batch makes, and the contact sheet."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

from napari_nst.batch import Batch, BatchJob, JobProgress
from napari_nst.batch.reading import read_result
from napari_nst.cli._batch_messages import BatchProgress, say_before, say_report
from napari_nst.cli._choices import initial_settings, parse_value
from napari_nst.cli._interrupt import INTERRUPTED
from napari_nst.cli._progress import say
from napari_nst.cli._sheet import Line, draw_sheet, to_picture
from napari_nst.errors import InputError, WeightsError, abridged
from napari_nst.files import write_image
from napari_nst.own_presets import all_presets
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from PIL import Image

    from napari_nst.ranges import RangedImage

__all__ = ["make_cells", "run_sweep"]

Cells: TypeAlias = dict[tuple[str, str], StyleTransferSettings]  # by heading of row and column

_FAILED = 2
_SIZE = 256  # pixels of the longest side: nine of them take about as long as one of 768
_WRAP = 5  # pictures in a line of a single row
# A comma outside of brackets and quotes.
_SEPARATOR = re.compile(r',(?![^\[{]*[\]}])(?=(?:[^"]*"[^"]*")*[^"]*$)')


def make_cells(
    rows: str | None,
    columns: str | None,
    presets: str | None,
    *,
    file: Path | None,
    preset: str | None,
    values: Mapping[str, Any],
    longest_side: int,
) -> Cells:
    """Return the settings of each row and column for the options of the command line.

    `values` holds settings of all cells, and `longest_side` of the content limits the size if no
    option names it.

    Raises
    ------
    InputError
        If there is nothing to compare, or the settings of a cell are invalid.
    """
    down, across = _axis("--rows", rows), _axis("--columns", columns)
    if presets is not None:
        if preset is not None:
            raise InputError("--preset and --presets both name initial settings: give one.")
        if down and across:
            raise InputError("--rows, --columns and --presets are three axes; give two.")
        names = ",".join(all_presets()) if presets == "all" else presets
        free = _axis("--presets", f"preset={names}")
        down, across = (free, across) if across else (down, free)
    elif not (down or across):
        raise InputError("There is nothing to compare: give --rows, --columns or --presets.")
    cells = {}
    for row, of_row in (down or {"": {}}).items():
        for column, of_column in (across or {"": {}}).items():
            for name in of_row.keys() & of_column.keys():
                raise InputError(f"--rows and --columns are both {name}; choose another for one.")
            chosen = {"output_size": "working", **values, **of_row, **of_column}
            settings = initial_settings(file, chosen.pop("preset", preset))
            if settings.size == "auto":
                chosen = {"size": min(_SIZE, longest_side), **chosen}
            cells[row, column] = settings.replace(**chosen)
    return cells


def run_sweep(
    cells: Cells,
    images: Sequence[RangedImage],
    folder: Path,
    out: Path,
    *,
    skip_missing_weights: bool,
    **inputs: Any,
) -> None:
    """Make the pictures that are not in a folder yet, and write the sheet.

    `images` are the content and the styles, and `inputs` the arguments of every `BatchJob`.

    Raises
    ------
    StyleTransferError
        If the settings of a picture are invalid.
    typer.Exit
        At the end, with the exit status.
    """
    from napari_nst.engine.run.transfer import StyleTransfer

    names = [path.name for path in (inputs["content"], *inputs["styles"])]
    log, jobs = out.with_name("napari-nst-sweep.log"), {}
    for key, settings in cells.items():
        title = ", ".join(filter(None, key))
        try:
            StyleTransfer(images[0], images[1:], settings, names=names)  # checks all of them
        except WeightsError as error:
            if not skip_missing_weights:
                raise
            say(f"{title} is left out. {error}")
            continue
        digest = hashlib.sha256(f"{inputs} {settings.to_json()}".encode()).hexdigest()[:8]
        stem = re.sub(r"[^\w.+-]+", "-", " ".join(sorted(key)).strip())
        result = folder / f"{stem[:100]}-{digest}.png"  # file systems allow 255 bytes
        jobs[key] = BatchJob(title=title, settings=settings, result=result, log=log, **inputs)
    work = Batch.from_jobs(list(jobs.values()))
    steps = {o.job.title: JobProgress(o.job, 1.0, o) for o in work.known_outcomes.values()}
    progress = BatchProgress(say_before(work, None), measure_speed=True)

    def on_progress(step: JobProgress) -> None:
        steps[step.job.title] = step
        progress(step)

    status = INTERRUPTED
    with suppress(KeyboardInterrupt):
        with progress.bar:
            report = work.run(progress=on_progress)
        say_report(report, masks=False)
        status = 0 if report.outcomes and not report.failed else _FAILED
    shown = {key: _shown(steps.get(job.title)) for key, job in jobs.items()}
    made = [picture for picture, _ in shown.values() if picture is not None]
    if made:
        sources = [to_picture(image.to_unit()) for image in images]
        captions = [f"content: {names[0]}", *(f"style: {name}" for name in names[1:])]
        common = _common_settings(job.settings for job in jobs.values())
        box = max(picture.width for picture in made), max(picture.height for picture in made)
        write_image(out, draw_sheet([common, sources, captions, *_lines(shown)], box))
        stopped = "stopped early; " if status == INTERRUPTED else ""
        say(f"{stopped}wrote {out}, {len(made)} of {len(jobs)} pictures.")
    else:
        say(f"there is no picture; {out} was not written.")
    raise typer.Exit(status)


def _shown(step: JobProgress | None) -> tuple[Image.Image | None, str]:
    """Return the picture of a job, if there is one, and a note."""
    if step is None:
        return None, "not made"
    if step.snapshot is not None:
        done, planned = step.snapshot.iteration, step.snapshot.iterations
        return to_picture(step.snapshot.image()), f"stopped after {done} of {planned} iterations"
    assert step.outcome is not None
    if step.outcome.status == "failed":
        return None, "failed"
    made = step.outcome.status == "made"
    note = f"{step.outcome.seconds:.1f} s" if made else "kept from before"
    return to_picture(read_result(step.job.result)), note


def _lines(shown: Mapping[tuple[str, str], tuple[Image.Image | None, str]]) -> Iterator[Line]:
    """Yield the headings, pictures and notes of a sheet, line by line."""
    headings: list[str] = []
    for row, group in groupby(shown, lambda key: key[0]):
        columns = [column for _, column in group]
        width = len(columns) if row else _WRAP
        for start in range(0, len(columns), width):
            part = columns[start : start + width]
            yield row
            if part != headings:
                yield (headings := part)
            yield [shown[row, column][0] for column in part]
            yield [shown[row, column][1] for column in part]


def _common_settings(cells: Iterable[StyleTransferSettings]) -> str:
    """Return the size and the changed settings that are the same in all cells."""
    options: dict[str, Any] = {"exclude": {"output_size"}, "exclude_defaults": True}
    first, *others = (settings.model_dump(mode="json", **options) for settings in cells)
    same = [item for item in first.items() if all(item in other.items() for other in others)]
    return ", ".join(_text(name, value) for name, value in same)


def _axis(option: str, text: str | None) -> dict[str, dict[str, Any]]:
    """Return the choices of each row or column, by heading, for ``"style_weight=1,2,4"``."""
    if text is None:
        return {}
    name, _, listed = text.partition("=")
    values = [parse_value(part.strip()) for part in _SEPARATOR.split(listed)]
    if not name or "" in values:
        raise InputError(
            f"{option} is {abridged(text)}; it must be a setting's name, '=' and its values "
            "with commas between them, such as style_weight=1,2,4."
        )
    return {_text(name, value): {name: value} for value in values}


def _text(name: str, value: Any) -> str:
    """Return a setting and its JSON value as text, for example "style weight 2"."""
    if not isinstance(value, str):
        value = re.sub(r'[{}\[\]]|":?|\.0\b', "", json.dumps(value))
    return f"{name.replace('_', ' ')} {value}"
