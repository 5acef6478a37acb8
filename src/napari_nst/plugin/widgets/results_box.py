"""Actions on a result: continue, reuse, compare, save, copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image
from psygnal import Signal
from qtpy.QtWidgets import QWidget

from napari_nst.errors import InputError, StyleTransferError
from napari_nst.plugin.provenance.comparison import Comparison
from napari_nst.plugin.provenance.origins import RECORD_KEY
from napari_nst.plugin.widgets.buttons import ButtonGrid, check_box, push_button
from napari_nst.plugin.widgets.layouts import column_layout
from napari_nst.plugin.widgets.result_actions import (
    copy_as_command,
    copy_as_python,
    save_with_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_nst.plugin.run.session import Session

__all__ = ["ResultsBox"]

_NO_RESULT = "There is no result: select a layer that was made here, or make one."


class ResultsBox(QWidget):
    """Buttons for the selected result, or else the last one of the session.

    Parameters
    ----------
    viewer : Viewer
        Viewer with the results.
    session : Session
        Session of the panel.

    Attributes
    ----------
    continue_requested, reuse_requested : Signal
        Emitted when the user clicks Continue or Reuse settings.
    info : Signal
        Emitted with a message after an action.
    warning : Signal
        Emitted with a message when an action fails.
    comparison : Comparison
        Shows the content in the place of the result.
    """

    continue_requested = Signal()
    reuse_requested = Signal()
    info = Signal(str)
    warning = Signal(str)

    def __init__(self, viewer: Viewer, session: Session) -> None:
        super().__init__()
        self._viewer, self._session = viewer, session
        self.comparison = Comparison(viewer, self.result)
        self.comparison.warning.connect(self.warning.emit)
        self.continue_button = push_button(
            "Co&ntinue",
            "Start from the selected or the last result, with the current settings: for example "
            "with another strength, or a larger size.",
            self.continue_requested.emit,
        )
        reuse_button = push_button(
            "Reuse settings",
            "Set all controls as for the selected or the last result.",
            self.reuse_requested.emit,
        )
        self._flip_button = push_button(
            "Show content",
            "Show the content in the place of the result, to compare.  Holding H over the canvas "
            "does the same.",
            self._flip,
        )
        self._flip_button.setCheckable(True)
        save_button = push_button(
            "Save with record",
            "Save the image, and the record of how it was made beside it.",
            lambda: self._do(lambda layer: save_with_record(layer, self)),
        )
        python_button = push_button(
            "Copy as Python",
            "Copy Python that makes the same image again.",
            lambda: self._do(lambda layer: copy_as_python(layer, viewer.layers)),
        )
        command_button = push_button(
            "Copy as command",
            "Copy a terminal command that makes the same image again.",
            lambda: self._do(lambda layer: copy_as_command(layer, viewer.layers)),
        )
        self._evolution = check_box(
            "Keep the evolution",
            "Add the intermediate images of a run as a layer with a time slider when it ends.",
        )
        buttons = ButtonGrid(
            (self.continue_button, reuse_button),
            (self._flip_button, save_button),
            (python_button, command_button),
        )
        column_layout(self, buttons, self._evolution)

    @property
    def keeps_evolution(self) -> bool:
        """Whether intermediate images are kept."""
        return bool(self._evolution.isChecked())

    def result(self) -> Image | None:
        """Return the selected result, or else the last one of the session."""
        selected = self._viewer.layers.selection.active
        if isinstance(selected, Image) and RECORD_KEY in selected.metadata:
            return selected
        last = self._session.layer
        return last if last is not None and last in self._viewer.layers else None

    def require_result(self, layer: Image | None = None) -> Image:
        """Return the given result, the selected or the last one.

        Raises
        ------
        InputError
            If there is none.
        """
        layer = layer or self.result()
        if layer is None:
            raise InputError(_NO_RESULT)
        return layer

    def show_result(self) -> None:
        """Show the result again if the content is shown in its place."""
        self._flip_button.setChecked(False)
        self.comparison.flip(False)

    def _flip(self) -> None:
        if self._flip_button.isChecked() and self.result() is None:
            self.warning.emit(_NO_RESULT)
        self.comparison.flip(self._flip_button.isChecked())
        self._flip_button.setChecked(self.comparison.flipped)

    def _do(self, action: Callable[[Image], str]) -> None:
        try:
            done = action(self.require_result())
        except StyleTransferError as error:
            self.warning.emit(str(error))
        except MemoryError as error:
            self.warning.emit(f"{self.require_result().name} does not fit into memory ({error}).")
        else:
            if done:
                self.info.emit(done)
