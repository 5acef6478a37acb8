"""The panel in a viewer, with the engine or with one that tests control."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from layer_helpers import open_without_dock
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QScrollArea,
    QSlider,
    QWidget,
)
from superqt import QCollapsible

from napari_nst import StyleTransferSettings
from napari_nst.plugin.panel import StyleTransferPanel
from napari_nst.plugin.run.session import State
from napari_nst.presets import preset

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def dock(viewer: Any) -> Any:
    """Return the dock and the panel, opened as napari's menu does."""
    return viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")


@pytest.fixture
def panel(dock: Any) -> Any:
    return dock[1]


def make_slow_panel(viewer: Any) -> Any:
    """Return a panel whose engine waits for `gate` after the first iteration."""
    gate = threading.Event()
    engine = FakeEngine(step=lambda iteration: iteration == 1 or gate.wait(20))
    panel: Any = StyleTransferPanel(viewer, engine)
    panel.gate, panel.engine = gate, engine
    return panel


@pytest.fixture
def slow_panel(viewer: Any) -> Iterator[Any]:
    panel = make_slow_panel(viewer)
    panel.dock = viewer.window.add_dock_widget(panel, name="slow")
    yield panel
    panel.gate.set()


@pytest.fixture
def free_panel(model: Any, qtbot: Any) -> Iterator[Any]:
    """Yield a panel like `slow_panel` that is not in a window of napari's."""
    panel: Any = make_slow_panel(model)
    open_without_dock(panel, model, qtbot)
    yield panel
    panel.gate.set()


def button(panel: Any, text: str) -> QPushButton:
    (found,) = [b for b in panel.findChildren(QPushButton) if b.text().replace("&", "") == text]
    return found


def start_and_show(panel: Any, qtbot: Any) -> None:
    """Start a run, and wait for its first picture."""
    panel.start()
    qtbot.waitUntil(lambda: panel.session.layer is not None, timeout=60000)


def finish(panel: Any, qtbot: Any) -> None:
    """Wait until the run ends."""
    qtbot.waitUntil(lambda: panel.session.state is State.IDLE, timeout=60000)


def run_to_end(panel: Any, qtbot: Any) -> None:
    """Start a run, and wait until it ends."""
    panel.start()
    finish(panel, qtbot)


def expand_all(panel: Any) -> None:
    """Expand all sections of the panel."""
    for section in panel.findChildren(QCollapsible):
        section.expand()


def show_all_controls(viewer: Any, panel: Any, **labels: Any) -> None:
    """Show all controls, also those of regions and of a second style."""
    panel.controls.regions.content_labels.value = viewer.add_labels(
        np.arange(40 * 48).reshape(40, 48) % 3, **labels
    )
    panel.controls.styles.add()
    expand_all(panel)


def test_a_run_adds_a_result_layer(viewer: Any, panel: Any, qtbot: Any) -> None:
    panel.controls.size.value = 48
    panel.controls.fields["iterations"].value = 6
    button(panel, "Stylize").click()
    assert not button(panel, "Stylize").isEnabled()
    assert button(panel, "Stop and keep").isEnabled()
    finish(panel, qtbot)

    result = viewer.layers["photo x paint"]
    assert result.data.shape == (40, 48, 3)
    assert result.data.dtype == np.uint8
    assert (result.data != viewer.layers["photo"].data).any()
    record = result.metadata["napari_nst"]
    assert (record["iterations"], record["status"]) == (6, "finished")
    assert record["content"]["name"] == "photo"
    assert panel.status.startswith("Finished after")
    assert button(panel, "Stylize").isEnabled()


def test_the_result_of_a_plane_covers_it_in_the_stack(viewer: Any, panel: Any, qtbot: Any) -> None:
    stack = np.random.default_rng(1).integers(500, 900, (4, 36, 40), dtype=np.uint16)
    layer = viewer.add_image(stack, name="stack", scale=(5, 2, 2), contrast_limits=(450, 950))
    viewer.dims.set_current_step(0, 2)
    panel.controls.content.value = layer
    panel.controls.fields["iterations"].value = 3
    run_to_end(panel, qtbot)

    result = viewer.layers["stack x paint"]
    assert result.data.shape == (1, 36, 40)
    assert result.data.dtype == np.uint16
    assert tuple(result.contrast_limits) == (450, 950)
    assert result.data.min() >= 450
    assert result.data.max() <= 950
    np.testing.assert_allclose(result.data_to_world((0, 0, 0)), layer.data_to_world((2, 0, 0)))


def test_the_panel_offers_every_image_layer_by_its_current_name(viewer: Any, panel: Any) -> None:
    assert [layer.name for layer in panel.controls.content.choices] == ["photo", "paint"]
    assert panel.controls.content.value.name == "photo"
    assert panel.controls.styles.rows[0].choice.value.name == "paint"
    viewer.add_labels(np.zeros((4, 4), int))
    viewer.add_image(np.zeros((9, 9)), name="third")
    viewer.layers["photo"].name = "portrait"

    names = {panel.controls.styles.rows[0].choice.native.itemText(i) for i in range(3)}
    assert names == {"portrait", "paint", "third"}
    assert panel.controls.content.value.name == "portrait"
    assert panel.controls.styles.rows[0].choice.value.name == "paint"
    viewer.layers.remove("paint")
    assert {layer.name for layer in panel.controls.styles.rows[0].choice.choices} == {
        "portrait",
        "third",
    }


def test_the_estimate_gives_advice_without_an_image_layer(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    _, panel = viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")
    assert panel.estimate.startswith("There is no image layer: open a picture")
    panel.start()

    assert panel.session.state is State.IDLE
    assert panel.status.startswith("⚠ There is no image layer")


def test_one_layer_can_be_content_and_style(model: Any, free_panel: Any, qtbot: Any) -> None:
    free_panel.gate.set()
    free_panel.controls.styles.rows[0].choice.value = model.layers["photo"]
    run_to_end(free_panel, qtbot)

    assert "photo x photo" in model.layers


def test_the_estimate_is_updated_after_painting(viewer: Any, panel: Any, qtbot: Any) -> None:
    panel.controls.regions.paint()
    assert panel.estimate.startswith("No label of the content has a style")
    viewer.layers["regions of photo"].paint((20, 20), 1)
    qtbot.waitUntil(lambda: "will take" in panel.estimate, timeout=5000)


def test_a_result_too_large_for_memory_shows_an_error(
    viewer: Any, panel: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel.controls.fields["iterations"].value = 1
    panel.controls.size.value = 32
    run_to_end(panel, qtbot)

    def copy(*_: object) -> str:
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr("napari_nst.plugin.provenance.copying.as_python", copy)
    button(panel, "Copy as Python").click()
    expected = "⚠ photo x paint does not fit into memory (Unable to allocate 9 TiB)."
    assert panel.status == expected


@pytest.mark.parametrize("role", ["content", "style", "labels", "style labels"])
def test_a_chosen_layer_with_more_axes_can_be_removed(
    viewer: Any, panel: Any, qtbot: Any, role: str
) -> None:
    """Napari changes its dims before it emits the event of the removal."""
    controls = panel.controls
    if "labels" in role:
        layer = viewer.add_labels(np.ones((3, 40, 48), np.uint8))
        regions = controls.regions
        chosen = regions.style_labels[0] if role == "style labels" else regions.content_labels
    else:
        layer = viewer.add_image(np.zeros((3, 40, 48), np.uint8))
        chosen = controls.content if role == "content" else controls.styles.rows[0].choice
    regions = controls.regions
    regions.content_labels.value = viewer.add_labels(np.ones((40, 48), np.uint8))
    chosen.value = layer
    assert viewer.dims.ndim == 3
    viewer.layers.remove(layer)

    assert chosen.value is not layer
    assert viewer.dims.ndim == 2
    assert "will take" in panel.estimate


def test_the_estimate_follows_the_controls(free_panel: Any) -> None:
    free_panel.controls.size.value = 512
    small = free_panel.estimate
    free_panel.controls.size.value = 2048

    assert small.startswith("512 x 427 px will take roughly")
    assert free_panel.estimate.startswith("2048 x 1707 px will take roughly")
    assert "GiB" in free_panel.estimate


def test_the_estimate_follows_the_choice_of_strokes(free_panel: Any) -> None:
    strokes = free_panel.controls.fields["strokes_relative_to"].widget
    estimates = {}
    for size in (512, 2048):
        free_panel.controls.size.value = size
        for choice in ("picture", "pixels"):
            strokes.value = choice
            estimates[size, choice] = free_panel.estimate

    assert estimates[512, "picture"] == estimates[512, "pixels"]
    # 70 instead of 41 iterations at the last size, and a style of 512 instead of 2048 pixels
    assert estimates[2048, "picture"] != estimates[2048, "pixels"]


def test_bad_pixels_show_an_error(viewer: Any, panel: Any, qtbot: Any) -> None:
    data = np.full((20, 20), 0.5)
    data[3, 4] = np.nan
    panel.controls.content.value = viewer.add_image(data, name="holes", contrast_limits=(0, 1))
    run_to_end(panel, qtbot)

    assert panel.status.startswith("⚠ holes has 1 value that is not finite")
    assert "holes x paint" not in viewer.layers


def test_pressing_stylize_twice_starts_one_run(model: Any, free_panel: Any, qtbot: Any) -> None:
    free_panel.start()
    free_panel.start()
    assert free_panel.status == "A run is active: stop it first."
    free_panel.gate.set()
    finish(free_panel, qtbot)

    assert len(free_panel.engine.made) == 1


def test_stop_keeps_the_last_picture(model: Any, free_panel: Any, qtbot: Any) -> None:
    start_and_show(free_panel, qtbot)
    button(free_panel, "Stop and keep").click()
    assert free_panel.status == "Stopping ..."
    free_panel.gate.set()
    finish(free_panel, qtbot)

    assert free_panel.status.startswith("Stopped after")
    assert "photo x paint" in model.layers


def test_a_run_can_be_paused_and_resumed(viewer: Any, slow_panel: Any, qtbot: Any) -> None:
    start_and_show(slow_panel, qtbot)
    button(slow_panel, "Pause").click()
    assert slow_panel.status.startswith("Paused.")
    assert not button(slow_panel, "Stylize").isEnabled()
    button(slow_panel, "Resume").click()
    slow_panel.gate.set()
    finish(slow_panel, qtbot)

    assert slow_panel.status.startswith("Finished after")
    assert not button(slow_panel, "Pause").isEnabled()


def test_the_style_strength_changes_the_current_run(viewer: Any, panel: Any, qtbot: Any) -> None:
    panel.controls.size.value = 48
    panel.controls.fields["iterations"].value = 40
    start_and_show(panel, qtbot)
    panel.controls.strength.value = 100
    finish(panel, qtbot)

    record = viewer.layers["photo x paint"].metadata["napari_nst"]
    assert record["settings"]["style_weight"] == 1
    assert [change["choices"] for change in record["steering"]] == [{"style_weight": 10.0}]


def test_closing_the_dock_stops_the_run_and_releases_it(
    viewer: Any, slow_panel: Any, qtbot: Any
) -> None:
    slow_panel.controls.fields["iterations"].value = 1000
    start_and_show(slow_panel, qtbot)
    viewer.window.remove_dock_widget(slow_panel)
    slow_panel.gate.set()
    finish(slow_panel, qtbot)
    run = weakref.ref(slow_panel.engine.made.pop())
    gc.collect()

    assert run() is None
    assert "photo x paint" in viewer.layers
    viewer.dims.set_current_step(0, 0)  # the closed panel is disconnected


def test_hiding_the_dock_does_not_stop_the_run(viewer: Any, slow_panel: Any, qtbot: Any) -> None:
    slow_panel.start()
    slow_panel.dock.hide()
    slow_panel.gate.set()
    finish(slow_panel, qtbot)

    assert (viewer.layers["photo x paint"].data == 255).all()


def test_every_control_has_a_name_and_a_tooltip_and_is_reached_by_tab(
    viewer: Any, panel: Any
) -> None:
    show_all_controls(viewer, panel)
    kinds = (QAbstractButton, QComboBox, QAbstractSpinBox, QLineEdit, QSlider)
    controls = [w for kind in kinds for w in panel.findChildren(kind)]
    own = [w for w in controls if not isinstance(w.parent(), (*kinds, QMenu))]

    assert len(own) > 40
    for widget in own:
        holder = widget if widget.accessibleName() else widget.parent()
        name = holder.accessibleName() or getattr(widget, "text", str)()
        assert name, f"{widget} has no name"
        assert holder.toolTip() or widget.toolTip(), f"{name} has no tooltip"
        assert widget.focusPolicy() & Qt.FocusPolicy.TabFocus, f"{name} cannot be reached by Tab"


def test_tab_moves_from_top_to_bottom(viewer: Any, panel: Any, qtbot: Any) -> None:
    show_all_controls(viewer, panel)
    viewer.window._qt_window.show()
    qtbot.wait(100)
    inside = panel.findChild(QScrollArea).widget()
    places, widget = [], panel.controls.content.native
    for _ in range(200):
        here = inside.isAncestorOf(widget) and widget.isVisible()
        if here and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            places.append(widget.mapTo(inside, widget.rect().center()).y())
        widget = widget.nextInFocusChain()
        if widget is panel.controls.content.native or not panel.isAncestorOf(widget):
            break

    assert len(places) > 40
    assert all(after >= before - 8 for before, after in itertools.pairwise(places))


def test_mnemonics_are_unique_and_not_used_by_naparis_menus(panel: Any) -> None:
    expand_all(panel)
    texts = [w.text() for kind in (QLabel, QPushButton) for w in panel.findChildren(kind)]
    letters = [text[text.index("&") + 1].upper() for text in texts if "&" in text]

    assert len(letters) > 10
    assert not {x for x in letters if letters.count(x) > 1}
    assert not set(letters) & set("FVLPWH")


def test_every_mnemonic_label_has_a_buddy(panel: Any) -> None:
    for label in panel.findChildren(QLabel):
        if "&" in label.text():
            assert label.buddy() is not None, label.text()
            target = label.buddy().focusProxy() or label.buddy()
            within = [target, *target.findChildren(QWidget)]
            assert any(w.focusPolicy() & Qt.FocusPolicy.TabFocus for w in within), label.text()


def test_the_panel_with_all_controls_fits_into_300_pixels(viewer: Any, panel: Any) -> None:
    viewer.layers["photo"].name = "a name that is very long and would widen any list " * 2
    show_all_controls(viewer, panel, name="long " * 30)
    area = panel.findChild(QScrollArea)
    bar = area.verticalScrollBar().sizeHint().width()

    assert panel.minimumWidth() <= 300
    assert area.widget().minimumSizeHint().width() + bar <= 300


def test_a_new_panel_has_the_default_settings(free_panel: Any) -> None:
    assert free_panel.controls.settings == StyleTransferSettings()


def test_cancel_discards_the_picture(model: Any, free_panel: Any, qtbot: Any) -> None:
    start_and_show(free_panel, qtbot)
    button(free_panel, "Cancel and discard").click()
    free_panel.gate.set()
    finish(free_panel, qtbot)

    assert free_panel.status.startswith("Cancelled, and the image discarded, after")
    assert [layer.name for layer in model.layers] == ["photo", "paint"]


def test_the_panel_shows_network_and_device(viewer: Any, slow_panel: Any, qtbot: Any) -> None:
    start_and_show(slow_panel, qtbot)
    assert slow_panel.status.startswith("Size 1 of 1 (48 x 40 px), iteration 1 of 100.")
    assert slow_panel.machine.startswith("VGG-16 on cpu (test CPU), float32; ")
    assert slow_panel.machine.endswith(" GiB in use.")
    slow_panel.cancel()
    slow_panel.gate.set()
    finish(slow_panel, qtbot)


def test_a_second_panel_refuses_to_run_during_the_run_of_the_first(
    viewer: Any, slow_panel: Any, qtbot: Any
) -> None:
    second = StyleTransferPanel(viewer, FakeEngine())
    viewer.window.add_dock_widget(second, name="second")
    slow_panel.start()
    second.start()

    assert second.session.state is State.IDLE
    assert "'photo x paint'" in second.status
    slow_panel.gate.set()
    finish(slow_panel, qtbot)
    run_to_end(second, qtbot)
    assert second.status.startswith("Finished after")


def test_continue_starts_from_the_selected_result(model: Any, free_panel: Any, qtbot: Any) -> None:
    free_panel.gate.set()
    button(free_panel, "Continue").click()
    assert free_panel.status.startswith("⚠ There is no result: select")
    run_to_end(free_panel, qtbot)
    free_panel.controls.size.value = 96
    button(free_panel, "Continue").click()
    finish(free_panel, qtbot)

    second = free_panel.engine.made[1]
    assert second.settings.init == "image"
    assert second.settings.size == 96
    assert (second.more["init_image"] == 255).all()
    assert [layer.name for layer in model.layers[2:]] == ["photo x paint", "photo x paint [1]"]


def test_a_result_that_does_not_cover_the_content_is_not_continued(
    model: Any, free_panel: Any, qtbot: Any
) -> None:
    free_panel.gate.set()
    run_to_end(free_panel, qtbot)
    free_panel.controls.content.value = model.layers["paint"]
    free_panel.continue_from()

    assert "does not cover paint" in free_panel.status
    assert len(free_panel.engine.made) == 1


def test_reuse_restores_settings_and_layers_of_a_result(
    model: Any, free_panel: Any, qtbot: Any
) -> None:
    free_panel.gate.set()
    labels = model.add_labels(np.ones((40, 48), int), name="all")
    free_panel.controls.regions.content_labels.value = labels
    expected_settings = free_panel.controls.settings.replace(
        style_weight=2.5, color="match", iterations=3, size=64, pooling="average"
    )
    free_panel.controls.settings = expected_settings
    run_to_end(free_panel, qtbot)
    free_panel.controls.settings = expected_settings.replace(
        style_weight=1, color="style", iterations=9
    )
    free_panel.controls.content.value = model.layers["paint"]
    free_panel.controls.regions.content_labels.value = None
    button(free_panel, "Reuse settings").click()

    assert free_panel.controls.settings == expected_settings
    assert free_panel.controls.content.value is model.layers["photo"]
    assert free_panel.controls.regions.content_labels.value is labels


def test_the_content_can_be_shown_instead_of_the_result(
    viewer: Any, slow_panel: Any, qtbot: Any
) -> None:
    slow_panel.gate.set()
    run_to_end(slow_panel, qtbot)
    photo, result = viewer.layers["photo"], viewer.layers["photo x paint"]
    photo.visible = False
    flip = button(slow_panel, "Show content")
    flip.click()
    assert (photo.visible, result.visible) == (True, False)
    flip.click()
    assert (photo.visible, result.visible) == (False, True)


def test_the_evolution_is_added_as_a_layer(model: Any, free_panel: Any, qtbot: Any) -> None:
    free_panel.results.findChild(QCheckBox).setChecked(True)
    free_panel.controls.fields["iterations"].value = 20
    start_and_show(free_panel, qtbot)
    free_panel.gate.set()
    finish(free_panel, qtbot)

    evolution = model.layers["photo x paint evolution"]
    assert evolution.data.shape[1:] == (40, 48, 3)
    assert evolution.metadata["napari_nst_iterations"][0] == 1
    assert evolution.metadata["napari_nst_iterations"][-1] == 20
    assert (evolution.data[-1] == 255).all()


def test_a_draft_takes_the_part_of_the_content_on_the_canvas(
    viewer: Any, slow_panel: Any, qtbot: Any
) -> None:
    slow_panel.gate.set()
    content = viewer.add_image(
        np.zeros((400, 600, 3), np.uint8), name="large", rgb=True, rotate=30, scale=(2, 3)
    )
    viewer.layers.selection.active = content
    viewer.window._qt_window.resize(900, 700)
    viewer.window._qt_window.show()
    viewer.scene.camera.center = content.data_to_world((200, 300))
    viewer.scene.camera.zoom = 4
    viewer.scene.camera.events.zoom()
    qtbot.wait(200)
    slow_panel.controls.content.value = content
    slow_panel.draft()
    finish(slow_panel, qtbot)

    run = slow_panel.engine.made[0]
    result = viewer.layers["large x paint"]
    quick = preset("draft")
    assert (run.settings.size, run.settings.iterations) == (quick.size, quick.iterations)
    assert run.settings.iterations < slow_panel.controls.settings.iterations
    assert max(run.content.shape) < 500
    # The result has the centre and the pixel size of the visible part.
    middle = (np.array(result.data.shape[:2]) - 1) / 2
    np.testing.assert_allclose(
        content.world_to_data(result.data_to_world(middle)), (200, 300), atol=3
    )
    np.testing.assert_allclose(result.scale, content.scale)


def test_the_estimate_follows_the_displayed_plane(model: Any, free_panel: Any) -> None:
    model.add_image(np.zeros((5, 40, 48)), name="deep")
    free_panel.controls.content.value = model.layers["deep"]
    assert "will take" in free_panel.estimate
    model.dims.ndisplay = 3
    assert free_panel.estimate.startswith("deep is displayed in 3D")
    model.dims.ndisplay = 2
    assert "will take" in free_panel.estimate


def test_regions_are_stylized_and_other_pixels_are_unchanged(
    viewer: Any, panel: Any, qtbot: Any
) -> None:
    labels = np.zeros((40, 48), np.uint8)
    labels[:, 24:] = 1
    panel.controls.regions.content_labels.value = viewer.add_labels(labels, name="right half")
    panel.controls.fields["region_softness"].value = 0.0
    panel.controls.size.value = 48
    panel.controls.fields["iterations"].value = 6
    run_to_end(panel, qtbot)

    assert panel.status.startswith("Finished after")
    result, photo = viewer.layers["photo x paint"].data, viewer.layers["photo"].data
    np.testing.assert_array_equal(result[:, :24], photo[:, :24])
    assert (result[:, 24:] != photo[:, 24:]).any()


def test_labels_painted_during_a_run_are_in_its_record(viewer: Any, panel: Any, qtbot: Any) -> None:
    labels = viewer.add_labels(np.ones((40, 48), np.uint8), name="painted")
    panel.controls.regions.content_labels.value = labels
    panel.controls.size.value = 48
    panel.controls.fields["iterations"].value = 300
    start_and_show(panel, qtbot)
    labels.data_setitem((np.repeat(np.arange(20), 20), np.tile(np.arange(20), 20)), 0)
    result = panel.session.layer

    def unpainted_part_is_restored() -> bool:
        difference = result.data[:15, :15] != viewer.layers["photo"].data[:15, :15]
        return not difference.any() or panel.session.state is State.IDLE

    qtbot.waitUntil(unpainted_part_is_restored, timeout=60000)
    panel.stop()
    finish(panel, qtbot)

    (change,) = result.metadata["napari_nst"]["steering"]
    assert change["content_labels"]["shape"] == [40, 48]
    np.testing.assert_array_equal(result.data[:15, :15], viewer.layers["photo"].data[:15, :15])


def test_a_section_collapses_and_expands_with_its_content(
    viewer: Any, panel: Any, qtbot: Any
) -> None:
    viewer.window._qt_window.show()
    section = next(s for s in panel.findChildren(QCollapsible) if s.isAncestorOf(panel.curves))
    heading = section.toggleButton()

    assert heading.accessibleName() == "Losses"
    assert not panel.curves.isVisible()
    heading.click()
    assert section.isExpanded()
    assert panel.curves.isVisible()
    panel.curves.setFixedHeight(1000)
    qtbot.waitUntil(lambda: section.height() > 1000)
    qtbot.keyClick(heading, Qt.Key.Key_Space)
    assert not section.isExpanded()
    assert not panel.curves.isVisible()
