"""Choice between the plane that is shown and every plane along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from magicgui.widgets import ComboBox
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from napari_nst.plugin.layers.geometry import axis_name, full_shape, shown_axes
from napari_nst.plugin.layers.time_axis import is_time_axis
from napari_nst.plugin.layers.value_range import channel_axis
from napari_nst.plugin.run.job import StackOptions
from napari_nst.plugin.widgets.buttons import check_box
from napari_nst.plugin.widgets.fields import control, weight_slider

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image
    from qtpy.QtWidgets import QFormLayout, QWidget

    from napari_nst.stacks import StartFrom

__all__ = ["PlanesBox"]

_THIS = ("this plane", -1)  # not None: magicgui emits no change to None
# Label, value and tooltip.
_STARTS = (
    (
        "the plane before, moved along",
        "warped",
        "For films and time series: the result of the plane before, carried along the motion "
        "between the two, so that strokes stay on what moves.  Finding the motion takes a small "
        'part of the time; pip install "napari-nst[motion]" makes it about eight times faster.',
    ),
    (
        "the plane before",
        "previous",
        "For depth: the result of the plane before, plus what changed in the content.  Strokes "
        "stay in place.",
    ),
    (
        "its own content",
        "content",
        "For unrelated planes, and always for channels.  Neighbours differ, and each plane takes "
        "about twice as long.",
    ),
)


class PlanesBox:
    """Options for a stack, as rows of a form.

    Attributes
    ----------
    changed : Signal
        Emitted when the user changes an option.
    choice : ComboBox
        -1 for this plane, or an axis of the layer.
    start_from : ComboBox
        What a plane starts from: "warped", "previous" or "content".  Until the user chooses, it is
        "warped" along time and "previous" along other axes.
    long_term, on_disk : QCheckBox
        Whether "warped" also uses planes further back, and whether planes are written to disk.
    fields : dict of str to Field
        The setting `temporal_weight`.

    Parameters
    ----------
    form : QFormLayout
        Form to which the rows are added.
    """

    changed = Signal()

    def __init__(self, form: QFormLayout) -> None:
        self._form = form
        self._offered: tuple[tuple[str, int], ...] = (_THIS,)
        self._layer: Image | None = None
        self._chosen: StartFrom | None = None  # by the user
        self.choice: Any = control(
            ComboBox,
            "Planes",
            "Planes of a stack to stylize: the plane that is shown, or every plane along an axis.  "
            "Along other hidden axes the position that is shown is used.",
            choices=[_THIS],
        )
        self.start_from: Any = control(
            ComboBox,
            "Each plane starts from",
            "\n".join(f"• {label}: {tooltip}" for label, _, tooltip in _STARTS),
            choices=[(label, value) for label, value, _ in _STARTS],
        )
        for index, (*_, tooltip) in enumerate(_STARTS):
            self.start_from.native.setItemData(index, tooltip, Qt.ItemDataRole.ToolTipRole)
        self.long_term = check_box(
            "Also from 2 and 4 planes before",
            "Where something hid a part of the plane before, its strokes come from the planes "
            "before that.  Finding the motion takes three times as long.",
        )
        self.fields = {
            "temporal_weight": weight_slider(
                "temporal_weight",
                "Steadiness",
                "How closely a plane keeps to the one before, moved along: 50 is balanced, more "
                "flickers less, 0 lets strokes change.  Also acts on the current run.",
                zero=True,
            )
        }
        self.on_disk = check_box(
            "Keep the planes on disk",
            "In the cache folder, so that an interrupted run resumes when you start it again.  "
            "Results that would fill the memory are always kept there.",
        )
        self._steadiness: Any = self.fields["temporal_weight"].widget
        form.addRow(self.choice.label, self.choice.native)
        # Above the combo box, which needs the whole width.
        label = QLabel(self.start_from.label)
        label.setBuddy(self.start_from.native)
        self._options = (
            label,
            self.start_from.native,
            self.long_term,
            self._steadiness.native,
            self.on_disk,
        )
        for option in self._options:
            if option is self._steadiness.native:
                form.addRow(self._steadiness.label, option)
            else:
                form.addRow(option)
        self.choice.changed.connect(self._on_choice)
        self.start_from.changed.connect(self._on_start_from)
        self._steadiness.changed.connect(lambda _: self.changed.emit())
        self.long_term.toggled.connect(lambda _: self.changed.emit())
        self.on_disk.toggled.connect(lambda _: self.changed.emit())
        self._show_options()

    @property
    def stack(self) -> StackOptions | None:
        """Options for a stack; None: only this plane."""
        if self.choice.value < 0:
            return None
        start_from = cast("StartFrom", self.start_from.value)
        return StackOptions(
            int(self.choice.value),
            start_from,
            long_term=start_from == "warped" and bool(self.long_term.isChecked()),
            on_disk=bool(self.on_disk.isChecked()),
        )

    def offer(self, layer: Image | None, dims: Dims) -> None:
        """Offer the hidden axes of a layer; hide the choice if there are none."""
        self._layer = layer
        offered = [_THIS]
        if layer is not None and layer.ndim > 2:
            shape = full_shape(layer)
            shown = shown_axes(layer, dims)
            for axis in range(layer.ndim):
                if axis not in shown and shape[axis] > 1:
                    offered.append((f"all along {axis_name(layer, axis)}", axis))
        if tuple(offered) != self._offered:
            self._offered = tuple(offered)
            with self.choice.changed.blocked():
                before = self.choice.value
                self.choice.choices = offered
                axes = [axis for _, axis in offered]
                self.choice.value = before if before in axes else _THIS[1]
        self._show_options()

    def choose(self, start_from: StartFrom, *, long_term: bool) -> None:
        """Choose what planes start from, as the user does."""
        self.start_from.value = start_from
        self._chosen = start_from
        self.long_term.setChecked(long_term)

    def _show_options(self) -> None:
        """Show the options of the chosen planes."""
        several = self.choice.value >= 0
        self._form.setRowVisible(self.choice.native, len(self._offered) > 1)
        for option in self._options:
            self._form.setRowVisible(option, several)
        with self.start_from.changed.blocked():
            self.start_from.value = self._start_from()
        self.start_from.native.setEnabled(not self._along_channels)
        self._enable_motion()

    def _enable_motion(self) -> None:
        warped = self.start_from.value == "warped"
        steadiness = self._steadiness.native
        label = cast("QWidget", self._form.labelForField(steadiness))
        for widget in (self.long_term, label, steadiness):
            widget.setEnabled(warped)

    @property
    def _along_channels(self) -> bool:
        return self._layer is not None and self.choice.value == channel_axis(self._layer)

    def _start_from(self) -> StartFrom:
        """Return what a plane starts from: the user's choice, or the default of the axis."""
        if self._along_channels:
            return "content"
        if self._chosen is not None:
            return self._chosen
        axis = self.choice.value
        time = self._layer is not None and axis >= 0 and is_time_axis(self._layer, axis)
        return "warped" if time else "previous"

    def _on_choice(self, _: object) -> None:
        self._show_options()
        self.changed.emit()

    def _on_start_from(self, start_from: StartFrom) -> None:
        self._chosen = start_from
        self._enable_motion()
        self.changed.emit()
