"""Buttons and check boxes with tooltips, and a grid of buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QGridLayout, QPushButton, QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ButtonGrid", "check_box", "push_button"]


class ButtonGrid(QWidget):
    """Rows of buttons with columns of equal width.

    Parameters
    ----------
    rows : sequence of sequence of QPushButton
        Rows from top to bottom; the last button of a short row fills it.
    """

    def __init__(self, *rows: tuple[QPushButton, ...]) -> None:
        super().__init__()
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        columns = max(map(len, rows))
        for row, buttons in enumerate(rows):
            for column, button in enumerate(buttons):
                span = columns - column if column == len(buttons) - 1 else 1
                layout.addWidget(button, row, column, 1, span)
        for column in range(columns):
            layout.setColumnStretch(column, 1)


def push_button(text: str, tooltip: str, callback: Callable[[], object]) -> QPushButton:
    """Return a button with a tooltip and accessible texts.

    Parameters
    ----------
    text : str
        With "&" before the mnemonic.
    tooltip : str
        Description for users.
    callback : callable
        Called on a click.
    """
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.setAccessibleName(text.replace("&", ""))
    button.setAccessibleDescription(tooltip)
    # A long text must not widen the panel: the grid sets the width.
    button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    button.clicked.connect(lambda _=False: callback())
    return button


def check_box(text: str, tooltip: str, *, checked: bool = False) -> QCheckBox:
    """Return a check box with a tooltip and an accessible description."""
    box = QCheckBox(text)
    box.setToolTip(tooltip)
    box.setAccessibleDescription(tooltip)
    box.setChecked(checked)
    return box
