"""Arguments and options shared by several commands."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

__all__ = [
    "ContentArgument",
    "DepthOption",
    "IntensitiesOption",
    "IterationsOption",
    "OutOption",
    "PlaneOption",
    "PresetOption",
    "SetOption",
    "SettingsOption",
    "SizeOption",
    "StylePlaneOption",
    "StyleWeightOption",
    "StylesArgument",
]

ContentArgument: TypeAlias = Annotated[
    Path, typer.Argument(metavar="CONTENT", help="The picture to restyle: PNG, JPEG or TIFF.")
]
StylesArgument: TypeAlias = Annotated[
    list[Path],
    typer.Argument(metavar="STYLE", help="One or several pictures to take the style from."),
]
OutOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help="File of the result: .png, .jpg or .tif. An existing file is replaced when the run "
        "has finished.",
    ),
]
SizeOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto|none",
        help="Longest side during the run, in pixels; none: that of the content; auto: the same, "
        "up to a limit.",
        show_default="auto; of a sweep, at most 256",
    ),
]
IterationsOption: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", help="Total number of loss and gradient evaluations.")
]
StyleWeightOption: TypeAlias = Annotated[
    float | None, typer.Option(metavar="X", help="Strength of the style.")
]
PresetOption: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Named settings; 'napari-nst presets' lists them."),
]
SettingsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Settings as JSON; other options override them."),
]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting by name, for example pooling=average or "
        """style_layers='{"relu2_1": 1}'. Can be repeated.""",
    ),
]
DepthOption: TypeAlias = Annotated[
    Literal["8", "16"] | None,
    typer.Option(help="Bits per channel of the result.", show_default="that of the content"),
]
IntensitiesOption: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="auto|full|percentiles|LOW,HIGH",
        help="Values that are black and white, in the content and in the result: the range of "
        "the bits in use, the range of the data type, percentiles 0.1 and 99.9, or two values.",
    ),
]
PlaneOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="N|N,N,...",
        help="Plane of a content with several planes: an index per axis, from 0. 'batch' "
        "processes all planes.",
    ),
]
StylePlaneOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="N|N,N,...",
        help="Plane of styles with several planes; once, or per style ('none' for a style with "
        "one plane).",
    ),
]
