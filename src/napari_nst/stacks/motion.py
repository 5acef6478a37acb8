"""Motion between two planes: optical flow, and where it can be trusted."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from skimage import filters, registration, transform

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "FlowMethod",
    "Motion",
    "carry",
    "flow_method",
    "motion_between",
    "motion_versions",
]

FlowMethod = Literal["dis", "tvl1"]

_RANGE = (0.1, 99.9)  # percentiles of both images that become black and white
_ALIKE = 0.1  # share of that range: a smaller difference is no other object
_SMALLEST = 12  # pixels of the longest side that OpenCV's DIS accepts

# Of DIS; the presets stop at half or a quarter of the resolution, and are 3 to 10 times less exact.
_FINEST_SCALE, _DESCENT_ITERATIONS, _STRIDE, _REFINEMENTS = 0, 25, 3, 10


class Motion(NamedTuple):
    """Motion from an earlier image to a later one, at the pixels of the later one.

    Attributes
    ----------
    flow : ndarray
        Shape (H, W, 2), float32, in pixels: rows and columns from a pixel to its place in the
        earlier image.
    visible : ndarray
        Shape (H, W), bool: where the pixel is visible in the earlier image, too.
    reliability : ndarray
        Shape (H, W), float32: 1 where it is visible, and not at the boundary of a motion.
    """

    flow: NDArray[np.float32]
    visible: NDArray[np.bool_]
    reliability: NDArray[np.float32]


def flow_method(required: FlowMethod | None = None) -> FlowMethod:
    """Return the required method, or else "dis" if OpenCV is installed and "tvl1" if it is not.

    Raises
    ------
    InputError
        If OpenCV is required and not installed.
    """
    has_opencv = find_spec("cv2") is not None
    if required == "dis" and not has_opencv:
        raise InputError(
            "The motion is estimated with OpenCV here, as in the planes that are finished, and "
            "OpenCV is not installed: install it with 'pip install napari-nst[motion]', or start "
            "again."
        )
    return required or ("dis" if has_opencv else "tvl1")


def motion_versions(method: FlowMethod | None) -> dict[str, str]:
    """Return the versions of the packages that estimate and carry a motion; none without one."""
    if method is None:
        return {}
    found = {"scikit-image": version("scikit-image")}
    if method == "dis":
        import cv2

        found["opencv"] = cv2.__version__
    return found


def motion_between(
    earlier: NDArray[np.float32], later: NDArray[np.float32], method: FlowMethod | None = None
) -> Motion:
    """Estimate the motion between two grey images.

    Parameters
    ----------
    earlier, later : ndarray
        Shape (H, W), floats of any range; NaN where a value is missing.
    method : {"dis", "tvl1"}, optional
        Dense inverse search (Kroeger et al., arXiv 1603.03590) by OpenCV, or TV-L1 (Zach et al.
        2007) by scikit-image, which takes eight times as long.  None: that of `flow_method`.

    Notes
    -----
    A pixel is not visible where forward and backward flow disagree (Ruder et al., arXiv 1604.08610,
    section 4.2), where the images differ although the flow says that they show the same, outside
    the earlier image, and at missing values.  The second is not in the paper: a smooth flow also
    spans what was uncovered, and misses objects that are small and fast.
    """
    method = method or flow_method()
    first, second = _normalized(earlier, later)
    if max(first.shape) < _SMALLEST:
        method = "tvl1"
    backward, forward = _flow(second, first, method), _flow(first, second, method)
    visible = _consistent(backward, forward) & _alike(first, second, backward)
    visible &= np.isfinite(later)
    rows, columns = _places(backward)
    height, width = first.shape
    # Half a pixel outside: motions of a fraction of a pixel leave no border behind.
    visible &= (rows >= -0.5) & (rows <= height - 0.5)
    visible &= (columns >= -0.5) & (columns <= width - 0.5)
    known = np.isfinite(earlier).astype(np.float32)
    visible &= carry(known, backward, order=1) > 1 - 1e-3
    return Motion(backward, visible, (visible & ~_at_boundaries(backward)).astype(np.float32))


def carry(
    image: NDArray[np.float32], flow: NDArray[np.float32], *, order: int = 3
) -> NDArray[np.float32]:
    """Return an earlier image carried along a flow.

    Parameters
    ----------
    image : ndarray
        Shape (H, W) or (H, W, C).
    flow : ndarray
        Shape (H, W, 2), as in `Motion`.
    order : int
        Order of the interpolation; 0 for labels.  Cubic by default: repeated linear interpolation
        would blur.
    """
    places = np.stack(_places(flow))

    def carried(plane: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(
            transform.warp(plane, places, order=order, mode="edge", preserve_range=True)
        )

    if image.ndim == 2:
        return carried(image).astype(image.dtype)
    parts = [carried(image[..., channel]) for channel in range(image.shape[2])]
    return np.stack(parts, axis=-1).astype(image.dtype)


def _normalized(
    earlier: NDArray[np.float32], later: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both images in [0, 1] by one range, missing values filled with the mean."""
    values = np.concatenate([image[np.isfinite(image)] for image in (earlier, later)])
    if not values.size:
        return np.zeros_like(earlier), np.zeros_like(later)
    low, high = np.percentile(values, _RANGE)
    mean = values.mean()

    def normalized(image: NDArray[np.float32]) -> NDArray[np.float32]:
        filled = np.where(np.isfinite(image), image, mean)
        unit = np.clip((filled - low) / max(high - low, 1e-6), 0, 1)
        return np.asarray(unit, np.float32)

    return normalized(earlier), normalized(later)


def _flow(
    start: NDArray[np.float32], end: NDArray[np.float32], method: FlowMethod
) -> NDArray[np.float32]:
    """Return the displacement of each pixel of `start` to its place in `end`."""
    if method == "tvl1":
        flow = np.moveaxis(registration.optical_flow_tvl1(start, end), 0, -1)
        return np.ascontiguousarray(flow, np.float32)
    import cv2

    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(_FINEST_SCALE)
    search.setGradientDescentIterations(_DESCENT_ITERATIONS)
    search.setPatchStride(_STRIDE)
    search.setVariationalRefinementIterations(_REFINEMENTS)
    pair = [np.rint(255 * image).astype(np.uint8) for image in (start, end)]
    by_x_and_y: Any = search.calc(pair[0], pair[1], None)  # type: ignore[call-overload]
    return np.ascontiguousarray(by_x_and_y[..., ::-1], np.float32)


def _places(flow: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the row and the column in the earlier image of each pixel."""
    rows, columns = np.indices(flow.shape[:2], np.float64)
    return rows + flow[..., 0], columns + flow[..., 1]


def _consistent(backward: NDArray[np.float32], forward: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where backward and forward flow cancel (section 4.2 of arXiv 1604.08610)."""
    there = carry(forward, backward, order=1)
    squared = np.square(there + backward).sum(axis=-1)
    lengths = np.square(there).sum(axis=-1) + np.square(backward).sum(axis=-1)
    return np.asarray(squared <= 0.01 * lengths + 0.5)


def _alike(
    earlier: NDArray[np.float32], later: NDArray[np.float32], flow: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Return where the earlier image, carried along, is like the later one, up to its noise."""
    differences = filters.gaussian(np.abs(carry(earlier, flow, order=1) - later), 1)
    return np.asarray(differences <= max(_ALIKE, 3 * float(np.median(differences))))


def _at_boundaries(flow: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where the flow changes abruptly (section 4.2 of arXiv 1604.08610)."""
    slopes = sum(np.square(slope).sum(axis=-1) for slope in np.gradient(flow, axis=(0, 1)))
    lengths = np.square(flow).sum(axis=-1)
    return np.asarray(slopes > 0.01 * lengths + 0.002)
