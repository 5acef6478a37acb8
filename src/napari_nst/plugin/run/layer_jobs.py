"""Build a job from layers, and the layer of its result.  No Qt here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from napari.layers import Image

from napari_nst.errors import InputError
from napari_nst.plugin.layers.arrays import take_init_image, take_plane
from napari_nst.plugin.layers.geometry import to_world
from napari_nst.plugin.layers.labels import LabelsPlane, take_labels
from napari_nst.plugin.provenance.origins import ORIGINS_KEY, RECORD_KEY
from napari_nst.plugin.run.job import Job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.components import Dims
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_nst.plugin.layers.arrays import Plane
    from napari_nst.plugin.layers.geometry import View
    from napari_nst.plugin.layers.value_range import LayerIntensities
    from napari_nst.plugin.run.job import StackOptions
    from napari_nst.settings import StyleTransferSettings

__all__ = [
    "LayerPlane",
    "check_init_image",
    "job_from_layers",
    "make_result_layer",
    "result_metadata",
    "take_labels_on",
    "with_labels",
]


class LayerPlane(NamedTuple):
    """Plane of a layer that a view selects, or a part of each shown axis of it."""

    layer: Image
    view: Dims | View
    part: Mapping[int, tuple[int, int]] | None = None


def job_from_layers(
    content: LayerPlane,
    styles: Sequence[LayerPlane],
    settings: StyleTransferSettings,
    *,
    longest: int | None,
    intensities: LayerIntensities = "limits",
    init_image: Image | None = None,
    stack: StackOptions | None = None,
) -> Job:
    """Return the job of planes of layers; `with_labels` adds regions.

    Parameters
    ----------
    content, styles : LayerPlane
        The planes.
    settings : StyleTransferSettings
        The settings; with an `init_image`, ``init`` becomes "image".
    longest, intensities
        As for `take_plane`.
    init_image : Image, optional
        Result to continue from, taken in the content's view.
    stack : StackOptions, optional
        Options for processing every plane along an axis.
    """
    planes = [
        take_plane(layer, view, longest, part, intensities)
        for layer, view, part in (content, *styles)
    ]
    initial = None
    if init_image is not None:
        initial = take_init_image(init_image, content.view, planes[0])
        settings = settings.replace(init="image")
    return Job(planes[0], tuple(planes[1:]), settings, initial, stack=stack)


def take_labels_on(
    content: Plane,
    styles: Sequence[Plane],
    content_labels: Labels | LabelsPlane | None,
    style_labels: Sequence[Labels | LabelsPlane | None] | None,
) -> tuple[LabelsPlane | None, tuple[LabelsPlane | None, ...] | None]:
    """Return the labels over a content and over its styles; None for images without labels."""
    if content_labels is None:
        return None, None
    on_styles = None if style_labels is None else tuple(map(_labels_plane, style_labels, styles))
    return _labels_plane(content_labels, content), on_styles


def with_labels(
    job: Job,
    content_labels: Labels | LabelsPlane | None,
    style_labels: Sequence[Labels | LabelsPlane | None] | None,
) -> Job:
    """Return a job with the labels over its images."""
    on_content, on_styles = take_labels_on(job.content, job.styles, content_labels, style_labels)
    return replace(job, content_labels=on_content, style_labels=on_styles)


def make_result_layer(
    job: Job, data: NDArray[Any], metadata: dict[str, Any] | None = None
) -> Image:
    """Return a layer with the result of a job, in the content's place and with its look.

    `data` is as `Plane.restore` returns it, or a stack of such planes.
    """
    kwargs = job.content.layer_kwargs(data.shape)
    return Image(data, name=job.title, metadata=metadata or {}, **kwargs)


def result_metadata(record: dict[str, Any], origins: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a result layer: the record of its run, and its inputs' origins."""
    return {RECORD_KEY: record, ORIGINS_KEY: origins}


def _labels_plane(labels: Labels | LabelsPlane | None, image: Plane) -> LabelsPlane | None:
    if labels is None or isinstance(labels, LabelsPlane):
        return labels
    return take_labels(labels, image)


def check_init_image(content: Plane, init_image: Plane) -> None:
    """Refuse an init image in another place of the world than the content.

    Raises
    ------
    InputError
        If it covers another part or another plane.
    """
    shape = content.full_shape
    wanted, found = (plane.corners for plane in (content, init_image))
    pixel = np.abs(wanted[1] - wanted[0]).max() / max(shape)
    if not np.allclose(wanted, found, atol=1.5 * pixel) or not _same_plane(content, init_image):
        raise InputError(
            f"{init_image.name} does not cover {content.name} as it is shown: continue from a "
            "result of this plane and this part, or move the slider to the plane of the result."
        )


def _same_plane(content: Plane, init_image: Plane) -> bool:
    """Return whether the init image has the plane of the content."""
    ndim = len(content.factors)
    if len(init_image.factors) != ndim:
        return True
    singles, centre = [], np.zeros(ndim)
    for axis, index in enumerate(content.index[:ndim]):
        if isinstance(index, int):
            singles.append(axis)
            centre[axis] = (index + 0.5) * content.factors[axis] - 0.5
    place = to_world(init_image.geometry).inverse(to_world(content.geometry)(centre))
    sizes = np.array(init_image.data.shape[:ndim]) * init_image.factors
    return all(-0.51 <= float(place[axis]) <= float(sizes[axis]) - 0.49 for axis in singles)
