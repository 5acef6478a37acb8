"""Which label of the content takes its style from where; torch has no part in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.engine.images.given import as_array
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Assignment", "Region", "Source", "assign", "check_labels", "everything"]


@dataclass(frozen=True)
class Source:
    """Where a region's style comes from: a style's index, and the label in it, None for all."""

    style: int
    label: int | None = None

    def __str__(self) -> str:
        """Say it as a record does."""
        return f"style {self.style}" + ("" if self.label is None else f", label {self.label}")

    def __lt__(self, other: Source) -> bool:
        """Order sources, a whole style before its labels."""
        return self._order < other._order

    @property
    def _order(self) -> tuple[int, int]:
        return self.style, -1 if self.label is None else self.label


@dataclass(frozen=True)
class Region:
    """Labels of the content that take their style from the same sources."""

    labels: tuple[int, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Assignment:
    """Every label of the content, assigned.

    Attributes
    ----------
    regions : tuple of Region
        Those that are restyled.
    kept : tuple of int
        The labels whose pixels stay the content's, bit for bit.
    """

    regions: tuple[Region, ...]
    kept: tuple[int, ...]


def everything(styles: int) -> Region:
    """Return the one region of a content without labels, of so many styles."""
    return Region((), tuple(Source(style) for style in range(styles)))


def check_labels(labels: Any, name: str, shape: tuple[int, int], of: str) -> NDArray[np.int64]:
    """Return labels as integers.

    Parameters
    ----------
    labels : array_like
        Shape (H, W), of any integer type or bool.
    name : str
        How a message calls them.
    shape : tuple of int
        Height and width of the image they were painted on.
    of : str
        How a message calls that image.

    Raises
    ------
    InputError
        If they are not whole numbers of 0 or more, or have another shape than the image.
    """
    array = as_array(labels, name, "read_labels")
    if array.dtype.kind not in "biu":
        raise InputError(f"{name} has dtype {array.dtype}; labels must be integers.")
    if array.shape != shape:
        raise InputError(
            f"{name} has shape {array.shape}; it must be that of {of}, {shape}: height and width."
        )
    if array.min() < 0 or array.max() > np.iinfo(np.int64).max:
        raise InputError(
            f"{name} has values from {array.min()} to {array.max()}; labels must be 0 or more."
        )
    return array.astype(np.int64)


def assign(
    content_labels: NDArray[Any],
    style_labels: Sequence[NDArray[Any] | None] | None,
    region_styles: Mapping[int, int | None] | None,
    styles: int,
) -> Assignment:
    """Return which label of the content takes its style from where.

    A label named in `region_styles` takes that whole style, or keeps the content's pixels.  With
    labels on the styles, any other takes the same label of the styles that have it, and 0, which
    is where nothing was painted, is kept.  Without, and with `region_styles`, the others are
    kept; with neither, 0 is kept and the others take the blend of all styles.  Labels of the
    same sources make one region: a region is not less of one for being painted twice.

    Parameters
    ----------
    content_labels : ndarray
        Integers of any shape.
    style_labels : sequence of ndarray or None, or None
        For each style its labels, likewise, or None if it has none.
    region_styles : mapping of int to int or None, or None
        As `StyleTransferSettings` has it.
    styles : int
        How many styles there are.

    Raises
    ------
    InputError
        If a label is on one side only, a style is named that is not there, or nothing is left
        to be restyled.
    """
    labels = [int(label) for label in np.unique(content_labels)]
    chosen = region_styles or {}
    for label, style in chosen.items():
        if style is not None and style >= styles:
            raise InputError(
                f"region_styles gives label {label} the style {style}, and the styles are "
                f"numbered from 0 to {styles - 1}."
            )
    painted = _painted(style_labels)
    found: dict[tuple[Source, ...], list[int]] = {}
    kept = []
    for label in labels:
        sources = _sources(label, chosen, region_styles is not None, painted, styles)
        if sources:
            found.setdefault(sources, []).append(label)
        else:
            kept.append(label)
    if painted is not None:
        known = {*labels, *chosen, 0}
        for style, own in sorted(painted.items()):
            if missing := sorted(own - known):
                raise InputError(
                    f"Label {missing[0]} is on style {style} and not on the content; paint it "
                    "there too, or remove it."
                )
    if not found:
        raise InputError(
            f"No label of the content has a style (labels {', '.join(map(str, labels))}): paint "
            "a label of 1 or more, or give one a style in region_styles."
        )
    regions = (Region(tuple(own), sources) for sources, own in found.items())
    return Assignment(tuple(regions), tuple(kept))


def _painted(style_labels: Sequence[NDArray[Any] | None] | None) -> dict[int, set[int]] | None:
    """Return the labels on each style that has any painted."""
    if style_labels is None or all(labels is None for labels in style_labels):
        return None
    return {
        style: {int(label) for label in np.unique(labels)}
        for style, labels in enumerate(style_labels)
        if labels is not None
    }


def _sources(
    label: int,
    chosen: Mapping[int, int | None],
    only_chosen: bool,
    painted: Mapping[int, set[int]] | None,
    styles: int,
) -> tuple[Source, ...]:
    """Return where a label takes its style from; nowhere: it is kept."""
    if label in chosen:
        style = chosen[label]
        return () if style is None else (Source(style),)
    if label == 0:
        return ()
    if painted is not None:
        same = tuple(Source(style, label) for style, own in painted.items() if label in own)
        if not same:
            raise InputError(
                f"Label {label} is on the content and on no style; paint it on a style too, or "
                "give it a style in region_styles."
            )
        return same
    return () if only_chosen else tuple(Source(style) for style in range(styles))
