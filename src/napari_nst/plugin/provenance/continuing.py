"""Continue a run from its result, with everything that the run was made of.  No Qt here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from napari.layers import Layer

from napari_nst.errors import InputError
from napari_nst.plugin.layers.arrays import take_plane, take_start
from napari_nst.plugin.layers.finding import Input, RunInputs, find_layer, needed_layer, origin_of
from napari_nst.plugin.layers.geometry import View, full_shape, middle_of, shown_axes, to_world
from napari_nst.plugin.layers.labels import LabelsPlane, take_labels
from napari_nst.plugin.provenance.copying import record_of
from napari_nst.plugin.provenance.origins import KEY, Origin
from napari_nst.plugin.run.job import Job
from napari_nst.plugin.stylize_layer import longest_side, run_job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_nst.plugin.layers.arrays import Intensities, Plane
    from napari_nst.settings import StyleTransferSettings

__all__ = ["check_start", "continue_run"]

_ADVICE = ", or give the command the layer"


def continue_run(
    start: Image,
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
    """Run from a result on, and return the new result.

    Parameters
    ----------
    start : Image
        The result.
    layers : sequence of Layer
        Where the layers are looked for that the result was made of.
    view : View or None
        What the viewer shows, for layers that the result was not made of, and for results that are
        whole stacks.
    content, styles, settings, content_labels, style_labels
        Instead of those of the result.
    point : sequence of float, optional
        World coordinates of the content's plane, instead of those of the result's.

    Raises
    ------
    InputError
        If a layer is gone or has changed, or the result does not cover the content's plane.
    StyleTransferError
        If the run fails.
    """
    record = record_of(start)
    before = RunInputs.of(record, start.metadata.get(KEY, {}))
    content = content or _image(before.content, layers, start)
    if styles is None:
        styles = [_image(one, layers, start) for one in before.styles]
    elif isinstance(styles, Layer):
        styles = [styles]
    settings = (settings or before.settings).replace(init="image")
    longest = longest_side(settings)

    origin = None if "start_from" in record else origin_of(content, before.content)
    how = _intensities(before.content)
    where = view if view is not None and content in layers else _middle(content)
    if origin is not None:
        where = _view_of(content, origin)
    if point is not None:
        where = replace(where, ndim=content.ndim, point=tuple(map(float, point)),
                        order=_order(content, where))  # fmt: skip
        origin = None
    plane = take_plane(content, where, longest, _part_of(content, origin), how)
    begin = take_start(start, where, plane)
    check_start(plane, begin)

    taken = []
    for number, style in enumerate(styles):
        known = before.styles[number] if number < len(before.styles) else None
        own = None if known is None else origin_of(style, known)
        fits = style.ndim <= where.ndim
        there = _view_of(style, own) if own else where if fits else _middle(style)
        taken.append(take_plane(style, there, longest, _part_of(style, own), how))
    on_content = _labels(content_labels, before.content_labels, layers, start, plane)
    on_styles: list[_Taken | None] = []
    if on_content is not None:
        told = list(style_labels or ())
        used = list(before.style_labels or ()) if style_labels is None else []
        if max(len(told), len(used)) not in (0, len(taken)):
            raise InputError(
                f"There are labels on {max(len(told), len(used))} styles and {len(taken)} styles: "
                "give style_labels with one entry for each style, None where it has no labels."
            )
        told, used = (each + [None] * (len(taken) - len(each)) for each in (told, used))
        on_styles = [
            _labels(given, one, layers, start, style)
            for given, one, style in zip(told, used, taken, strict=True)
        ]
    job = Job(
        plane,
        tuple(taken),
        settings,
        begin,
        None if on_content is None else on_content.plane,
        tuple(None if one is None else one.plane for one in on_styles) if any(on_styles) else None,
    )
    result = run_job(job)
    result.metadata[KEY] = {
        "content": Origin.of(content, plane).to_dict(),
        "styles": [Origin.of(one, own).to_dict() for one, own in zip(styles, taken, strict=True)],
        "start": Origin.of(start, begin).to_dict(),
        "content_labels": on_content and on_content.origin.to_dict(),
        "style_labels": [one and one.origin.to_dict() for one in on_styles],
        "replacements": [],
    }
    return result


def check_start(content: Plane, start: Plane) -> None:
    """Refuse a start that lies elsewhere in the world than the content.

    Raises
    ------
    InputError
        If it covers another part, or another plane.
    """
    shape = content.full_shape
    wanted, found = (plane.corners for plane in (content, start))
    pixel = np.abs(wanted[1] - wanted[0]).max() / max(shape)
    if not np.allclose(wanted, found, atol=1.5 * pixel) or not _same_plane(content, start):
        raise InputError(
            f"{start.name} does not cover {content.name} as it is shown: go on from a result of "
            "this plane and this part, or move the slider to the plane of the result."
        )


def _same_plane(content: Plane, start: Plane) -> bool:
    """Return whether the plane of the content is one of those that the start has."""
    ndim = len(content.factors)
    if len(start.factors) != ndim:
        return True
    singles, centre = [], np.zeros(ndim)
    for axis, index in enumerate(content.index[:ndim]):
        if isinstance(index, int):
            singles.append(axis)
            centre[axis] = (index + 0.5) * content.factors[axis] - 0.5
    place = to_world(start.geometry).inverse(to_world(content.geometry)(centre))
    sizes = np.array(start.data.shape[:ndim]) * start.factors
    return all(-0.51 <= float(place[axis]) <= float(sizes[axis]) - 0.49 for axis in singles)


@dataclass(frozen=True)
class _Taken:
    """Labels of a job, and where they came from."""

    plane: Any
    origin: Origin


@dataclass(frozen=True)
class _KeptLabels:
    """Labels as an earlier run took them, in the place of a `LabelsPlane`."""

    name: str
    pixels: NDArray[Any]

    def load(self) -> NDArray[Any]:
        """Return the labels."""
        return self.pixels


def _labels(
    given: Labels | None,
    before: Input | None,
    layers: Sequence[Layer],
    start: Layer,
    image: Plane,
) -> _Taken | None:
    """Return the labels that are given, or else those that an earlier run had last."""
    if given is None and before is None:
        return None
    layer: Any = given
    if layer is None and before is not None:
        layer = find_layer(before, layers)
        kept = before.kept
        if layer is None and kept is not None and kept[1].shape == image.shape:
            return _Taken(_KeptLabels(before.name, kept[1]), kept[0])
        layer = layer or needed_layer(before, layers, start, _ADVICE)
    plane: LabelsPlane = take_labels(layer, image)
    return _Taken(plane, Origin.of(layer, plane))


def _image(one: Input, layers: Sequence[Layer], start: Layer) -> Any:
    return needed_layer(one, layers, start, _ADVICE)


def _intensities(content: Input) -> Intensities:
    found = (origin.intensities for origin in content.origins if origin.intensities)
    return cast("Intensities", next(found, "limits"))


def _view_of(layer: Image, origin: Origin) -> View:
    """Return the view in which a picture was taken from a layer."""
    single, factors = origin.single_axes, _factors(layer, origin)
    point, margin = np.zeros(layer.ndim), np.zeros(layer.ndim)
    for axis in single:
        place, factor = origin.index[axis], factors[axis]
        first, end = (place, place + 1) if isinstance(place, int) else place
        if not isinstance(place, int):  # a thick slice, of all planes from end to end
            margin[axis] = ((end - first) * factor - 1) / 2
        point[axis] = (first + end) / 2 * factor - 0.5
    shown = [axis for axis in range(layer.ndim) if axis not in single]
    order = (*single, *(reversed(shown) if origin.transposed else shown))
    at = np.array(layer.data_to_world(point))
    margins = tuple(map(float, np.array(layer.data_to_world(point + margin)) - at))
    return View(layer.ndim, tuple(map(float, at)), order, margins, margins)


def _part_of(layer: Image, origin: Origin | None) -> dict[int, tuple[int, int]] | None:
    """Return what was taken of the shown axes, in pixels of level zero; None: all."""
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
    """Return for each axis the pixels of level zero in a pixel of the level that was taken."""
    if origin.level is None:
        return (1.0,) * int(layer.ndim)
    factors = np.asarray(layer.downsample_factors[origin.level], float)
    return tuple(float(factor) for factor in factors[: int(layer.ndim)])


def _middle(layer: Image) -> View:
    """Return the view of the middle plane of a layer."""
    point = tuple(map(float, layer.data_to_world(middle_of(layer))))
    return View(layer.ndim, point, tuple(range(layer.ndim)))


def _order(layer: Image, view: View) -> tuple[int, ...]:
    """Return the order of the layer's own axes that shows those that a view shows."""
    shown = shown_axes(layer, view)
    return (*(axis for axis in range(layer.ndim) if axis not in shown), *shown)
