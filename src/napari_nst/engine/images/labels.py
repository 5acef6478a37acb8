"""Labels painted on an image: which of its pixels belong to which region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_nst.engine.images.assignment import check_labels
from napari_nst.engine.images.given import as_array
from napari_nst.engine.images.pictures import record_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_nst.record import InputRecord

__all__ = ["Labels"]


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels, checked.

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
        """Take in labels; parameters and errors are those of `assignment.check_labels`."""
        values = check_labels(array, name, shape, of)
        return cls(values, record_of(as_array(array, name), name))

    def mask(self, labels: Collection[int]) -> Tensor:
        """Return 1 where one of some labels is and 0 elsewhere, float32 of shape (H, W)."""
        return torch.from_numpy(np.isin(self.values, list(labels)).astype(np.float32))
