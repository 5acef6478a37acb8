"""Choose the range of the values of an image, by an option or from the values."""

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

_LEVELS = 256  # grey values of a display
_SAMPLE_SIZE = 2**22  # number of values for percentiles
_ONE = 1 + 2**-24  # the largest float that rounds to 1 as float32


def check_intensities(choice: Any) -> None:
    """Raise InputError if a value of the option `intensities` is invalid.

    Parameters
    ----------
    choice : {"auto", "full", "percentiles"} or tuple of float
        As for `Summary.range`.

    Raises
    ------
    InputError
        If it is invalid.
    """
    if isinstance(choice, str):
        valid = choice in ("auto", "full", "percentiles")
    else:
        valid = len(choice) == 2 and choice[0] < choice[1] and all(map(math.isfinite, choice))
    if not valid:
        raise InputError(
            f"intensities is {abridged(choice)}; it must be 'auto', 'full', 'percentiles', or the "
            "values that are black and white, the smaller one first."
        )


def significant_bits(highest: int, declared: int | None = None) -> int:
    """Return the bits in use of unsigned values.

    Cameras have 8, 10, 12, 14 or 16 bits, so an odd number is rounded up.

    Parameters
    ----------
    highest : int
        The largest value.
    declared : int, optional
        The bits in the metadata, used if the largest value fits.
    """
    needed = highest.bit_length()
    if declared is not None and declared >= needed:
        return declared
    return max(8, needed + needed % 2)


class Summary:
    """Extremes and a sample of the finite values of several arrays.

    Parameters
    ----------
    dtype : dtype_like
        Type of the values: booleans, integers or floats.
    size : int
        Total number of values, which sets the stride of the sample.

    Attributes
    ----------
    low, high : int, float or None
        The extremes; None without finite values.
    """

    def __init__(self, dtype: DTypeLike, size: int = 0) -> None:
        self._dtype = real_dtype(dtype)
        self._stride = max(1, size // _SAMPLE_SIZE)
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
        """Add the values of an array."""
        finite = finite_values(values)
        if finite.size:
            low, high = finite.min().item(), finite.max().item()
            self.low = low if self.low is None else min(low, self.low)
            self.high = high if self.high is None else max(high, self.high)
            self._sample.append(finite.ravel()[:: self._stride])

    def range(self, choice: Intensities, bits: int | None = None) -> Range:
        """Return the values that are black and white for an option.

        Parameters
        ----------
        choice : {"auto", "full", "percentiles"} or tuple of float
            "auto": the bits in use (`significant_bits`) for integers without negative values; 0 to
            1 for floats in that range; otherwise the extremes.  "full": the range of the type, 0
            to 1 for floats; the extremes if the image would be white, black or a single grey.
            "percentiles": 0.1 and 99.9.  Two values: these.
        bits : int, optional
            Significant bits of a value in the metadata.
        """
        if not isinstance(choice, str):
            return Range(*choice)
        if choice == "percentiles" and self._sample:
            return Range.from_percentiles(np.concatenate(self._sample))
        full = Range.from_dtype(self._dtype)
        if self._dtype.kind == "b" or self.low is None:
            return full
        if choice == "full":
            return full if self._is_visible_in(full) else self._extremes()
        if self._dtype.kind == "f":
            # All values below the first step of 8 bits would be displayed as black.
            unit = self.low >= 0 and 1 / _LEVELS <= self.high <= _ONE
            return full if unit else self._extremes()
        if self.low < 0:
            return self._extremes()
        top = min(2 ** significant_bits(self.high, bits) - 1, np.iinfo(self._dtype).max)
        # Cameras have up to 16 bits; wider types can have any offset and a small span.
        flat = self._dtype.itemsize > 2 and (self.high - self.low) * _LEVELS < top
        return self._extremes() if flat and self.low < self.high else Range(0.0, float(top))

    def _is_visible_in(self, full: Range) -> bool:
        """Return whether the range of the type displays the values as more than one grey."""
        if self._dtype.kind == "f":
            return bool(self.low >= 0 and self.high <= _ONE)
        span = self.high - self.low
        return self._dtype.itemsize <= 2 or bool(span * _LEVELS >= full.high - full.low)

    def _extremes(self) -> Range:
        return Range.from_extremes(np.array([self.low, self.high], self._dtype))


@dataclass(frozen=True, eq=False)
class RangedImage:
    """An image with the range of its values.

    Attributes
    ----------
    values : ndarray
        Shape (H, W), (H, W, 3) or (H, W, 4); real numbers.
    range : Range or None
        The values that become 0 and 1, except for alpha.  None: the range of the type, 0 to 1 for
        floats.
    bits : int or None
        Significant bits of 16, instead of a range: the result is still relative to all 16 bits.
    """

    values: NDArray[Any]
    range: Range | None = None
    bits: int | None = None

    @property
    def alpha(self) -> bool:
        """Whether the last axis ends in alpha."""
        return bool(self.values.shape[2:] == (4,))

    def to_unit(self) -> NDArray[Any]:
        """Return the values as float32 in [0, 1]; unchanged without a range.

        Values that are not finite become NaN.
        """
        if self.range is None:
            return self.values
        unit = self.range.to_unit(self.values, alpha=self.alpha)
        if self.values.dtype.kind == "f":
            unit[~np.isfinite(self.values)] = np.nan
        return unit
