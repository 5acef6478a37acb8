"""Style transfer in one function call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.errors import InputError
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_nst.engine.run.snapshots import Snapshot, StyleTransferResult
    from napari_nst.record import RunRecord

__all__ = ["stylize"]


def stylize(
    content: Any,
    style: Any,
    settings: StyleTransferSettings | None = None,
    *,
    init_image: Any = None,
    init_reliability: Any = None,
    content_labels: Any = None,
    style_labels: Any = None,
    record: RunRecord | None = None,
    replacements: Sequence[Any] = (),
    callback: Callable[[Snapshot], object] | None = None,
    **choices: Any,
) -> StyleTransferResult:
    """Give a content image the style of another image.

    Parameters
    ----------
    content : array_like or RangedImage
        Shape (H, W), (H, W, 3) or (H, W, 4); uint8, uint16, or floats in [0, 1].  The range of
        uint16 is that of the bits its largest value needs: 8, 10, 12, 14 or 16; the result times
        65535 has the content's own values all the same.  With alpha, here and in the other images,
        a pixel is weighted by its alpha, and colours under alpha 0 are ignored.
    style : array_like or sequence of array_like
        One or several such images, of any size.
    settings : StyleTransferSettings, optional
        All settings; `choices` override single ones.
    init_image : array_like, optional
        Initial image, with ``init="image"``; its values have the range of the content.
    init_reliability : array_like, optional
        Shape (H, W) of `init_image`, values in [0, 1]: weight of each pixel in the temporal loss,
        which holds the result to `init_image` there.
    content_labels : array_like, optional
        Regions of the content: integers of 0 or more, of its height and width.
    style_labels : sequence of array_like or None, optional
        Regions of each style, or None.  `assignment.assign_styles` says which label takes its
        style from where.
    record : RunRecord, optional
        Run to repeat, with its steering, instead of `settings`; on the same machine, with the same
        versions, the result has the same bytes.
    replacements : sequence of array_like, optional
        With `record`, the styles and labels that replaced others during that run, in any order.
    callback : callable, optional
        Called with each `Snapshot`.  An exception it raises ends the run.
    **choices
        Settings by name, for example ``size=512, style_weight=2``.

    Returns
    -------
    StyleTransferResult
        Its ``image`` is float32 in [0, 1].

    Raises
    ------
    InputError, WeightsError, OutOfMemoryError, StyleTransferError
        As `StyleTransfer` does.

    Examples
    --------
    >>> import napari_nst
    >>> from skimage.data import astronaut
    >>> wood = napari_nst.samples.style_image("woodcut")
    >>> picture = napari_nst.stylize(astronaut(), wood, size=128, iterations=20).image
    """
    if record is not None:
        if settings is not None or choices:
            raise InputError("A record has its own settings; give either a record or settings.")
        settings = record.settings
    if choices:
        settings = (settings or StyleTransferSettings()).replace(**choices)
    run = StyleTransfer(
        content,
        style,
        settings,
        init_image=init_image,
        init_reliability=init_reliability,
        content_labels=content_labels,
        style_labels=style_labels,
        replay=record,
        replacements=replacements,
    )
    for snapshot in run:
        if callback is not None:
            callback(snapshot)
    return run.result()
