"""Table of regions: each label with its colour and its style."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QColor, QPainter, QPixmap
from qtpy.QtWidgets import QComboBox, QGridLayout, QLabel, QSizePolicy, QWidget

from napari_nst.plugin.widgets.fields import make_narrow
from napari_nst.plugin.widgets.layouts import column_layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Labels

__all__ = ["RegionsTable"]

KEEP, SAME = "keep", "same"
_MOST_ROWS = 24
_SWATCH = 16  # pixels


class RegionsTable(QWidget):
    """Rows of colour, label and style choice.

    The choice for a label is kept while the label is absent, as it may be painted again.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[int] = []
        self.combos: dict[int, QComboBox] = {}
        self._chosen: dict[int, int | str] = {}
        self._styles = 0
        self._same = False
        self._shown: tuple[Any, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._rows = QWidget()
        self._outside = column_layout(self, self._rows)

    @property
    def region_styles(self) -> Mapping[int, int | None] | None:
        """Style of each label; None where the engine's default is the same."""
        assigned: dict[int, int | None] = {}
        for label in self.labels:
            choice = self._choice(label)
            if choice != SAME:
                assigned[label] = None if choice == KEEP else int(choice)
        plain = all(self._choice(label) == self._default(label) for label in self.labels)
        return None if plain and (self._same or self._styles == 1) else assigned

    def choose(self, label: int, choice: int | str) -> None:
        """Choose for a label a style by its index, "keep" (the content) or "same" (label)."""
        self._chosen[label] = choice
        self._show_choice(label)
        self.changed.emit()

    def choose_all(self, region_styles: Mapping[int, int | None] | None) -> None:
        """Set the choices of `StyleTransferSettings.region_styles`."""
        self._chosen = {
            label: KEEP if style is None else style
            for label, style in (region_styles or {}).items()
        }
        for label in self.combos:
            self._show_choice(label)

    def show_labels(
        self, labels: Sequence[int], layer: Labels | None, styles: Sequence[str], *, same: bool
    ) -> None:
        """Show rows for labels.

        Parameters
        ----------
        labels : sequence of int
            The labels.
        layer : Labels or None
            Layer of the labels, for their colours.
        styles : sequence of str
            Names of the styles.
        same : bool
            Whether styles have labels, so that "same label" is a choice.
        """
        self.labels, self._styles, self._same = list(labels), len(styles), same
        colors = tuple(_color(layer, label) for label in labels[:_MOST_ROWS])
        shown = (tuple(labels), tuple(styles), same, colors)
        if shown == self._shown:
            return  # a brush stroke must not close an open combo box
        self._shown = shown
        before, self._rows, self.combos = self._rows, QWidget(), {}
        self._layout = QGridLayout(self._rows)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setColumnStretch(1, 1)
        self._outside.replaceWidget(before, self._rows)
        before.hide()
        before.deleteLater()
        for row, (label, color) in enumerate(zip(labels, colors, strict=False)):
            self._add_row(row, label, color, styles)
        if len(labels) > _MOST_ROWS:
            more = QLabel(f"and {len(labels) - _MOST_ROWS} more, with default styles.")
            more.setWordWrap(True)
            self._layout.addWidget(more, _MOST_ROWS, 0, 1, 2)

    def _add_row(
        self, row: int, label: int, color: tuple[int, ...] | None, styles: Sequence[str]
    ) -> None:
        combo = QComboBox()
        make_narrow(combo)
        combo.setAccessibleName(f"Style of label {label}")
        combo.setToolTip(f"Style for the region of label {label}, or its unchanged content.")
        if self._same and label:
            combo.addItem("Same label", SAME)
        for index, name in enumerate(styles):
            combo.addItem(name if len(styles) == 1 else f"{index + 1}: {name}", index)
        combo.addItem("Keep content", KEEP)
        self.combos[label] = combo
        self._show_choice(label)
        combo.activated.connect(lambda _: self.choose(label, combo.currentData()))
        swatch = QLabel()
        swatch.setPixmap(_swatch(color))
        swatch.setAccessibleName(f"Colour of label {label}")
        number = QLabel(f"{label}" if label else "0, unpainted")
        number.setBuddy(combo)
        head = QWidget()
        line = QGridLayout(head)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(swatch, 0, 0)
        line.addWidget(number, 0, 1)
        line.setColumnStretch(1, 1)
        self._layout.addWidget(head, row, 0)
        self._layout.addWidget(combo, row, 1)

    def _show_choice(self, label: int) -> None:
        combo = self.combos.get(label)
        if combo is not None:
            combo.setCurrentIndex(combo.findData(self._choice(label)))

    def _choice(self, label: int) -> int | str:
        choice = self._chosen.get(label, self._default(label))
        gone = choice == SAME and not self._same
        if gone or (isinstance(choice, int) and choice >= self._styles):
            return self._default(label)
        return choice

    def _default(self, label: int) -> int | str:
        if label == 0:
            return KEEP
        return SAME if self._same else (label - 1) % max(self._styles, 1)


def _color(layer: Labels | None, label: int) -> tuple[int, ...] | None:
    color = None if layer is None else layer.get_color(label)
    return None if color is None else tuple(round(255 * float(part)) for part in color)


def _swatch(color: tuple[int, ...] | None) -> QPixmap:
    """Return a framed square of a colour; without a colour, an empty one crossed out."""
    pixmap = QPixmap(_SWATCH, _SWATCH)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    frame = QRect(0, 0, _SWATCH - 1, _SWATCH - 1)
    if color is not None and color[3]:
        painter.fillRect(frame, QColor(*color))
    painter.setPen(QColor(128, 128, 128))
    painter.drawRect(frame)
    if color is None or not color[3]:
        painter.drawLine(frame.bottomLeft(), frame.topRight())
    painter.end()
    return pixmap
