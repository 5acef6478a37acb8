"""``napari-nst sweep``: a contact sheet of many runs, to choose settings by eye."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

from pathlib import Path
from typing import Annotated

import typer

from napari_nst.cli._options import (
    ContentArgument,
    IntensitiesOption,
    IterationsOption,
    PlaneOption,
    PresetOption,
    SetOption,
    SettingsOption,
    StylePlaneOption,
    StylesArgument,
)

__all__ = ["sweep"]


def sweep(
    content: ContentArgument,
    styles: StylesArgument,
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="SHEET", help="File of the contact sheet: .png, .jpg or .tif."
        ),
    ],
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=V1,V2,...",
            help="A setting and its value in each row, for example style_weight=0.5,1,2.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="NAME=V1,V2,...", help="A setting and its value in each column."),
    ] = None,
    presets: Annotated[
        str | None,
        typer.Option(
            metavar="all|NAMES",
            help="Presets to compare, separated by commas; replaces --rows, --columns or both.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for the single pictures with their records. Existing pictures with the "
            "same inputs and settings are not made again.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto|none",
            help="Longest side during the run, in pixels; none: that of the content; auto: the "
            "same, up to a limit.",
            show_default="at most 256",
        ),
    ] = None,
    iterations: IterationsOption = None,
    intensities: IntensitiesOption = "auto",
    plane: PlaneOption = None,
    style_plane: StylePlaneOption = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    choices: SetOption = None,
) -> None:
    """Run several settings or presets on one pair, and write a contact sheet.

    Ctrl-C stops and writes the unfinished sheet; a second Ctrl-C exits immediately.
    """
    from napari_nst.batch.run import make_folder
    from napari_nst.cli._choices import (
        parse_intensities,
        parse_plane,
        parse_planes,
        parse_values,
    )
    from napari_nst.cli._grid import is_all, make_grid
    from napari_nst.cli._stylize import check_output, read_inputs
    from napari_nst.cli._sweep_run import Sweep

    sources = (content, *styles)
    check_output(out, sources, what="sheet")
    if keep is not None:
        make_folder(keep, "--keep")
    pictures = read_inputs(
        content,
        styles,
        parse_intensities(intensities),
        parse_plane(plane, "--plane"),
        parse_planes(style_plane, len(styles)),
    )
    grid = make_grid(
        rows=rows,
        columns=columns,
        preset_names=presets,
        file=settings,
        preset=preset,
        values=parse_values(choices or [], {"size": size, "iterations": iterations}),
        longest_side=max(pictures[0].values.shape[:2]),
    )
    Sweep(sources, pictures, grid, keep, all_presets=is_all(presets)).run(out)
