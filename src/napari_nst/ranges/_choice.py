"""Which range an image's values have: by choice, or as the values and their type tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np

from napari_nst.errors import InputError, abridged
from napari_nst.ranges._range import Range, finite_values, real_dtype

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["Intensities", "RangedImage", "Summary", "check_intensities", "significant_bits"]

Intensities: TypeAlias = Literal["auto", "full", "percentiles"] | tuple[float, float]

_LEVELS = 256  # of a screen
_ENOUGH = 2**22  # values to take percentiles of
_ONE = 1 + 2**-24  # up to this a float is 1 as float32


def check_intensities(choice: Any) -> None:
    """Refuse a choice of intensities that does not exist.

    Parameters
    ----------
    choice : {"auto", "full", "percentiles"} or tuple of float
        As `Summary.range` takes it.

    Raises
    ------
    InputError
        If it is none of these.
    """
    if isinstance(choice, str):
        fine = choice in ("auto", "full", "percentiles")
    else:
        fine = len(choice) == 2 and choice[0] < choice[1] and all(map(math.isfinite, choice))
    if not fine:
        raise InputError(
            f"intensities is {abridged(choice)}; it must be 'auto', 'full', 'percentiles', or the "
            "values that are black and white, the smaller one first."
        )


def significant_bits(highest: int, declared: int | None = None) -> int:
    """Return the bits of a sample that values without a sign use.

    Cameras have 8, 10, 12, 14 or 16 bits: an even number, which the largest value tells.

    Parameters
    ----------
    highest : int
        The largest value.
    declared : int, optional
        The bits that the file names; they count if they hold the largest value.
    """
    needed = highest.bit_length()
    if declared is not None and declared >= needed:
        return declared
    return max(8, needed + needed % 2)


class Summary:
    """The extremes of the finite values of any number of arrays, and a sample for percentiles.

    Parameters
    ----------
    dtype : dtype_like
        Of the values: booleans, integers or floats.
    size : int
        How many values will be added in all; of many the sample has every so many.

    Attributes
    ----------
    low, high : int, float or None
        The extremes; None as long as there is no finite value.
    """

    def __init__(self, dtype: DTypeLike, size: int = 0) -> None:
        self._dtype = real_dtype(dtype)
        self._every = max(1, size // _ENOUGH)
        self._sample: list[NDArray[Any]] = []
        self.low: Any = None
        self.high: Any = None

    @classmethod
    def from_values(cls, values: NDArray[Any]) -> Self:
        """Return the summary of one array."""
        summary = cls(values.dtype, values.size)
        summary.add(values)
        return summary

    def add(self, values: NDArray[Any]) -> None:
        """Take in an array."""
        known = finite_values(values)
        if known.size:
            low, high = known.min().item(), known.max().item()
            self.low = low if self.low is None else min(low, self.low)
            self.high = high if self.high is None else max(high, self.high)
            self._sample.append(known.ravel()[:: self._every])

    def range(self, choice: Intensities, bits: int | None = None) -> Range:
        """Return the range that a choice comes to.

        Parameters
        ----------
        choice : {"auto", "full", "percentiles"} or tuple of float
            "auto": for values without a sign, and signed ones of 0 or more, the bits in use
            (`significant_bits`); 0 to 1 for floats that lie there; else the extremes.  "full": the
            whole range of the type, 0 to 1 for floats; the extremes where that would make the
            image white or black, or one grey.  "percentiles": 0.1 and 99.9.  Two values: these.
        bits : int, optional
            The bits of a sample that are significant, where the file names them.
        """
        if not isinstance(choice, str):
            return Range(*choice)
        if choice == "percentiles" and self._sample:
            return Range.from_percentiles(np.concatenate(self._sample))
        whole = Range.from_dtype(self._dtype)
        if self._dtype.kind == "b" or self.low is None:
            return whole
        if choice == "full":
            return whole if self._fits(whole) else self._extremes()
        if self._dtype.kind == "f":
            # Less than one step of 8 bits above black would be black on any screen.
            fine = self.low >= 0 and self.high <= _ONE and self.high >= 1 / _LEVELS
            return whole if fine else self._extremes()
        if self.low < 0:
            return self._extremes()
        top = min(2 ** significant_bits(self.high, bits) - 1, np.iinfo(self._dtype).max)
        # Cameras have up to 16 bits; in wider types values can lie anywhere, close together.
        flat = self._dtype.itemsize > 2 and (self.high - self.low) * _LEVELS < top
        return self._extremes() if flat and self.low < self.high else Range(0.0, float(top))

    def _fits(self, whole: Range) -> bool:
        """Return whether a type's range shows the values, as more than one grey."""
        if self._dtype.kind == "f":
            return bool(self.low >= 0 and self.high <= _ONE)
        span = self.high - self.low
        return self._dtype.itemsize <= 2 or bool(span * _LEVELS >= whole.high - whole.low)

    def _extremes(self) -> Range:
        return Range.from_extremes(np.array([self.low, self.high], self._dtype))


@dataclass(frozen=True, eq=False)
class RangedImage:
    """An image, and what its values mean to a run.

    Attributes
    ----------
    values : ndarray
        Shape (H, W), (H, W, 3) or (H, W, 4); any type of real numbers.
    range : Range or None
        The values that are 0 and 1, alpha aside; a run's result lies between 0 and 1 likewise.
        None: the whole range of the type, 0 to 1 for floats.
    bits : int or None
        Instead of a range, the significant bits of 16: the result stays a share of all 16.
    """

    values: NDArray[Any]
    range: Range | None = None
    bits: int | None = None

    @property
    def alpha(self) -> bool:
        """Whether the last axis ends in alpha."""
        return bool(self.values.shape[2:] == (4,))

    def to_unit(self) -> NDArray[Any]:
        """Return the values as float32 in [0, 1]; without a range as they are.

        What is not finite becomes NaN.
        """
        if self.range is None:
            return self.values
        unit = self.range.to_unit(self.values, alpha=self.alpha)
        if self.values.dtype.kind == "f":
            unit[~np.isfinite(self.values)] = np.nan
        return unit
