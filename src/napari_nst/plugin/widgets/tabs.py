"""Tab order from top to bottom, independent of the order in which widgets were created."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qtpy.QtWidgets import QLayout, QLayoutItem

__all__ = ["order_tabs"]


def order_tabs(root: QWidget) -> None:
    """Set the tab order of the widgets inside another to the order of its layouts.

    Parameters
    ----------
    root : QWidget
        Widget with nested layouts.
    """
    layout = root.layout()
    if layout is not None:
        for before, after in pairwise(_reachable(layout)):
            QWidget.setTabOrder(before, after)


def _reachable(layout: QLayout) -> Iterator[QWidget]:
    for item in _items(layout):
        widget = item.widget()
        inner = item.layout() if widget is None else widget.layout()
        if widget is not None and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            yield widget
        elif inner is not None:
            yield from _reachable(inner)


def _items(layout: QLayout) -> Iterator[QLayoutItem]:
    if isinstance(layout, QFormLayout):  # its items are in the order of creation
        roles = QFormLayout.ItemRole
        found = [
            layout.itemAt(row, role)
            for row in range(layout.rowCount())
            for role in (roles.LabelRole, roles.FieldRole, roles.SpanningRole)
        ]
    else:
        found = [layout.itemAt(index) for index in range(layout.count())]
    yield from (item for item in found if item is not None)
