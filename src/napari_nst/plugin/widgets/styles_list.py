"""List of style layers with their shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import Slider
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QToolButton, QWidget

from napari_nst.plugin.widgets.buttons import push_button
from napari_nst.plugin.widgets.fields import LayerChoice, control, name_widget
from napari_nst.plugin.widgets.layouts import column_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Image

__all__ = ["StylesList", "rebalanced"]

_PERCENT = 100
_THUMBNAIL = 28  # pixels
_MOST_STYLES = 8


def rebalanced(shares: Sequence[float], index: int, share: float) -> list[float]:
    """Return shares that sum to one after one of them changed.

    The others keep their proportions; if they were all zero, they become equal.
    """
    if len(shares) == 1:
        return [1.0]
    rest = sum(other for place, other in enumerate(shares) if place != index)
    others = len(shares) - 1
    new = [(1 - share) * (other / rest if rest > 0 else 1 / others) for other in shares]
    new[index] = share
    return new


class StylesList(QWidget):
    """Rows of thumbnail, layer and share, one for each style.

    Parameters
    ----------
    images : callable
        Returns the viewer's Image layers.
    """

    changed = Signal()
    count_changed = Signal()

    def __init__(self, images: Callable[..., list[Image]]) -> None:
        super().__init__()
        self._images = images
        self.rows: list[_Row] = []
        self._shares: list[float] = []
        self._resetting = False
        self.add_button = push_button(
            "Add a st&yle", "Blend the style of another layer; each style has a share.", self.add
        )
        self._layout = column_layout(self, self.add_button)
        self._layout.setSpacing(4)
        self.add()

    @property
    def layers(self) -> list[Image | None]:
        """Chosen layers."""
        return [row.choice.value for row in self.rows]

    @property
    def shares(self) -> tuple[float, ...] | None:
        """Share of each style; None if they are equal."""
        if all(abs(share - self._shares[0]) < 1e-9 for share in self._shares):
            return None
        return tuple(self._shares)

    @shares.setter
    def shares(self, shares: Sequence[float] | None) -> None:
        count = len(self.rows)
        if shares is not None and len(shares) != count:
            return  # of other styles
        self._shares = [share / sum(shares) for share in shares] if shares else [1 / count] * count
        self._show_shares()

    def add(self, layer: Image | None = None) -> None:
        """Add a style: a layer, by default the first that is not chosen yet."""
        row = _Row(self._images)
        free = [each for each in self._images() if each not in self.layers]
        layer = layer or next(iter(free), None)
        if layer is not None:
            row.choice.value = layer
        row.show_thumbnail()
        self.rows.append(row)
        self._layout.insertWidget(len(self.rows) - 1, row)
        row.choice.changed.connect(lambda _: self._on_choice(row))
        row.share.changed.connect(lambda percent: self._on_share(row, percent))
        row.remove_button.clicked.connect(lambda: self._on_remove(row))
        self._shares = [1 / len(self.rows)] * len(self.rows)
        self._on_count()

    def remove(self, index: int) -> None:
        """Remove a style unless it is the only one, and divide its share among the others."""
        if len(self.rows) == 1:
            return
        row = self.rows.pop(index)
        self._layout.removeWidget(row)
        row.choice.changed.disconnect()
        row.share.changed.disconnect()
        row.deleteLater()
        self._shares = rebalanced(self._shares, index, 0)
        self._shares.pop(index)
        self._on_count()

    def choose(self, layers: Sequence[Image]) -> None:
        """Replace all styles by these layers."""
        while len(self.rows) > max(len(layers), 1):
            self.remove(len(self.rows) - 1)
        for index, layer in enumerate(layers):
            if index == len(self.rows):
                self.add(layer)
            else:
                self.rows[index].choice.value = layer

    def reset_choices(self) -> None:
        """Update the layer choices."""
        self._resetting = True
        try:
            for row in self.rows:
                row.choice.reset_choices()
                row.show_thumbnail()
        finally:
            self._resetting = False

    def _on_remove(self, row: _Row) -> None:
        if row in self.rows:  # a second click may precede the deletion of the button
            self.remove(self.rows.index(row))

    def _on_choice(self, row: _Row) -> None:
        row.show_thumbnail()
        if not self._resetting:
            self.changed.emit()

    def _on_share(self, row: _Row, percent: float) -> None:
        self._shares = rebalanced(self._shares, self.rows.index(row), percent / _PERCENT)
        self._show_shares()
        self.changed.emit()

    def _on_count(self) -> None:
        several = len(self.rows) > 1
        for number, row in enumerate(self.rows, start=1):
            row.number(number, several=several)
        self.add_button.setEnabled(len(self.rows) < _MOST_STYLES)
        self._show_shares()
        self.count_changed.emit()
        self.changed.emit()

    def _show_shares(self) -> None:
        for row, share in zip(self.rows, self._shares, strict=True):
            with row.share.changed.blocked():
                row.share.value = round(share * _PERCENT)


class _Cross(QToolButton):
    """Button that ignores the second click of a double click.

    It would remove the row that has moved to the place of the first.
    """

    def mouseDoubleClickEvent(self, event: Any) -> None:
        """Do nothing."""


class _Row(QWidget):
    """Row of a style."""

    def __init__(self, images: Callable[..., list[Image]]) -> None:
        super().__init__()
        self.choice: Any = control(
            LayerChoice,
            "Style",
            "Image whose colours, strokes and textures are used.  It can be changed during a run.",
            choices=images,
            nullable=False,
        )
        self.choice.native.setMinimumContentsLength(4)  # beside a thumbnail and a button
        self.share: Any = control(
            Slider,
            "Share",
            "Share of this style in percent; the others adapt.  Also acts on the current run.",
            min=0,
            max=_PERCENT,
        )
        self.remove_button = _Cross()
        self.remove_button.setText("✕")
        self.remove_button.setFixedWidth(_THUMBNAIL)
        self.remove_button.setToolTip("Remove this style.")
        self._thumbnail = QLabel()
        self._thumbnail.setFixedSize(_THUMBNAIL, _THUMBNAIL)
        self._thumbnail.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._thumbnail, 0, 0)
        layout.addWidget(self.choice.native, 0, 1)
        layout.addWidget(self.remove_button, 0, 2)
        layout.addWidget(self.share.native, 1, 0, 1, 3)
        layout.setColumnStretch(1, 1)
        layout.setSpacing(4)
        self.show_thumbnail()

    @property
    def thumbnail(self) -> QPixmap:
        """Thumbnail of the layer."""
        return self._thumbnail.pixmap()

    def number(self, number: int, *, several: bool) -> None:
        """Set the number of the style, and show the share and Remove if there are several."""
        self.share.native.setVisible(several)
        self.remove_button.setVisible(several)
        of = f" {number}" if several else ""
        self.choice.native.setAccessibleName(f"Style{of}")
        name_widget(self.share.native, f"Share of style {number}, in percent", self.share.tooltip)
        self.remove_button.setAccessibleName(f"Remove style {number}")
        self._thumbnail.setAccessibleName(f"Thumbnail of style{of}")

    def show_thumbnail(self) -> None:
        """Show the thumbnail of napari's layer list."""
        layer = self.choice.value
        if layer is None:
            self._thumbnail.clear()
            return
        pixels = np.ascontiguousarray(layer.thumbnail, dtype=np.uint8)
        height, width = pixels.shape[:2]
        image = QImage(pixels.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888)
        self._thumbnail.setPixmap(
            QPixmap.fromImage(image).scaled(
                _THUMBNAIL, _THUMBNAIL, Qt.AspectRatioMode.KeepAspectRatio
            )
        )
