"""Run a transfer from files to a file."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Literal

import typer

from napari_nst.batch.reading import (
    plane_of,
    read_init_image,
    read_picture,
    read_style,
    write_result,
)
from napari_nst.cli._interrupt import INTERRUPTED, StopOnCtrlC
from napari_nst.cli._progress import run_with_progress, say
from napari_nst.errors import InputError
from napari_nst.files import check_writable, read_labels
from napari_nst.ranges import check_intensities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.ranges import Intensities, RangedImage
    from napari_nst.settings import StyleTransferSettings

__all__ = [
    "check_output",
    "planes_of",
    "read_inputs",
    "read_labels_files",
    "run_to_file",
    "stylize_files",
]

_SECONDS_BETWEEN_SAVES = 60.0


def stylize_files(
    content: Path,
    styles: Sequence[Path],
    init_image: Path | None,
    out: Path,
    settings: StyleTransferSettings,
    depth: Literal["8", "16"] | None,
    *,
    intensities: Intensities = "auto",
    plane: tuple[int, ...] | None = None,
    style_planes: Sequence[tuple[int, ...] | None] = (),
    content_labels: Path | None = None,
    style_labels: Sequence[Path] = (),
    checkpoint: Path | None = None,
) -> None:
    """Restyle a picture in a file, and write the result.

    `init_image` needs ``init="image"``. `depth` is in bits per channel; None: 8 if the content has
    8, else 16. `plane` is that of the content and of the initial image, if they have several.
    `style_labels` has "none" for a style without labels, or is empty. The run is saved to
    `checkpoint`.

    Raises
    ------
    StyleTransferError
        If an input or the output is invalid; `out` is then unchanged.
    typer.Exit
        If Ctrl-C stopped the run.
    """
    sources = (content, *styles)
    check_output(out, (*sources, init_image, content_labels, *style_labels), depth)
    planes = planes_of(styles, style_planes)
    pictures = read_inputs(content, styles, intensities, plane, planes)
    initial = None
    if init_image is not None:
        initial = read_init_image(init_image, pictures[0], intensities, plane)
    labels = read_labels_files(content_labels, style_labels)
    # importing torch takes seconds: errors in files are reported before
    from napari_nst.engine.run.transfer import StyleTransfer

    names = [path.name for path in sources]
    run = StyleTransfer(
        pictures[0], pictures[1:], settings, init_image=initial, names=names, **labels
    )
    run_to_file(run, out, depth, checkpoint)


def check_output(
    out: Path,
    inputs: Iterable[Path | None] = (),
    depth: str | None = None,
    what: str = "result",
) -> None:
    """Check before a run that its output can be written and is not an input.

    `inputs` are files that it must not replace, `depth` is in bits per channel, and `what` is the
    name of the output in messages.

    Raises
    ------
    InputError
        If it cannot be written, or is an input.
    """
    check_writable(out)
    if depth == "16" and out.suffix.lower() in (".jpg", ".jpeg"):
        raise InputError(f"{out} cannot have 16 bits, for JPEG has 8: name a .png or .tif file.")
    existing = [path for path in inputs if path is not None and os.path.exists(path)]
    if os.path.exists(out) and any(map(out.samefile, existing)):
        raise InputError(f"{out} is also an input: name another file for the {what}.")


def read_inputs(
    content: Path,
    styles: Sequence[Path],
    intensities: Intensities,
    plane: tuple[int, ...] | None,
    style_planes: Sequence[tuple[int, ...] | None],
) -> list[RangedImage]:
    """Read a content and its styles.

    Raises
    ------
    InputError
        If one cannot be read, or has several planes and no plane is given.
    """
    check_intensities(intensities)
    return [
        read_picture(content, intensities, plane),
        *(read_style(path, intensities, p) for path, p in zip(styles, style_planes, strict=True)),
    ]


def planes_of(
    styles: Sequence[Path], style_planes: Sequence[tuple[int, ...] | None]
) -> tuple[tuple[int, ...] | None, ...]:
    """Return the plane of each style; one plane for several styles is for those with planes."""
    planes = list(style_planes) or [None] * len(styles)
    if len(styles) > 1 and len(set(planes)) == 1:
        planes_of_styles = [plane_of(path, planes[0]) for path in styles]
        planes = planes_of_styles if any(planes_of_styles) else planes
    return tuple(planes)


def read_labels_files(content_labels: Path | None, style_labels: Sequence[Path]) -> dict[str, Any]:
    """Read label images; return them as keyword arguments of `StyleTransfer`.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    labels: dict[str, Any] = {}
    if content_labels is not None:
        labels["content_labels"] = read_labels(content_labels)
    if style_labels:
        labels["style_labels"] = [
            None if str(path) == "none" else read_labels(path) for path in style_labels
        ]
    return labels


def run_to_file(
    run: StyleTransfer,
    out: Path,
    depth: Literal["8", "16"] | None,
    checkpoint: Path | None = None,
) -> None:
    """Iterate a run to its end or to Ctrl-C, and write the image with its record.

    `run` has not started, or is loaded from a file. It is saved to `checkpoint` every minute and at
    its end.

    Raises
    ------
    typer.Exit
        If Ctrl-C stopped the run.
    """
    began = time.monotonic()
    if checkpoint is not None:
        run.save(checkpoint)  # fails early if the file cannot be written
    with StopOnCtrlC() as ctrl_c:
        ctrl_c.watch(run)
        run_with_progress(run, None if checkpoint is None else _saver(run, checkpoint))
    if checkpoint is not None:
        run.save(checkpoint)
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
        if checkpoint is not None:
            say(f"continue with: napari-nst resume {checkpoint} -o {out}")
        raise typer.Exit(INTERRUPTED)


def _saver(run: StyleTransfer, file: Path) -> Callable[[], None]:
    """Return a function that saves a run at most once a minute."""
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        if time.monotonic() - saved >= _SECONDS_BETWEEN_SAVES:
            run.save(file)
            saved = time.monotonic()

    return save
