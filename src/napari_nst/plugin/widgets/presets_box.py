"""Choose a preset; save, delete, export and import the user's own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtGui import QAction  # type: ignore[attr-defined]  # it is another module's in Qt 5
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QInputDialog,
    QMenu,
    QMessageBox,
    QToolButton,
    QWidget,
)

from napari_nst import own_presets, presets
from napari_nst.errors import InputError
from napari_nst.plugin.widgets.fields import make_narrow
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_nst.presets import Preset

__all__ = ["PresetsBox"]

_OWN_CHOICES = "(your own)"
_JSON = "Settings (*.json)"
# Settings of the machine: a preset that does not name them leaves them unchanged.
_MACHINE = ("device", "precision", "tile", "memory_limit")


class PresetsBox(QWidget):
    """Combo box of all presets, and a menu for the user's own.

    Parameters
    ----------
    settings : callable
        Returns the current settings, to save or export.

    Attributes
    ----------
    chosen : Signal
        Emitted with the settings of a chosen preset or an imported file.
    warning : Signal
        Emitted with a message when an action fails.
    """

    chosen = Signal(StyleTransferSettings)
    warning = Signal(str)

    def __init__(self, settings: Callable[[], StyleTransferSettings]) -> None:
        super().__init__()
        self._settings = settings
        self._last_valid = StyleTransferSettings()
        self.combo = QComboBox()
        self.combo.setAccessibleName("Preset")
        self.combo.setToolTip(
            "Settings that work well together.  Choosing one sets all controls below."
        )
        make_narrow(self.combo)
        self.combo.activated.connect(self._on_activated)
        self.menu = QMenu(self)
        self.menu.setToolTipsVisible(True)
        for text, tooltip, callback in (
            ("&Save as a preset ...", "Save the current settings.", self._ask_name),
            ("&Delete this preset", "Only your own can be deleted.", self._ask_deletion),
            (
                "&Export settings ...",
                "Write the settings to a file for napari-nst stylize --settings.",
                self._ask_export,
            ),
            ("&Import settings ...", "Read exported settings from a file.", self._ask_import),
        ):
            action = QAction(text, self.menu)
            action.triggered.connect(callback)
            self.menu.addAction(action)
            action.setToolTip(tooltip)
        self.menu.aboutToShow.connect(self._enable_deletion)
        more = QToolButton()
        more.setText("...")
        more.setAccessibleName("Own presets and settings")
        more.setToolTip("Save, delete, export and import settings.")
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        more.setMenu(self.menu)
        more.setStyleSheet("QToolButton::menu-indicator { image: none; }")  # would cover the dots
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.combo, 1)
        layout.addWidget(more)
        self.setFocusProxy(self.combo)
        self.refresh()

    @property
    def current(self) -> str | None:
        """Key of the preset that is shown; None if the settings match none."""
        key = self.combo.currentData()
        return None if key is None else str(key)

    def refresh(self) -> None:
        """Reload the presets, and show the one that matches the settings."""
        self._known = dict(own_presets.all_presets())
        self.combo.clear()
        packaged = presets.presets()
        for key, preset in self._known.items():
            if key not in packaged and self.combo.itemData(self.combo.count() - 1) in packaged:
                self.combo.insertSeparator(self.combo.count())
            self.combo.addItem(preset.name, key)
            self.combo.setItemData(
                self.combo.count() - 1, preset.purpose, Qt.ItemDataRole.ToolTipRole
            )
        self.show_for(self._valid_settings())

    def show_for(self, settings: StyleTransferSettings) -> None:
        """Show the preset with these settings, or that there is none."""
        self._last_valid = settings
        same = (k for k, preset in self._known.items() if _on(preset, settings) == settings)
        self._show(next(same, None))

    def choose(self, key: str) -> None:
        """Show a preset and emit its settings."""
        preset = own_presets.all_presets().get(key)
        if preset is None:
            self.warning.emit(f"There is no preset {key!r} any more.")
            self.refresh()
            return
        settings = _on(preset, self._valid_settings())
        self._show(key)
        self.chosen.emit(settings)

    def save(self, name: str) -> None:
        """Save the settings under a name, and show it."""
        with self._errors_as_warnings():
            key = own_presets.save(name, self._settings())
            self.refresh()
            self._show(key)

    def delete(self) -> None:
        """Delete the preset that is shown; the settings stay."""
        with self._errors_as_warnings():
            own_presets.delete(self.current or "")
            self.refresh()

    def export(self, path: str) -> None:
        """Write the settings to a file."""
        with self._errors_as_warnings():
            own_presets.write_settings(path, self._settings())

    def import_from(self, path: str) -> None:
        """Emit the settings in a file."""
        with self._errors_as_warnings():
            settings = own_presets.read_settings(path)
            self.show_for(settings)
            self.chosen.emit(settings)

    @contextmanager
    def _errors_as_warnings(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            self.warning.emit(str(error))

    def _valid_settings(self) -> StyleTransferSettings:
        """Return the settings, or the last valid ones."""
        try:
            return self._settings()
        except InputError:
            return self._last_valid

    def _show(self, key: str | None) -> None:
        """Show a preset, or a placeholder that exists only while no preset matches."""
        placeholder = self.combo.findText(_OWN_CHOICES)
        if key is None and placeholder < 0:
            self.combo.insertItem(0, _OWN_CHOICES, None)
            placeholder = 0
        elif key is not None and placeholder >= 0:
            self.combo.removeItem(placeholder)
        self.combo.setCurrentIndex(placeholder if key is None else self.combo.findData(key))

    def _on_activated(self, index: int) -> None:
        key = self.combo.itemData(index)
        if key is not None:
            self.choose(key)

    def _enable_deletion(self) -> None:
        self.menu.actions()[1].setEnabled(self.current not in (None, *presets.presets()))

    def _ask_name(self) -> None:
        name, agreed = QInputDialog.getText(self, "Save as a preset", "Name of the preset:")
        if not agreed:
            return
        before = own_presets.user_preset(name)
        if before is None or self._agrees(
            "Save as a preset", f"Replace the preset {before.name!r}?"
        ):
            self.save(name)

    def _ask_deletion(self) -> None:
        if self._agrees("Delete a preset", f"Delete the preset {self.combo.currentText()!r}?"):
            self.delete()

    def _agrees(self, title: str, question: str) -> bool:
        return bool(QMessageBox.question(self, title, question) == QMessageBox.StandardButton.Yes)

    def _ask_export(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export settings", "settings.json", _JSON)
        if path:
            self.export(path)

    def _ask_import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import settings", "", _JSON)
        if path:
            self.import_from(path)


def _on(preset: Preset, settings: StyleTransferSettings) -> StyleTransferSettings:
    """Return a preset's settings, with the machine settings of others."""
    machine = {name: getattr(settings, name) for name in _MACHINE if name not in preset.settings}
    return preset.resolve().replace(**machine)
