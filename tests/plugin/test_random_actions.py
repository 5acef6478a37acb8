"""Random actions in a viewer raise no errors in the panel.

The canvas stays hidden: with software OpenGL, napari's canvas crashes with random layers.
"""

from __future__ import annotations

import logging
import random
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
from every_control import actions_of
from fake_engine import FakeEngine
from napari.utils import progress as activity
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QInputDialog,
    QMessageBox,
    QProgressDialog,
    QWidget,
)
from superqt import QCollapsible

import napari_nst
from napari_nst.errors import OutOfMemoryError, WeightsError
from napari_nst.plugin.panel import StyleTransferPanel
from napari_nst.plugin.run.session import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED, ACTIONS = 0, 150
PACKAGE = str(Path(napari_nst.__file__).parent)
DTYPES = ("bool", "uint8", "uint16", "int16", "int32", "float32", "float64", "complex64")
NAMES = ("photo", "paint", "", "ein Bild", "a/b: c*", "x" * 300)


class User:
    """Performs random actions on a viewer and its panel."""

    def __init__(self, viewer: Any, seed: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.viewer, self.folder = viewer, folder
        self.random = random.Random(seed)
        self.chance = random.Random(seed)  # for the worker's thread
        self.numbers = np.random.default_rng(seed)
        self.history: list[str] = []
        self.panel = StyleTransferPanel(viewer, FakeEngine(step=self._step))
        viewer.window.add_dock_widget(self.panel, name="panel")
        self.panel.controls.fields["iterations"].value = 20
        for section in self.panel.findChildren(QWidget):
            if isinstance(section, QCollapsible):
                section.expand()
        self._answer_dialogs(patch)

    def act(self) -> None:
        """Perform one action, with a probability of three fifths on the panel."""
        kinds: tuple[Callable[[], None], ...] = (
            *[self._use_panel] * 3, self._change_layers, self._change_view
        )  # fmt: skip
        self.random.choice(kinds)()

    def _step(self, iteration: int) -> None:
        threading.Event().wait(0.003)
        if self.chance.random() < 0.003:
            raise OutOfMemoryError("There is too little memory: choose a smaller size.")

    def _answer_dialogs(self, patch: pytest.MonkeyPatch) -> None:
        names = ("mine", "", "Classic", "y" * 200, "a/b")
        files = ("", "a.png", "b.tif", "c.jpg", "d.json", "e", "f.xyz", "no/such/folder/g.png")

        def name(*_: object, **__: object) -> tuple[str, bool]:
            return self.random.choice(names), self.random.random() < 0.8

        def file(*_: object, **__: object) -> tuple[str, str]:
            chosen = self.random.choice(files)
            return chosen and str(self.folder / chosen), ""

        def question(*_: object, **__: object) -> QMessageBox.StandardButton:
            buttons = QMessageBox.StandardButton
            return self.random.choice((buttons.Yes, buttons.No))

        def fetch_vgg19(*, on_progress: Any, cancelled: Callable[[], bool]) -> Path | None:
            for done in range(20):
                if cancelled():
                    return None
                on_progress(done * 10**7, 20 * 10**7)
                threading.Event().wait(0.01)
            raise WeightsError("The server does not answer: try again later.")

        patch.setattr(QInputDialog, "getText", name)
        patch.setattr(QFileDialog, "getSaveFileName", file)
        patch.setattr(QFileDialog, "getOpenFileName", file)
        patch.setattr(QMessageBox, "question", question)
        patch.setattr("napari_nst.plugin.run.fetching._default_fetch", lambda: fetch_vgg19)

    def _use_panel(self) -> None:
        if self.random.random() < 0.1:
            action = self.random.choice(self.panel.presets.menu.actions())
            self.history.append(f"menu {action.text()}")
            action.trigger()
            return
        if self.random.random() < 0.05:
            for dialog in QApplication.topLevelWidgets():
                if isinstance(dialog, QProgressDialog):
                    self.history.append("cancel the download")
                    dialog.cancel()
                    return
        widgets = [
            (widget, actions)
            for widget in self.panel.findChildren(QWidget)
            if widget.isEnabled()
            and not widget.isHidden()
            and (actions := list(actions_of(widget)))
        ]
        # One of five actions presses Stylize: among many widgets it would be rare.
        widget, actions = self.random.choice(widgets)
        if self.random.random() < 0.2:
            if self.random.random() < 0.5:  # without invalid fields and labels
                self.panel.presets.choose("draft")
                self.panel.controls.regions.content_labels.value = None
            widget, actions = self.panel._start_button, [self.panel._start_button.click]
        for _ in range(self.random.choice((1, 1, 1, 2))):  # perhaps a double click
            self.history.append(f"{type(widget).__name__} {widget.accessibleName()!r}")
            self.random.choice(actions)()

    def _layer(self, kind: str = "") -> Any:
        layers = [one for one in self.viewer.layers if kind in type(one).__name__]
        return self.random.choice(layers) if layers else None

    def _change_layers(self) -> None:
        actions = [
            self._add_image, self._add_image, self._add_labels, self._add_others, self._remove,
            self._rename, self._move, self._hide, self._select, self._set_limits, self._set_place,
            self._paint, self._set_data,
        ]  # fmt: skip
        if len(self.viewer.layers) > 12:
            actions = [self._remove]
        if self.random.random() < 0.02:
            actions = [self.viewer.layers.clear]
        action = self.random.choice(actions)
        self.history.append(action.__name__)
        action()

    def _array(self, dtype: str, *, colour: bool = False) -> np.ndarray:
        ndim = self.random.choice((1, 2, 2, 2, 3, 4))
        shape = [self.random.choice((1, 2, 3)) for _ in range(max(ndim - 2, 0))]
        shape += [self.random.choice((1, 8, 33, 40)) for _ in range(min(ndim, 2))]
        shape += [self.random.choice((3, 4))] if colour else []
        values = self.numbers.normal(0, 100, shape).astype(dtype)
        if values.dtype.kind == "f" and self.random.random() < 0.3:
            values.flat[0] = self.random.choice((np.nan, np.inf, -np.inf))
        return values

    def _add_image(self) -> None:
        colour = self.random.random() < 0.4
        kinds = ("uint8", "uint16", "float32") if colour else DTYPES
        data: Any = self._array(self.random.choice(kinds), colour=colour)
        if data.ndim - colour < 1 + colour:
            data, colour = data[..., 0] if colour else data, False
        name = self.random.choice(NAMES)
        if self.random.random() < 0.2:
            data = da.from_array(data)
        elif self.random.random() < 0.2 and data.ndim - colour == 2:
            data = [data, data[::2, ::2]]
        self.history[-1] += f" {np.asarray(data[0]).dtype} {getattr(data, 'shape', 'levels')}"
        self.viewer.add_image(data, name=name, rgb=colour)

    def _add_labels(self) -> None:
        data = abs(self._array("int32")) % self.random.choice((2, 5, 100000))
        self.viewer.add_labels(data.astype(self.random.choice(("uint8", "int32", "int64"))))

    def _add_others(self) -> None:
        if self.random.random() < 0.5:
            self.viewer.add_points(self.numbers.uniform(0, 30, (4, 2)))
        else:
            self.viewer.add_shapes([[0, 0], [9, 9]], shape_type="rectangle")

    def _remove(self) -> None:
        if (layer := self._layer()) is not None:
            self.viewer.layers.remove(layer)

    def _rename(self) -> None:
        if (layer := self._layer()) is not None:
            layer.name = self.random.choice(NAMES)

    def _move(self) -> None:
        count = len(self.viewer.layers)
        if count > 1:
            self.viewer.layers.move(self.random.randrange(count), self.random.randrange(count))

    def _hide(self) -> None:
        if (layer := self._layer()) is not None:
            layer.visible = not layer.visible

    def _select(self) -> None:
        layers = list(self.viewer.layers)
        chosen = self.random.sample(layers, self.random.randrange(len(layers) + 1))
        self.viewer.layers.selection.clear()
        self.viewer.layers.selection.update(chosen)

    def _set_limits(self) -> None:
        if (layer := self._layer("Image")) is not None:
            low = self.random.uniform(-50, 50)
            layer.contrast_limits = (low, low + self.random.choice((1e-6, 1, 300)))
            layer.gamma = self.random.choice((0.2, 1, 2))

    def _set_place(self) -> None:
        if (layer := self._layer()) is not None:
            layer.scale = [self.random.choice((0.5, 1, 3)) for _ in range(layer.ndim)]
            layer.translate = [self.random.choice((0, -7.3, 100)) for _ in range(layer.ndim)]

    def _paint(self) -> None:
        layer = self._layer("Labels")
        if layer is not None and layer.ndim > 1:
            actions: tuple[Callable[[], object], ...] = (
                lambda: layer.paint([0] * layer.ndim, self.random.randrange(6)),
                lambda: layer.fill([0] * layer.ndim, self.random.randrange(6)),
                layer.undo,
                layer.redo,
            )
            self.random.choice(actions)()

    def _set_data(self) -> None:
        layer = self._layer("Image")
        if layer is not None and not layer.multiscale and not layer.rgb and layer.ndim > 1:
            shape = [size + self.random.choice((0, 5)) for size in layer.data.shape]
            layer.data = self.numbers.normal(0, 9, shape).astype("float32")

    def _change_view(self) -> None:
        dims = self.viewer.dims
        actions: list[Callable[[], object]] = [
            lambda: dims.set_current_step(
                self.random.randrange(dims.ndim), self.random.randrange(40)
            ),
            lambda: setattr(dims, "order", tuple(self.random.sample(dims.order, dims.ndim))),
            lambda: setattr(dims, "ndisplay", self.random.choice((2, 2, 3))),
            lambda: setattr(self.viewer, "theme", self.random.choice(("dark", "light"))),
            lambda: setattr(self.viewer.camera, "zoom", self.random.choice((0.01, 1, 100))),
            self.viewer.reset_view,
        ]
        number = self.random.randrange(len(actions))
        self.history.append(f"view {number}")
        actions[number]()


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_from_package(error: BaseException) -> bool:
    """Return whether an error passed through this package."""
    frames = (frame for one in causes(error) for frame in traceback.extract_tb(one.__traceback__))
    return any(frame.filename.startswith(PACKAGE) for frame in frames)


def describe_failure(error: BaseException, user: User) -> str:
    """Return the traceback and the latest actions."""
    return "".join(traceback.format_exception(error)) + "\n".join(user.history[-25:])


@pytest.mark.filterwarnings("ignore")
def test_random_actions_raise_no_errors_in_the_panel(
    viewer: Any,
    qtbot: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    user = User(viewer, SEED, tmp_path, monkeypatch)
    panel, session = user.panel, user.panel.session
    states: list[State] = []
    session.state_changed.connect(states.append)
    with caplog.at_level(logging.ERROR, "napari_nst"):
        for _ in range(ACTIONS):
            with qtbot.capture_exceptions() as caught:
                try:
                    user.act()
                except Exception as error:
                    caught.append((type(error), error, error.__traceback__))
                qtbot.wait(user.random.choice((0, 1, 20, 60)))
            for _, error, _ in caught:
                assert not is_from_package(error), describe_failure(error, user)
        assert panel.status and panel.estimate
        panel.cancel()
        qtbot.waitUntil(lambda: session.state is State.IDLE, timeout=20000)
        user.viewer.close()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        qtbot.wait(300)
    failures = [record for record in caplog.records if record.name.startswith("napari_nst")]
    assert not failures, caplog.text + "\n".join(user.history)
    assert State.RUNNING in states
    assert len(activity._all_instances) == 0
