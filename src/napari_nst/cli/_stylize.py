"""From files to a file, by way of one run."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Literal

import typer

from napari_nst.batch.reading import (
    plane_of,
    read_picture,
    read_start,
    read_style,
    write_result,
)
from napari_nst.cli._interrupt import INTERRUPTED, StopOnCtrlC
from napari_nst.cli._progress import run_with_progress, say
from napari_nst.errors import InputError
from napari_nst.files import check_writable, read_labels
from napari_nst.ranges import check_intensities

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.ranges import Intensities, RangedImage
    from napari_nst.settings import StyleTransferSettings

__all__ = ["carry_out", "read_inputs", "read_painted", "stylize_files"]

_SECONDS_BETWEEN_SAVES = 60.0


def stylize_files(
    content: Path,
    styles: Sequence[Path],
    start: Path | None,
    out: Path,
    settings: StyleTransferSettings,
    depth: Literal["8", "16"] | None,
    *,
    intensities: Intensities = "auto",
    plane: tuple[int, ...] | None = None,
    style_planes: Sequence[tuple[int, ...] | None] = (),
    content_labels: Path | None = None,
    style_labels: Sequence[Path] = (),
    keep: Path | None = None,
) -> None:
    """Give the picture in a file the style of those in others.

    Parameters
    ----------
    content, styles : Path, sequence of Path
        The pictures.
    start : Path or None
        The picture to start from, with ``init="image"``.
    out : Path
        Where to.
    settings : StyleTransferSettings
        Every choice.
    depth : {"8", "16"} or None
        Bits of a sample of the result; None: 8 if the content has as many, else 16.
    intensities : {"auto", "full", "percentiles"} or tuple of float
        Which values are black and white.
    plane : tuple of int or None
        Which of the content's, and of the picture to start from, if they have several.
    style_planes : sequence of tuple of int or None
        Which of each style's.
    content_labels : Path or None
        The labels painted on the content.
    style_labels : sequence of Path
        Those on each style, "none" for one without; or nothing.
    keep : Path or None
        Where the run itself is saved, now and then.

    Raises
    ------
    StyleTransferError
        If a file, a picture or the output cannot be used. What was in `out` is still there.
    typer.Exit
        If Ctrl-C ended the run.
    """
    check_writable(out)
    if depth == "16" and out.suffix.lower() in (".jpg", ".jpeg"):
        raise InputError(f"{out} cannot have 16 bits, for JPEG has 8: name a .png or .tif file.")
    sources = (content, *styles)
    pictures = read_inputs(content, styles, intensities, plane, style_planes)
    first = None if start is None else read_start(start, pictures[0], intensities, plane)
    painted = read_painted(content_labels, style_labels)
    inputs = [path for path in (*sources, start, content_labels, *style_labels) if path]
    inputs = [path for path in inputs if os.path.exists(path)]
    if os.path.exists(out) and any(map(out.samefile, inputs)):
        raise InputError(f"{out} is also an input: name another file for the result.")
    # Only now, for torch takes seconds to load: a wrong file is named at once.
    from napari_nst.engine.run.transfer import StyleTransfer

    names = [path.name for path in sources]
    run = StyleTransfer(pictures[0], pictures[1:], settings, start=first, names=names, **painted)
    carry_out(run, out, depth, keep)


def read_inputs(
    content: Path,
    styles: Sequence[Path],
    intensities: Intensities,
    plane: tuple[int, ...] | None,
    style_planes: Sequence[tuple[int, ...] | None],
) -> list[RangedImage]:
    """Read a content and its styles as a run takes them.

    Parameters
    ----------
    content, styles, intensities, plane, style_planes
        As for `stylize_files`.

    Raises
    ------
    InputError
        If one cannot be read, or has several planes and none of them is named.
    """
    check_intensities(intensities)
    planes = list(style_planes) or [None] * len(styles)
    if len(styles) > 1 and len(set(planes)) == 1:  # for those of them that have several
        own = [plane_of(path, planes[0]) for path in styles]
        planes = own if any(own) else planes
    return [
        read_picture(content, intensities, plane),
        *(read_style(path, intensities, own) for path, own in zip(styles, planes, strict=True)),
    ]


def read_painted(content_labels: Path | None, style_labels: Sequence[Path]) -> dict[str, Any]:
    """Return the labels in files as `StyleTransfer` takes them.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    painted: dict[str, Any] = {}
    if content_labels is not None:
        painted["content_labels"] = read_labels(content_labels)
    if style_labels:
        painted["style_labels"] = [
            None if str(path) == "none" else read_labels(path) for path in style_labels
        ]
    return painted


def carry_out(
    run: StyleTransfer, out: Path, depth: Literal["8", "16"] | None, keep: Path | None = None
) -> None:
    """Iterate a run to its end, or to Ctrl-C, and write its picture with its record.

    Parameters
    ----------
    run : StyleTransfer
        The run, not begun yet.
    out : Path
        Where to.
    depth : {"8", "16"} or None
        Bits of a sample of the file; None: as many as the content has.
    keep : Path or None
        Where the run itself is saved: every minute, and where it ends.

    Raises
    ------
    typer.Exit
        If Ctrl-C ended the run.
    """
    began = time.monotonic()
    if keep is not None:
        run.save(keep)  # a place that cannot be written to is known before the work is done
    with StopOnCtrlC() as ctrl_c:
        ctrl_c.watch(run)
        run_with_progress(run, None if keep is None else _saver(run, keep))
    if keep is not None:
        run.save(keep)
    result = run.result()
    record = result.record
    if record.iterations == 0:
        say(f"stopped before the first iteration; {out} was not written.")
        raise typer.Exit(INTERRUPTED)
    beside, note = write_result(out, result, depth)
    height, width = result.image.shape[:2]
    stopped = record.status == "stopped"
    say(
        f"{'stopped early; ' if stopped else ''}wrote {out}, {width} x {height} pixels after "
        f"{record.iterations} iterations in {time.monotonic() - began:.0f} s."
    )
    if note is not None:
        say(note)
    if beside is not None:
        say(f"the record is too long for a JPEG file; wrote it to {beside}.")
    if stopped:
        if keep is not None:
            say(f"go on with: napari-nst resume {keep} -o {out}")
        raise typer.Exit(INTERRUPTED)


def _saver(run: StyleTransfer, file: Path) -> Callable[[], None]:
    """Return what saves a run when a minute has gone by."""
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        if time.monotonic() - saved >= _SECONDS_BETWEEN_SAVES:
            run.save(file)
            saved = time.monotonic()

    return save
