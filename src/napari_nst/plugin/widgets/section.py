"""Collapsible sections of the panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qtpy.QtCore import QSize
from qtpy.QtWidgets import QFrame
from superqt import QCollapsible

if TYPE_CHECKING:
    from qtpy.QtWidgets import QLayout, QWidget

__all__ = ["make_section"]

_STYLE = (
    "QPushButton, QPushButton:checked { text-align: left; font-weight: bold; padding: 2px;"
    " background: transparent; }"
)
_ANY_HEIGHT = 2**24 - 1  # Qt's QWIDGETSIZE_MAX


def make_section(
    title: str, content: QWidget, tooltip: str, *, expanded: bool = False
) -> QCollapsible:
    """Return a section with a title, which may have a mnemonic ("&"), over its content."""
    # The arrow is text, the icon hidden: superqt draws it in the palette's colour, which napari's
    # dark theme, a style sheet, leaves black.
    section = QCollapsible(title)
    section.setDuration(0)
    section.setFrameShape(QFrame.Shape.NoFrame)
    button = section.toggleButton()
    button.setStyleSheet(_STYLE)
    button.setIconSize(QSize(0, 0))
    button.setToolTip(tooltip)
    button.setAccessibleName(title.replace("&", ""))
    holder = section.content()
    for widget in (section, holder):
        cast("QLayout", widget.layout()).setContentsMargins(0, 0, 0, 0)
    # Not section.addWidget, which fixes the height: contents may grow.
    cast("QLayout", holder.layout()).addWidget(content)

    def show(opened: bool) -> None:
        holder.setMaximumHeight(_ANY_HEIGHT)
        holder.setVisible(opened)  # a widget of height 0 could still be reached with Tab
        section.setText(f"{'▾' if opened else '▸'} {title}")

    section.toggled.connect(show)
    if expanded:
        section.expand(animate=False)
    else:
        show(False)
    return section
