"""Snapshots of a run, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_nst.engine.losses.values import Losses
    from napari_nst.record import RunRecord
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Snapshot", "StyleTransferResult"]


@dataclass(frozen=True)
class Snapshot:
    """State of a run after an evaluation.

    Attributes
    ----------
    iteration, iterations : int
        Evaluations done, and planned in total; of a stack, those of all planes.
    scale, scales : int
        Current scale, from 1, and number of scales.
    shape : tuple of int
        Height and width of the current scale.
    losses : Losses
        Losses of the evaluated image.
    elapsed : float
        Seconds of work since the run began, without pauses.
    progress : float
        Share of the work that is done, from 0 to 1: an evaluation counts by its pixels.
    plane, planes : int
        Current plane of a stack, from 1, and number of planes; 1 of 1 for an image.
    warnings : tuple of str
        Why updates were refused since the last snapshot.
    """

    iteration: int
    iterations: int
    scale: int
    scales: int
    shape: tuple[int, int]
    losses: Losses
    elapsed: float
    progress: float
    _image: Tensor | None = field(repr=False)
    _to_array: Callable[[Tensor, tuple[int, int]], NDArray[np.float32]] = field(repr=False)
    plane: int = 1
    planes: int = 1
    warnings: tuple[str, ...] = ()

    def image(self, shape: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """Return the image at the time of the snapshot.

        Parameters
        ----------
        shape : tuple of int, optional
            Height and width to resample it to; by default those of the current scale.

        Returns
        -------
        ndarray
            Shape (H, W), (H, W, 3) or (H, W, 4) like the content's; float32 in [0, 1], a copy.
        """
        assert self._image is not None, "the snapshot is without its image"
        return self._to_array(self._image, shape or self.shape)

    def without_image(self) -> Snapshot:
        """Return a copy that does not keep the image in memory."""
        return replace(self, _image=None)


@dataclass(frozen=True)
class StyleTransferResult:
    """Result of a run.

    Attributes
    ----------
    image : ndarray
        Shape (H, W), (H, W, 3) or (H, W, 4) like the content's; float32 in [0, 1], relative to the
        content's range, which is that of its dtype unless another was given.
    settings : StyleTransferSettings
        Requested settings.
    record : RunRecord
        Provenance of the image.
    history : tuple of Losses
        Losses of each evaluation.
    """

    image: NDArray[np.float32]
    settings: StyleTransferSettings
    record: RunRecord
    history: tuple[Losses, ...]
