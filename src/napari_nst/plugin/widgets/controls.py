"""The panel's form: content, styles, settings and regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import FloatSpinBox
from napari.layers import Image
from psygnal import Signal
from qtpy.QtWidgets import QLabel, QWidget

from napari_nst.plugin.layers.geometry import full_shape
from napari_nst.plugin.provenance.finding import RunInputs, find_layer
from napari_nst.plugin.widgets.advanced import Advanced
from napari_nst.plugin.widgets.fields import Field, LayerChoice, control, field, weight_slider
from napari_nst.plugin.widgets.layouts import form_layout
from napari_nst.plugin.widgets.planes_box import PlanesBox
from napari_nst.plugin.widgets.regions_box import RegionsBox
from napari_nst.plugin.widgets.styles_list import StylesList
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["Controls"]

_DEFAULTS = StyleTransferSettings()


class Controls:
    """Form for content, styles and settings.

    Parameters
    ----------
    viewer : Viewer
        Viewer with the layers.

    Attributes
    ----------
    native : QWidget
        The main controls.
    form : QFormLayout
        Layout of the main controls.
    changed : Signal
        Emitted when a control changes.
    content : LayerChoice
        Content layer.
    planes : PlanesBox
        Planes of a stack; hidden for other contents.
    styles : StylesList
        Styles and their shares.
    strength : Slider
        0 to 100: 50 is the default style weight, 100 ten times as much.
    size : FloatSpinBox
        Longest side of a run in pixels; 0 is automatic.
    color : ComboBox
        Source of the result's colours.
    regions : RegionsBox
        Labels and their styles.
    advanced : Advanced
        Advanced settings.
    fields : dict of str to Field
        Settings with a control of their own.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._defaults_differ = self._filling = False
        self._base = _DEFAULTS  # for settings without a control
        self.content: Any = control(
            LayerChoice,
            "&Content",
            "Image whose objects and composition are kept.",
            choices=self._images,
            nullable=False,
        )
        self.native = QWidget()
        self.form = form = form_layout(self.native)
        form.addRow(self.content.label, self.content.native)
        self.planes = PlanesBox(form)
        self.styles = StylesList(self._images)
        strength = weight_slider(
            "style_weight",
            "Style stren&gth",
            "Strength of the style: 50 is balanced, more dissolves the content.  Also acts on the "
            "current run.",
        )
        self.strength: Any = strength.widget
        self.size: Any = control(
            FloatSpinBox,  # can show text for its lowest value
            "Si&ze (px)",
            "Longest side of the run.  Time and memory grow with its square.  Automatic: that of "
            "the content, at most 512 on a CPU and 1024 on a GPU.",
            min=0,
            max=100000,
            step=64,
        )
        self.size.native.setDecimals(0)
        self.size.native.setSpecialValueText("automatic")
        color = field(
            "color",
            "C&olours",
            "Colours of the style; or of the content, mapped to the style's, so that objects of "
            "different colours stay different; or of the content, with only brightness from the "
            "style; or matched: the style is recoloured like the content first.  Also acts on the "
            "current run.",
            words={
                "style": "of the style",
                "palette": "mapped to the style",
                "luminance": "of the content",
                "match": "matched",
            },
        )
        self.color = color.widget
        self.regions = RegionsBox(viewer, lambda: self.content.value, lambda: self.styles.layers)
        self.advanced = Advanced(self._on_changed)
        self.fields = {
            "style_weight": strength,
            "size": Field("size", self.size, self._shown_size, lambda size: int(size) or "auto"),
            "color": color,
            **self.planes.fields,
            **self.regions.fields,
            **self.advanced.fields,
        }
        self.planes.changed.connect(self._on_changed)
        label = QLabel("&Style")
        label.setBuddy(self.styles.rows[0].choice.native)
        form.addRow(label, self.styles)
        for each in (self.strength, self.size, self.color):
            form.addRow(each.label, each.native)
            each.changed.connect(self._on_changed)
        self.content.changed.connect(self._on_content)
        self.styles.changed.connect(self._on_styles)
        self.regions.changed.connect(self._on_changed)
        self.reset_choices()

    @property
    def settings(self) -> StyleTransferSettings:
        """Settings of the controls.

        Raises
        ------
        InputError
            If a value is invalid.
        """
        return self._base.replace(
            **{name: each.value for name, each in self.fields.items()},
            style_weights=self.styles.shares,
            region_styles=self.regions.region_styles,
        )

    @settings.setter
    def settings(self, settings: StyleTransferSettings) -> None:
        if settings.init == "image":  # only Continue has an image
            settings = settings.replace(init=_DEFAULTS.init)
        self._filling = True
        try:
            self._base = settings
            for name, each in self.fields.items():
                each.value = getattr(settings, name)
            self.styles.shares = settings.style_weights
            self.regions.table.choose_all(settings.region_styles)
        finally:
            self._filling = False
        self.changed.emit()

    def reuse(self, result: Layer) -> list[str]:
        """Set the controls to a run's settings at its end, and to its layers that still exist.

        Parameters
        ----------
        result : Layer
            Result of the run.

        Returns
        -------
        list of str
            Names of layers that are gone or have changed; their controls stay unchanged.

        Raises
        ------
        InputError
            If the layer has no readable record.
        """
        before = RunInputs.from_layer(result)
        found: Any = {one: find_layer(one, self._viewer.layers) for one in before.all}
        if found[before.content] is not None:
            self.content.value = found[before.content]
        styles = [found[one] for one in before.styles]
        if None not in styles:
            self.styles.choose(styles)
        labels = before.style_labels or (None,) * len(styles)
        self.regions.choose(
            before.content_labels and found[before.content_labels],
            [one and found[one] for one in labels],
        )
        self.advanced.intensities.value = before.content.intensities
        if before.start_from is not None:
            self.planes.choose(before.start_from, long_term=before.long_term)
        self.settings = before.settings
        return [one.name for one, layer in found.items() if layer is None]

    def offer_planes(self) -> None:
        """Offer the axes along which the content has planes; hide the choice if there are none."""
        self.planes.offer(self.content.value, self._viewer.dims)

    def reset_choices(self) -> None:
        """Update the layer choices; once, choose a default style other than the content."""
        self.content.reset_choices()
        self.offer_planes()
        self.styles.reset_choices()
        self.regions.reset_choices()
        choices = self._images()
        first = self.styles.rows[0].choice
        if len(choices) > 1 and not self._defaults_differ:
            self._defaults_differ = True  # later the user may choose one layer for both
            if first.value is self.content.value:
                first.value = next(c for c in choices if c is not self.content.value)
        self.regions.set_styles(self._style_names())

    def _on_changed(self, _: object = None) -> None:
        if not self._filling:
            self.changed.emit()

    def _on_content(self) -> None:
        self.offer_planes()
        self.regions.refresh()
        self._on_changed()

    def _on_styles(self) -> None:
        self.regions.set_styles(self._style_names())
        self._on_changed()

    def _style_names(self) -> list[str]:
        return [layer.name if layer is not None else "none" for layer in self.styles.layers]

    def _images(self, _: object = None) -> list[Image]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _shown_size(self, size: int | str | None) -> int:
        """Return the spin box's value for a size; None becomes the content's longest side."""
        if size is None and self.content.value is not None:
            layer = self.content.value
            return int(max(full_shape(layer)[: layer.ndim][-2:]))
        return size if isinstance(size, int) else 0
