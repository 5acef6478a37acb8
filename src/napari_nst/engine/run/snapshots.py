"""What a run shows of itself, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_nst.engine.losses.objective import Losses
    from napari_nst.record import RunRecord
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Snapshot", "StyleTransferResult"]


@dataclass(frozen=True)
class Snapshot:
    """Where a run is after an evaluation.

    Attributes
    ----------
    iteration, iterations : int
        Evaluations done, and planned in total.
    scale, scales : int
        The scale at work, from 1, and how many there are.
    shape : tuple of int
        Height and width worked at.
    losses : Losses
        Of the image that was evaluated.
    elapsed : float
        Seconds since the run began.
    """

    iteration: int
    iterations: int
    scale: int
    scales: int
    shape: tuple[int, int]
    losses: Losses
    elapsed: float
    _image: Tensor = field(repr=False)
    _deliver: Callable[[Tensor, tuple[int, int]], NDArray[np.float32]] = field(repr=False)

    def image(self, shape: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """Return the picture as it was at this moment.

        Parameters
        ----------
        shape : tuple of int, optional
            Height and width to resample it to; by default those worked at.

        Returns
        -------
        ndarray
            Shape (H, W), (H, W, 3) or (H, W, 4) like the content's; float32 in [0, 1], an array
            of its own.
        """
        return self._deliver(self._image, shape or self.shape)


@dataclass(frozen=True)
class StyleTransferResult:
    """What came out.

    Attributes
    ----------
    image : ndarray
        Shape (H, W), (H, W, 3) or (H, W, 4) like the content's; float32 in [0, 1], a share of the
        content's range: of its type's, unless it was given another.
    settings : StyleTransferSettings
        As asked for.
    record : RunRecord
        How the picture came to be.
    history : tuple of Losses
        One for each evaluation.
    """

    image: NDArray[np.float32]
    settings: StyleTransferSettings
    record: RunRecord
    history: tuple[Losses, ...]
