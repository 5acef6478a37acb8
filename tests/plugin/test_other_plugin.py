"""The plugin in examples/other_plugin, which calls a command of this one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from npe2 import PluginManager, PluginManifest

from docs_pages import ROOT, blocks

FOLDER = ROOT / "examples" / "other_plugin"
NAME = "napari-restyle-objects"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def other_plugin(npe2pm: PluginManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the plugin of the example as if it were installed, before the viewer is made.

    Viewers of earlier tests still listen to the usual plugin manager.
    """
    monkeypatch.syspath_prepend(str(FOLDER))
    npe2pm.register(PluginManifest.from_distribution("napari-nst"))
    npe2pm.register(PluginManifest.from_file(FOLDER / "napari_restyle_objects" / "napari.yaml"))


@pytest.fixture
def objects(viewer: Any) -> Any:
    labels = np.zeros((40, 48), np.uint8)
    labels[10:30, 12:36] = 3
    return viewer.add_labels(labels, name="objects")


@pytest.mark.usefixtures("other_plugin")
def test_the_widget_adds_the_image_with_restyled_objects(
    viewer: Any, objects: Any, qtbot: Any
) -> None:
    photo, paint = viewer.layers["photo"], viewer.layers["paint"]
    _, widget = viewer.window.add_plugin_dock_widget(NAME, "Restyle objects")
    widget.image.value, widget.objects.value, widget.style.value = photo, objects, paint
    widget.size.value, widget.iterations.value = 32, 3
    widget()
    assert len(viewer.layers) == 3  # the viewer does not wait for the run
    qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=120_000)

    result = viewer.layers[-1]
    background = objects.data == 0
    assert result.name == "photo x paint"
    assert result.metadata["napari_nst"]["settings"]["size"] == 32
    assert np.array_equal(result.data[background], photo.data[background])
    inside = np.zeros_like(background)
    inside[14:26, 16:32] = True
    assert (result.data[inside] != photo.data[inside]).mean() > 0.5


def test_the_manifest_and_the_project_name_the_same_module() -> None:
    import tomllib

    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    (entry,) = project["entry-points"]["napari.manifest"].values()
    module, _, manifest = entry.partition(":")
    assert project["name"] == NAME
    assert PluginManifest.from_file(FOLDER / module / manifest).name == NAME


def test_the_page_shows_the_manifest_and_the_code_of_the_example() -> None:
    folder = FOLDER / "napari_restyle_objects"
    shown = {block.language: block.text for block in blocks(ROOT / "docs" / "chaining.md")}
    assert shown["yaml"] == (folder / "napari.yaml").read_text()
    assert len(shown["python"]) > 500
    assert shown["python"] in (folder / "__init__.py").read_text()
