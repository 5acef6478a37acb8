"""The whole of it in one call."""

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
    content_labels: Any = None,
    style_labels: Any = None,
    record: RunRecord | None = None,
    replacements: Sequence[Any] = (),
    callback: Callable[[Snapshot], object] | None = None,
    **choices: Any,
) -> StyleTransferResult:
    """Give the content image the style of another.

    Parameters
    ----------
    content : array_like or RangedImage
        Shape (H, W), (H, W, 3) or (H, W, 4); uint8, uint16, or floats in [0, 1].  Of uint16 as
        many bits count as its largest value needs: 8, 10, 12, 14 or 16; the result times 65535 has
        the content's own intensities all the same.  With alpha, here and in the other images, a
        pixel counts as much as it can be seen, and colours under alpha 0 count nothing.
    style : array_like or sequence of array_like
        One or several such images, of any size.
    settings : StyleTransferSettings, optional
        Every choice; `choices` change single ones.
    init_image : array_like, optional
        The image to start from, with ``init="image"``; its values mean what the content's do.
    content_labels : array_like, optional
        Integers of 0 or more, of the content's height and width: the regions.
    style_labels : sequence of array_like or None, optional
        For each style the labels painted on it, or None.  Which label takes its style from
        where says `assignment.assign_styles`.
    record : RunRecord, optional
        A run to do again, its steering included, instead of `settings`: on the same machine,
        with the same versions, to the same bytes.
    replacements : sequence of array_like, optional
        With `record`, the styles and labels that replaced others during that run, in any order.
    callback : callable, optional
        Called with each `Snapshot`.  An exception it raises ends the run.
    **choices
        Settings by name, for example ``size=512, style_weight=2``.

    Returns
    -------
    StyleTransferResult
        With ``image``, float32 in [0, 1].

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
        content_labels=content_labels,
        style_labels=style_labels,
        replay=record,
        replacements=replacements,
    )
    for snapshot in run:
        if callback is not None:
            callback(snapshot)
    return run.result()
