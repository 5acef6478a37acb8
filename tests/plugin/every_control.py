"""Operate each control of the panel in a real viewer, and run each code path of the engine."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QInputDialog,
    QLineEdit,
    QMessageBox,
    QScrollBar,
    QSpinBox,
    QToolButton,
    QWidget,
)

from napari_nst.plugin.run.session import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZE, ITERATIONS = 32, 2
LONG = 120  # seconds


class Viewer:
    """A viewer with its panel, and helpers that wait for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.viewer = napari.Viewer()
        rng = np.random.default_rng(0)
        colour = rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        self.viewer.add_image(colour, name="content", rgb=True)
        self.viewer.add_image(colour[::-1], name="style", rgb=True)
        self.viewer.add_image(colour[..., 0], name="grey")
        self.viewer.add_image(np.stack([colour[..., 0]] * 2), name="stack")
        self.panel = self.viewer.window.add_plugin_dock_widget(
            "napari-nst", "Neural style transfer"
        )[1]
        self.controls = self.panel.controls
        self.wait(lambda: "napari_nst.engine.run.transfer" in sys.modules)
        self.spin(0.5)
        self.layers = {name: self.viewer.layers[name] for name in ("content", "style", "stack")}
        self.quick()

    def quick(self) -> None:
        """Make runs instant."""
        self.controls.fields["iterations"].value = ITERATIONS
        self.controls.size.value = SIZE

    def wait(self, until: Callable[[], bool]) -> None:
        end = time.monotonic() + LONG
        while not until():
            QApplication.processEvents()
            time.sleep(0.005)
            assert time.monotonic() < end, f"waited for {until}: {self.panel.status}"

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end)

    def run(self, begin: Callable[[], object], *, finishes: bool = True) -> None:
        """Start a run, and require that it finishes."""
        begin()
        self.wait(lambda: self.panel.session.state is State.IDLE)
        self.spin(0.05)
        if finishes:
            assert "Finished" in self.panel.status, self.panel.status


def answer_dialogs(folder: Path) -> None:
    """Answer each question of the panel."""
    QInputDialog.getText = lambda *_, **__: ("mine", True)
    QMessageBox.question = lambda *_, **__: QMessageBox.StandardButton.No
    save, settings = str(folder / "saved.png"), str(folder / "settings.json")

    def ask_where(_: object, title: str, *__: object) -> tuple[str, str]:
        return (save if "record" in title else settings), ""

    QFileDialog.getSaveFileName = ask_where
    QFileDialog.getOpenFileName = lambda *_, **__: (settings, "")


def write_vgg19(folder: Path) -> Path:
    """Write a state dict of VGG-19 with small random kernels."""
    import torch

    from napari_nst.networks import NETWORKS

    network, generator = NETWORKS["vgg19"], torch.Generator().manual_seed(0)
    state = {}
    for name in network.convolutions:
        layer = network.layer(name)
        shape = (layer.out_channels, layer.in_channels, 3, 3)
        state[f"{name}.weight"] = 0.02 * torch.randn(shape, generator=generator)
        state[f"{name}.bias"] = torch.zeros(layer.out_channels)
    file = folder / "vgg19.pth"
    torch.save(state, file)
    return file


def values_of(widget: QWidget) -> Iterator[Callable[[], object]]:
    """Yield the actions of a user on a widget."""
    if isinstance(widget, QComboBox):
        for index in range(widget.count()):
            yield lambda index=index: (
                widget.setCurrentIndex(index),
                widget.activated.emit(index),
            )
    elif isinstance(widget, QCheckBox):
        yield widget.click
        yield widget.click
    elif isinstance(widget, QAbstractButton):
        if not (isinstance(widget, QToolButton) and widget.menu()):  # it would wait for a choice
            yield widget.click
    elif isinstance(widget, QSpinBox | QDoubleSpinBox):
        yield widget.stepUp
        yield widget.stepDown
    elif isinstance(widget, QAbstractSlider) and not isinstance(widget, QScrollBar):
        yield lambda: widget.setValue(widget.maximum())
        yield lambda: widget.setValue(widget.maximum() // 2)
    elif isinstance(widget, QLineEdit) and not isinstance(widget.parent(), QAbstractSpinBox):
        for text in ("nonsense", "1", "automatic"):
            yield lambda text=text: (widget.setText(text), widget.editingFinished.emit())


def operate_every_control(opened: Viewer) -> int:
    """Operate each widget of the panel, and wait for its effect."""
    widgets = opened.panel.findChildren(QWidget)
    done = 0
    for widget in widgets:
        try:
            actions = list(values_of(widget))
        except RuntimeError:  # Qt has deleted it meanwhile
            continue
        for action in actions:
            try:
                action()
            except RuntimeError as error:
                assert "has been deleted" in str(error)
                break
            opened.spin(0.01)
            opened.panel.cancel()
            opened.wait(lambda: opened.panel.session.state is State.IDLE)
            opened.quick()
            done += 1
    for action in opened.panel.presets.menu.actions():
        action.trigger()
        opened.spin(0.01)
    return done


def run_every_way(opened: Viewer, vgg19: Path) -> None:
    """Run with each choice that has its own code path in the engine."""
    controls, panel = opened.controls, opened.panel
    plain = type(controls.settings)(size=SIZE, iterations=ITERATIONS, device="cpu")
    ways: list[dict[str, Any]] = [
        {},
        *({"style_loss": loss} for loss in ("gram+moments", "wasserstein")),
        {"optimizer": "lbfgs"},
        *({"color": color} for color in ("luminance", "match")),
        *({"init": init} for init in ("noise", "style")),
        {"pooling": "average"},
        {"precision": "bfloat16"},
        {"tile": 64, "size": 96},
        {"scales": 2},
        {"network": "vgg19", "weights": str(vgg19)},
    ]
    for combo in (controls.regions.content_labels, *controls.regions.style_labels):
        combo.value = None
    for way in ways:
        controls.content.value = opened.layers["content"]
        controls.styles.choose([opened.layers["style"]])
        controls.settings = plain.replace(**way)
        opened.run(panel.start)
    controls.settings = plain
    opened.run(panel.continue_from)
    opened.run(panel.draft)
    controls.regions.paint()
    opened.viewer.layers[-1].data[: SIZE // 2] = 1
    controls.regions.refresh()
    opened.run(panel.start)
    controls.regions.content_labels.value = None
    controls.advanced.intensities.value = "percentiles"
    controls.content.value = opened.layers["stack"]
    opened.viewer.dims.set_current_step(0, 0)
    for start_from in (True, False):
        controls.planes.choice.value = 0
        controls.planes.from_previous.setChecked(start_from)
        controls.planes.on_disk.setChecked(start_from)
        opened.run(panel.start)


def main(folder: Path) -> None:
    """Do everything in one viewer; write files to a folder."""
    answer_dialogs(folder)
    opened = Viewer(folder)
    done = operate_every_control(opened)
    assert done > 60, f"only {done} actions: are the controls found?"
    run_every_way(opened, write_vgg19(folder))
    opened.viewer.close()
