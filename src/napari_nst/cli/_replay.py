"""``napari-nst replay``: make a picture again from its record."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_nst.cli._options import PlaneOption, StylePlaneOption
from napari_nst.errors import InputError

__all__ = ["replay"]

_JSON_BEGINS = b"{"


def replay(
    record: Annotated[
        Path,
        typer.Argument(
            metavar="RECORD", help="A record as JSON, or a picture that napari-nst wrote."
        ),
    ],
    content: Annotated[
        Path, typer.Argument(metavar="CONTENT", help="The content of that run, or an .npy array.")
    ],
    styles: Annotated[
        list[Path], typer.Argument(metavar="STYLE", help="Its styles, in the same order.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", help="Where to: .png, .jpg or .tif.")
    ],
    start: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The picture that run started from.")
    ] = None,
    plane: PlaneOption = None,
    style_plane: StylePlaneOption = None,
    content_labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The labels painted on the content.")
    ] = None,
    style_labels: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Those painted on a style, or none; once for each style."
        ),
    ] = None,
    replacements: Annotated[
        list[Path] | None,
        typer.Option(
            "--replacement",
            metavar="FILE",
            help="A picture or labels put in during that run; can be given more than once.",
        ),
    ] = None,
) -> None:
    """Make a picture again from its record, with all that was changed during the run.

    On the same machine, with the same versions, the result has the same bytes. Each picture must
    be the one of the record, which knows their hashes.
    """
    from pydantic import ValidationError

    from napari_nst.batch.reading import plane_of
    from napari_nst.cli._choices import parse_plane, parse_planes
    from napari_nst.cli._stylize import carry_out, read_painted
    from napari_nst.files import check_writable
    from napari_nst.record import RunRecord

    check_writable(out)
    inputs = [record, content, *styles]
    if os.path.exists(out) and any(os.path.exists(i) and out.samefile(i) for i in inputs):
        raise InputError(f"{out} is also an input: name another file for the result.")
    try:
        known = RunRecord.model_validate_json(_text(record))
    except ValidationError:
        raise InputError(
            f"{record} does not hold a record: name a record as JSON, or a picture that "
            "napari-nst wrote."
        ) from None
    planes = parse_planes(style_plane, len(styles))
    several = parse_plane(plane, "--plane")
    pictures = [
        _read(content, several),
        *(_read(path, plane_of(path, own)) for path, own in zip(styles, planes, strict=True)),
    ]
    more: dict[str, Any] = {
        "start": None if start is None else _read(start, plane_of(start, several))
    }
    more |= read_painted(content_labels, style_labels or ())
    if replacements:
        more["replacements"] = [_read(path) for path in replacements]
    # Only now, for torch takes seconds to load: a wrong file is named at once.
    import torch

    from napari_nst.engine.run.transfer import StyleTransfer

    # Another number of threads adds up in another order, and rounds differently.
    torch.set_num_threads(known.resolved.threads)
    names = [path.name for path in (content, *styles)]
    run = StyleTransfer(
        pictures[0], pictures[1:], known.settings, names=names, replay=known, **more
    )
    carry_out(run, out, None)


def _text(path: Path) -> str:
    """Return the record in a file, which is JSON or a picture."""
    from napari_nst.files import read_metadata

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name a record.") from None
    if content.lstrip().startswith(_JSON_BEGINS):
        return content.decode(errors="replace")
    return read_metadata(path) or ""


def _read(path: Path, plane: tuple[int, ...] | None = None) -> Any:
    """Return the values in a file; what they mean is in the record."""
    from napari_nst.batch.reading import read_picture
    from napari_nst.files import read_npy

    if path.suffix.lower() == ".npy":
        return read_npy(path)
    return read_picture(path, plane=plane, what="picture").values
