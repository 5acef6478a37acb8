"""Plan a batch: one job per content, style and seed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from napari_nst.batch.chunks import check_length
from napari_nst.batch.layout import Channels, Layout
from napari_nst.batch.names import expand, split_name, suffix_of_result, unique, unique_stems
from napari_nst.batch.reading import plane_of
from napari_nst.errors import InputError, abridged
from napari_nst.files import is_film, is_stack, open_stack
from napari_nst.ranges import Intensities, check_intensities
from napari_nst.settings import StyleTransferSettings
from napari_nst.stacks.agreement import check_start_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_nst.stacks import StartFrom

__all__ = ["BatchJob", "make_plan"]

_MASKS = (".png", ".tif", ".tiff", ".npy", ".bmp", ".gif", ".zarr")


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """One result of a batch: its inputs, settings and destination.

    Attributes
    ----------
    title : str
        Name for messages.
    content : Path
        The content.
    styles : tuple of Path
        The styles, which are mixed if there are several.
    settings : StyleTransferSettings
        All settings, including the seed.
    result : Path
        Destination of the result.
    stack : bool
        Whether the content is a stack.
    mask : Path or None
        Mask of the content.
    intensities : {"auto", "full", "percentiles"} or tuple of float
        Which values are black and white in the run.
    start_from : {"warped", "previous", "content"}
        Initial image of the planes of a stack.
    long_term : bool
        Whether results are also carried from two and four planes back.
    channels : {"separate", "together"}
        Whether the channels of a stack are separate pictures, or the colours of one.
    plane : tuple of int or None
        The plane of the content, if it has several and is no stack.
    style_planes : tuple of (tuple of int or None)
        The plane of each style that has several.
    chunk : int or None
        Planes of each chunk of a stack that a cluster divides; 0: not divided; None: automatic.
    log : Path or None
        File for tracebacks; by default "napari-nst-batch.log" beside the result.
    """

    title: str
    content: Path
    styles: tuple[Path, ...]
    settings: StyleTransferSettings
    result: Path
    stack: bool = False
    mask: Path | None = None
    intensities: Intensities = "auto"
    start_from: StartFrom = "previous"
    long_term: bool = False
    channels: Channels = "separate"
    plane: tuple[int, ...] | None = None
    style_planes: tuple[tuple[int, ...] | None, ...]
    chunk: int | None = None
    log: Path | None = None

    @property
    def has_dependent_planes(self) -> bool:
        """Whether the content is a stack whose planes start from the planes before them."""
        return self.stack and self.start_from != "content"

    @property
    def record(self) -> Path:
        """Destination of the record."""
        return self.result.with_name(f"{split_name(self.result)[0]}.napari-nst.json")

    @property
    def mask_result(self) -> Path | None:
        """Destination of the mask."""
        if self.mask is None:
            return None
        name = split_name(self.result)[0] + split_name(self.mask)[1]
        return self.result.parent / "masks" / name

    @property
    def planes(self) -> Path:
        """Folder of the finished planes until all are finished."""
        return self.result.with_name(f".{split_name(self.result)[0]}.planes")


def make_plan(
    contents: Iterable[str | os.PathLike[str]],
    styles: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    settings: StyleTransferSettings | None = None,
    *,
    seeds: Sequence[int] | None = None,
    masks: str | os.PathLike[str] | None = None,
    intensities: Intensities = "auto",
    start_from: StartFrom | None = None,
    long_term: bool = False,
    channels: Channels = "separate",
    style_plane: tuple[int, ...] | None = None,
    chunk: int | None = None,
) -> tuple[BatchJob, ...]:
    """Return the jobs of a batch, content by content.

    Parameters
    ----------
    contents, styles, out, settings, seeds, masks, intensities, start_from
    long_term, channels, style_plane, chunk
        As for `batch`.

    Raises
    ------
    InputError
        If an argument is invalid, a file is missing, or a result would replace an input.
    """
    settings = settings or StyleTransferSettings()
    seeds = (settings.seed,) if seeds is None else tuple(seeds)
    contents, styles, out = expand("content", contents), expand("style", styles), Path(out)
    _check(settings, seeds, start_from, long_term, channels)
    check_intensities(intensities)
    check_length(chunk)
    for kind, paths in (("content", contents), ("style", styles)):
        if not paths:
            raise InputError(f"There is no {kind}: name at least one.")
    own_masks = _masks_of(contents, None if masks is None else Path(masks))
    stacks = [_is_stack(content) for content in contents]
    if any(stacks) and settings.output_size == "working":
        raise InputError(
            "output_size is 'working', and a stack keeps its size: leave it at 'content'."
        )
    starts = [
        _start_from(content, is_stack, start_from, long_term, channels)
        for content, is_stack in zip(contents, stacks, strict=True)
    ]
    planes = {style: plane_of(style, style_plane) for style in styles}
    if style_plane is not None and not any(planes.values()):
        raise InputError(
            f"style_plane is {abridged(style_plane)}, and no style has several planes: leave it "
            "out."
        )
    parts = [
        (number, style, seed, stem, style_stem)
        for number, stem in enumerate(unique_stems(contents))
        for style, style_stem in zip(styles, unique_stems(styles), strict=True)
        for seed in seeds
    ]
    names = unique(
        "__".join(
            [
                stem,
                *([style_stem] if len(styles) > 1 else []),
                *([f"seed-{seed}"] if len(seeds) > 1 else []),
            ]
        )
        for _, _, seed, stem, style_stem in parts
    )
    jobs = tuple(
        BatchJob(
            title=_title(contents[number], style, seed, len(styles) > 1, len(seeds) > 1),
            content=contents[number],
            styles=(style,),
            settings=settings.replace(seed=seed),
            result=out / f"{name}{suffix_of_result(contents[number], stacks[number])}",
            stack=stacks[number],
            mask=own_masks[number],
            intensities=intensities,
            start_from=starts[number],
            long_term=long_term,
            channels=channels,
            style_planes=(planes[style],),
            chunk=chunk,
        )
        for name, (number, style, seed, _, _) in zip(names, parts, strict=True)
    )
    _check_overwrites_no_input(jobs)
    return jobs


def _is_stack(content: Path) -> bool:
    """Return whether a content is a stack; reading it later reports any error."""
    try:
        return is_stack(content)
    except Exception:
        return False


def _start_from(
    content: Path,
    is_stack: bool,
    start_from: StartFrom | None,
    long_term: bool,
    channels: Channels,
) -> StartFrom:
    """Return what the planes of a content start from; reading it later reports any error."""
    if start_from is not None or not is_stack:
        return start_from or "previous"
    if long_term or is_film(content):  # opening a film decodes it
        return "warped"
    try:
        with open_stack(content) as stack:
            return "warped" if Layout.from_stack(stack, channels).is_in_time else "previous"
    except Exception:
        return "previous"


def _check(
    settings: StyleTransferSettings,
    seeds: tuple[int, ...],
    start_from: StartFrom | None,
    long_term: bool,
    channels: Channels,
) -> None:
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds is {abridged(seeds)}; give at least one, and each once.")
    if settings.init == "image":
        raise InputError(
            "init is 'image', which takes a picture for each content, and a batch has none: "
            "choose 'content', 'noise' or 'style'."
        )
    if settings.region_styles is not None:
        raise InputError(
            "region_styles is for labels on one content, and a batch has none: leave it out."
        )
    if settings.style_weights is not None and len(settings.style_weights) != 1:
        raise InputError(
            "style_weights blends several styles, and a batch makes a picture in each: leave it "
            "out."
        )
    settings.scales_of_styles(1)
    if start_from is not None:
        check_start_from(start_from)
    if long_term and start_from not in (None, "warped"):
        raise InputError(
            f"long_term carries results along the motion, and start_from is {start_from!r}: choose "
            "'warped', or leave out long_term."
        )
    if channels not in get_args(Channels):
        raise InputError(f"channels is {abridged(channels)}; it must be 'separate' or 'together'.")


def _masks_of(contents: Sequence[Path], folder: Path | None) -> list[Path | None]:
    """Return the mask of each content: the file of the same name in a folder."""
    if folder is None:
        return [None] * len(contents)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: name the folder with the masks.")
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        stem, suffix = split_name(path)
        if suffix.lower().endswith(_MASKS) and not path.name.startswith("."):
            by_stem.setdefault(stem, []).append(path)
    masks: list[Path | None] = []
    for content in contents:
        stem, suffix = split_name(content)
        candidates = by_stem.get(stem, [])
        same = [path for path in candidates if split_name(path)[1] == suffix]
        candidates = same if len(candidates) > 1 and same else candidates
        if len(candidates) > 1:
            raise InputError(
                f"{content.name} has two masks, {candidates[0].name} and {candidates[1].name}, in "
                f"{folder}: keep one."
            )
        masks.append(candidates[0] if candidates else None)
    return masks


def _check_overwrites_no_input(jobs: Sequence[BatchJob]) -> None:
    """Raise InputError if a result would replace an input."""
    inputs = {
        os.path.realpath(path)
        for job in jobs
        for path in (job.content, *job.styles, job.mask)
        if path is not None
    }
    for job in jobs:
        for path in (job.result, job.record, job.mask_result):
            if path is not None and os.path.realpath(path) in inputs:
                raise InputError(
                    f"{path} is also an input: name another folder than {path.parent} for the "
                    "results."
                )


def _title(content: Path, style: Path, seed: int, styles: bool, seeds: bool) -> str:
    title = content.name
    if styles:
        title += f" x {style.name}"
    return f"{title}, seed {seed}" if seeds else title
