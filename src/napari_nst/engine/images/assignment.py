"""Assign styles to the labels of the content, without importing torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.engine.images.arguments import as_array
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Assignment",
    "Region",
    "Source",
    "assign_styles",
    "check_labels",
    "shares_of",
    "whole_image_region",
]


@dataclass(frozen=True)
class Source:
    """A source of a region's style: index of the style, and a label on it or None for all of it."""

    style: int
    label: int | None = None

    def __str__(self) -> str:
        """Return the source as text, for the record."""
        return f"style {self.style}" + ("" if self.label is None else f", label {self.label}")

    def __lt__(self, other: Source) -> bool:
        """Sort a whole style before its labels."""
        return self._order < other._order

    @property
    def _order(self) -> tuple[int, int]:
        return self.style, -1 if self.label is None else self.label


@dataclass(frozen=True)
class Region:
    """Labels of the content with the same style sources."""

    labels: tuple[int, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Assignment:
    """The assignment of all labels of the content.

    Attributes
    ----------
    regions : tuple of Region
        The regions that are stylized.
    kept : tuple of int
        The labels whose pixels stay exactly the content's.
    """

    regions: tuple[Region, ...]
    kept: tuple[int, ...]


def shares_of(sources: Sequence[Source], style_weights: Sequence[float] | None) -> list[float]:
    """Return the shares of a region's sources: equal ones if no style of positive share is there.

    Parameters
    ----------
    sources : sequence of Source
        Sources of the region.
    style_weights : sequence of float or None
        Share of each style, 0 or more; None: all the same.
    """
    shares = [1.0 if style_weights is None else style_weights[each.style] for each in sources]
    return shares if sum(shares) > 0 else [1.0] * len(shares)


def whole_image_region(styles: int) -> Region:
    """Return the single region of a content without labels, with a number of styles."""
    return Region((), tuple(Source(style) for style in range(styles)))


def check_labels(labels: Any, name: str, shape: tuple[int, int], of: str) -> NDArray[np.int64]:
    """Return labels as integers.

    Parameters
    ----------
    labels : array_like
        Shape (H, W), of any integer type or bool.
    name : str
        Name of the labels for messages.
    shape : tuple of int
        Height and width of the image that they belong to.
    of : str
        Name of that image for messages.

    Raises
    ------
    InputError
        If they are not integers of 0 or more, or their shape is not that of the image.
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


def assign_styles(
    content_labels: NDArray[Any],
    style_labels: Sequence[NDArray[Any] | None] | None,
    region_styles: Mapping[int, int | None] | None,
    styles: int,
) -> Assignment:
    """Assign style sources to the labels of the content.

    A label in `region_styles` gets that whole style, or is kept.  The other labels:

    - 0, where nothing was painted, is kept;
    - with labels on styles, a label gets the same label of every style that has it;
    - without, it is kept if there are `region_styles`, and else gets all styles.

    Labels with the same sources form one region.

    Parameters
    ----------
    content_labels : ndarray
        Integers of any shape.
    style_labels : sequence of ndarray or None, or None
        The labels of each style, None for a style without.
    region_styles : mapping of int to int or None, or None
        The setting of this name.
    styles : int
        Number of styles.

    Raises
    ------
    InputError
        If a label is only on the content or only on styles, a style does not exist, or no
        region is stylized.
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
    """Return the labels on each style that has labels; None if no style has."""
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
    """Return the style sources of a label; empty if it is kept."""
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
