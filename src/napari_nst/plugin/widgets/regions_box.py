"""Regions: Labels layers over the content and the styles, and a style for each label."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import psutil
from napari.layers import Labels
from psygnal import Signal
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QWidget

from napari_nst.engine.images.assignment import assign_styles
from napari_nst.errors import InputError
from napari_nst.plugin.layers.arrays import take_plane
from napari_nst.plugin.layers.geometry import (
    View,
    full_shape,
    geometry_of,
    result_transform,
    shown_axes,
    to_world,
)
from napari_nst.plugin.layers.labels import take_labels
from napari_nst.plugin.widgets.buttons import push_button
from napari_nst.plugin.widgets.fields import Field, LayerChoice, control, field
from napari_nst.plugin.widgets.layouts import column_layout, form_layout
from napari_nst.plugin.widgets.regions_table import RegionsTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari.layers import Image
    from napari.viewer import Viewer

__all__ = ["RegionsBox"]

_MILLISECONDS = 300  # throttle of updates while labels are painted
_BRUSH = 1 / 12  # brush size as a share of the longest side
_FREE_SHARE = 0.25  # of free memory, for the labels of a whole stack
_SAME_PLACE = 0.5  # pixels between the corners of labels and content of one place
_MAX_PIXELS = 2**26  # of a plane of labels: each stroke draws and counts all of them


class _Nullable(LayerChoice):
    """Layer choice that can be empty."""

    null_string = "none"


class RegionsBox(QWidget):
    """Form for regions: labels of the content and of the styles, and a style for each label.

    Parameters
    ----------
    viewer : Viewer
        Viewer with the Labels layers.
    content : callable
        Returns the content layer, or None.
    styles : callable
        Returns the style layers; None for rows without a layer.

    Attributes
    ----------
    content_labels : LayerChoice
        Choice of a Labels layer, or none.
    style_labels : list of LayerChoice
        The same for each style.
    table : RegionsTable
        Styles of the labels.
    changed : Signal
        Emitted when a choice changes.
    painted : Signal
        Emitted when labels are painted, throttled.
    info : Signal
        Emitted with a message if a new layer differs from the content in shape.
    """

    changed = Signal()
    painted = Signal()
    info = Signal(str)

    def __init__(
        self,
        viewer: Viewer,
        content: Callable[[], Image | None],
        styles: Callable[[], Sequence[Image | None]],
    ) -> None:
        super().__init__()
        self._viewer, self._content, self._style_layers = viewer, content, styles
        self._styles: list[str] = []
        self._on_styles: dict[int, list[int]] = {}  # labels over each style
        self._watched: list[Labels] = []
        self._made: tuple[weakref.ref[Labels], weakref.ref[Image]] | None = None  # by `paint`
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_MILLISECONDS)
        self._timer.timeout.connect(self._on_painted)
        self.content_labels = self._combo(
            "La&bels",
            "Labels layer over the content: each label can have its own style.",
        )
        self.paint_button = push_button(
            "Paint regions",
            "Add a Labels layer over the content, to paint regions.  Painting also acts on the "
            "current run.",
            self.paint,
        )
        self.style_labels: list[Any] = []
        self.table = RegionsTable()
        self.table.changed.connect(self.changed.emit)
        self._problem = QLabel()
        self._problem.setAccessibleName("Problem with the regions")
        self._problem.setWordWrap(True)
        self.fields: dict[str, Field] = {
            "region_softness": field(
                "region_softness",
                "Softness",
                "Width of the transition between regions, as a share of the longest side.",
            ),
            "region_guidance": field(
                "region_guidance",
                "Borders",
                "Whether a style may extend slightly beyond its region, or stays strictly inside.",
                words={"all": "may be crossed", "inside": "strict"},
            ),
        }
        choices = QWidget()
        self._form = form_layout(choices)
        self._form.addRow(self.content_labels.label, self.content_labels.native)
        self._form.addRow(self.paint_button)
        for each in self.fields.values():
            self._form.addRow(each.widget.label, each.widget.native)
            each.widget.changed.connect(lambda _: self.changed.emit())
        column_layout(self, choices, self._problem, self.table)

    @property
    def region_styles(self) -> Mapping[int, int | None] | None:
        """Value for `StyleTransferSettings.region_styles`."""
        return None if self.content_labels.value is None else self.table.region_styles

    @property
    def chosen_labels(self) -> tuple[Labels | None, list[Labels | None] | None]:
        """Labels layers of the content and of each style; None: no labels."""
        on_styles = [combo.value for combo in self.style_labels]
        none = all(layer is None for layer in on_styles)
        return self.content_labels.value, (None if none else on_styles)

    def check(self) -> None:
        """Raise InputError for labels without a style, and styles without a label."""
        if self.content_labels.value is None or not self.table.labels:
            return
        count = len(self._styles)
        on_styles = [
            np.array(self._on_styles[i]) if i in self._on_styles else None for i in range(count)
        ]
        assign_styles(np.array(self.table.labels), on_styles, self.region_styles, count)

    def choose(self, content: Labels | None, styles: Sequence[Labels | None]) -> None:
        """Choose the labels of the content and of the styles; None: no labels."""
        self.content_labels.value = content
        for combo, layer in zip(self.style_labels, styles, strict=False):
            combo.value = layer

    def set_styles(self, names: Sequence[str]) -> None:
        """Update the choices for a list of style names."""
        self._styles = list(names)
        while len(self.style_labels) > len(names):
            combo = self.style_labels.pop()
            self._form.removeRow(combo.native)
        for index, name in enumerate(names):
            if index == len(self.style_labels):
                combo = self._combo(
                    "",
                    f"A Labels layer painted over style {index + 1}: a label of the content takes "
                    "the style of the same label there.",
                )
                self.style_labels.append(combo)
                self._form.insertRow(2 + index, f"On style {index + 1}", combo.native)
            self.style_labels[index].native.setAccessibleName(
                f"Labels on style {index + 1}, {name}"
            )
        self.refresh()

    def reset_choices(self) -> None:
        """Update the layer choices."""
        for combo in (self.content_labels, *self.style_labels):
            with combo.changed.blocked():
                combo.reset_choices()
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Read the labels, and show a row for each."""
        self._watch()
        layer, content = self.content_labels.value, self._content()
        labels: list[int] = []
        problem = ""
        try:
            self._on_styles = {
                index: self._labels_over(style, combo.value)
                for index, (combo, style) in enumerate(
                    zip(self.style_labels, self._style_layers(), strict=False)
                )
                if combo.value is not None and style is not None
            }
            if layer is not None and content is not None:
                labels = self._labels_over(content, layer)
                problem = self._misplaced(content, layer)
        except InputError as error:
            problem = f"⚠ {error}"
        self._problem.setText(problem)
        self._problem.setVisible(bool(problem))
        self.table.show_labels(labels, layer, self._styles, same=bool(self._on_styles))

    def paint(self) -> None:
        """Add a Labels layer over the content, and activate its brush.

        An empty layer of an earlier call is reused.  The layer has the content's shape; where that
        would fill the memory, one plane for all planes, at a lower resolution for large planes.
        """
        content = self._content()
        if content is None or content.ndim < 2:
            return
        layer = self._unpainted(content) or self._add_labels(content)
        layer.mode = "paint"
        self._viewer.layers.selection.active = layer
        self.content_labels.value = layer

    def close_watch(self) -> None:
        """Disconnect from all layers."""
        self._timer.stop()
        for layer in self._watched:
            self._listen(layer, on=False)
        self._watched = []

    def _unpainted(self, content: Image) -> Labels | None:
        """Return the chosen labels if `paint` made them for the content and they are empty."""
        layer = self.content_labels.value
        if layer is None or self.table.labels != [0]:
            return None
        made = self._made == (weakref.ref(layer), weakref.ref(content))
        return cast("Labels", layer) if made else None

    def _add_labels(self, content: Image) -> Labels:
        full = full_shape(content)[: content.ndim]
        shown = shown_axes(content, self._viewer.dims)
        shape = _labels_shape(full, shown)
        layer = self._viewer.add_labels(
            np.zeros(shape, np.uint8),
            name=f"regions of {content.name}",
            **result_transform(
                geometry_of(content),
                factors=(1.0,) * len(full),
                index=(slice(None),) * len(full),
                sizes=full,
                shape=shape,
            ),
        )
        self._made = weakref.ref(layer), weakref.ref(content)
        layer.brush_size = max(round(max(shape[axis] for axis in shown) * _BRUSH), 1)
        if shape != full:
            height, width = (shape[axis] for axis in shown)
            self.info.emit(
                f"{layer.name} is one plane of {width} x {height} pixels, for all of "
                f"{content.name}: in its own shape it would take {math.prod(full) / 2**30:.1f} GiB."
            )
        return layer

    def _labels_over(self, image: Image, layer: Labels) -> list[int]:
        """Return the labels over the plane of an image."""
        return take_labels(layer, take_plane(image, self._viewer.dims)).unique_labels()

    def _misplaced(self, content: Image, layer: Labels) -> str:
        """Return a message if labels have the shape of the content but another place.

        Some plugins return labels without the scale or the translation of their image.
        """
        shape = full_shape(content)[: content.ndim]
        if full_shape(layer) != shape:
            return ""
        units = View.from_dims(self._viewer.dims).units
        corners = np.array([np.zeros(content.ndim), shape])
        world, own = (to_world(geometry_of(each), units) for each in (content, layer))
        if np.allclose(own.inverse(world(corners)), corners, rtol=0, atol=_SAME_PLACE):
            return ""
        return (
            f"⚠ {layer.name} has the shape of {content.name} but lies elsewhere, and a pixel takes "
            f"the label over it on the canvas. To align them, right-click {content.name} in the "
            "layer list and choose Copy scale and transforms > Copy all to clipboard; then "
            f"right-click {layer.name} and choose Apply scale/transforms from Clipboard."
        )

    def _combo(self, label: str, tooltip: str) -> Any:
        combo = control(_Nullable, label, tooltip, choices=self._layers, nullable=True)
        combo.changed.connect(self._on_choice)
        return combo

    def _layers(self, _: object = None) -> list[Labels]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Labels)]

    def _on_choice(self) -> None:
        self.refresh()
        self.changed.emit()

    def _watch(self) -> None:
        combos = (self.content_labels, *self.style_labels)
        chosen = list(dict.fromkeys(combo.value for combo in combos if combo.value is not None))
        for layer in self._watched:
            if layer not in chosen:
                self._listen(layer, on=False)
        for layer in chosen:
            if layer not in self._watched:
                self._listen(layer, on=True)
        self._watched = chosen

    def _listen(self, layer: Labels, *, on: bool) -> None:
        events = layer.events
        # Strokes and fill emit labels_update; undo and redo emit set_data; a hidden layer emits
        # only paint.  A new transform emits set_data.
        for event in (events.paint, events.labels_update, events.set_data, events.data):
            if on:
                event.connect(self._on_event)
            else:
                event.disconnect(self._on_event)

    def _on_event(self, event: object = None) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _on_painted(self) -> None:
        self.refresh()
        self.painted.emit()


def _labels_shape(full: tuple[int, ...], shown: tuple[int, int]) -> tuple[int, ...]:
    """Return the shape of a new Labels layer over an image, given its shape and shown axes."""
    pixels = math.prod(full[axis] for axis in shown)
    room = _FREE_SHARE * psutil.virtual_memory().available
    if pixels <= _MAX_PIXELS and math.prod(full) <= room:
        return full
    coarser = max(math.sqrt(pixels / _MAX_PIXELS), 1)
    return tuple(
        max(int(size / coarser), 1) if axis in shown else 1 for axis, size in enumerate(full)
    )
