"""``napari-nst batch``: restyle many contents with several styles."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import typer.core

from napari_nst.cli._interrupt import INTERRUPTED
from napari_nst.cli._options import (
    IterationsOption,
    PresetOption,
    SetOption,
    SettingsOption,
    SizeOption,
    StyleWeightOption,
)
from napari_nst.errors import InputError

__all__ = ["SeveralStyles", "batch"]

_FAILED = 1
_STYLES = "--styles"


class SeveralStyles(typer.core.TyperCommand):
    """A command whose ``--styles`` takes all words up to the next option.

    A shell expands a pattern to several words; without this, all but the first would be contents.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert ``--styles`` before each style, and parse."""
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
            "Zarr), films (MP4, MOV, MKV, WebM, AVI), animations (GIF, PNG, WebP).",
        ),
    ],
    styles: Annotated[
        list[str],
        typer.Option(
            _STYLES,
            metavar="STYLE...",
            help="Pictures, folders or patterns to take the style from, up to the next option. "
            "Each content is combined with each style.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="DIR", help="Folder of the results."),
    ],
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of masks named like their contents; they are copied to 'masks' in --out "
            "under the names of the results.",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="One result per seed.", show_default="0"),
    ] = None,
    size: SizeOption = None,
    iterations: IterationsOption = None,
    style_weight: StyleWeightOption = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    choices: SetOption = None,
    intensities: Annotated[
        str,
        typer.Option(
            metavar="auto|full|percentiles|LOW,HIGH",
            help="Values that are black and white, in a content and in its result: the range of "
            "the bits in use, the range of the data type, percentiles 0.1 and 99.9, or two values "
            "for all contents. Each channel of a stack has its own.",
        ),
    ] = "auto",
    start_from: Annotated[
        Literal["warped", "previous", "content"] | None,
        typer.Option(
            help="Initial image of each plane of a stack: the previous result, carried along the "
            "motion or as it is; or its own content.",
            show_default="warped for films and along time, otherwise previous",
        ),
    ] = None,
    long_term: Annotated[
        bool,
        typer.Option(
            "--long-term",
            help="Where the previous plane does not show a pixel, carry it from the results two "
            "and four planes back; implies --start-from warped.",
        ),
    ] = False,
    channels: Annotated[
        Literal["separate", "together"],
        typer.Option(
            help="Restyle each channel of a stack separately, or two or three channels together "
            "as red, green and blue."
        ),
    ] = "separate",
    style_plane: Annotated[
        str | None,
        typer.Option(
            metavar="N|N,N,...",
            help="Plane of styles with several: an index per axis, from 0.",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Dask scheduler whose workers run the jobs: tcp://HOST:8786."
        ),
    ] = None,
    chunk: Annotated[
        str | None,
        typer.Option(
            metavar="N|none",
            help="With --scheduler: planes in each task of a stack whose planes start from the "
            "ones before them; neighbouring tasks are cross-faded. none: one task.",
            show_default="one task if there are as many results as workers, otherwise 16 or more",
        ),
    ] = None,
) -> None:
    """Give each CONTENT the style of each STYLE.

    Existing results with the same files and settings are skipped. If a file fails, it is named at
    the end, and the exit status is 1. After Ctrl-C, the same command continues the batch.
    """
    from napari_nst.batch import Batch, make_plan
    from napari_nst.cli._batch_messages import BatchProgress, say_before, say_report
    from napari_nst.cli._choices import parse_intensities, parse_plane, settings_from_options
    from napari_nst.cli._progress import say

    named = {"size": size, "iterations": iterations, "style_weight": style_weight}
    jobs = make_plan(
        contents,
        styles,
        out,
        settings_from_options(settings, choices or [], named, preset),
        seeds=None if seeds is None else _seeds(seeds),
        masks=masks,
        intensities=parse_intensities(intensities),
        start_from=start_from,
        long_term=long_term,
        channels=channels,
        style_plane=parse_plane(style_plane, "--style-plane"),
        chunk=None if chunk is None else _chunk(chunk, scheduler),
    )
    work = Batch.from_jobs(jobs)
    progress = BatchProgress(say_before(work, scheduler), measure_speed=scheduler is None)
    try:
        with progress.bar:
            report = work.run(scheduler, progress)
    except KeyboardInterrupt:
        say("interrupted; finished results are kept. The same command continues the batch.")
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


def _chunk(text: str, scheduler: str | None) -> int:
    if scheduler is None:
        raise InputError("--chunk divides stacks for --scheduler: give both, or leave out --chunk.")
    if text != "none" and not text.isdecimal():
        raise InputError(f"--chunk is {text!r}; it must be a number of planes, or none.")
    return 0 if text == "none" else int(text)
