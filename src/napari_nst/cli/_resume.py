"""``napari-nst resume``: continue a saved run."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

from pathlib import Path
from typing import Annotated

import typer

from napari_nst.cli._options import DepthOption, OutOption

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
    from napari_nst.cli._stylize import check_output, run_to_file

    check_output(out, depth=depth)
    from napari_nst.engine.run.transfer import StyleTransfer

    run_to_file(StyleTransfer.load(run), out, depth, run)
