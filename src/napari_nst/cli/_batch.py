"""``napari-nst batch``: many contents, several styles, one command."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import typer.core

from napari_nst.cli._interrupt import INTERRUPTED
from napari_nst.errors import InputError

__all__ = ["SeveralStyles", "batch"]

_FAILED = 1
_STYLES = "--styles"


class SeveralStyles(typer.core.TyperCommand):
    """A command whose ``--styles`` takes all that follows it, up to the next option.

    A shell that expands a pattern makes several words of it, and all but the first of those would
    be taken for contents.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line, with ``--styles`` before each style."""
        spelled: list[str] = []
        after = False
        for word in args:
            if word.startswith("-"):
                after = word == _STYLES
                spelled.append(word)
            else:
                if after and spelled[-1] != _STYLES:
                    spelled.append(_STYLES)
                spelled.append(word)
        return super().parse_args(ctx, spelled)


def batch(
    contents: Annotated[
        list[str],
        typer.Argument(
            metavar="CONTENT",
            help="Pictures, folders of pictures, patterns such as 'photos/*.png', stacks (TIFF, "
            "Zarr).",
        ),
    ],
    styles: Annotated[
        list[str],
        typer.Option(
            _STYLES,
            metavar="STYLE...",
            help="Pictures to take the style from, likewise, up to the next option: each content "
            "is made in each.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="DIR", help="The folder for the results."),
    ],
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder of masks with their contents' names: they go to DIR/masks in --out, "
            "untouched, under the results' names.",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="A result for each seed.", show_default="0"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto|none",
            help="Longest side worked at, in pixels; none: the content's own; auto: the same, up "
            "to a limit.",
            show_default="auto",
        ),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(metavar="N", help="Evaluations of loss and gradient, in total.")
    ] = None,
    style_weight: Annotated[
        float | None, typer.Option(metavar="X", help="Strength of the style.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Settings by name; 'napari-nst presets' lists them."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings as JSON; other options win over it."),
    ] = None,
    choices: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any setting by its name. Can be given more than once.",
        ),
    ] = None,
    intensities: Annotated[
        str,
        typer.Option(
            metavar="auto|full|percentiles|LOW,HIGH",
            help="Which values are black and white, in a result as in its content: those of the "
            "bits in use, the whole range of the type, percentiles 0.1 and 99.9, or two values "
            "for all. Each channel of a stack has its own.",
        ),
    ] = "auto",
    start_from: Annotated[
        Literal["previous", "content"],
        typer.Option(
            help="What a plane of a stack starts from: the plane before, or its own content."
        ),
    ] = "previous",
    channels: Annotated[
        Literal["separate", "together"],
        typer.Option(
            help="Each channel of a stack by itself, or the two or three at a place as red, green "
            "and blue."
        ),
    ] = "separate",
    style_plane: Annotated[
        str | None,
        typer.Option(
            metavar="N|N,N,...", help="The plane of styles that have several, from 0 on each axis."
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="A Dask scheduler whose workers are to do it: tcp://HOST:8786."
        ),
    ] = None,
) -> None:
    """Give each CONTENT the style of each STYLE.

    What is there already, of the same files and settings, is not made again. A file that fails is
    named at the end, and the exit status is 1. After Ctrl-C the same command goes on.
    """
    from napari_nst.batch import Batch, make_plan
    from napari_nst.cli._batch_messages import BatchProgress, say_before, say_report
    from napari_nst.cli._choices import gather, parse_intensities, parse_plane
    from napari_nst.cli._progress import say

    named = {"size": size, "iterations": iterations, "style_weight": style_weight}
    jobs = make_plan(
        contents,
        styles,
        out,
        gather(settings, choices or [], named, preset),
        seeds=None if seeds is None else _seeds(seeds),
        masks=masks,
        intensities=parse_intensities(intensities),
        start_from=start_from,
        channels=channels,
        style_plane=parse_plane(style_plane, "--style-plane"),
    )
    work = Batch.from_jobs(jobs)
    progress = BatchProgress(say_before(work, scheduler), measure_speed=scheduler is None)
    try:
        with progress.bar:
            report = work.run(scheduler, progress)
    except KeyboardInterrupt:
        say("interrupted; what is finished is kept, and the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None
    say_report(report, masks is not None)
    if report.failed:
        raise typer.Exit(_FAILED)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"--seeds is {text!r}; it must be whole numbers with commas between them, such as "
            "0,1,2."
        ) from None
