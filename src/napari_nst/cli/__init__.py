"""The command line: ``napari-nst stylize``, ``demo``, ``weights`` and so on.

A wrong input or option is one line on standard error and exit status 2; a bug shows its
traceback. Nothing here loads torch, Qt or napari before a command needs it, so that ``--help``
is there at once.
"""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from napari_nst.cli._batch import SeveralStyles, batch
from napari_nst.cli._options import IntensitiesOption, PlaneOption, StylePlaneOption
from napari_nst.cli._replay import replay
from napari_nst.cli._resume import resume
from napari_nst.cli._sweep import sweep
from napari_nst.cli._weights import commands as _weights
from napari_nst.errors import StyleTransferError, StyleTransferWarning

__all__ = ["app", "main"]

_ERROR = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.add_typer(_weights, name="weights")

_Size = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto|none",
        help="Longest side worked at, in pixels; none: the content's own; auto: the same, up to "
        "a limit.",
        show_default="auto",
    ),
]
_Iterations = Annotated[
    int | None, typer.Option(metavar="N", help="Evaluations of loss and gradient, in total.")
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the program's name; by default what this process was called with.
    """
    try:
        # With typer's own handling of errors they would be boxes of many lines.
        with _warnings_in_a_line():
            status = app(arguments, prog_name="napari-nst", standalone_mode=False)
    except typer.TyperException as error:
        return _fail(error.format_message())
    except StyleTransferError as error:
        return _fail(str(error))
    except MemoryError:
        return _fail("There is not enough memory for images of this size.")
    return int(status or 0)


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Say what a run does otherwise than asked as errors are said: in a line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", StyleTransferWarning)
        show = warnings.showwarning

        def say(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, StyleTransferWarning):
                print("napari-nst:", message, file=sys.stderr)
            else:
                show(message, category, *where, **more)

        warnings.showwarning = cast("Any", say)
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
            "-o",
            "--output",
            metavar="OUT",
            help="Where to: .png, .jpg or .tif. A file that is there is replaced once the "
            "picture is finished.",
        ),
    ],
    size: _Size = None,
    iterations: _Iterations = None,
    style_weight: Annotated[
        float | None, typer.Option(metavar="X", help="Strength of the style.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Settings by name; 'napari-nst presets' lists them."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A picture to start from; means init=image."),
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
            help="Any setting by its name, for example pooling=average or "
            """style_layers='{"relu2_1": 1}'. Can be given more than once.""",
        ),
    ] = None,
    depth: Annotated[
        Literal["8", "16"] | None,
        typer.Option(
            help="Bits of a sample of the result.", show_default="as many as the content has"
        ),
    ] = None,
    intensities: IntensitiesOption = "auto",
    plane: PlaneOption = None,
    style_plane: StylePlaneOption = None,
    content_labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Regions of the content: a picture of labels (PNG, TIFF or .npy), 0 where the "
            "content is kept.",
        ),
    ] = None,
    style_labels: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Regions of a style: a label of the content takes its style from the same label. "
            "Once for each style, 'none' for one without.",
        ),
    ] = None,
    save_run: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Save the run itself every minute and where it ends; 'napari-nst resume FILE' "
            "goes on with it.",
        ),
    ] = None,
) -> None:
    """Give CONTENT the style of STYLE.

    Ctrl-C ends the run early and keeps the picture made so far; a second one leaves at once.
    """
    from napari_nst.cli._choices import gather, parse_intensities, parse_plane, parse_planes
    from napari_nst.cli._stylize import stylize_files

    named = {"size": size, "iterations": iterations, "style_weight": style_weight}
    if start is not None:
        named["init"] = "image"
    chosen = gather(settings, choices or [], named, preset)
    stylize_files(
        content,
        styles,
        start,
        out,
        chosen,
        depth,
        intensities=parse_intensities(intensities),
        plane=parse_plane(plane, "--plane"),
        style_planes=parse_planes(style_plane, len(styles)),
        content_labels=content_labels,
        style_labels=style_labels or (),
        keep=save_run,
    )


app.command()(resume)
app.command()(sweep)
app.command()(replay)
app.command(cls=SeveralStyles)(batch)


@app.command()
def demo(
    headless: Annotated[
        bool, typer.Option("--headless", help="Write a picture instead of opening napari.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Where the picture goes; means --headless.",
            show_default="napari-nst-demo.png",
        ),
    ] = None,
    size: _Size = None,
    iterations: _Iterations = None,
) -> None:
    """Show what it does: in napari, or as a picture where there is no display.

    --size and --iterations are those of the picture, and mean --headless too.
    """
    from napari_nst.cli._choices import gather
    from napari_nst.cli._demo import paint_demo, why_headless

    named = {"size": size, "iterations": iterations}
    asked = headless or out is not None or any(value is not None for value in named.values())
    reason = "as asked for" if asked else why_headless()
    if reason is not None:
        paint_demo(reason, out or Path("napari-nst-demo.png"), gather(None, [], named))
        return
    from napari_nst.plugin.demo import open_demo

    open_demo()


@app.command()
def presets() -> None:
    """List the presets, the package's and your own, and what each is for."""
    from napari_nst.own_presets import every

    for key, preset in every().items():
        print(f"{key:16} {preset.purpose}")


@app.command()
def info() -> None:
    """Show versions, devices and weights: what a run would use on this machine."""
    from napari_nst.cli._info import report

    for line in report():
        print(line)
