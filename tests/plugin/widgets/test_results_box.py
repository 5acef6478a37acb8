"""Actions on results find the input layers by their pixels, not by their names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from layer_helpers import open_without_dock

from napari_nst import stylize_layer
from napari_nst.plugin.panel import StyleTransferPanel

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def viewer(model: Any) -> Any:
    return model


@pytest.fixture
def panel(viewer: Any, qtbot: Any) -> StyleTransferPanel:
    panel = StyleTransferPanel(viewer, FakeEngine())
    open_without_dock(panel, viewer, qtbot)
    return panel


@pytest.fixture
def stack(viewer: Any) -> Any:
    data = np.random.default_rng(1).integers(0, 900, (5, 40, 44), dtype=np.uint16)
    return viewer.add_image(data, name="stack", scale=(2, 1, 1))


def stylize(viewer: Any, name: str, **choices: Any) -> Any:
    layers = viewer.layers[name], viewer.layers["paint"]
    return viewer.add_layer(stylize_layer(*layers, size=32, iterations=1, **choices))


def test_a_result_of_another_plane_is_not_continued(viewer: Any, panel: Any, stack: Any) -> None:
    result = stylize(viewer, "stack", plane=3)
    panel.controls.content.value = stack
    panel.controls.styles.choose([viewer.layers["paint"]])
    viewer.dims.set_current_step(0, 1)
    panel.continue_from(result)
    assert "stack x paint shows nothing at this point: on axis 0 it lies from 6" in panel.status
    assert "move the slider there" in panel.status
    viewer.dims.set_current_step(0, 3)
    assert panel.jobs.job(init_image=result).content.index[0] == 3


def test_a_result_of_another_layer_is_not_continued(viewer: Any, panel: Any, stack: Any) -> None:
    result = stylize(viewer, "stack", plane=3)
    viewer.dims.set_current_step(0, 3)
    other = viewer.add_image(stack.data + 1, name="other", scale=(2, 1, 1))
    panel.controls.content.value = other
    panel.controls.styles.choose([viewer.layers["paint"]])
    panel.continue_from(result)
    assert "stack x paint was made of stack, and Content is other" in panel.status
    panel.controls.content.value = stack
    stack.name = "renamed"
    assert panel.jobs.job(init_image=result).init_image is not None


def test_reuse_finds_renamed_layers_and_names_missing_ones(viewer: Any, panel: Any) -> None:
    labels = viewer.add_labels(np.ones((40, 48), np.uint8), name="regions")
    result = stylize(viewer, "photo", content_labels=labels)
    photo, paint = viewer.layers["photo"], viewer.layers["paint"]
    photo.name, labels.name = "day 1", "mask"
    viewer.add_image(np.zeros((40, 48, 3), np.uint8), name="photo")
    viewer.add_labels(np.zeros((40, 48), np.uint8), name="regions")
    panel.reuse(result)

    controls = panel.controls
    assert panel.status == "The settings are those of photo x paint."
    assert controls.content.value is photo
    assert controls.styles.layers == [paint]
    assert controls.regions.content_labels.value is labels
    labels.data = labels.data * 2
    viewer.layers.remove(paint)
    panel.reuse(result)
    assert panel.status.endswith("Gone or changed since: paint, regions.")
    assert controls.content.value is photo
    assert controls.regions.content_labels.value is None


def test_a_missing_content_shows_an_error_and_keeps_visibility(viewer: Any, panel: Any) -> None:
    result = stylize(viewer, "photo")
    viewer.layers.selection.active = result
    button = panel.results._flip_button
    button.click()
    assert not result.visible
    button.click()
    assert result.visible
    viewer.layers["photo"].name = "renamed"
    viewer.layers["renamed"].data = viewer.layers["renamed"].data[::-1]
    button.click()
    assert result.visible
    assert not button.isChecked()
    assert "The pixels of photo have" not in panel.status
    assert "The pixels of renamed have changed since the run of photo x paint began" in panel.status


def test_renaming_a_layer_keeps_the_choice(viewer: Any, panel: Any, stack: Any) -> None:
    controls = panel.controls
    viewer.add_labels(np.ones((5, 40, 44), np.uint8), name="first")
    labels = viewer.add_labels(np.ones((5, 40, 44), np.uint8), name="second")
    other = viewer.add_image(stack.data, name="other")
    controls.content.value, controls.regions.content_labels.value = stack, labels
    controls.styles.choose([other])
    emitted: list[Any] = []
    controls.content.changed.connect(emitted.append)
    for layer in (stack, labels, other):
        layer.name = f"my {layer.name}"
    assert controls.content.value is stack
    assert controls.content.native.currentText() == "my stack"
    assert controls.regions.content_labels.value is labels
    assert controls.styles.layers == [other]
    assert emitted == []
