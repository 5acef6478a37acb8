"""Choice between the plane that is shown and every plane along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from psygnal import Signal
from qtpy.QtWidgets import QWidget

from napari_nst.plugin.layers.geometry import axis_name, full_shape, shown_axes
from napari_nst.plugin.layers.value_range import channel_axis
from napari_nst.plugin.run.job import StackOptions
from napari_nst.plugin.widgets.buttons import check_box
from napari_nst.plugin.widgets.fields import control
from napari_nst.plugin.widgets.layouts import column_layout

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image

    from napari_nst.stacks import StartFrom

__all__ = ["PlanesBox"]

_THIS = ("this plane", -1)  # not None: magicgui emits no change to None


class PlanesBox(QWidget):
    """Options for a stack; the combo box `choice` is laid out by the owner.

    Attributes
    ----------
    changed : Signal
        Emitted when the user changes an option.
    choice : ComboBox
        -1 for this plane, or an axis of the layer.
    from_previous, on_disk : QCheckBox
        Whether a plane starts from the result of the one before, and whether planes are written
        to disk.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._offered: tuple[tuple[str, int], ...] = (_THIS,)
        self._channels: int | None = None  # axis of channels
        self.choice: Any = control(
            ComboBox,
            "Planes",
            "Planes of a stack to stylize: the plane that is shown, or every plane along an axis.  "
            "Along other hidden axes the position that is shown is used.",
            choices=[_THIS],
        )
        self.from_previous = check_box(
            "Start from the plane before",
            "Each plane starts from the result of the one before: neighbours agree, and the run is "
            "faster.  Otherwise each starts from its own content, as channels always do.",
            checked=True,
        )
        self.on_disk = check_box(
            "Keep the planes on disk",
            "In the cache folder, so that an interrupted run resumes when you start it again.  "
            "Results that would fill the memory are always kept there.",
        )
        column_layout(self, self.from_previous, self.on_disk)
        self.choice.changed.connect(self._on_choice)
        self.from_previous.toggled.connect(self._on_toggled)
        self.on_disk.toggled.connect(self._on_toggled)
        self._on_choice()

    @property
    def stack(self) -> StackOptions | None:
        """Options for a stack; None: only this plane."""
        if self.choice.value < 0:
            return None
        axis = int(self.choice.value)
        follow = self.from_previous.isChecked() and axis != self._channels
        start_from: StartFrom = "previous" if follow else "content"
        return StackOptions(axis, start_from, bool(self.on_disk.isChecked()))

    def offer(self, layer: Image | None, dims: Dims) -> bool:
        """Offer the hidden axes of a layer; return whether there are any."""
        offered = [_THIS]
        self._channels = None if layer is None else channel_axis(layer)
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
            self._show_checks()
        return len(offered) > 1

    def _show_checks(self) -> None:
        several = self.choice.value >= 0
        self.setVisible(several)
        self.from_previous.setEnabled(self.choice.value != self._channels)

    def _on_choice(self, _: object = None) -> None:
        self._show_checks()
        self.changed.emit()

    def _on_toggled(self, _: bool) -> None:
        self.changed.emit()
