"""The command line: ``napari-nst stylize``, ``demo``, ``weights`` and so on.

An invalid input or option prints one line to standard error and exits with status 2; a bug
prints its traceback. torch, Qt and napari are imported by the commands that need them, so that
``--help`` is fast.
"""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from napari_nst.cli._batch import SeveralStyles, batch
from napari_nst.cli._options import (
    ContentArgument,
    DepthOption,
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
    StyleWeightOption,
)
from napari_nst.cli._replay import replay
from napari_nst.cli._resume import resume
from napari_nst.cli._sweep import sweep
from napari_nst.cli._weights import commands as _weights
from napari_nst.errors import StyleTransferError, StyleTransferWarning

__all__ = ["app", "main"]

_ERROR = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.add_typer(_weights, name="weights")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command-line arguments without the name of the program; by default those of the process.
    """
    try:
        # typer's own error handling prints boxes of many lines
        with _one_line_warnings():
            status = app(arguments, prog_name="napari-nst", standalone_mode=False)
    except typer.TyperException as error:
        return _fail(error.format_message())
    except StyleTransferError as error:
        return _fail(str(error))
    except MemoryError:
        return _fail("There is not enough memory for images of this size.")
    return int(status or 0)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print warnings of runs in one line, like errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", StyleTransferWarning)
        show = warnings.showwarning

        def line(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, StyleTransferWarning):
                print("napari-nst:", message, file=sys.stderr)
            else:
                show(message, category, *where, **more)

        warnings.showwarning = cast("Any", line)
        yield


def _fail(message: str) -> int:
    print("napari-nst:", " ".join(message.splitlines()), file=sys.stderr)
    return _ERROR


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Neural style transfer: one picture in the style of another."""
    if show_version:
        print(version("napari-nst"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def stylize(
    content: ContentArgument,
    styles: StylesArgument,
    out: OutOption,
    size: SizeOption = None,
    iterations: IterationsOption = None,
    style_weight: StyleWeightOption = None,
    preset: PresetOption = None,
    init_image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Initial image; implies init=image."),
    ] = None,
    settings: SettingsOption = None,
    choices: SetOption = None,
    depth: DepthOption = None,
    intensities: IntensitiesOption = "auto",
    plane: PlaneOption = None,
    style_plane: StylePlaneOption = None,
    content_labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Regions of the content: a label image (PNG, TIFF or .npy); the content is kept "
            "where it is 0.",
        ),
    ] = None,
    style_labels: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Regions of a style: each region of the content takes the style of the region "
            "with the same label. Once per style; 'none' for a style without regions.",
        ),
    ] = None,
    save_run: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Save the run every minute and at its end; 'napari-nst resume FILE' continues it.",
        ),
    ] = None,
) -> None:
    """Give CONTENT the style of STYLE.

    Ctrl-C stops the run and writes the current image; a second Ctrl-C exits immediately.
    """
    from napari_nst.cli._choices import (
        parse_intensities,
        parse_plane,
        parse_planes,
        settings_from_options,
    )
    from napari_nst.cli._stylize import stylize_files

    named = {"size": size, "iterations": iterations, "style_weight": style_weight}
    if init_image is not None:
        named["init"] = "image"
    chosen = settings_from_options(settings, choices or [], named, preset)
    stylize_files(
        content,
        styles,
        init_image,
        out,
        chosen,
        depth,
        intensities=parse_intensities(intensities),
        plane=parse_plane(plane, "--plane"),
        style_planes=parse_planes(style_plane, len(styles)),
        content_labels=content_labels,
        style_labels=style_labels or (),
        checkpoint=save_run,
    )


app.command()(resume)
app.command()(sweep)
app.command()(replay)
app.command(cls=SeveralStyles)(batch)


@app.command()
def demo(
    headless: Annotated[
        bool, typer.Option("--headless", help="Write an image instead of opening napari.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="File of the image; implies --headless.",
            show_default="napari-nst-demo.png",
        ),
    ] = None,
    size: SizeOption = None,
    iterations: IterationsOption = None,
) -> None:
    """Open napari with a sample and restyle it; without a display, write an image.

    --size and --iterations apply to the image and imply --headless.
    """
    from napari_nst.cli._choices import settings_from_options
    from napari_nst.cli._demo import why_headless, write_demo

    named = {"size": size, "iterations": iterations}
    requested = headless or out is not None or any(value is not None for value in named.values())
    reason = "as requested" if requested else why_headless()
    if reason is not None:
        chosen = settings_from_options(None, [], named)
        write_demo(reason, out or Path("napari-nst-demo.png"), chosen)
        return
    from napari_nst.plugin.demo import open_demo

    open_demo()


@app.command()
def presets() -> None:
    """List the presets of the package and your own, with their purpose."""
    from napari_nst.own_presets import all_presets

    for key, preset in all_presets().items():
        print(f"{key:16} {preset.purpose}")


@app.command()
def info() -> None:
    """Show the versions, devices and weights that a run uses on this machine."""
    from napari_nst.cli._info import report

    for line in report():
        print(line)
