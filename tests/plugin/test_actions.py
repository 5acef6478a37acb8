"""Commands of the palette and the menus, executed as napari does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_nst.plugin import actions
from napari_nst.plugin.panel import StyleTransferPanel
from napari_nst.plugin.provenance import copying

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECORD = {
    "settings": {"seed": 3},
    "content": {"name": "photo", "shape": [1], "dtype": "uint8", "sha256": "0"},
    "styles": [{"name": "paint", "shape": [1], "dtype": "uint8", "sha256": "0"}],
    "steering": [],
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace methods of the panel, and return the list of their calls."""
    calls: list[Any] = []
    for name in ("start", "pause", "stop", "cancel"):
        monkeypatch.setattr(
            StyleTransferPanel, name, lambda _, name=name: calls.append(name), raising=False
        )
    for name in ("reuse", "continue_from"):
        monkeypatch.setattr(
            StyleTransferPanel,
            name,
            lambda _, layer=None, name=name: calls.append((name, layer)),
            raising=False,
        )
    return calls


@pytest.fixture
def messages() -> Callable[[], list[str]]:
    """Return a function that returns the notifications of the test."""
    notification_manager.records.clear()
    return lambda: [str(record.message) for record in notification_manager.records]


@pytest.fixture
def result(viewer: Any) -> Any:
    data = np.zeros((40, 48, 3), np.uint8)
    return viewer.add_image(data, name="result", metadata={"napari_nst": RECORD})


def run(command: str) -> None:
    """Run a command by its name, as the palette does."""
    get_app_model().commands.execute_command(f"napari-nst.{command}").result()


def panel_of(viewer: Any) -> Any:
    return viewer.window._qt_window.findChild(StyleTransferPanel)


def select(viewer: Any, *names: str) -> None:
    viewer.layers.selection = {viewer.layers[name] for name in names}


def test_every_command_has_a_title_in_the_palette(viewer: Any) -> None:
    commands = get_app_model().commands
    for name in actions.__all__:
        title, _, plugin = commands[f"napari-nst.{name}"].title.partition(" (")
        assert plugin == "napari-nst)"
        assert len(title.split()) > 3


def test_the_selected_images_become_content_and_styles(viewer: Any, calls: list[Any]) -> None:
    viewer.add_image(np.zeros((30, 30)), name="grey")
    viewer.add_labels(np.zeros((30, 30), int), name="labels")
    select(viewer, "grey", "labels", "paint", "photo")
    run("stylize_selected")
    controls = panel_of(viewer).controls
    assert controls.content.value is viewer.layers["photo"]
    assert controls.styles.layers == [viewer.layers["paint"], viewer.layers["grey"]]
    assert calls == ["start"]
    select(viewer, "paint")
    run("take_content")
    assert controls.content.value is viewer.layers["paint"]
    select(viewer, "photo")
    run("take_style")
    assert controls.styles.layers == [viewer.layers["photo"]]
    assert len(viewer.window._qt_window.findChildren(StyleTransferPanel)) == 1


def test_too_few_selected_images_show_an_error(
    viewer: Any, calls: list[Any], messages: Callable[[], list[str]]
) -> None:
    select(viewer, "paint")
    run("stylize_selected")
    assert calls == []
    assert "1 image layers are selected: select 2 image layers or more." in messages()


@pytest.mark.parametrize("name", ["start", "pause", "stop", "cancel"])
def test_commands_of_a_run_open_the_panel(viewer: Any, calls: list[Any], name: str) -> None:
    run(name)
    assert panel_of(viewer) is not None
    assert calls == [name]


def test_reuse_and_continue_act_on_the_selected_result(
    viewer: Any, result: Any, calls: list[Any]
) -> None:
    select(viewer, "result", "photo")
    run("reuse_settings")
    run("continue_result")
    assert [name for name, _ in calls] == ["reuse", "continue_from"]
    assert all(layer is result for _, layer in calls)


def test_a_result_is_copied_to_the_clipboard(viewer: Any, result: Any, monkeypatch: Any) -> None:
    select(viewer, "result")
    clipboard = QApplication.clipboard()
    run("copy_as_python")
    assert clipboard.text().startswith('# Reproduces "result"')
    monkeypatch.setattr(copying, "as_command", lambda layer, layers: f"replay {layer}")
    run("copy_as_command")
    assert clipboard.text() == "replay result"


def test_a_result_is_saved(viewer: Any, result: Any, monkeypatch: Any, tmp_path: Path) -> None:
    select(viewer, "result")
    file = str(tmp_path / "mine.png")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (file, ""))
    run("save_with_record")
    assert sorted(each.name for each in tmp_path.glob("mine.*")) == [
        "mine.png",
        "mine.png.napari-nst.json",
    ]


@pytest.mark.parametrize(
    "name",
    ["save_with_record", "copy_as_python", "copy_as_command", "reuse_settings", "continue_result"],
)
def test_a_layer_without_a_record_shows_an_error(
    viewer: Any, calls: list[Any], messages: Callable[[], list[str]], name: str
) -> None:
    select(viewer, "photo")
    run(name)
    assert calls == []
    assert any(text.startswith("photo has no record of a run") for text in messages())
