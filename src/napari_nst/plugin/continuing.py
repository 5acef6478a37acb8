"""Continue a run from its result, with the same inputs.  No Qt here."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer

from napari_nst.errors import InputError
from napari_nst.plugin.layers.geometry import View, full_shape, middle_pixel, shown_axes
from napari_nst.plugin.provenance.finding import (
    RunInput,
    RunInputs,
    find_layer,
    origin_of,
    require_layer,
)
from napari_nst.plugin.run.layer_jobs import (
    LayerPlane,
    check_init_image,
    job_from_layers,
    with_labels,
)
from napari_nst.plugin.stylize_layer import longest_side, stylize_job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image, Labels

    from napari_nst.plugin.layers.arrays import Plane
    from napari_nst.plugin.provenance.origins import Origin
    from napari_nst.settings import StyleTransferSettings

__all__ = ["continue_run"]

_ADVICE = ", or give the command the layer"


def continue_run(
    init_image: Image,
    layers: Sequence[Layer],
    view: View | None,
    *,
    content: Image | None = None,
    styles: Image | Sequence[Image] | None = None,
    settings: StyleTransferSettings | None = None,
    point: Sequence[float] | None = None,
    content_labels: Labels | None = None,
    style_labels: Sequence[Labels | None] | None = None,
) -> Image:
    """Continue from a result, and return the new result.

    Parameters
    ----------
    init_image : Image
        The result.
    layers : sequence of Layer
        Layers among which the inputs of the result's run are looked for.
    view : View or None
        What the viewer shows: for layers that are no inputs of the result's run, and for results
        that are whole stacks.
    content, styles, settings, content_labels, style_labels
        Override those of the result's run.
    point : sequence of float, optional
        World coordinates of the content's plane; overrides that of the result.

    Raises
    ------
    InputError
        If a layer is gone or has changed, or the result does not cover the content's plane.
    StyleTransferError
        If the run fails.
    """
    before = RunInputs.from_layer(init_image)
    content = content or _image(before.content, layers, init_image)
    if styles is None:
        styles = [_image(one, layers, init_image) for one in before.styles]
    elif isinstance(styles, Layer):
        styles = [styles]
    settings = settings or before.settings

    origin = None if before.start_from else origin_of(content, before.content)
    where = view if view is not None and content in layers else _middle_view(content)
    if origin is not None:
        where = _view_of(content, origin)
    if point is not None:
        where = replace(
            where,
            ndim=content.ndim,
            point=tuple(map(float, point)),
            order=_order(content, where),
        )
        origin = None
    job = job_from_layers(
        LayerPlane(content, where, _part_of(content, origin)),
        [
            _style_plane(style, before.styles[number : number + 1], where)
            for number, style in enumerate(styles)
        ],
        settings,
        longest=longest_side(settings),
        intensities=before.content.intensities,
        init_image=init_image,
    )
    assert job.init_image is not None
    check_init_image(job.content, job.init_image)

    on_content = _labels(content_labels, before.content_labels, layers, init_image, job.content)
    on_styles = None
    if on_content is not None:
        given = list(style_labels or ())
        used = list(before.style_labels or ()) if style_labels is None else []
        count = max(len(given), len(used))
        if count not in (0, len(job.styles)):
            raise InputError(
                f"There are labels on {count} styles and {len(job.styles)} styles: give "
                "style_labels with one entry for each style, None where it has no labels."
            )
        given, used = (each + [None] * (len(job.styles) - len(each)) for each in (given, used))
        on_styles = [
            _labels(own, known, layers, init_image, style)
            for own, known, style in zip(given, used, job.styles, strict=True)
        ]
        if not any(on_styles):
            on_styles = None
    return stylize_job(with_labels(job, on_content, on_styles))


def _style_plane(style: Image, before: Sequence[RunInput], view: View) -> LayerPlane:
    """Return the plane of a style that the earlier run took, or else the one in a view."""
    own = origin_of(style, before[0]) if before else None
    if own is not None:
        view = _view_of(style, own)
    elif style.ndim > view.ndim:
        view = _middle_view(style)
    return LayerPlane(style, view, _part_of(style, own))


def _labels(
    given: Labels | None,
    before: RunInput | None,
    layers: Sequence[Layer],
    result: Layer,
    image: Plane,
) -> Any:
    """Return the given labels, or the last labels of the earlier run."""
    if given is not None or before is None:
        return given
    layer = find_layer(before, layers)
    stored = before.stored_labels
    if layer is None and stored is not None and stored.data.shape == image.shape:
        return stored
    return layer or require_layer(before, layers, result, _ADVICE)


def _image(one: RunInput, layers: Sequence[Layer], result: Layer) -> Any:
    return require_layer(one, layers, result, _ADVICE)


def _view_of(layer: Image, origin: Origin) -> View:
    """Return the view in which an input was taken from a layer."""
    single, factors = origin.single_axes, _factors(layer, origin)
    point, margin = np.zeros(layer.ndim), np.zeros(layer.ndim)
    for axis in single:
        place, factor = origin.index[axis], factors[axis]
        first, end = (place, place + 1) if isinstance(place, int) else place
        if not isinstance(place, int):  # a thick slice from first to end
            margin[axis] = ((end - first) * factor - 1) / 2
        point[axis] = (first + end) / 2 * factor - 0.5
    shown = [axis for axis in range(layer.ndim) if axis not in single]
    order = (*single, *(reversed(shown) if origin.transposed else shown))
    at = np.array(layer.data_to_world(point))
    margins = tuple(map(float, np.array(layer.data_to_world(point + margin)) - at))
    return View(layer.ndim, tuple(map(float, at)), order, margins, margins)


def _part_of(layer: Image, origin: Origin | None) -> dict[int, tuple[int, int]] | None:
    """Return the part that was taken of the shown axes, in pixels of level zero; None: all."""
    if origin is None:
        return None
    full = full_shape(layer)
    part = {}
    for axis, (place, f) in enumerate(zip(origin.index, _factors(layer, origin), strict=False)):
        if axis in origin.single_axes:
            continue
        if place is None:
            part[axis] = (0, full[axis])
        else:
            part[axis] = (int(place[0] * f), min(math.ceil(place[1] * f), full[axis]))
    return part


def _factors(layer: Image, origin: Origin) -> tuple[float, ...]:
    """Return for each axis the pixels of level zero in a pixel of the origin's level."""
    if origin.level is None:
        return (1.0,) * int(layer.ndim)
    factors = np.asarray(layer.downsample_factors[origin.level], float)
    return tuple(float(factor) for factor in factors[: int(layer.ndim)])


def _middle_view(layer: Image) -> View:
    """Return the view of the middle plane of a layer."""
    point = tuple(map(float, layer.data_to_world(middle_pixel(layer))))
    return View(layer.ndim, point, tuple(range(layer.ndim)))


def _order(layer: Image, view: View) -> tuple[int, ...]:
    """Return the order of a layer's own axes that shows the same axes as a view."""
    shown = shown_axes(layer, view)
    return (*(axis for axis in range(layer.ndim) if axis not in shown), *shown)
