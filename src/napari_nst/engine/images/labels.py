"""Labels of the pixels of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_nst.engine.images.arguments import as_array
from napari_nst.engine.images.assignment import check_labels
from napari_nst.engine.images.pictures import input_record

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_nst.record import InputRecord

__all__ = ["Labels"]


@dataclass(frozen=True, eq=False)
class Labels:
    """Validated labels.

    Attributes
    ----------
    values : ndarray
        Shape (H, W), int64, 0 or more.
    record : InputRecord
        Name, shape, dtype and hash.
    """

    values: NDArray[np.int64]
    record: InputRecord

    @classmethod
    def from_array(cls, array: Any, name: str, shape: tuple[int, int], of: str) -> Labels:
        """Return validated labels; see `assignment.check_labels` for parameters and errors."""
        values = check_labels(array, name, shape, of)
        return cls(values, input_record(as_array(array, name), name))

    def mask(self, labels: Collection[int]) -> Tensor:
        """Return a float32 mask of shape (H, W) that is 1 where any of some labels is."""
        return torch.from_numpy(np.isin(self.values, list(labels)).astype(np.float32))
