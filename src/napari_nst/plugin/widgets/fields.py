"""Form fields for settings, with controls derived from the settings' types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import numpy as np
from magicgui.widgets import ComboBox, LineEdit, Slider, SpinBox
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QSizePolicy, QSlider, QWidget

from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari.layers import Layer

__all__ = [
    "Field",
    "LayerChoice",
    "control",
    "field",
    "make_narrow",
    "name_widget",
    "weight_slider",
]

_NUMBER_WIDTH = 40  # pixels: beside a slider, for three digits
_BARE = "background: transparent; border: 0; padding: 0; min-width: 0;"
_AUTOMATIC = "automatic"
_MAX_INT = 10**8  # spin boxes have 32 bits
_BALANCED = 50  # position of a default weight on its slider


class LayerChoice(ComboBox):
    """Combo box of layers that keeps its choice when a layer is renamed.

    Parameters
    ----------
    choices : callable
        Returns the viewer's layers.
    **options
        Arguments of the combo box.
    """

    def __init__(self, choices: Callable[..., Sequence[Layer]], **options: Any) -> None:
        self._layers = choices
        super().__init__(choices=choices, **options)

    @property
    def value(self) -> Any:
        """Chosen layer; None if the viewer has removed it.

        napari changes the viewer's dims before it emits that a layer was removed.
        """
        layer = super().value
        return layer if any(layer is each for each in self._layers()) else None

    @value.setter
    def value(self, layer: Any) -> None:
        ComboBox.value.fset(self, layer)  # type: ignore[attr-defined]

    def reset_choices(self, *_: Any) -> None:
        """Update the choices; to magicgui a renamed layer is a new choice."""
        before = self.value
        with self.changed.blocked():
            super().reset_choices()
            if self.value is not before and before in self.choices:
                self.value = before
        if self.value is not before:
            self.changed.emit(self.value)


def control(kind: type[Any], label: str, tooltip: str, **options: Any) -> Any:
    """Return a magicgui widget with a tooltip and accessible texts.

    Parameters
    ----------
    kind : type
        Class of the widget.
    label : str
        With "&" before the mnemonic.
    tooltip : str
        Description for users.
    **options
        Arguments of the widget.
    """
    made = kind(label=label, tooltip=tooltip, **options)
    if isinstance(made, ComboBox):
        make_narrow(made.native)
    elif isinstance(made, Slider):
        made.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        made.native.layout().setSpacing(2)
        for number in made.native.findChildren(QAbstractSpinBox):
            number.setStyleSheet(_BARE)  # napari gives every spin box 90 pixels
            number.setFixedWidth(_NUMBER_WIDTH)
        made.native.setFocusProxy(made.native.findChild(QSlider))
    name_widget(made.native, label.replace("&", ""), tooltip)
    return made


def make_narrow(combo: QComboBox) -> None:
    """Allow a combo box to be narrower than its choices, so that they do not widen the panel."""
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(6)


def name_widget(native: QWidget, name: str, tooltip: str) -> None:
    """Set accessible name, description and tooltip of a widget and of its parts."""
    parts = [part for kind in (QSlider, QAbstractSpinBox) for part in native.findChildren(kind)]
    for widget in (native, *parts):
        widget.setAccessibleName(name)
        widget.setAccessibleDescription(tooltip)
        widget.setToolTip(tooltip)


class Field:
    """Setting and its widget.

    A value that the user does not change is kept exactly, even if the widget rounds it.

    Parameters
    ----------
    name : str
        Name of the setting.
    widget : magicgui widget
        The widget.
    show, read : callable, optional
        Convert the setting to the widget's value, and back.
    """

    def __init__(
        self,
        name: str,
        widget: Any,
        show: Callable[[Any], Any] = lambda value: value,
        read: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        self.widget, self._show, self._read = widget, show, read
        self.value = StyleTransferSettings.model_fields[name].default

    @property
    def value(self) -> Any:
        """Value of the setting, not validated."""
        shown, exact = self._last
        return exact if self.widget.value == shown else self._read(self.widget.value)

    @value.setter
    def value(self, value: Any) -> None:
        self.widget.value = self._show(value)
        self._last = (self.widget.value, value)


def field(
    name: str,
    label: str,
    tooltip: str,
    *,
    words: Mapping[str, str] | None = None,
    without: tuple[str, ...] = (),
    **options: Any,
) -> Field:
    """Return the field of a setting, with a widget for its type.

    Parameters
    ----------
    name : str
        Name of the setting.
    label, tooltip : str
        As for `control`.
    words : mapping of str to str, optional
        Labels of choices; other choices are labelled with their values.
    without : tuple of str
        Choices to leave out.
    **options
        Arguments of the widget.
    """
    annotation = StyleTransferSettings.model_fields[name].annotation
    if get_origin(annotation) is Literal:
        offered = [choice for choice in get_args(annotation) if choice not in without]
        choices = [((words or {}).get(choice, choice), choice) for choice in offered]
        return Field(name, control(ComboBox, label, tooltip, choices=choices, **options))
    if annotation is int:
        options = {"min": 0, "max": _MAX_INT} | options
        return Field(name, control(SpinBox, label, tooltip, **options))
    automatic = StyleTransferSettings.model_fields[name].default
    return Field(
        name,
        control(LineEdit, label, tooltip, **options),
        _as_text,
        lambda text: _from_text(text, automatic),
    )


def weight_slider(name: str, label: str, tooltip: str, *, zero: bool = False) -> Field:
    """Return the field of a weight, with a slider: 50 is the default, 100 ten times as much.

    Parameters
    ----------
    name : str
        Name of the setting.
    label, tooltip : str
        As for `control`.
    zero : bool
        Whether 0 is a weight of 0, and not a tenth of the default.
    """
    default = StyleTransferSettings.model_fields[name].default

    def position(weight: float) -> int:
        if weight <= 0:
            return 0
        found = round(_BALANCED * (1 + np.log10(weight / default)))
        return int(np.clip(found, int(zero), 2 * _BALANCED))

    def weight(position: int) -> float:
        if zero and position == 0:
            return 0.0
        return float(default * 10 ** (position / _BALANCED - 1))

    slider = control(Slider, label, tooltip, min=0, max=2 * _BALANCED)
    return Field(name, slider, position, weight)


def _as_text(value: Any) -> str:
    if value is None or value == "auto":
        return _AUTOMATIC
    if isinstance(value, tuple):
        return ", ".join(f"{number:g}" for number in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _from_text(text: str, automatic: Any) -> Any:
    text = text.strip()
    if text == _AUTOMATIC:
        return automatic
    return tuple(part.strip() for part in text.split(",")) if "," in text else text
