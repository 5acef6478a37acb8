"""``napari-nst replay``: repeat a run from its record."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_nst.cli._options import OutOption, PlaneOption, StylePlaneOption
from napari_nst.errors import InputError

__all__ = ["replay"]

_JSON_BEGINS = b"{"


def replay(
    record: Annotated[
        Path,
        typer.Argument(
            metavar="RECORD", help="A record as JSON, or a picture written by napari-nst."
        ),
    ],
    content: Annotated[
        Path,
        typer.Argument(metavar="CONTENT", help="The content: a picture or .npy array."),
    ],
    styles: Annotated[
        list[Path],
        typer.Argument(metavar="STYLE", help="Its styles, in the same order."),
    ],
    out: OutOption,
    init_image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The initial image of the run.")
    ] = None,
    plane: PlaneOption = None,
    style_plane: StylePlaneOption = None,
    content_labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The labels of the content.")
    ] = None,
    style_labels: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="The labels of a style, or 'none'; once per style."),
    ] = None,
    replacements: Annotated[
        list[Path] | None,
        typer.Option(
            "--replacement",
            metavar="FILE",
            help="A picture or labels replaced during the run. Can be repeated.",
        ),
    ] = None,
) -> None:
    """Repeat a run from its record, including all changes made during the run.

    On the same machine with the same versions, the result has the same bytes. The pictures must
    have the hashes in the record.
    """
    from pydantic import ValidationError

    from napari_nst.batch.reading import plane_of
    from napari_nst.cli._choices import parse_plane, parse_planes
    from napari_nst.cli._stylize import check_output, read_labels_files, run_to_file
    from napari_nst.record import RunRecord

    check_output(out, (record, content, *styles))
    try:
        run_record = RunRecord.model_validate_json(_text(record))
    except ValidationError:
        raise InputError(
            f"{record} does not hold a record: name a record as JSON, or a picture that "
            "napari-nst wrote."
        ) from None
    planes = parse_planes(style_plane, len(styles))
    content_plane = parse_plane(plane, "--plane")
    pictures = [
        _read(content, content_plane),
        *(_read(path, plane_of(path, p)) for path, p in zip(styles, planes, strict=True)),
    ]
    more: dict[str, Any] = {
        "init_image": None
        if init_image is None
        else _read(init_image, plane_of(init_image, content_plane))
    }
    more |= read_labels_files(content_labels, style_labels or ())
    if replacements:
        more["replacements"] = [_read(path) for path in replacements]
    # importing torch takes seconds: errors in files are reported before
    import torch

    from napari_nst.engine.run.transfer import StyleTransfer

    # the number of threads changes the order of sums, and so their rounding
    torch.set_num_threads(run_record.resolved.threads)
    names = [path.name for path in (content, *styles)]
    run = StyleTransfer(
        pictures[0], pictures[1:], run_record.settings, names=names, replay=run_record, **more
    )
    run_to_file(run, out, None)


def _text(path: Path) -> str:
    """Return the record in a JSON file or a picture."""
    from napari_nst.files import read_metadata

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name a record.") from None
    if content.lstrip().startswith(_JSON_BEGINS):
        return content.decode(errors="replace")
    return read_metadata(path) or ""


def _read(path: Path, plane: tuple[int, ...] | None = None) -> Any:
    """Return the values in a file; the record has their range."""
    from napari_nst.batch.reading import read_picture
    from napari_nst.files import read_npy

    if path.suffix.lower() == ".npy":
        return read_npy(path)
    return read_picture(path, plane=plane, what="picture").values
