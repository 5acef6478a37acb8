"""``napari-nst resume``: continue a saved run."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

from pathlib import Path
from typing import Annotated

import typer

from napari_nst.cli._options import DepthOption, OutOption
from napari_nst.errors import InputError

__all__ = ["resume"]


def resume(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="File of 'napari-nst stylize --save-run'.")
    ],
    out: OutOption,
    depth: DepthOption = None,
) -> None:
    """Continue a saved run; the file includes its pictures.

    On the same machine with the same versions, the result has the same bytes as that of an
    uninterrupted run. The run continues to be saved to the file.
    """
    from napari_nst.cli._stylize import run_to_file
    from napari_nst.files import check_writable

    check_writable(out)
    if depth == "16" and out.suffix.lower() in (".jpg", ".jpeg"):
        raise InputError(f"{out} cannot have 16 bits, for JPEG has 8: name a .png or .tif file.")
    from napari_nst.engine.run.transfer import StyleTransfer

    run_to_file(StyleTransfer.load(run), out, depth, run)
