"""Intermediate images of a run as one layer with a time axis.  No Qt here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.transforms import Affine

from napari_nst.plugin.layers.geometry import geometry_of, to_world

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray

__all__ = ["Evolution"]

_MOST_FRAMES = 60
_MOST_BYTES = 2**30


class Evolution:
    """Collects a limited number of evenly spaced images of a run.

    At the limit every other frame is dropped, and from then on half as many images are kept.  The
    last image is always kept.

    Parameters
    ----------
    most_frames : int
        Maximum number of frames, the last image included.
    most_bytes : int
        Maximum memory; at least two frames are kept.
    """

    def __init__(self, most_frames: int = _MOST_FRAMES, most_bytes: int = _MOST_BYTES) -> None:
        self._most_frames = most_frames
        self._most_bytes = most_bytes
        self.clear()

    def clear(self) -> None:
        """Drop all images."""
        self._frames: list[NDArray[Any]] = []
        self._iterations: list[int] = []
        self._last: tuple[int, NDArray[Any]] | None = None
        self._seen = 0
        self._step = 1

    @property
    def iterations(self) -> tuple[int, ...]:
        """Iteration of each frame."""
        last = () if self._last is None else (self._last[0],)
        return (*self._iterations, *last)

    def add(self, iteration: int, picture: NDArray[Any]) -> None:
        """Add an image.

        Parameters
        ----------
        iteration : int
            Number of evaluations so far.
        picture : ndarray
            Data for the result layer (`Plane.restore`); not copied, so it must not change.
        """
        if self._last is not None and self._last[1].shape != picture.shape:
            self.clear()  # from another run
        if self._last is not None:
            if self._seen % self._step == 0:
                self._keep(*self._last)
            self._seen += 1
        self._last = (iteration, picture)

    def add_to(self, viewer: ViewerModel, result: Image) -> Image | None:
        """Add the frames as a layer over the result, with time as its first axis.

        Parameters
        ----------
        viewer : ViewerModel
            The viewer.
        result : Image
            Result layer, whose transform, appearance and units the frames get.

        Returns
        -------
        Image or None
            The layer; None if there are no images.
        """
        if self._last is None:
            return None
        # Time comes first; axes of length one stay, as they place a plane in a stack.
        data = np.stack([*self._frames, self._last[1]])
        look = {} if result.rgb else {"colormap": result.colormap}
        return viewer.add_image(
            data,
            name=f"{result.name} evolution",
            rgb=result.rgb,
            contrast_limits=result.contrast_limits,
            gamma=result.gamma,
            metadata={"napari_nst_iterations": list(self.iterations)},
            **_with_time(result),
            **look,
        )

    def _keep(self, iteration: int, picture: NDArray[Any]) -> None:
        room = max(min(self._most_frames, self._most_bytes // max(picture.nbytes, 1)) - 1, 1)
        self._iterations.append(iteration)
        self._frames.append(picture)
        while len(self._frames) > room:
            del self._frames[1::2], self._iterations[1::2]
            self._step *= 2


def _with_time(layer: Image) -> dict[str, Any]:
    """Return the transform of a layer with a time axis of scale 1 before the others."""
    # All but scale and translation: napari's rotation and shear depend on the number of axes.
    own = Affine(scale=layer.scale, translate=layer.translate, ndim=layer.ndim)
    affine = np.eye(layer.ndim + 2)
    affine[1:, 1:] = to_world(geometry_of(layer)).compose(own.inverse).affine_matrix
    # napari's default labels are "-2", "-1".
    plain = all(label.removeprefix("-").isdecimal() for label in layer.axis_labels)
    return {
        "scale": (1.0, *layer.scale),
        "translate": (0.0, *layer.translate),
        "affine": affine,
        "units": ("pixel", *layer.units),
        "axis_labels": None if plain else ("time", *layer.axis_labels),
    }
