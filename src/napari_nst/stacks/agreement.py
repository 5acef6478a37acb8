"""Agreement of neighbouring planes: initial images and settings of each plane."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from skimage import transform

from napari_nst.engine.optim.schedule import LEARNING_RATE
from napari_nst.engine.resources import costs
from napari_nst.engine.resources.costs import Cost
from napari_nst.errors import InputError, abridged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_nst.settings import StyleTransferSettings

__all__ = ["StartFrom", "check_start_from", "cost", "plane_settings", "warm_start"]

StartFrom = Literal["previous", "content"]

# Chosen by benchmarks/stacks.py.
_SHARE_OF_ITERATIONS = 0.4
_FEWEST = 20  # iterations, if the first plane has as many
_SHARE_OF_RATE = 0.25


def check_start_from(settings: StyleTransferSettings, start_from: str) -> StartFrom:
    """Return what planes start from, validated.

    Raises
    ------
    InputError
        If it is unknown, or the settings need an initial image.
    """
    if start_from not in ("previous", "content"):
        raise InputError(
            f"start_from is {abridged(start_from)}; it must be 'previous' or 'content'."
        )
    if settings.init == "image":
        raise InputError(
            "init is 'image', and a stack has no initial image; choose 'content', 'noise' or "
            "'style'."
        )
    return "previous" if start_from == "previous" else "content"


def plane_settings(
    settings: StyleTransferSettings, plane: int, start_from: StartFrom
) -> StyleTransferSettings:
    """Return the settings of a plane.

    Parameters
    ----------
    settings : StyleTransferSettings
        Settings of the first plane, and of all planes with ``start_from="content"``.
    plane : int
        Index of the plane.
    start_from : {"previous", "content"}
        What a plane starts from.

    Notes
    -----
    A plane that starts from the previous one has its composition, and its strokes where nothing
    moved.  Coarse scales would change both, so later planes have one scale, two fifths of the
    iterations, and a quarter of the learning rate: Adam's first steps move every pixel by the
    learning rate, however good the initial image is.
    """
    if plane == 0 or start_from == "content":
        return settings
    rate = settings.learning_rate
    if settings.optimizer == "adam":
        rate = (rate or LEARNING_RATE) * _SHARE_OF_RATE
    iterations = max(round(settings.iterations * _SHARE_OF_ITERATIONS), _FEWEST)
    return settings.replace(
        init="image",
        scales=1,
        iterations=min(iterations, settings.iterations),
        learning_rate=rate,
    )


def warm_start(
    result: NDArray[Any], content: NDArray[Any], following: NDArray[Any]
) -> NDArray[np.float32]:
    """Return the initial image of the next plane: a result plus the change of the content.

    Parameters
    ----------
    result : ndarray
        Result of the previous plane; uint8, uint16 or floats in [0, 1].
    content, following : ndarray
        Content of the previous and of the next plane.

    Returns
    -------
    ndarray
        Float32 in [0, 1], of the result's shape; alpha is that of the next plane.

    Notes
    -----
    Where nothing changed, it is the result.  Colours under alpha 0 are missing values.
    """
    (before, _), (now, alpha), (picture, _) = map(_colors, (content, following, result))
    change = now - before
    if change.shape[:2] != picture.shape[:2]:  # the result has the working size
        change, now, alpha = (_resized(each, picture.shape) for each in (change, now, alpha))
    start = np.clip(picture + change, 0, 1)
    # Replace values that are missing in one of the three by the content, or else by the mean.
    start = np.where(np.isfinite(start), start, now)
    fill = start[np.isfinite(start)].mean() if np.isfinite(start).any() else 0.5
    start = np.where(np.isfinite(start), start, fill)
    if alpha.size:
        start = np.concatenate([start, alpha], axis=-1)
    return start.astype(np.float32)


def cost(
    settings: StyleTransferSettings,
    height: int,
    width: int,
    device: str,
    styles: Iterable[tuple[int, int]] = (),
    *,
    planes: int,
    start_from: StartFrom = "previous",
) -> Cost:
    """Estimate time and memory of a stack, as `costs.estimate` does for one image.

    Parameters
    ----------
    settings, height, width, device, styles
        As for one plane.
    planes : int
        Number of planes, the first included.
    start_from : {"previous", "content"}
        What a plane starts from.
    """
    styles = tuple(styles)
    first, later = (
        costs.estimate(plane_settings(settings, plane, start_from), height, width, device, styles)
        for plane in (0, 1)
    )
    operations = first.operations + (planes - 1) * later.operations
    return Cost(operations, max(first.memory, later.memory if planes > 1 else 0))


def _colors(image: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return an image as float32 in [0, 1], NaN where alpha is 0, and its alpha."""
    values: NDArray[np.float32] = np.asarray(image, np.float32)
    if image.dtype.kind == "u":
        values = values / np.float32(np.iinfo(image.dtype).max)
    if values.ndim == 2:
        return values, values[..., :0]
    colors, alpha = values[..., :3], values[..., 3:]
    return np.where(alpha == 0, np.nan, colors) if alpha.size else colors, alpha


def _resized(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Resample values to a height and width, ignoring missing ones."""
    if not values.size:
        return values
    resize: Any = partial(
        transform.resize, output_shape=(*shape[:2], *values.shape[2:]), anti_aliasing=True
    )
    known = np.isfinite(values)
    if known.all():
        return np.asarray(resize(values))
    share = resize(known.astype(values.dtype))
    summed = resize(np.where(known, values, 0))
    return np.where(share > 0, summed / np.where(share > 0, share, 1), np.nan)
