"""Options that several commands have."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

from typing import Annotated, TypeAlias

import typer

__all__ = ["IntensitiesOption", "PlaneOption", "StylePlaneOption"]

IntensitiesOption: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="auto|full|percentiles|LOW,HIGH",
        help="Which values are black and white, in the result as in the content: those of the "
        "bits in use, the whole range of the type, percentiles 0.1 and 99.9, or two values.",
    ),
]
PlaneOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="N|N,N,...",
        help="The plane of a content with several, from 0 on each axis; batch does all.",
    ),
]
StylePlaneOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="N|N,N,...",
        help="The plane of styles with several; once, or for each style ('none' for one without).",
    ),
]
