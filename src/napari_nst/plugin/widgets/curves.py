"""Loss curves of a run, drawn only while they are visible.

pyqtgraph is imported on first use, so that the panel opens quickly.
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QLabel, QWidget

from napari_nst.plugin.widgets.layouts import column_layout

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from numpy.typing import NDArray

__all__ = ["LossCurves", "import_pyqtgraph"]

_MILLISECONDS_BETWEEN_DRAWINGS = 300
_MAX_POINTS = 500  # per curve; about the width of the widget
_HEIGHT = 180
_MAX_TICKS = 6
_LEGEND_LINE = 26  # pixels: room for three dashes
_LEGEND_COLUMNS = 3  # without the temporal loss
_HINT = "The losses of a run are drawn here."


class _CurveStyle(NamedTuple):
    """Style of a curve: Okabe and Ito's colours, and dashes for colour-blind users."""

    on_dark: str | None  # None: the theme's text colour
    on_light: str | None
    dashes: list[int] | None
    width: float


_CURVES = {
    "total": _CurveStyle(None, None, None, 1.5),
    "style": _CurveStyle("#e69f00", "#b04a00", [6, 3], 1.5),
    "content": _CurveStyle("#56b4e9", "#0072b2", [1, 2], 2),
    "temporal": _CurveStyle("#2bbf93", "#00785a", [6, 2, 1, 2], 1.5),
}


class LossCurves(QWidget):
    """Content, style, temporal and total loss over the iterations, on a logarithmic scale.

    Without a temporal loss, its curve has no entry in the legend.  A faint vertical line marks the
    start of a new size.  Drawing is throttled, and paused while the widget is hidden.  Colours
    follow the viewer's theme.

    Parameters
    ----------
    viewer : Viewer
        Viewer whose theme is used.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._losses: dict[str, list[float]] = {name: [] for name in _CURVES}
        self._iterations: list[int] = []
        self._size_starts: list[float] = []
        self._scale = 0
        self._plot: _Plot | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_MILLISECONDS_BETWEEN_DRAWINGS)
        self._timer.timeout.connect(self._draw)
        self._hint = QLabel(_HINT)
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._hint.setWordWrap(True)
        self._layout = column_layout(self, self._hint)
        self.setFixedHeight(_HEIGHT)
        self.setAccessibleName("Loss curves")
        self.setToolTip(
            "Losses over the iterations; lower is better.  Dotted: content loss.  Dashed: style "
            "loss.  Dashes and dots: temporal loss, the difference to the plane before, moved "
            "along.  Solid: total.  Faint vertical lines: start of the next size or plane."
        )

    def clear(self) -> None:
        """Remove all points."""
        for values in self._losses.values():
            values.clear()
        self._iterations.clear()
        self._size_starts.clear()
        self._schedule_drawing()

    def add(
        self,
        iteration: int,
        scale: int,
        *,
        content: float,
        style: float,
        total: float,
        temporal: float = 0.0,
    ) -> None:
        """Append the losses after an iteration.

        Parameters
        ----------
        iteration, scale : int
            As in a `Snapshot`.
        content, style, total, temporal : float
            Weighted terms and their total.  Values of zero or less leave a gap on the logarithmic
            scale.
        """
        if self._iterations and scale != self._scale:
            self._size_starts.append((self._iterations[-1] + iteration) / 2)
        self._scale = scale
        self._iterations.append(iteration)
        losses = {"content": content, "style": style, "total": total, "temporal": temporal}
        for name, value in losses.items():
            self._losses[name].append(value)
        self._schedule_drawing()

    def showEvent(self, event: Any) -> None:
        """Draw points that were added while hidden."""
        super().showEvent(event)
        self._schedule_drawing()

    def hideEvent(self, event: Any) -> None:
        """Cancel a scheduled drawing."""
        self._timer.stop()
        super().hideEvent(event)

    def changeEvent(self, event: Any) -> None:
        """Follow a change of theme, which arrives as a change of style sheet."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange and self._plot is not None:
            self._plot.set_theme(get_theme(self._viewer.theme))

    def _schedule_drawing(self) -> None:
        if self.isVisible() and not self._timer.isActive():
            self._timer.start()

    def _draw(self) -> None:
        if not self.isVisible() or (self._plot is None and not self._iterations):
            return
        if self._plot is None:
            self._plot = _Plot()
            self._plot.set_theme(get_theme(self._viewer.theme))
            self._layout.replaceWidget(self._hint, self._plot.widget)
            self._hint.hide()
        self._plot.draw(self._iterations, self._losses, self._size_starts)
        self.setAccessibleDescription(self._description())

    def _description(self) -> str:
        if not self._iterations:
            return ""
        last = ", ".join(
            f"{name} {values[-1]:.3g}"
            for name, values in self._losses.items()
            if name != "temporal" or any(values)
        )
        return f"After iteration {self._iterations[-1]}: {last}."


class _Plot:
    """The pyqtgraph widget."""

    def __init__(self) -> None:
        self._pg = pg = import_pyqtgraph()
        self.widget = pg.GraphicsLayoutWidget()
        self.widget.ci.setContentsMargins(2, 2, 12, 2)
        self.widget.ci.layout.setSpacing(0)
        self.widget.setFrameShape(self.widget.Shape.NoFrame)
        # The wheel scrolls the panel, and a drag would only move the curves out of view.
        self.widget.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._legend = _legend(pg)
        self.widget.addItem(self._legend, row=0, col=0)
        self._item = self.widget.addPlot(row=1, col=0, enableMenu=False)
        self._item.setMouseEnabled(x=False, y=False)
        self._item.hideButtons()
        self._item.setLogMode(y=True)
        self._item.setLabel("bottom", "iteration")
        self._item.getAxis("left").enableAutoSIPrefix(False)
        self._item.getAxis("bottom").enableAutoSIPrefix(False)
        self._curves = {name: self._item.plot(connect="finite") for name in _CURVES}
        for name, curve in self._curves.items():
            if name != "temporal":
                self._legend.addItem(curve, name)
        self._lines: list[Any] = []
        self._theme: Any = None

    def set_theme(self, theme: Any) -> None:
        """Set the colours of a theme."""
        self._theme = theme
        self.widget.setBackground(theme.background.as_hex())
        text = theme.text.as_hex()
        for side in ("left", "bottom"):
            axis = self._item.getAxis(side)
            axis.setPen(theme.secondary.as_hex())
            axis.setTextPen(text)
            axis.setStyle(tickFont=self.widget.font())
        for name, style in _CURVES.items():
            color = (style.on_light if theme.type == "light" else style.on_dark) or text
            self._curves[name].setPen(self._pg.mkPen(color, width=style.width, dash=style.dashes))
        self._color_legend()
        for line in self._lines:
            line.setPen(theme.secondary.as_hex())

    def _color_legend(self) -> None:
        for _, label in self._legend.items:
            label.setText(label.text, color=self._theme.text.as_hex())

    def _show_temporal_in_legend(self, shown: bool) -> None:
        """Add the temporal loss to the legend, or remove it."""
        curve = self._curves["temporal"]
        if shown == any(sample.item is curve for sample, _ in self._legend.items):
            return
        if shown:
            self._legend.addItem(curve, "temporal")
            self._color_legend()
        else:
            self._legend.removeItem(curve)
        # Four entries in one row would be cut off at the panel's width.
        self._legend.setColumnCount(2 if shown else _LEGEND_COLUMNS)

    def draw(
        self, iterations: list[int], losses: dict[str, list[float]], size_starts: list[float]
    ) -> None:
        """Redraw the curves."""
        count = len(iterations)
        drawn = np.unique(np.linspace(0, count - 1, min(count, _MAX_POINTS)).astype(int))
        x = np.array(iterations, float)[drawn]
        values = np.array([losses[name] for name in self._curves], float)[:, drawn]
        values[~np.isfinite(values) | (values <= 0)] = np.nan
        for curve, y in zip(self._curves.values(), values, strict=True):
            curve.setData(x, y)
        self._show_temporal_in_legend(any(losses["temporal"]))
        self._item.getAxis("left").setTicks([_ticks(values[np.isfinite(values)])])
        while len(self._lines) > len(size_starts):
            self._item.removeItem(self._lines.pop())
        for position in size_starts[len(self._lines) :]:
            line = self._pg.InfiniteLine(position, pen=self._theme.secondary.as_hex())
            line.setZValue(-1)
            self._item.addItem(line, ignoreBounds=True)
            self._lines.append(line)


def import_pyqtgraph() -> Any:
    """Import pyqtgraph without its exception hooks.

    On import it wraps sys.excepthook and threading.excepthook, which napari's notifications use.
    """
    if "pyqtgraph" in sys.modules:
        return sys.modules["pyqtgraph"]
    hooks = sys.excepthook, threading.excepthook
    try:
        return importlib.import_module("pyqtgraph")
    finally:
        sys.excepthook, threading.excepthook = hooks


def _legend(pg: Any) -> Any:
    """Return a legend in one row with lines long enough for their dashes."""

    class _DashedSample(pg.ItemSample):  # type: ignore[misc]  # its base is known only now
        def __init__(self, item: Any) -> None:
            super().__init__(item)
            self.setFixedWidth(_LEGEND_LINE)

        def boundingRect(self) -> Any:
            return pg.QtCore.QRectF(0, 0, _LEGEND_LINE, 20)

        def paint(self, painter: Any, *_: Any) -> None:
            painter.setPen(pg.mkPen(self.item.opts["pen"]))
            painter.drawLine(0, 10, _LEGEND_LINE, 10)

    legend = pg.LegendItem(colCount=_LEGEND_COLUMNS, sampleType=_DashedSample, labelTextSize="9pt")
    # As narrow as possible: it would be cut off at the panel's width.
    legend.layout.setHorizontalSpacing(4)
    legend.layout.setContentsMargins(4, 0, 4, 0)
    return legend


def _ticks(values: NDArray[np.float64]) -> list[tuple[float, str]]:
    """Return ticks at round numbers in the range of the values, as logarithm and text.

    pyqtgraph's own ticks overlap in a small widget.
    """
    if values.size == 0:
        return []
    low, high = np.log10([values.min(), values.max()])
    decades = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    for digits in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= np.log10(tick) <= high]
        if len(ticks) <= _MAX_TICKS:
            break
    if len(ticks) < 2:  # less than a tenth of a decade lies between the values
        ticks = sorted({float(f"{value:.3g}") for value in (values.min(), values.max())})
    step = -(-len(ticks) // _MAX_TICKS)
    return [(float(np.log10(tick)), f"{tick:g}") for tick in ticks[::step]]
