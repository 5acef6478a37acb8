"""Style transfer from layers to a layer in one call, without a viewer or Qt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import Dims
from napari.layers import Image, Labels, Layer

from napari_nst.engine.optim.sizes import automatic_size
from napari_nst.errors import InputError
from napari_nst.plugin.layers.geometry import View, full_shape, middle_pixel
from napari_nst.plugin.provenance.origins import origins_of_job
from napari_nst.plugin.run.job_run import PictureRun
from napari_nst.plugin.run.layer_jobs import (
    LayerPlane,
    job_from_layers,
    make_result_layer,
    result_metadata,
    with_labels,
)
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_nst.engine.run.snapshots import Snapshot
    from napari_nst.plugin.layers.value_range import LayerIntensities
    from napari_nst.plugin.run.job import Job

__all__ = ["longest_side", "stylize_job", "stylize_layer"]


def stylize_layer(
    content: Image,
    style: Image | Sequence[Image],
    settings: StyleTransferSettings | None = None,
    *,
    plane: int | Sequence[int] | None = None,
    point: Sequence[float] | Dims | None = None,
    displayed: tuple[int, int] | None = None,
    intensities: LayerIntensities = "limits",
    init_image: Image | None = None,
    content_labels: Labels | None = None,
    style_labels: Sequence[Labels | None] | None = None,
    callback: Callable[[Snapshot], object] | None = None,
    **choices: Any,
) -> Image:
    """Transfer the style of Image layers to a plane of another, and return the result as a layer.

    No viewer is needed.  The result can be added to one with ``viewer.add_layer``.

    Parameters
    ----------
    content : napari.layers.Image
        Grey or RGB(A), of at least two dimensions, of one level or several; any real dtype.  Of
        lazy data only the plane is read.
    style : napari.layers.Image or sequence of napari.layers.Image
        One or several such layers.
    settings : StyleTransferSettings, optional
        The settings; `choices` override single ones.
    plane : int or sequence of int, optional
        Index of the content's plane on each hidden axis, in order; negative ones count from the
        end.  The default, without `point`, is the middle.
    point : sequence of float or napari.components.Dims, optional
        Alternative to `plane`: world coordinates of a point in it, one for each axis of the
        content, in the content's units.  Or ``viewer.dims`` for the plane that a viewer shows,
        with its displayed axes, units and slice thickness.
    displayed : tuple of int, optional
        Axes of the content that are rows and columns, by default the last two.  Styles are taken
        at the same point of the world, as a viewer would show them.
    intensities : {"limits", "percentiles", "displayed"}
        How values become black and white.  By the contrast limits, or by percentiles 0.1 and 99.9
        of the whole layer: a grey content gives a grey result in its own dtype and range.  Or as
        displayed, with contrast limits, gamma and colormap: the result is RGB, uint8.
    init_image : napari.layers.Image, optional
        Result to continue from.
    content_labels, style_labels : napari.layers.Labels, optional
        Regions, as for `napari_nst.stylize`.  A pixel has the label nearest to it in the world,
        and 0 outside the Labels layer.
    callback : callable, optional
        Called with each `Snapshot`.
    **choices
        Settings by name, for example ``size=512, style_weight=2``.

    Returns
    -------
    napari.layers.Image
        Layer in the place of the content's plane; ``metadata["napari_nst"]`` is the record of
        the run.

    Raises
    ------
    InputError
        If a layer is of the wrong type or has no plane at that point.
    WeightsError, OutOfMemoryError, StyleTransferError
        As `napari_nst.stylize` does.

    Examples
    --------
    >>> import napari_nst
    >>> from napari.layers import Image
    >>> from skimage.data import camera
    >>> photo = Image(camera(), name="camera")
    >>> wood = Image(napari_nst.samples.style_image("woodcut"), name="wood")
    >>> result = napari_nst.stylize_layer(photo, wood, size=128, iterations=20)
    >>> result.name, result.data.dtype.name, result.data.shape
    ('camera x wood', 'uint8', (512, 512))
    """
    styles = [style] if isinstance(style, Layer) else list(style)
    _check_kind(Image, [content, *styles, *([] if init_image is None else [init_image])])
    labels = [one for one in (content_labels, *(style_labels or ())) if one is not None]
    _check_kind(Labels, labels)
    if not styles:
        raise InputError("There is no style: give one Image layer, or several.")
    if choices:
        settings = (settings or StyleTransferSettings()).replace(**choices)
    settings = settings or StyleTransferSettings()
    if style_labels is not None:
        if content_labels is None:
            raise InputError("style_labels go with content_labels: give both, or none.")
        if len(style_labels) != len(styles):
            raise InputError(
                f"style_labels has {len(style_labels)} entries for {len(styles)} styles; give one "
                "for each, None where a style has no labels."
            )
    layers = [content, *styles, *labels, *([] if init_image is None else [init_image])]
    view = _view(content, layers, plane, point, displayed)
    job = job_from_layers(
        LayerPlane(content, view),
        [LayerPlane(one, view) for one in styles],
        settings,
        longest=longest_side(settings),
        intensities=intensities,
        init_image=init_image,
    )
    return stylize_job(with_labels(job, content_labels, style_labels), callback)


def _check_kind(kind: type, layers: Sequence[Any]) -> None:
    for layer in layers:
        if not isinstance(layer, kind):
            name = getattr(layer, "name", "")
            what = f"{name} is" if isinstance(name, str) and name else "A layer is"
            raise InputError(
                f"{what} of type {type(layer).__name__}; it must be a napari layer of type "
                f"{kind.__name__}."
            )


def _view(
    content: Image,
    layers: Sequence[Layer],
    plane: int | Sequence[int] | None,
    point: Sequence[float] | Dims | None,
    displayed: tuple[int, int] | None,
) -> View:
    """Return the view of a viewer with these layers that shows the plane."""
    ndim = content.ndim
    if ndim < 2:
        raise InputError(f"{content.name} has {ndim} dimension; it must have at least two.")
    if point is not None and plane is not None:
        raise InputError("Give either plane or point, not both.")
    if isinstance(point, Dims):
        if displayed is not None:
            raise InputError("Give either displayed or a point that is viewer.dims, not both.")
        return _with_axes_of(layers, View.from_dims(point))
    shown = tuple(axis + ndim if axis < 0 else axis for axis in displayed or (-2, -1))
    if len(shown) != 2 or len(set(shown)) != 2 or not set(shown) <= set(range(ndim)):
        raise InputError(
            f"displayed is {displayed!r}; it must be two axes of the {ndim} of {content.name}."
        )
    others = [axis for axis in range(ndim) if axis not in shown]
    if point is None:
        place = middle_pixel(content)
        place[others] = _places(content, others, plane)
        point = content.data_to_world(place)
    elif len(point) != ndim:
        raise InputError(
            f"point has {len(point)} coordinates; {content.name} has {ndim} axes, and it must "
            "have one for each."
        )
    view = View(ndim, tuple(map(float, point)), (*others, *shown), units=tuple(content.units))
    view = _with_axes_of(layers, view)
    return view if _agree(layers, view) else replace(view, units=None)


def _with_axes_of(layers: Sequence[Layer], view: View) -> View:
    """Return a view with as many axes as the layer with most, like a viewer of these layers."""
    deepest: Any = max(layers, key=lambda layer: int(layer.ndim))
    extra = deepest.ndim - view.ndim
    if extra <= 0:
        return view
    begin = deepest.data_to_world(middle_pixel(deepest))[:extra]
    none = (0.0,) * extra
    return View(
        deepest.ndim,
        (*map(float, begin), *view.point),
        (*range(extra), *(axis + extra for axis in view.order)),
        view.margin_left and (*none, *view.margin_left),
        view.margin_right and (*none, *view.margin_right),
        view.units and (*deepest.units[:extra], *view.units),
    )


def _agree(layers: Sequence[Layer], view: View) -> bool:
    """Return whether the units of all layers can be converted to those of a view."""
    return all(
        own.is_compatible_with(unit)
        for layer in layers
        for own, unit in zip(reversed(layer.units), reversed(view.units or ()), strict=False)
    )


def _places(content: Image, others: list[int], plane: int | Sequence[int] | None) -> Any:
    if plane is None:
        return middle_pixel(content)[others]
    full = full_shape(content)
    places = [plane] if isinstance(plane, int | np.integer) else list(plane)
    sizes = [full[axis] for axis in others]
    if len(places) != len(sizes) or any(
        not -size <= place < size for place, size in zip(places, sizes, strict=True)
    ):
        raise InputError(
            f"There is no plane {plane!r} in {content.name}: its axes that are not displayed have "
            f"the lengths {tuple(sizes)}."
        )
    return np.array(places, int) % np.array(sizes, int)


def longest_side(settings: StyleTransferSettings) -> int | None:
    """Return the longest side of a run on this machine; None: the content's own."""
    if settings.size != "auto":
        return settings.size
    from napari_nst.engine.resources.device import Device

    return automatic_size(Device.from_name(settings.device).torch_device.type)


def stylize_job(job: Job, callback: Callable[[Snapshot], object] | None = None) -> Image:
    """Run a job of one plane, and return its result as a layer with the record.

    The callback is called with each `Snapshot`.
    """
    origins = origins_of_job(job)
    job_run = PictureRun(job)
    for snapshot in job_run.run:
        if callback is not None:
            callback(snapshot)
    result = job_run.end()
    assert result.picture is not None
    return make_result_layer(job, result.picture, result_metadata(result.record, origins))
