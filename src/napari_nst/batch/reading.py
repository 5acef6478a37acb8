"""Grey values on their way to a run and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.errors import InputError
from napari_nst.files import is_stack, open_stack, read_image
from napari_nst.intensities import Range

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_nst.batch.plan import Intensities
    from napari_nst.files import Stack

__all__ = ["Planes", "Reading", "read_style"]

_ENOUGH = 2**22  # values to take percentiles of


@dataclass(frozen=True)
class Reading:
    """Which values are black and white for the run.

    Attributes
    ----------
    dtype : dtype
        Of the values.
    range : Range or None
        None: the whole range of 8 or 16 bits, which the engine knows by itself.
    alpha : bool
        Whether the last of the colours is alpha.
    """

    dtype: np.dtype[Any]
    range: Range | None
    alpha: bool = False

    @classmethod
    def of(cls, images: Sequence[NDArray[Any]], intensities: Intensities) -> Reading:
        """Return how images are read, in one way for all of them.

        Percentiles and given values are for grey images; colours always have the whole range.

        Parameters
        ----------
        images : sequence of ndarray
            Pictures of one type and shape; of many values every so many are looked at.
        intensities : {"full", "percentiles"} or tuple of float
            What is black and white.
        """
        first = images[0]
        grey, alpha = first.ndim == 2, first.shape[2:] == (4,)
        if grey and not isinstance(intensities, str):
            return cls(first.dtype, Range(*intensities))
        if grey and intensities == "percentiles":
            every = max(1, first.size * len(images) // _ENOUGH)
            known = np.concatenate([image.ravel()[::every] for image in images])
            return cls(first.dtype, Range.of_percentiles(known))
        own = first.dtype in (np.uint8, np.uint16)
        return cls(first.dtype, None if own else Range.of_dtype(first.dtype), alpha)

    @property
    def limits(self) -> tuple[float, float]:
        """What is black and what is white."""
        found = self.range or Range.of_dtype(self.dtype)
        return found.low, found.high

    def to_engine(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return an image as a run takes it."""
        return image if self.range is None else self.range.to_unit(image, alpha=self.alpha)

    def back(self, picture: NDArray[np.floating[Any]]) -> NDArray[Any]:
        """Return what came out as an image of the type and range of what went in."""
        found = self.range or Range.of_dtype(self.dtype)
        return found.from_unit(picture, self.dtype, alpha=self.alpha)


class Planes:
    """The planes of a stack as a run takes them.

    Parameters
    ----------
    stack : Stack
        As they are in the file.
    reading : Reading
        How they are read.
    """

    def __init__(self, stack: Stack, reading: Reading) -> None:
        self._stack, self._reading = stack, reading

    def __len__(self) -> int:
        """Return the number of planes."""
        return len(self._stack)

    def __getitem__(self, k: int) -> NDArray[Any]:
        """Read a plane."""
        return self._reading.to_engine(self._stack[k])


def read_style(path: Path, intensities: Intensities) -> NDArray[Any]:
    """Read a style as a run takes it.

    Parameters
    ----------
    path : Path
        A picture, or a stack of one plane.
    intensities : {"full", "percentiles"} or tuple of float
        Of the contents.  A grey style comes from elsewhere, and its values mean something else:
        unless the whole range is asked for, it is read by its own percentiles.

    Raises
    ------
    InputError
        If it cannot be read, or has several planes.
    """
    if is_stack(path):
        with open_stack(path) as stack:
            if len(stack) > 1:
                raise InputError(
                    f"{path} has {len(stack)} planes, and a style is one picture: save the plane "
                    "that is meant."
                )
            image = stack[0]
    else:
        image = read_image(path)
    return Reading.of([image], "full" if intensities == "full" else "percentiles").to_engine(image)
