"""``napari-nst resume``: go on with a run that was saved."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_nst.errors import InputError

__all__ = ["resume"]


def resume(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="What 'napari-nst stylize --save-run' wrote.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", help="Where to: .png, .jpg or .tif.")
    ],
    depth: Annotated[
        Literal["8", "16"] | None,
        typer.Option(
            help="Bits of a sample of the result.", show_default="as many as the content has"
        ),
    ] = None,
) -> None:
    """Go on with a run that was saved, its pictures included.

    On the same machine, with the same versions, the result has the same bytes as that of a run
    that was never interrupted. The file is kept up to date, as it was before.
    """
    from napari_nst.cli._stylize import carry_out
    from napari_nst.files import check_writable

    check_writable(out)
    if depth == "16" and out.suffix.lower() in (".jpg", ".jpeg"):
        raise InputError(f"{out} cannot have 16 bits, for JPEG has 8: name a .png or .tif file.")
    from napari_nst.engine.run.transfer import StyleTransfer

    carry_out(StyleTransfer.load(run), out, depth, run)
