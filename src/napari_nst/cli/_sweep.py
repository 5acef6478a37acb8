"""``napari-nst sweep``: one sheet of many runs, to choose settings by eye."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

from pathlib import Path
from typing import Annotated

import typer

from napari_nst.cli._options import IntensitiesOption, PlaneOption, StylePlaneOption

__all__ = ["sweep"]


def sweep(
    content: Annotated[
        Path, typer.Argument(metavar="CONTENT", help="The picture to restyle: PNG, JPEG or TIFF.")
    ],
    styles: Annotated[
        list[Path],
        typer.Argument(metavar="STYLE", help="One or several pictures to take the style from."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="SHEET", help="Where the sheet goes: .png, .jpg or .tif."
        ),
    ],
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=V1,V2,...",
            help="A setting, and its value in each row, for example style_weight=0.5,1,2.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="NAME=V1,V2,...", help="A setting, and its value in each column."),
    ] = None,
    presets: Annotated[
        str | None,
        typer.Option(
            metavar="all|NAMES",
            help="Presets to compare, with commas between them, instead of --rows and --columns "
            "or of one of them.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where each picture goes, too, with its record. What is there already, of the "
            "same pictures and settings, is not made again.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto|none",
            help="Longest side worked at, in pixels; none: the content's own; auto: the same, up "
            "to a limit.",
            show_default="at most 256",
        ),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(metavar="N", help="Evaluations of loss and gradient, in total.")
    ] = None,
    intensities: IntensitiesOption = "auto",
    plane: PlaneOption = None,
    style_plane: StylePlaneOption = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What every picture begins with."),
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
            help="Any setting that the pictures have in common. Can be given more than once.",
        ),
    ] = None,
) -> None:
    """Try settings or presets on one pair, and put the pictures on one sheet.

    Ctrl-C ends it early and writes the sheet as far as it is; a second one leaves at once.
    """
    from napari_nst.cli._grid import Grid

    named = {"size": size, "iterations": iterations}
    grid = Grid.from_options(
        rows=rows,
        columns=columns,
        wanted_presets=presets,
        file=settings,
        pairs=choices or [],
        named=named,
        preset=preset,
    )

    from napari_nst.cli._choices import parse_intensities, parse_plane, parse_planes
    from napari_nst.cli._stylize import read_inputs
    from napari_nst.cli._sweep_jobs import sweep_files

    pictures = read_inputs(
        content,
        styles,
        parse_intensities(intensities),
        parse_plane(plane, "--plane"),
        parse_planes(style_plane, len(styles)),
    )
    sweep_files((content, *styles), pictures, out, grid, keep)
