"""Planes of a stack: sequence protocol, value ranges and checks."""

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
    "previous_plane",
]

_BITS = 16  # of uint16


class Planes(Protocol):
    """Sequence of images that are read one at a time."""

    def __len__(self) -> int:
        """Return the number of planes."""
        ...

    def __getitem__(self, k: int, /) -> Any:
        """Read a plane."""
        ...


def default_engine() -> tuple[Callable[..., StyleTransfer], StyleCache]:
    """Import the engine, and torch with it, when it is first needed."""
    from napari_nst.engine.run.style_cache import StyleCache
    from napari_nst.engine.run.transfer import StyleTransfer

    return StyleTransfer, StyleCache()


def previous_plane(plane: int) -> int | None:
    """Return the previous plane, or None for the first."""
    return plane - 1 if plane > 0 else None


class PlaneRanges:
    """Value range of uint16 planes: the bits that the largest value of all planes needs.

    Parameters
    ----------
    planes : Planes
        The stack; read when the first uint16 plane needs it, until 16 bits are found.
    """

    def __init__(self, planes: Planes) -> None:
        self._planes = planes

    def with_range(self, image: Any, like: Any = None) -> Any:
        """Return an image with the range of all planes.

        Parameters
        ----------
        image : ndarray or None
            A plane, or its initial image.
        like : ndarray, optional
            With an initial image, the plane.
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
    """Raise if labels do not have one item per plane."""
    if labels is not None and len(labels) != len(planes):
        raise InputError(
            f"content_labels has {len(labels)} planes, and the stack has {len(planes)}; give "
            "labels for each."
        )


def check_unchanged(content: Any, record: InputRecord, plane: int, name: str) -> None:
    """Raise if a plane is not the one of its record."""
    from napari_nst.engine.images.pictures import input_record

    if record.sha256 != input_record(content, "").sha256:
        raise InputError(
            f"Plane {plane} of {name} has changed since its result was made: start again, or "
            "restore it."
        )
