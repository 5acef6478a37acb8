"""The panel in the real viewer, with the real engine where it is small enough."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from fake_engine import FakeEngine
from qtpy.QtWidgets import QPushButton

from napari_nst.plugin.panel import StyleTransferPanel
from napari_nst.plugin.session import State


@pytest.fixture
def dock(viewer):
    """The panel docked as napari's menu docks it."""
    return viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")


@pytest.fixture
def panel(dock):
    return dock[1]


@pytest.fixture
def slow_panel(viewer):
    """A panel whose engine waits before every iteration but the first until it is let go."""
    gate = threading.Event()
    engine = FakeEngine(step=lambda iteration: iteration == 1 or gate.wait(20))
    panel = StyleTransferPanel(viewer, engine)
    panel.gate, panel.engine = gate, engine
    panel.dock = viewer.window.add_dock_widget(panel, name="slow")
    yield panel
    gate.set()


def button(panel, text):
    (found,) = [b for b in panel.findChildren(QPushButton) if b.text().replace("&", "") == text]
    return found


def finish(panel, qtbot):
    qtbot.waitUntil(lambda: panel.session.state is State.IDLE, timeout=60000)


def test_two_layers_in_a_painting_out(viewer, panel, qtbot):
    panel.controls.size.value = 48
    panel.controls.iterations.value = 6
    button(panel, "Stylize").click()
    assert not button(panel, "Stylize").isEnabled()
    assert button(panel, "Stop").isEnabled()
    finish(panel, qtbot)

    result = viewer.layers["photo x paint"]
    assert result.data.shape == (40, 48, 3)
    assert result.data.dtype == np.uint8
    assert (result.data != viewer.layers["photo"].data).any()
    record = result.metadata["napari_nst"]
    assert (record["iterations"], record["ended"]) == (6, "finished")
    assert record["content"]["name"] == "photo"
    assert panel.status.startswith("Finished after")
    assert button(panel, "Stylize").isEnabled()


def test_a_grey_plane_of_a_stack_is_restyled_at_its_place(viewer, panel, qtbot):
    stack = np.random.default_rng(1).integers(500, 900, (4, 36, 40), dtype=np.uint16)
    layer = viewer.add_image(stack, name="stack", scale=(5, 2, 2), contrast_limits=(450, 950))
    viewer.dims.set_current_step(0, 2)
    panel.controls.content.value = layer
    panel.controls.iterations.value = 3
    panel.start()
    finish(panel, qtbot)

    result = viewer.layers["stack x paint"]
    assert result.data.shape == (1, 36, 40)
    assert result.data.dtype == np.uint16
    assert tuple(result.contrast_limits) == (450, 950)
    assert result.data.min() >= 450
    assert result.data.max() <= 950
    np.testing.assert_allclose(result.data_to_world((0, 0, 0)), layer.data_to_world((2, 0, 0)))


def test_the_panel_offers_every_image_layer_and_hears_of_new_names(viewer, panel):
    assert [layer.name for layer in panel.controls.content.choices] == ["photo", "paint"]
    assert panel.controls.content.value.name == "photo"
    assert panel.controls.style.value.name == "paint"
    viewer.add_labels(np.zeros((4, 4), int))
    viewer.add_image(np.zeros((9, 9)), name="third")
    viewer.layers["photo"].name = "portrait"

    names = {panel.controls.style.native.itemText(i) for i in range(3)}
    assert names == {"portrait", "paint", "third"}
    assert panel.controls.content.value.name == "portrait"
    assert panel.controls.style.value.name == "paint"
    viewer.layers.remove("paint")
    assert {layer.name for layer in panel.controls.style.choices} == {"portrait", "third"}


def test_without_an_image_layer_the_panel_says_what_to_do(make_napari_viewer):
    viewer = make_napari_viewer()
    _, panel = viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")
    assert panel.estimate.startswith("There is no image layer: open a picture")
    panel.start()

    assert panel.session.state is State.IDLE
    assert panel.status.startswith("⚠ There is no image layer")


def test_one_layer_can_be_both(viewer, slow_panel, qtbot):
    slow_panel.gate.set()
    slow_panel.controls.style.value = viewer.layers["photo"]
    slow_panel.start()
    finish(slow_panel, qtbot)

    assert "photo x photo" in viewer.layers


def test_the_estimate_follows_the_controls(panel):
    panel.controls.size.value = 512
    small = panel.estimate
    panel.controls.size.value = 2048

    assert small.startswith("512 x 427 px will take roughly")
    assert panel.estimate.startswith("2048 x 1707 px will take roughly")
    assert "GiB" in panel.estimate


def test_bad_pixels_are_told_in_a_sentence(viewer, panel, qtbot):
    data = np.full((20, 20), 0.5)
    data[3, 4] = np.nan
    panel.controls.content.value = viewer.add_image(data, name="holes", contrast_limits=(0, 1))
    panel.start()
    finish(panel, qtbot)

    assert panel.status.startswith("⚠ holes has 1 values that are not finite")
    assert "holes x paint" not in viewer.layers


def test_stylize_pressed_twice_is_one_run(viewer, slow_panel, qtbot):
    slow_panel.start()
    slow_panel.start()
    assert slow_panel.status == "A run is going on: stop it first."
    slow_panel.gate.set()
    finish(slow_panel, qtbot)

    assert len(slow_panel.engine.made) == 1


def test_stop_says_so_and_keeps_the_picture(viewer, slow_panel, qtbot):
    slow_panel.start()
    qtbot.waitUntil(lambda: slow_panel.session.layer is not None, timeout=20000)
    button(slow_panel, "Stop").click()
    assert slow_panel.status == "Stopping ..."
    slow_panel.gate.set()
    finish(slow_panel, qtbot)

    assert slow_panel.status.startswith("Stopped after")
    assert "photo x paint" in viewer.layers


def test_pause_and_resume(viewer, slow_panel, qtbot):
    slow_panel.start()
    qtbot.waitUntil(lambda: slow_panel.session.layer is not None, timeout=20000)
    button(slow_panel, "Pause").click()
    assert slow_panel.status.startswith("Paused.")
    assert not button(slow_panel, "Stylize").isEnabled()
    button(slow_panel, "Resume").click()
    slow_panel.gate.set()
    finish(slow_panel, qtbot)

    assert slow_panel.status.startswith("Finished after")
    assert not button(slow_panel, "Pause").isEnabled()


def test_the_style_strength_acts_on_a_run_that_goes_on(viewer, panel, qtbot):
    panel.controls.size.value = 48
    panel.controls.iterations.value = 40
    panel.start()
    qtbot.waitUntil(lambda: panel.session.layer is not None, timeout=60000)
    panel.controls.strength.value = 100
    finish(panel, qtbot)

    record = viewer.layers["photo x paint"].metadata["napari_nst"]
    assert record["settings"]["style_weight"] == 1
    assert [change["choices"] for change in record["steering"]] == [{"style_weight": 10.0}]


def test_closing_the_dock_ends_the_run_and_lets_go_of_the_engine(viewer, slow_panel, qtbot):
    slow_panel.controls.iterations.value = 1000
    slow_panel.start()
    qtbot.waitUntil(lambda: slow_panel.session.layer is not None, timeout=20000)
    viewer.window.remove_dock_widget(slow_panel)
    slow_panel.gate.set()
    finish(slow_panel, qtbot)
    run = weakref.ref(slow_panel.engine.made.pop())
    gc.collect()

    assert run() is None
    assert "photo x paint" in viewer.layers
    viewer.dims.set_current_step(0, 0)  # nobody of the panel's is called any more


def test_hiding_the_dock_does_not_end_the_run(viewer, slow_panel, qtbot):
    slow_panel.start()
    slow_panel.dock.hide()
    slow_panel.gate.set()
    finish(slow_panel, qtbot)

    assert (viewer.layers["photo x paint"].data == 255).all()


def test_every_control_has_a_name_and_an_explanation(panel):
    controls = panel.controls
    for control in (
        controls.content, controls.style, controls.strength, controls.size, controls.iterations,
    ):  # fmt: skip
        assert control.native.accessibleName() == control.label
        assert len(control.tooltip) > 20
    for text in ("Stylize", "Pause", "Stop"):
        assert button(panel, text).toolTip()


def test_the_default_of_the_panel_is_the_default_of_the_settings(panel):
    from napari_nst import StyleTransferSettings

    assert panel.controls.settings == StyleTransferSettings()
