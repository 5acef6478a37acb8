"""Immutable mappings in settings: weights of layers, and styles of labels."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from napari_nst.errors import abridged

__all__ = ["LayerWeights", "RegionStyles"]


class LayerWeights(Mapping[str, float]):
    """An immutable mapping of layers to weights, in the order given.

    Parameters
    ----------
    weights : mapping of str to float, or iterable of str
        Names without weights get equal weights that sum to one (w_l of arXiv 1508.06576,
        equation 5).

    Raises
    ------
    ValueError
        If a name is not a string or is given twice, or a weight is not a number of 0 or more.
    """

    def __init__(self, weights: Mapping[str, float] | Iterable[str]) -> None:
        if isinstance(weights, str):
            weights = (weights,)
        if not isinstance(weights, Iterable):
            raise ValueError("it must name layers, or give them weights")
        if not isinstance(weights, Mapping):
            names = Counter(map(_layer_name, weights))
            for name, count in names.items():
                if count > 1:
                    raise ValueError(f"it must name {abridged(name)} only once")
            weights = dict.fromkeys(names, 1 / max(len(names), 1))
        self._weights = {_layer_name(name): _weight(name, weights[name]) for name in weights}

    def __getitem__(self, name: str) -> float:
        """Return the weight of a layer."""
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the layers."""
        return iter(self._weights)

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self._weights)

    def __hash__(self) -> int:
        """Hash the layers and their weights."""
        return hash(frozenset(self._weights.items()))

    def __repr__(self) -> str:
        """Show the layers and their weights as a dictionary."""
        return repr(self._weights)

    @property
    def active(self) -> tuple[str, ...]:
        """The layers whose weight is not zero."""
        return tuple(name for name, weight in self._weights.items() if weight)


class RegionStyles(Mapping[int, int | None]):
    """An immutable mapping of labels to style indices, None for labels whose content is kept.

    Parameters
    ----------
    styles : mapping of int to int or None
        A label may be text, as in JSON.

    Raises
    ------
    ValueError
        If a label or an index is not a whole number of 0 or more, or a label is given twice.
    """

    def __init__(self, styles: Mapping[int, int | None]) -> None:
        if not isinstance(styles, Mapping):
            raise ValueError("it must give labels their styles, for example {1: 0, 2: None}")
        self._styles: dict[int, int | None] = {}
        for name, style in styles.items():
            label = _whole(name, "a label")
            if label in self._styles:  # once as a number, once as text
                raise ValueError(f"it must name label {label} only once")
            self._styles[label] = None if style is None else _whole(style, "a style's index")

    def __getitem__(self, label: int) -> int | None:
        """Return the index of a label's style."""
        return self._styles[label]

    def __iter__(self) -> Iterator[int]:
        """Iterate over the labels."""
        return iter(self._styles)

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self._styles)

    def __hash__(self) -> int:
        """Hash the labels and their styles."""
        return hash(frozenset(self._styles.items()))

    def __repr__(self) -> str:
        """Show the labels and their styles as a dictionary."""
        return repr(self._styles)


def _whole(value: Any, what: str) -> int:
    try:
        number = operator.index(value) if not isinstance(value, str) else int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise ValueError(f"{what} is {abridged(value)}, and must be a whole number of 0 or more")
    return number


def _layer_name(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"the name of a layer is {abridged(name)}, and must be a string")
    return str(name)  # turns strings of numpy into plain ones


def _weight(name: str, weight: Any) -> float:
    try:
        number = float(weight)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(
            f"the weight of {abridged(name)} is {abridged(weight)}, and must be 0 or more"
        )
    return number
