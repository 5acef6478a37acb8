"""Loss curves, drawn by pyqtgraph in a viewer."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_nst.plugin.widgets.curves import LossCurves, import_pyqtgraph


@pytest.fixture
def quick_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time between drawings to a tenth."""
    name = "napari_nst.plugin.widgets.curves._MILLISECONDS_BETWEEN_DRAWINGS"
    monkeypatch.setattr(name, 30)


def show_curves(qtbot: Any) -> LossCurves:
    """Show curves in a window of their own; hidden curves are not drawn."""
    curves = LossCurves(ViewerModel())
    qtbot.addWidget(curves)
    curves.setMinimumWidth(280)
    curves.show()
    return curves


@pytest.fixture
def curves(qtbot: Any, quick_drawing: None) -> LossCurves:
    return show_curves(qtbot)


@pytest.fixture
def docked_curves(viewer: Any, quick_drawing: None) -> LossCurves:
    """Curves with the style sheet of napari's window."""
    viewer.window._qt_window.show()
    curves = LossCurves(viewer)
    curves.setMinimumWidth(280)
    viewer.window.add_dock_widget(curves)
    return curves


def feed(curves: LossCurves, *iterations: int, scale: int = 1) -> None:
    for i in iterations:
        curves.add(i, scale, content=0.1, style=10 / i, total=0.1 + 10 / i)


def drawn(curves: LossCurves) -> dict[str, Any]:
    """Return the curves that pyqtgraph shows, by the names in its legend."""
    pg = import_pyqtgraph()
    items = [i for view in curves.findChildren(pg.GraphicsView) for i in view.scene().items()]
    return {
        label.text: sample.item
        for legend in items
        if isinstance(legend, pg.LegendItem)
        for sample, label in legend.items
    }


def points(curves: LossCurves, name: str) -> list[tuple[float, float]]:
    found = drawn(curves)
    if name not in found:
        return []
    x, y = found[name].getOriginalDataset()
    return [] if x is None else list(zip(x.tolist(), y.tolist(), strict=True))


def lines(curves: LossCurves) -> list[float]:
    pg = import_pyqtgraph()
    (view,) = curves.findChildren(pg.GraphicsView)
    return sorted(i.value() for i in view.scene().items() if isinstance(i, pg.InfiniteLine))


def wait_for(qtbot: Any, curves: LossCurves, count: int) -> None:
    qtbot.waitUntil(lambda: len(points(curves, "total")) == count, timeout=10000)


def test_curves_show_the_losses_with_different_dash_patterns(curves: Any, qtbot: Any) -> None:
    feed(curves, 1, 2, 5)
    wait_for(qtbot, curves, 3)

    assert points(curves, "style") == [(1, 10), (2, 5), (5, 2)]
    assert points(curves, "content") == [(1, 0.1), (2, 0.1), (5, 0.1)]
    np.testing.assert_allclose(points(curves, "total"), [(1, 10.1), (2, 5.1), (5, 2.1)])
    found = drawn(curves)
    assert len({tuple(curve.opts["pen"].dashPattern()) for curve in found.values()}) == 3
    assert all(curve.opts["logMode"] == [False, True] for curve in found.values())
    assert curves.accessibleDescription() == ("After iteration 5: total 2.1, style 2, content 0.1.")


def test_a_narrow_panel_shows_the_whole_legend(docked_curves: Any, qtbot: Any) -> None:
    curves = docked_curves
    curves.setFixedWidth(245)
    feed(curves, 1, 2)
    wait_for(qtbot, curves, 2)
    pg = import_pyqtgraph()
    (view,) = curves.findChildren(pg.GraphicsView)
    (legend,) = [item for item in view.scene().items() if isinstance(item, pg.LegendItem)]
    qtbot.wait(50)

    assert legend.sceneBoundingRect().right() <= view.viewRect().right()


def test_the_temporal_loss_is_in_the_legend_of_runs_that_have_one(
    docked_curves: Any, qtbot: Any
) -> None:
    curves = docked_curves
    curves.setFixedWidth(245)
    feed(curves, 1, 2)
    curves.add(3, 2, content=0.1, style=1, temporal=0.2, total=1.3)
    wait_for(qtbot, curves, 3)
    assert list(drawn(curves)) == ["total", "style", "content", "temporal"]
    pg = import_pyqtgraph()
    (view,) = curves.findChildren(pg.GraphicsView)
    (legend,) = [item for item in view.scene().items() if isinstance(item, pg.LegendItem)]
    qtbot.wait(50)
    assert legend.sceneBoundingRect().right() <= view.viewRect().right()
    assert curves.accessibleDescription() == (
        "After iteration 3: total 1.3, style 1, content 0.1, temporal 0.2."
    )

    curves.clear()
    feed(curves, 1)
    wait_for(qtbot, curves, 1)
    assert list(drawn(curves)) == ["total", "style", "content"]


def test_new_scales_are_marked_and_cleared_with_the_run(curves: Any, qtbot: Any) -> None:
    feed(curves, 1, 2)
    feed(curves, 3, 4, scale=2)
    feed(curves, 8, scale=3)
    wait_for(qtbot, curves, 5)
    assert lines(curves) == [2.5, 6]
    curves.clear()
    feed(curves, 1, scale=1)
    wait_for(qtbot, curves, 1)

    assert lines(curves) == []


@pytest.mark.parametrize("values", [(0.41, 0.44), (1e-9, 1e9), (3, 3), (0, -1), (np.nan, np.inf)])
def test_only_positive_finite_values_are_drawn(
    curves: Any, qtbot: Any, values: tuple[float, float]
) -> None:
    for i, value in enumerate(values):
        curves.add(i + 1, 1, content=value, style=value, total=value)
    wait_for(qtbot, curves, 2)
    curves.grab()

    possible = [v for v in values if np.isfinite(v) and v > 0]
    assert [y for _, y in points(curves, "total") if np.isfinite(y)] == possible


def test_a_long_run_is_subsampled_with_its_first_and_last_point(curves: Any, qtbot: Any) -> None:
    feed(curves, *range(1, 20001))
    wait_for(qtbot, curves, 500)
    found = points(curves, "style")

    assert found[0] == (1, 10)
    assert found[-1] == (20000, 10 / 20000)


def test_hidden_curves_are_not_drawn(curves: Any, qtbot: Any) -> None:
    curves.hide()
    feed(curves, 1, 2)
    assert not any(timer.isActive() for timer in curves.findChildren(QTimer))
    curves.show()
    wait_for(qtbot, curves, 2)
    curves.hide()
    feed(curves, 3)
    qtbot.wait(150)
    assert len(points(curves, "total")) == 2
    curves.show()

    wait_for(qtbot, curves, 3)


def test_drawing_is_throttled(qtbot: Any) -> None:
    curves = show_curves(qtbot)
    feed(curves, 1)
    wait_for(qtbot, curves, 1)
    changes = []
    drawn(curves)["total"].sigPlotChanged.connect(changes.append)
    for iteration in range(2, 102):
        feed(curves, iteration)
        QApplication.processEvents()
    wait_for(qtbot, curves, 101)

    assert len(changes) <= 10


def test_curves_follow_the_theme(viewer: Any, docked_curves: Any, qtbot: Any) -> None:
    curves = docked_curves
    seen = {}
    for theme in ("light", "dark", "light"):
        viewer.theme = theme
        feed(curves, 1, 2)
        qtbot.waitUntil(lambda: bool(drawn(curves)), timeout=10000)
        qtbot.wait(20)
        corner = curves.grab().toImage().pixelColor(0, 0).name()
        assert corner == get_theme(theme).background.as_hex(format="long")
        pens = {name: curve.opts["pen"].color().name() for name, curve in drawn(curves).items()}
        assert pens["total"] == get_theme(theme).text.as_hex(format="long")
        seen[theme] = pens

    assert all(seen["light"][name] != seen["dark"][name] for name in seen["light"])


def test_closed_curves_do_not_leak(viewer: Any, qtbot: Any, quick_drawing: None) -> None:
    viewer.window._qt_window.show()
    before = len(QApplication.topLevelWidgets())
    references = []
    for _ in range(3):
        curves = LossCurves(viewer)
        dock = viewer.window.add_dock_widget(curves)
        feed(curves, 1, 2)
        wait_for(qtbot, curves, 2)
        feed(curves, 3)  # a drawing is scheduled
        viewer.window.remove_dock_widget(dock)
        curves.deleteLater()
        references.append(weakref.ref(curves))
        del curves, dock
    qtbot.wait(150)
    gc.collect()

    assert [ref() for ref in references] == [None] * 3
    assert len(QApplication.topLevelWidgets()) <= before


def test_pyqtgraph_leaves_uncaught_exceptions_to_napari() -> None:
    code = (
        "import sys, threading\n"
        "sys.excepthook = mine = lambda *a: None\n"
        "threading.excepthook = ours = lambda *a: None\n"
        "from napari_nst.plugin.widgets.curves import import_pyqtgraph\n"
        "assert 'pyqtgraph' not in sys.modules\n"
        "assert import_pyqtgraph() is import_pyqtgraph()\n"
        "assert sys.excepthook is mine and threading.excepthook is ours\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
