"""Initial image of a plane, made from the planes before it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from skimage import color, transform

from napari_nst.stacks.motion import carry, motion_between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_nst.stacks.motion import FlowMethod, Motion

__all__ = ["Earlier", "Initial", "motion_of", "warm_start", "warped_start"]


class Earlier(NamedTuple):
    """An earlier plane, and the motion from it.

    Attributes
    ----------
    content : ndarray
        Its content.
    result : ndarray
        Its result; uint8, uint16 or floats in [0, 1].
    motion : Motion
        The motion from it to the plane that starts.
    """

    content: NDArray[Any]
    result: NDArray[Any]
    motion: Motion


class Initial(NamedTuple):
    """Initial image of a plane.

    Attributes
    ----------
    image : ndarray
        Float32 in [0, 1]; alpha is that of the plane.
    reliability : ndarray or None
        Shape (H, W), float32 in [0, 1]: weight of each pixel in the temporal loss; None: no loss.
    """

    image: NDArray[np.float32]
    reliability: NDArray[np.float32] | None


def warm_start(
    result: NDArray[Any], before: NDArray[Any], content: NDArray[Any]
) -> NDArray[np.float32]:
    """Return the initial image of a plane: the result before it plus the change of the content.

    Parameters
    ----------
    result : ndarray
        Result of the plane before; uint8, uint16 or floats in [0, 1].
    before, content : ndarray
        Content of the plane before, and of the plane.

    Returns
    -------
    ndarray
        Float32 in [0, 1], of the result's shape; alpha is that of the plane.

    Notes
    -----
    Where nothing changed, it is the result.  Colours under alpha 0 are missing values.
    """
    (picture, _), (then, _), (now, alpha) = map(_colors, (result, before, content))
    change, size = now - then, picture.shape[:2]
    if change.shape[:2] != size:  # the result has the working size
        change, now, alpha = (_resized(each, size) for each in (change, now, alpha))
    return _assembled(np.clip(picture + change, 0, 1), now, alpha, content.ndim)


def motion_of(
    earlier: NDArray[Any], later: NDArray[Any], size: tuple[int, int], method: FlowMethod | None
) -> Motion:
    """Return the motion between the contents of two planes at a size; see `motion_between`."""
    first, second = (_grey(_resized(_colors(each)[0], size)) for each in (earlier, later))
    return motion_between(first, second, method)


def warped_start(
    earlier: Sequence[Earlier], content: NDArray[Any], size: tuple[int, int]
) -> Initial:
    """Return the initial image of a plane: earlier results carried along the motion.

    Parameters
    ----------
    earlier : sequence of Earlier
        Planes before it, the nearest first.
    content : ndarray
        Content of the plane.
    size : tuple of int
        Height and width of the motions, which the initial image has.

    Notes
    -----
    A pixel comes from the nearest plane in which it is reliable, else from the nearest in which it
    is visible, else from the content, in the colours of the nearest result: later planes have too
    few iterations to recolour it.  With weights of 0 and 1, the temporal loss to this one image
    is, up to a constant, the sum of the losses to all results with the long-term weights of Ruder
    et al. (arXiv 1604.08610, section 4.3).
    """
    now, alpha = (_resized(each, size) for each in _colors(content))
    results = [_resized(_colors(plane.result)[0], size) for plane in earlier]
    before = _resized(_colors(earlier[0].content)[0], size)
    image = _recolored(now, before, results[0])
    reliability, found = np.zeros(size, np.float32), np.zeros(size, bool)
    for result, (_, _, motion) in zip(results, earlier, strict=True):
        carried = np.clip(carry(result, motion.flow), 0, 1)
        known = np.isfinite(carried).all(axis=-1)
        reliable = known & (reliability == 0) & (motion.reliability > 0)
        visible = known & motion.visible & ~found
        image = np.where((reliable | visible)[..., None], carried, image)
        reliability = np.where(reliable, motion.reliability, reliability)
        found |= reliable | visible
    return Initial(_assembled(image, now, alpha, content.ndim), reliability)


def _colors(image: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return colours (H, W, C) as float32 in [0, 1], NaN where alpha is 0, and alpha (H, W, A)."""
    values: NDArray[np.float32] = np.asarray(image, np.float32)
    if image.dtype.kind == "u":
        values = values / np.float32(np.iinfo(image.dtype).max)
    if values.ndim == 2:
        return values[..., None], values[..., None][..., 1:]
    colors, alpha = values[..., :3], values[..., 3:]
    return np.where(alpha == 0, np.nan, colors) if alpha.size else colors, alpha


def _recolored(
    content: NDArray[Any], before: NDArray[Any], result: NDArray[Any]
) -> NDArray[np.float32]:
    """Return a content with the affine change of colours between another one and its result."""
    known = np.isfinite(before).all(axis=-1) & np.isfinite(result).all(axis=-1)
    if not known.any():
        return content
    with_one = np.concatenate([before[known], np.ones((known.sum(), 1), before.dtype)], axis=-1)
    change, *_ = np.linalg.lstsq(with_one, result[known], rcond=1e-3)
    return np.asarray(np.clip(content @ change[:-1] + change[-1], 0, 1), np.float32)


def _grey(colors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the luminance of colours (H, W, C)."""
    return color.rgb2gray(colors) if colors.shape[2] == 3 else colors[..., 0]


def _assembled(
    image: NDArray[Any], now: NDArray[Any], alpha: NDArray[Any], ndim: int
) -> NDArray[np.float32]:
    """Return an image with alpha; missing values are filled with the content, or else the mean."""
    image = np.where(np.isfinite(image), image, now)
    known = np.isfinite(image)
    image = np.where(known, image, image[known].mean() if known.any() else 0.5)
    image = np.concatenate([image, alpha], axis=-1).astype(np.float32)
    return image[..., 0] if ndim == 2 else image


def _resized(values: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """Resample values (H, W, C) to a height and width, ignoring missing ones."""
    if values.shape[:2] == tuple(size):
        return values
    if not values.size:  # no alpha
        return np.empty((*size, 0), np.float32)
    resize: Any = partial(
        transform.resize, output_shape=(*size, values.shape[2]), anti_aliasing=True
    )
    known = np.isfinite(values)
    if known.all():
        return np.asarray(resize(values), np.float32)
    share = resize(known.astype(values.dtype))
    summed = resize(np.where(known, values, 0))
    return np.where(share > 0, summed / np.where(share > 0, share, 1), np.nan).astype(np.float32)
