"""``napari-nst sweep``: a contact sheet of many runs, to choose settings by eye."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from napari_nst.cli._options import (
    ContentArgument,
    IntensitiesOption,
    IterationsOption,
    OutOption,
    PlaneOption,
    PresetOption,
    SetOption,
    SettingsOption,
    SizeOption,
    StylePlaneOption,
    StylesArgument,
)

__all__ = ["sweep"]


def sweep(
    content: ContentArgument,
    styles: StylesArgument,
    out: OutOption,
    rows: Annotated[
        str | None,
        typer.Option(metavar="NAME=V1,V2,...", help="A setting, and its value in each row."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="NAME=V1,V2,...", help="A setting, and its value in each column."),
    ] = None,
    presets: Annotated[
        str | None,
        typer.Option(metavar="all|NAMES", help="Presets to compare, separated by commas."),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder of the pictures, where the next sweep finds them."
        ),
    ] = None,
    size: SizeOption = None,
    iterations: IterationsOption = None,
    intensities: IntensitiesOption = "auto",
    plane: PlaneOption = None,
    style_plane: StylePlaneOption = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    choices: SetOption = None,
) -> None:
    """Run several settings or presets on one pair, and write a contact sheet.

    For example --rows style_weight=0.5,1,2 --columns pooling=max,average. Ctrl-C stops and writes
    the unfinished sheet.
    """
    from napari_nst.cli._choices import parse_intensities, parse_plane, parse_planes, parse_values
    from napari_nst.cli._stylize import check_output, planes_of, read_inputs
    from napari_nst.cli._sweep_run import make_cells, run_sweep

    check_output(out, (content, *styles), what="sheet")
    inputs: dict[str, Any] = {
        "content": content,
        "styles": tuple(styles),
        "intensities": parse_intensities(intensities),
        "plane": parse_plane(plane, "--plane"),
        "style_planes": planes_of(styles, parse_planes(style_plane, len(styles))),
    }
    images = read_inputs(**inputs)
    cells = make_cells(
        rows,
        columns,
        presets,
        file=settings,
        preset=preset,
        values=parse_values(choices or [], {"size": size, "iterations": iterations}),
        longest_side=max(images[0].values.shape[:2]),
    )
    with TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        run_sweep(cells, images, folder, out, skip_missing_weights=presets == "all", **inputs)
