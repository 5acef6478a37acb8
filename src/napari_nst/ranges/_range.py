"""Convert values of a range to [0, 1] and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["Range", "finite_values", "real_dtype", "visible_values"]


@dataclass(frozen=True)
class Range:
    """The two values that become 0 and 1.

    Attributes
    ----------
    low, high : float
        Finite; low is less than high.

    Raises
    ------
    InputError
        If they are not.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.array([[90, 100], [200, 900]], np.uint16)
    >>> unit = Range(100, 300).to_unit(counts)
    >>> unit.tolist()
    [[0.0, 0.0], [0.5, 1.0]]
    >>> Range(100, 300).from_unit(unit, counts.dtype).tolist()
    [[100, 100], [200, 300]]
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        """Raise InputError for an invalid range."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(
                f"A range of intensities cannot go from {self.low:g} to {self.high:g}; both must "
                "be finite, and the first less than the second."
            )

    @classmethod
    def from_dtype(cls, dtype: DTypeLike) -> Self:
        """Return the range of an integer type, or 0 to 1 for booleans and floats.

        Raises
        ------
        InputError
            If it is not a type of real numbers or booleans.
        """
        kind = real_dtype(dtype).kind
        if kind in "iu":
            info = np.iinfo(np.dtype(dtype))
            return cls(float(info.min), float(info.max))
        return cls(0.0, 1.0)

    @classmethod
    def from_percentiles(cls, values: NDArray[Any], low: float = 0.1, high: float = 99.9) -> Self:
        """Return the range between two percentiles of the finite values.

        If they are equal, as in an image that is nearly all background, return the extremes, so
        that few bright objects are not clipped.

        Parameters
        ----------
        values : ndarray
            Real numbers of any shape.
        low, high : float
            In percent.
        """
        finite = finite_values(values)
        if finite.size == 0 or finite.dtype.kind == "b":
            return cls(0.0, 1.0)
        first, last = np.percentile(finite.astype(np.float64), (low, high))
        return cls(float(first), float(last)) if first < last else cls.from_extremes(finite)

    @classmethod
    def from_extremes(cls, values: NDArray[Any]) -> Self:
        """Return the range of the finite values; a single value is extended to 0 or to 1."""
        finite = finite_values(values)
        if finite.size == 0 or finite.dtype.kind == "b":
            return cls(0.0, 1.0)
        low, high = float(finite.min()), float(finite.max())
        return cls(low, high) if low < high else cls(min(low, 0.0), max(high, 1.0))

    def to_unit(self, values: NDArray[Any], *, alpha: bool = False) -> NDArray[np.float32]:
        """Return values as float32 in [0, 1]: clipped; NaN stays NaN.

        Parameters
        ----------
        values : ndarray
            Real numbers.
        alpha : bool
            Whether the last channel is alpha, which is scaled by the range of its dtype.
        """
        wide = values.astype(np.float64)
        unit = np.clip((wide - self.low) / (self.high - self.low), 0, 1).astype(np.float32)
        if alpha:
            unit[..., -1] = Range.from_dtype(values.dtype).to_unit(values[..., -1])
        return unit

    def from_unit(
        self, picture: NDArray[Any], dtype: DTypeLike, *, alpha: bool = False
    ) -> NDArray[Any]:
        """Convert a picture in [0, 1] to values of the range.

        Parameters
        ----------
        picture : ndarray
            Floats; NaN becomes `low` in types without NaN.
        dtype : dtype_like
            Type of the result, in native byte order: integers are rounded and clipped; for
            booleans, 0.5 and more is true.
        alpha : bool
            As for `to_unit`.
        """
        target = real_dtype(dtype).newbyteorder("=")
        if target.kind == "b":
            return np.asarray(picture >= 0.5)
        values = self.low + picture.astype(np.float64) * (self.high - self.low)
        values[picture == 1] = self.high  # exact despite rounding of the span
        if alpha:
            full = Range.from_dtype(target)
            share = picture[..., -1].astype(np.float64)
            values[..., -1] = full.low + share * (full.high - full.low)
        if target.kind == "f":
            info = np.finfo(target)
            return values.clip(float(info.min), float(info.max)).astype(target)
        return _rounded(np.where(np.isnan(values), self.low, values), target)


def real_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return a type of real numbers or booleans; raise InputError for any other."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "biuf":
        raise InputError(f"Intensities have dtype {dtype}; they must be real numbers or booleans.")
    return dtype


def visible_values(image: NDArray[Any]) -> NDArray[Any]:
    """Return the grey values, or the values of colours that are not transparent, as one axis.

    Parameters
    ----------
    image : ndarray
        Shape (H, W), (..., 3) or (..., 4); alpha, and colours with alpha 0, are left out.
    """
    if image.ndim < 3:
        return image.ravel()
    colors = image[..., :3]
    return colors[image[..., 3] != 0].ravel() if image.shape[-1] == 4 else colors.ravel()


def finite_values(values: NDArray[Any]) -> NDArray[Any]:
    """Return the finite values."""
    values = np.asarray(values)
    real_dtype(values.dtype)
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values


def _rounded(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    info = np.iinfo(dtype)
    # The largest integer of 64 bits rounds up to a float that overflows.
    top = float(info.max)
    top = top if int(top) <= info.max else math.nextafter(top, 0.0)
    return np.rint(values).clip(float(info.min), top).astype(dtype)
