"""Labels of planes, carried along the motion where none are painted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage import transform

from napari_nst.engine.images.arguments import as_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_nst.stacks.motion import Motion
    from napari_nst.stacks.planes import Planes

__all__ = ["CarriedLabels", "carry_labels"]


class CarriedLabels:
    """Labels of the planes of a stack, as a sequence.

    A plane without any label has those of the plane before it, carried along the motion: regions
    that are painted in one plane follow what they cover.

    Parameters
    ----------
    labels : Planes
        Labels of each plane; 0 is no label.
    before : callable
        Returns the plane before a plane, or None.
    motion : callable
        Returns the motion from a plane to the one after it, given both indices.
    """

    def __init__(
        self,
        labels: Planes,
        before: Callable[[int], int | None],
        motion: Callable[[int, int], Motion],
    ) -> None:
        self._labels, self._before, self._motion = labels, before, motion
        self._last: tuple[int, NDArray[Any]] | None = None

    def __len__(self) -> int:
        """Return the number of planes."""
        return len(self._labels)

    def __getitem__(self, k: int) -> NDArray[Any]:
        """Return the labels of a plane."""
        chain, plane = [k], k
        while (labels := self._known(plane)) is None:
            before = self._before(plane)
            if before is None:
                return as_array(self._labels[k], "content_labels")
            chain.append(plane := before)
        for later in chain[-2::-1]:
            labels = carry_labels(labels, self._motion(plane, later))
            plane = later
        self._last = k, labels
        return labels

    def _known(self, plane: int) -> NDArray[Any] | None:
        """Return the labels of a plane that are painted, or were carried lately."""
        if self._last is not None and self._last[0] == plane:
            return self._last[1]
        labels = as_array(self._labels[plane], "content_labels")
        return labels if labels.any() else None


def carry_labels(labels: NDArray[Any], motion: Motion) -> NDArray[Any]:
    """Return labels of an earlier image carried along a motion.

    Parameters
    ----------
    labels : ndarray
        Shape (H, W).
    motion : Motion
        Of any size: it is resampled to that of the labels.
    """
    height, width = labels.shape
    scale = (height / motion.flow.shape[0], width / motion.flow.shape[1])
    flow = transform.resize(motion.flow, (height, width, 2), order=1) * scale
    places = np.rint(np.indices(labels.shape) + np.moveaxis(flow, -1, 0)).astype(np.intp)
    rows, columns = places
    return np.asarray(labels[rows.clip(0, height - 1), columns.clip(0, width - 1)])
