"""What makes neighbouring planes agree: where a plane starts, and how far it goes from there."""

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

__all__ = ["StartFrom", "carried", "check", "cost", "settings_of"]

StartFrom = Literal["previous", "content"]

# Chosen by benchmarks/stacks.py.
_SHARE_OF_ITERATIONS = 0.4
_FEWEST = 20  # iterations, if the first plane has as many
_SHARE_OF_RATE = 0.25


def check(settings: StyleTransferSettings, start_from: str) -> StartFrom:
    """Return what planes are to start from.

    Raises
    ------
    InputError
        If it is nothing they can start from, or the settings ask for a picture.
    """
    if start_from not in ("previous", "content"):
        raise InputError(
            f"start_from is {abridged(start_from)}; it must be 'previous' or 'content'."
        )
    if settings.init == "image":
        raise InputError(
            "init is 'image', which takes a picture, and a stack starts from none; choose "
            "'content', 'noise' or 'style'."
        )
    return "previous" if start_from == "previous" else "content"


def settings_of(
    settings: StyleTransferSettings, plane: int, start_from: StartFrom
) -> StyleTransferSettings:
    """Return the settings of one plane's run.

    Parameters
    ----------
    settings : StyleTransferSettings
        As asked for: those of the first plane, and of all with ``start_from="content"``.
    plane : int
        Which, from 0.
    start_from : {"previous", "content"}
        What a plane starts from.

    Notes
    -----
    A plane that starts from the one before it has its composition, and its strokes where nothing
    moved.  The coarse sizes would lay both out anew, so it is worked at in its full size only;
    for two fifths of the iterations; and Adam, whose first steps move every pixel by the learning
    rate however good it is, has a fourth of that.
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


def carried(
    result: NDArray[Any], content: NDArray[Any], following: NDArray[Any]
) -> NDArray[np.float32]:
    """Return what the following plane starts from: a result, changed as the content changes.

    Parameters
    ----------
    result : ndarray
        Of the plane before; uint8, uint16 or floats in [0, 1].
    content, following : ndarray
        That plane as it was, and the following one.

    Returns
    -------
    ndarray
        Float32 in [0, 1], of the result's shape; its alpha is the following plane's.

    Notes
    -----
    It is the result plus the difference of the two contents: the very result where nothing
    changed, and elsewhere its strokes on what is there now.  Colours under alpha 0 are missing
    values.
    """
    (before, _), (now, alpha), (picture, _) = map(_colors, (content, following, result))
    change = now - before
    if change.shape[:2] != picture.shape[:2]:  # the result has the size worked at
        change, now, alpha = (_resized(each, picture.shape) for each in (change, now, alpha))
    start = np.clip(picture + change, 0, 1)
    # Values that are missing in one of the three: what is there now, or else anything at all.
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
    """Return what a stack takes, as `costs.estimate` does for a picture.

    Parameters
    ----------
    settings, height, width, device, styles
        Of a plane.
    planes : int
        How many are to be done, the first one included.
    start_from : {"previous", "content"}
        What a plane starts from.
    """
    styles = tuple(styles)
    first, later = (
        costs.estimate(settings_of(settings, plane, start_from), height, width, device, styles)
        for plane in (0, 1)
    )
    operations = first.operations + (planes - 1) * later.operations
    return Cost(operations, max(first.memory, later.memory if planes > 1 else 0))


def _colors(image: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return an image as float32 in [0, 1], NaN where nothing can be seen, and its alpha."""
    values: NDArray[np.float32] = np.asarray(image, np.float32)
    if image.dtype.kind == "u":
        values = values / np.float32(np.iinfo(image.dtype).max)
    if values.ndim == 2:
        return values, values[..., :0]
    colors, alpha = values[..., :3], values[..., 3:]
    return np.where(alpha == 0, np.nan, colors) if alpha.size else colors, alpha


def _resized(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Resample values to a height and width; what is missing counts nothing."""
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
