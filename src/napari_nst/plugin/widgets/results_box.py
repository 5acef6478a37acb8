"""What can be done with a result: go on from it, compare it, copy how it was made, save it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image
from psygnal import Signal
from qtpy.QtWidgets import QApplication, QCheckBox, QVBoxLayout, QWidget

from napari_nst.errors import InputError, StyleTransferError
from napari_nst.plugin.layers.comparison import Comparison
from napari_nst.plugin.provenance import copying, saving
from napari_nst.plugin.provenance.origins import RECORD_KEY
from napari_nst.plugin.widgets.buttons import ButtonGrid, push_button

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_nst.plugin.run.session import Session

__all__ = ["ResultsBox"]

_NO_RESULT = "There is no result to go by: select a layer that was made here, or make one."


class ResultsBox(QWidget):
    """Buttons that act on the selected result, or else on the last one of the session.

    Parameters
    ----------
    viewer : Viewer
        Where the results are.
    session : Session
        Which made the last one.

    Attributes
    ----------
    go_on, reuse : Signal
        Emitted when the user wants to go on from a result, or to have its settings.
    said : Signal
        Emitted with a sentence on what was done.
    problem : Signal
        Emitted with a sentence on what could not be done.
    comparison : Comparison
        Content and result in turn.
    """

    go_on = Signal()
    reuse = Signal()
    said = Signal(str)
    problem = Signal(str)

    def __init__(self, viewer: Viewer, session: Session) -> None:
        super().__init__()
        self._viewer, self._session = viewer, session
        self.comparison = Comparison(viewer, self.layer)
        self.comparison.problem.connect(self.problem.emit)
        self.continue_button = push_button(
            "Co&ntinue",
            "Go on from the selected result, or the last one, with the settings as they are now: "
            "with another strength, or larger.",
            self.go_on.emit,
        )
        reuse_button = push_button(
            "Reuse settings",
            "Set all controls as they were for the selected result, or the last one.",
            self.reuse.emit,
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
            "Write the picture, and beside it the record of how it was made.",
            lambda: self._do(self._save),
        )
        python_button = push_button(
            "Copy as Python",
            "Put Python on the clipboard that makes the same picture again.",
            lambda: self._do(self._copy_python),
        )
        command_button = push_button(
            "Copy as command",
            "Put a command for the terminal on the clipboard that makes the same picture again.",
            lambda: self._do(self._copy_command),
        )
        self._evolution = QCheckBox("Keep the evolution")
        self._evolution.setToolTip(
            "At the end of a run, have its pictures on the way as a layer with a slider for time."
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(
            ButtonGrid(
                (self.continue_button, reuse_button),
                (self._flip_button, save_button),
                (python_button, command_button),
            )
        )
        layout.addWidget(self._evolution)

    @property
    def keeps_evolution(self) -> bool:
        """Whether the pictures of a run on its way are to be kept."""
        return bool(self._evolution.isChecked())

    def layer(self) -> Image | None:
        """Return the result that is selected, or else the last one of the session."""
        selected = self._viewer.layers.selection.active
        if isinstance(selected, Image) and RECORD_KEY in selected.metadata:
            return selected
        last = self._session.layer
        return last if last is not None and last in self._viewer.layers else None

    def needed(self, layer: Image | None = None) -> Image:
        """Return a result: the one given, the selected or the last.

        Raises
        ------
        InputError
            If there is none.
        """
        layer = layer or self.layer()
        if layer is None:
            raise InputError(_NO_RESULT)
        return layer

    def show_result(self) -> None:
        """Show the result again, if the content is shown in its place."""
        self._flip_button.setChecked(False)
        self.comparison.flip(False)

    def _flip(self) -> None:
        if self._flip_button.isChecked() and self.layer() is None:
            self.problem.emit(_NO_RESULT)
        self.comparison.flip(self._flip_button.isChecked())
        self._flip_button.setChecked(self.comparison.flipped)

    def _do(self, deed: Callable[[Image], str]) -> None:
        try:
            done = deed(self.needed())
        except StyleTransferError as error:
            self.problem.emit(str(error))
        except MemoryError as error:
            self.problem.emit(f"{self.needed().name} does not fit into memory ({error}).")
        else:
            if done:
                self.said.emit(done)

    def _save(self, layer: Image) -> str:
        saved = saving.ask_and_save(layer, self)
        if saved is None:
            return ""
        return f"Wrote {saved.picture} and its record {saved.record.name}.{saved.note}"

    def _copy_python(self, layer: Image) -> str:
        _to_clipboard(copying.as_python(layer, self._viewer.layers))
        return "Copied: Python that makes this picture again."

    def _copy_command(self, layer: Image) -> str:
        _to_clipboard(copying.as_command(layer, self._viewer.layers))
        return "Copied: a command for the terminal that makes this picture again."


def _to_clipboard(text: str) -> None:
    clipboard = QApplication.clipboard()
    if clipboard is None:
        raise InputError("There is no clipboard on this system: save with record instead.")
    clipboard.setText(text)
