"""From a range of intensities to [0, 1], and back."""

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
    """The two intensities that are 0 and 1.

    Attributes
    ----------
    low, high : float
        Finite; low is less than high.

    Raises
    ------
    InputError
        If they are not so.

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
        """Refuse a range of no width."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(
                f"A range of intensities cannot go from {self.low:g} to {self.high:g}; both must "
                "be finite, and the first less than the second."
            )

    @classmethod
    def from_dtype(cls, dtype: DTypeLike) -> Self:
        """Return the whole range of an integer type; 0 to 1 for booleans and floats.

        Raises
        ------
        InputError
            If it is no type of real numbers.
        """
        kind = real_dtype(dtype).kind
        if kind in "iu":
            info = np.iinfo(np.dtype(dtype))
            return cls(float(info.min), float(info.max))
        return cls(0.0, 1.0)

    @classmethod
    def from_percentiles(cls, values: NDArray[Any], low: float = 0.1, high: float = 99.9) -> Self:
        """Return the range between two percentiles of what is finite.

        Where they agree, as in an image that is nearly all background, the range is that of the
        extremes: it must not make the few things that are there as bright as their edges.

        Parameters
        ----------
        values : ndarray
            Of any shape and any type of real numbers.
        low, high : float
            In percent.
        """
        known = finite_values(values)
        if known.size == 0 or known.dtype.kind == "b":
            return cls(0.0, 1.0)
        first, last = np.percentile(known.astype(np.float64), (low, high))
        return cls(float(first), float(last)) if first < last else cls.from_extremes(known)

    @classmethod
    def from_extremes(cls, values: NDArray[Any]) -> Self:
        """Return the range of what is finite; of one value alone, from or to 0, or to 1."""
        known = finite_values(values)
        if known.size == 0 or known.dtype.kind == "b":
            return cls(0.0, 1.0)
        low, high = float(known.min()), float(known.max())
        return cls(low, high) if low < high else cls(min(low, 0.0), max(high, 1.0))

    def to_unit(self, values: NDArray[Any], *, alpha: bool = False) -> NDArray[np.float32]:
        """Return values as float32 in [0, 1]: clipped; NaN stays NaN.

        Parameters
        ----------
        values : ndarray
            Of any type of real numbers.
        alpha : bool
            Whether the last axis ends in alpha, which is by its dtype's own range.
        """
        wide = values.astype(np.float64)
        unit = np.clip((wide - self.low) / (self.high - self.low), 0, 1).astype(np.float32)
        if alpha:
            unit[..., -1] = Range.from_dtype(values.dtype).to_unit(values[..., -1])
        return unit

    def from_unit(
        self, picture: NDArray[Any], dtype: DTypeLike, *, alpha: bool = False
    ) -> NDArray[Any]:
        """Return a picture of [0, 1] as intensities.

        Parameters
        ----------
        picture : ndarray
            Floats; NaN stays NaN where the type has it, and is `low` where not.
        dtype : dtype_like
            In the machine's own byte order it becomes this: integers are rounded, what the type
            cannot hold is clipped, and for booleans 0.5 and more is true.
        alpha : bool
            As for `to_unit`.
        """
        kind = real_dtype(dtype).newbyteorder("=")
        if kind.kind == "b":
            return np.asarray(picture >= 0.5)
        values = self.low + picture.astype(np.float64) * (self.high - self.low)
        values[picture == 1] = self.high  # which the sum misses where the span rounds it away
        if alpha:
            own = Range.from_dtype(kind)
            values[..., -1] = own.low + picture[..., -1].astype(np.float64) * (own.high - own.low)
        if kind.kind == "f":
            info = np.finfo(kind)
            return values.clip(float(info.min), float(info.max)).astype(kind)
        return _rounded(np.where(np.isnan(values), self.low, values), kind)


def real_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return a type of real numbers or booleans, and refuse any other."""
    found = np.dtype(dtype)
    if found.kind not in "biuf":
        raise InputError(f"Intensities have dtype {found}; they must be real numbers or booleans.")
    return found


def visible_values(image: NDArray[Any]) -> NDArray[Any]:
    """Return the grey values of an image, or those of its colours that can be seen, in one axis.

    Parameters
    ----------
    image : ndarray
        Shape (H, W), (..., 3) or (..., 4): colours under alpha 0 are left out, and so is alpha.
    """
    if image.ndim < 3:
        return image.ravel()
    colors = image[..., :3]
    return colors[image[..., 3] != 0].ravel() if image.shape[-1] == 4 else colors.ravel()


def finite_values(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values that are neither infinite nor missing."""
    values = np.asarray(values)
    real_dtype(values.dtype)
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values


def _rounded(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    info = np.iinfo(dtype)
    # Of 64 bits the largest integer is no float: the next float is one too many.
    top = float(info.max)
    top = top if int(top) <= info.max else math.nextafter(top, 0.0)
    return np.rint(values).clip(float(info.min), top).astype(dtype)
