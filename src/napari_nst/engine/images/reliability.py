"""Reliability of an initial image: where a run may trust it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from napari_nst.engine.images.arguments import as_array
from napari_nst.engine.images.pictures import input_record
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_nst.record import InputRecord

__all__ = ["Reliability", "TemporalTarget"]

_NAME = "init_reliability"


class TemporalTarget(NamedTuple):
    """Target of the temporal loss.

    Attributes
    ----------
    image : Tensor
        Shape (1, C, H, W), values in [0, 1]: the initial image.
    reliability : Tensor
        Shape (1, H, W), values in [0, 1]: weight of each pixel.
    """

    image: Tensor
    reliability: Tensor


@dataclass(frozen=True)
class Reliability:
    """Validated reliability of an initial image.

    Attributes
    ----------
    values : Tensor
        Shape (1, H, W), float32 in [0, 1].
    record : InputRecord
        Shape, dtype and hash.
    """

    values: Tensor
    record: InputRecord

    @classmethod
    def from_array(cls, given: Any, shape: tuple[int, int]) -> Reliability:
        """Return validated reliability.

        Parameters
        ----------
        given : array_like
            Shape (H, W): bool, or floats in [0, 1].
        shape : tuple of int
            Height and width of the initial image.

        Raises
        ------
        InputError
            If it has another shape, or other values.
        """
        array = as_array(given, _NAME)
        if array.shape != shape:
            raise InputError(
                f"{_NAME} has shape {array.shape}; it must be that of the initial image, {shape}."
            )
        if array.dtype.kind not in "bf" or not bool(((array >= 0) & (array <= 1)).all()):
            raise InputError(f"{_NAME} must have numbers from 0 to 1, or True and False.")
        values = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None]
        return cls(values, input_record(array, _NAME))
