"""A part of the panel that can be folded away."""

from __future__ import annotations

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

__all__ = ["Section"]

_STYLE = (
    "QPushButton, QPushButton:checked { text-align: left; font-weight: bold; padding: 2px;"
    " background: transparent; }"
)


class Section(QWidget):
    """A heading that shows and hides what is below it, by mouse and by keyboard.

    Parameters
    ----------
    title : str
        With "&" before the letter that leads to it.
    content : QWidget
        What is below.
    tooltip : str
        What is to be found there.
    opened : bool
        Whether it is shown at first.
    """

    def __init__(self, title: str, content: QWidget, tooltip: str, *, opened: bool = False) -> None:
        super().__init__()
        self._content = content
        self.heading = QPushButton()
        self.heading.setStyleSheet(_STYLE)
        self.heading.setToolTip(tooltip)
        self.heading.setAccessibleName(title.replace("&", ""))
        self.heading.setCheckable(True)
        # A character for the arrow: Qt draws its own in the palette's colour, and napari's dark
        # theme, a style sheet, leaves that black.
        self._title = title
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.heading)
        layout.addWidget(content)
        self.heading.toggled.connect(self._fold)
        self.heading.setChecked(opened)
        self._fold(opened)

    @property
    def opened(self) -> bool:
        """Whether the content is shown."""
        return bool(self.heading.isChecked())

    def open(self) -> None:
        """Show the content."""
        self.heading.setChecked(True)

    def _fold(self, opened: bool) -> None:
        self._content.setVisible(opened)
        self.heading.setText(f"{'▾' if opened else '▸'} {self._title}")
