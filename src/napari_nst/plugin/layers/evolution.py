"""The pictures of a run on its way, thinned evenly and kept as one layer.  No Qt here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.transforms import Affine

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray

__all__ = ["Evolution"]

_MOST_FRAMES = 60
_MOST_BYTES = 2**30


class Evolution:
    """Collects the pictures of a run: few enough to keep, and evenly spaced in its iterations.

    When there would be too many, every other one is dropped, and from then on only every other
    one is taken: the frames kept are always a fixed number of pictures apart, and between half of
    the most and the most.  The last picture of the run is kept in any case.

    Parameters
    ----------
    most_frames : int
        At the most so many, the last picture included.
    most_bytes : int
        And at the most so much memory; two frames are kept whatever they take.
    """

    def __init__(self, most_frames: int = _MOST_FRAMES, most_bytes: int = _MOST_BYTES) -> None:
        self._most_frames = most_frames
        self._most_bytes = most_bytes
        self.clear()

    def clear(self) -> None:
        """Forget every picture: another run begins."""
        self._frames: list[NDArray[Any]] = []
        self._iterations: list[int] = []
        self._last: tuple[int, NDArray[Any]] | None = None
        self._seen = 0
        self._step = 1

    @property
    def iterations(self) -> tuple[int, ...]:
        """The iteration of each frame."""
        last = () if self._last is None else (self._last[0],)
        return (*self._iterations, *last)

    def add(self, iteration: int, picture: NDArray[Any]) -> None:
        """Take a picture, all of the same shape.

        Parameters
        ----------
        iteration : int
            Evaluations done when it was made.
        picture : ndarray
            As data for the result layer (`Plane.restore`).  It is not copied: nobody may write to
            it any more.
        """
        if self._last is not None and self._last[1].shape != picture.shape:
            self.clear()  # another run's, of another layer
        if self._last is not None:
            if self._seen % self._step == 0:
                self._keep(*self._last)
            self._seen += 1
        self._last = (iteration, picture)

    def add_to(
        self, viewer: ViewerModel, result: Image, name: str = "", **metadata: Any
    ) -> Image | None:
        """Add the frames as a layer over the result, with time as its first axis.

        Parameters
        ----------
        viewer : ViewerModel
            Where to.
        result : Image
            The result layer: the frames take its place, look and units.
        name : str
            Of the layer; by default the result's, and "evolution".
        **metadata
            More for the layer's metadata, beside the iteration of each frame.

        Returns
        -------
        Image or None
            The layer; None if there is no picture yet.
        """
        if self._last is None:
            return None
        # Axes of length one, which place a plane in a stack, stay: time goes in front of all.
        data = np.stack([*self._frames, self._last[1]])
        look = {} if result.rgb else {"colormap": result.colormap}
        return viewer.add_image(
            data,
            name=name or f"{result.name} evolution",
            rgb=result.rgb,
            contrast_limits=result.contrast_limits,
            gamma=result.gamma,
            metadata={"napari_nst_iterations": list(self.iterations), **metadata},
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
            if room == 1:
                break


def _with_time(layer: Image) -> dict[str, Any]:
    """Return the geometry of a layer with an axis of time, of scale 1, before the others."""
    labels = tuple(label.removeprefix("-") for label in layer.axis_labels)
    plain = all(label.isdecimal() for label in labels)  # napari's own names: "-2", "-1"
    return {
        "scale": (1.0, *layer.scale),
        "translate": (0.0, *layer.translate),
        "affine": _lifted(layer),
        "units": ("pixel", *layer.units),
        "axis_labels": None if plain else ("time", *layer.axis_labels),
    }


def _lifted(layer: Image) -> NDArray[np.float64]:
    """Return the map from a layer's data to the world, but for scale and translation, with time.

    napari writes rotation and shear in its own way for each number of axes; a matrix is the same
    in all: affine @ (rotate and shear) about the layer's origin.
    """
    own = Affine(scale=layer.scale, translate=layer.translate, ndim=layer.ndim).affine_matrix
    whole = (
        layer.affine.affine_matrix
        @ Affine(
            scale=layer.scale,
            translate=layer.translate,
            rotate=layer.rotate,
            shear=layer.shear,
            ndim=layer.ndim,
        ).affine_matrix
    )
    lifted = np.eye(layer.ndim + 2)
    lifted[1:, 1:] = whole @ np.linalg.inv(own)
    return lifted
