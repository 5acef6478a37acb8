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
from napari_nst.plugin.widgets import job_maker
from napari_nst.presets import preset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZE, ITERATIONS = 32, 2
TIMEOUT = 120  # seconds


class OpenPanel:
    """The panel in a viewer with layers, and functions that wait for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.viewer = napari.Viewer()
        self.viewer.window.resize(800, 500)  # without a GPU, pixels take long to draw
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
        self.wait_until(lambda: "napari_nst.engine.run.transfer" in sys.modules)
        self.process_events(0.5)
        self.layers = {name: self.viewer.layers[name] for name in ("content", "style", "stack")}
        self.make_runs_short()

    def make_runs_short(self) -> None:
        """Set few iterations and a small size."""
        self.controls.fields["iterations"].value = ITERATIONS
        self.controls.size.value = SIZE

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Process events until a condition holds."""
        end = time.monotonic() + TIMEOUT
        while not condition():
            QApplication.processEvents()
            time.sleep(0.005)
            assert time.monotonic() < end, f"waited for {condition}: {self.panel.status}"

    def process_events(self, seconds: float) -> None:
        """Process events for some seconds."""
        end = time.monotonic() + seconds
        self.wait_until(lambda: time.monotonic() > end)

    def run(self, start: Callable[[], object]) -> None:
        """Start a run, and wait until it finishes."""
        start()
        self.wait_until(lambda: self.panel.session.state is State.IDLE)
        self.process_events(0.05)
        assert "Finished" in self.panel.status, self.panel.status


def answer_dialogs(folder: Path) -> None:
    """Replace the dialogs of the panel by answers."""
    QInputDialog.getText = lambda *_, **__: ("mine", True)
    QMessageBox.question = lambda *_, **__: QMessageBox.StandardButton.No
    save, settings = str(folder / "saved.png"), str(folder / "settings.json")

    def ask_where(_: object, title: str, *__: object) -> tuple[str, str]:
        return (save if "record" in title else settings), ""

    QFileDialog.getSaveFileName = ask_where
    QFileDialog.getOpenFileName = lambda *_, **__: (settings, "")


def shorten_drafts() -> None:
    """Give drafts the size and the iterations of the other runs."""
    quick = preset("draft").replace(size=SIZE, iterations=ITERATIONS)
    job_maker.preset = lambda _: quick


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


def actions_of(widget: QWidget) -> Iterator[Callable[[], object]]:
    """Yield functions that operate a widget like a user."""
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
        if not (isinstance(widget, QToolButton) and widget.menu()):  # a menu would block
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


def operate_every_control(opened: OpenPanel) -> int:
    """Operate each widget of the panel, and return the number of actions."""
    widgets = opened.panel.findChildren(QWidget)
    count = 0
    for widget in widgets:
        try:
            actions = list(actions_of(widget))
        except RuntimeError:  # deleted by Qt
            continue
        for action in actions:
            try:
                action()
            except RuntimeError as error:
                assert "has been deleted" in str(error)
                break
            opened.process_events(0.01)
            opened.panel.cancel()
            opened.wait_until(lambda: opened.panel.session.state is State.IDLE)
            opened.make_runs_short()
            count += 1
    for action in opened.panel.presets.menu.actions():
        action.trigger()
        opened.process_events(0.01)
    return count


def run_every_code_path(opened: OpenPanel, vgg19: Path) -> None:
    """Run with each setting that has its own code path in the engine."""
    controls, panel = opened.controls, opened.panel
    plain = type(controls.settings)(
        size=SIZE,
        iterations=ITERATIONS,
        device="cpu",
        content_layers=("relu3_1",),
        style_layers=("relu1_1", "relu3_1"),
    )
    variants: list[dict[str, Any]] = [
        {},
        *({"style_loss": loss} for loss in ("gram+moments", "wasserstein")),
        {"optimizer": "lbfgs"},
        *({"color": color} for color in ("palette", "luminance", "match")),
        *({"init": init} for init in ("noise", "style")),
        {"pooling": "average"},
        {"precision": "bfloat16"},
        {"tile": 64, "size": 96},
        {"scales": 2},
        {"network": "vgg19", "weights": str(vgg19)},
    ]
    for combo in (controls.regions.content_labels, *controls.regions.style_labels):
        combo.value = None
    for variant in variants:
        controls.content.value = opened.layers["content"]
        controls.styles.choose([opened.layers["style"]])
        controls.settings = plain.replace(**variant)
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
    for start_from in ("warped", "previous", "content"):
        controls.planes.choice.value = 0
        controls.planes.start_from.value = start_from
        controls.planes.long_term.setChecked(True)
        controls.planes.on_disk.setChecked(start_from == "previous")
        opened.run(panel.start)


def main(folder: Path) -> None:
    """Operate every control and run every code path in one viewer; write files to a folder."""
    answer_dialogs(folder)
    shorten_drafts()
    opened = OpenPanel(folder)
    count = operate_every_control(opened)
    assert count > 60, f"only {count} actions: are the controls found?"
    run_every_code_path(opened, write_vgg19(folder))
    opened.viewer.close()
