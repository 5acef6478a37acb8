"""What a stack is made of, and what its run needs of the engine."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_nst.errors import InputError
from napari_nst.ranges import RangedImage, significant_bits, visible_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_nst.engine.run.style_cache import StyleCache
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.record import InputRecord

__all__ = [
    "PlaneRanges",
    "Planes",
    "check_labels",
    "check_unchanged",
    "default_engine",
    "in_a_row",
]

_BITS = 16  # of uint16


class Planes(Protocol):
    """Images that can be counted and read one at a time."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __getitem__(self, k: int, /) -> Any:
        """Return one."""
        ...


def default_engine() -> tuple[Callable[..., StyleTransfer], StyleCache]:
    """Import the engine, and torch with it, when it is first needed."""
    from napari_nst.engine.run.style_cache import StyleCache
    from napari_nst.engine.run.transfer import StyleTransfer

    return StyleTransfer, StyleCache()


def in_a_row(plane: int) -> int | None:
    """Return the plane before, if there is one."""
    return plane - 1 if plane > 0 else None


class PlaneRanges:
    """What the values of planes mean: of 16 bits as many count as the largest of all needs.

    Parameters
    ----------
    planes : Planes
        The stack; it is read when a plane in uint16 asks, as far as it takes.
    """

    def __init__(self, planes: Planes) -> None:
        self._planes = planes

    def of(self, image: Any, like: Any = None) -> Any:
        """Return an image with its range, which is that of all planes.

        Parameters
        ----------
        image : ndarray or None
            A plane, or what it starts from.
        like : ndarray, optional
            The plane whose range it has, if it is not one itself.
        """
        if image is None or (image if like is None else like).dtype != np.uint16:
            return image
        return RangedImage(image, bits=self._bits if self._bits < _BITS else None)

    @cached_property
    def _bits(self) -> int:
        bits = 0
        for k in range(len(self._planes)):
            highest = int(visible_values(np.asarray(self._planes[k])).max(initial=0))
            bits = max(bits, significant_bits(highest))
            if bits == _BITS:
                break
        return bits


def check_labels(labels: Planes | None, planes: Planes) -> None:
    """Refuse labels that are not of as many planes as there are."""
    if labels is not None and len(labels) != len(planes):
        raise InputError(
            f"content_labels has {len(labels)} planes, and the stack has {len(planes)}; give "
            "labels for each."
        )


def check_unchanged(content: Any, record: InputRecord, plane: int, name: str) -> None:
    """Refuse a plane that is not the one of its record."""
    from napari_nst.engine.images.pictures import input_record

    if record.sha256 != input_record(content, "").sha256:
        raise InputError(
            f"Plane {plane} of {name} is not what it was when its result was made: start again, or "
            "bring it back as it was."
        )
