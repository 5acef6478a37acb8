"""Commands from layers to a layer, for other plugins and for scripts.  No Qt here.

napari adds the returned layer to its viewer under a unique name; a `LayerDataTuple` would replace
a layer of the same name.

napari's dependency injection does not allow ``**choices``, so these commands take `settings`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import napari
from napari.layers import Image

from napari_nst.errors import InputError
from napari_nst.plugin.continuing import continue_run
from napari_nst.plugin.layers.geometry import View, shown_axes
from napari_nst.plugin.layers.value_range import LayerIntensities  # noqa: TC001  # napari resolves it
from napari_nst.plugin.stylize_layer import stylize_layer
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["continue_layer", "selected_images", "stylize_layers"]


def stylize_layers(
    content: Image | None = None,
    style: Any = None,
    settings: Any = None,
    point: Any = None,
    intensities: LayerIntensities = "limits",
    content_labels: Any = None,
    style_labels: Any = None,
) -> Image:
    """Transfer the style of layers to another; the call blocks until the run ends.

    Parameters
    ----------
    content : Image, optional
        By default the active image of the current viewer, or the lowest of those selected.
    style : Image or list of Image, optional
        By default the other images that are selected.
    settings : StyleTransferSettings or mapping, optional
        The settings.
    point : sequence of float, optional
        As for `stylize_layer`; by default the plane that the current viewer shows of the layer.
    intensities : {"limits", "percentiles", "displayed"}
        As for `stylize_layer`.
    content_labels, style_labels : Labels, or for styles a list of Labels or None, optional
        Regions, as for `stylize_layer`.

    Returns
    -------
    Image
        The result.
    """
    viewer = napari.current_viewer()
    content = _unwrap(content)
    if content is None or style is None:
        selected = [] if viewer is None else selected_images(viewer)
        if content is None and selected:
            content = selected[0]
        style = style or [layer for layer in selected if layer is not content]
    if content is None or not style:
        raise InputError(
            "Two images are needed, the content and a style: select them, or give the command two "
            "layers."
        )
    return stylize_layer(
        content,
        style,
        _settings(settings),
        intensities=intensities,
        content_labels=content_labels,
        style_labels=style_labels,
        **_point_arguments(content, point, viewer),
    )


def continue_layer(
    init_image: Image | None = None,
    content: Any = None,
    style: Any = None,
    settings: Any = None,
    point: Any = None,
    content_labels: Any = None,
    style_labels: Any = None,
) -> Image:
    """Continue from a result; the call blocks until the run ends.

    The inputs of the result's run are found by their pixels, whatever their layers are called now,
    and their planes are taken as in that run.  Settings that were changed during it stay changed.

    Parameters
    ----------
    init_image : Image, optional
        By default the active layer of the current viewer.
    content, style : Image, or for styles a list of Image, optional
        By default the layers of the viewer that were inputs of the result.
    settings : StyleTransferSettings or mapping, optional
        By default the result's own.
    point : sequence of float, optional
        As for `stylize_layers`; by default the plane of the result.
    content_labels, style_labels : Labels, or for styles a list of Labels or None, optional
        By default those of the result.

    Returns
    -------
    Image
        The new result.

    Raises
    ------
    InputError
        If an input layer of the result is gone or has changed, or the result has another plane
        than `point`.
    """
    viewer = napari.current_viewer()
    init_image = _unwrap(init_image)
    if init_image is None:
        raise InputError(
            "There is no result to continue from: select one, or give the command one."
        )
    return continue_run(
        init_image,
        [] if viewer is None else list(viewer.layers),
        None if viewer is None else View.from_dims(viewer.dims),
        content=_unwrap(content),
        styles=style if style is None or isinstance(style, Image) else list(style),
        settings=_settings(settings),
        point=point,
        content_labels=content_labels,
        style_labels=style_labels,
    )


def _unwrap(layer: Image | None) -> Image | None:
    """Return the layer that napari wrapped in a proxy."""
    return getattr(layer, "__wrapped__", layer)


def selected_images(viewer: Viewer) -> list[Image]:
    """Return the selected Image layers in the order of the layer list, bottom first."""
    chosen = viewer.layers.selection
    return [layer for layer in viewer.layers if layer in chosen and isinstance(layer, Image)]


def _settings(choices: Any) -> StyleTransferSettings | None:
    if choices is None or isinstance(choices, StyleTransferSettings):
        return choices
    return StyleTransferSettings(**choices)


def _point_arguments(content: Any, point: Any, viewer: Viewer | None) -> dict[str, Any]:
    if viewer is None or content not in viewer.layers:
        return {"point": point}
    if point is None:
        return {"point": viewer.dims}
    return {"point": point, "displayed": shown_axes(content, viewer.dims)}
