"""Layouts without outer margins."""

from __future__ import annotations

from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

__all__ = ["column_layout", "form_layout"]


def column_layout(parent: QWidget, *widgets: QWidget) -> QVBoxLayout:
    """Return a vertical layout of widgets."""
    layout = QVBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return layout


def form_layout(parent: QWidget) -> QFormLayout:
    """Return a form whose fields fill the width."""
    form = QFormLayout(parent)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form
