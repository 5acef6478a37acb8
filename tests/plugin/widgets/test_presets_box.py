"""The combo box of presets, and the menu of the user's presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qtpy.QtWidgets import QFileDialog, QInputDialog, QMessageBox

from napari_nst import own_presets, presets
from napari_nst.errors import InputError
from napari_nst.plugin.widgets.presets_box import PresetsBox
from napari_nst.settings import StyleTransferSettings


class Controls:
    """Stand-in for the panel's settings."""

    settings = StyleTransferSettings()


@pytest.fixture
def controls() -> Controls:
    return Controls()


@pytest.fixture
def box(qtbot: Any, controls: Controls, tmp_path: Path, monkeypatch: Any) -> PresetsBox:
    monkeypatch.setenv("NAPARI_NST_CONFIG", str(tmp_path / "config"))
    box = PresetsBox(lambda: controls.settings)
    qtbot.addWidget(box)
    box.chosen.connect(lambda settings: setattr(controls, "settings", settings))
    return box


@pytest.fixture
def problems(box: PresetsBox) -> list[str]:
    messages: list[str] = []
    box.warning.connect(messages.append)
    return messages


def shown(box: PresetsBox) -> list[str]:
    return [box.combo.itemText(i) for i in range(box.combo.count()) if box.combo.itemText(i)]


def action(box: PresetsBox, text: str) -> Any:
    box.menu.aboutToShow.emit()
    (found,) = [a for a in box.menu.actions() if text in a.text().replace("&", "")]
    return found


def test_packaged_presets_are_offered_with_their_purpose(box: Any, controls: Any) -> None:
    assert shown(box) == [preset.name for preset in presets.presets().values()]
    assert box.current == "balanced"  # the defaults
    index = box.combo.findData("keep-colours")
    assert box.combo.itemData(index, 3) == presets.presets()["keep-colours"].purpose
    box.combo.setCurrentIndex(index)
    box.combo.activated.emit(index)

    assert controls.settings == presets.preset("keep-colours")


def test_settings_of_no_preset_show_a_placeholder(box: Any) -> None:
    box.show_for(StyleTransferSettings(style_weight=1.25))
    assert box.current is None
    assert box.combo.currentText() == "(your own)"
    box.show_for(presets.preset("draft"))
    assert box.current == "draft"
    assert "(your own)" not in shown(box)


def test_a_preset_does_not_change_device_and_precision(box: Any, controls: Any) -> None:
    controls.settings = StyleTransferSettings(device="cpu", precision="float32")
    box.show_for(controls.settings)
    assert box.current == "balanced"
    box.choose("keep-colours")
    assert controls.settings == presets.preset("keep-colours").replace(
        device="cpu", precision="float32"
    )


def test_an_own_preset_is_saved_chosen_and_deleted(
    box: Any, controls: Any, problems: list[str], monkeypatch: Any
) -> None:
    controls.settings = mine = StyleTransferSettings(style_weight=1.25)
    box.show_for(mine)
    assert not action(box, "Delete").isEnabled()
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("Soft lines", True))
    action(box, "Save as").trigger()
    assert box.current == "soft-lines"
    assert shown(box)[-1] == "Soft lines"
    assert own_presets.preset("soft-lines") == mine
    box.choose("draft")
    assert controls.settings == presets.preset("draft")
    assert not action(box, "Delete").isEnabled()
    box.choose("soft-lines")
    assert controls.settings == mine
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
    action(box, "Delete").trigger()
    assert "soft-lines" in own_presets.user_presets()
    action(box, "Delete").trigger()

    assert not own_presets.user_presets()
    assert box.current is None
    assert controls.settings == mine
    assert problems == []


def test_settings_are_exported_and_imported_as_json(
    box: Any, controls: Any, problems: list[str], monkeypatch: Any, tmp_path: Path
) -> None:
    controls.settings = mine = StyleTransferSettings(seed=9)
    file = str(tmp_path / "mine.json")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (file, ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (file, ""))
    action(box, "Export").trigger()
    assert Path(file).read_text() == mine.to_json() + "\n"
    controls.settings = StyleTransferSettings()
    action(box, "Import").trigger()
    assert controls.settings == mine
    assert box.current is None
    Path(file).write_text("{")
    action(box, "Import").trigger()

    assert len(problems) == 1
    assert problems[0].startswith(f"{file} does not hold settings")
    assert controls.settings == mine


def test_failures_emit_a_warning(box: Any, problems: list[str], monkeypatch: Any) -> None:
    box.save("Draft")
    box.choose("gone")
    box.delete()
    box.export("/proc/none/x.json")
    assert [message.split(" ")[0] for message in problems] == [
        "'Draft'", "There", "'balanced'", "/proc/none/x.json",
    ]  # fmt: skip
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("", False))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    for text in ("Save as", "Export", "Import"):
        action(box, text).trigger()  # the dialog is cancelled
    assert len(problems) == 4


def test_choosing_a_preset_replaces_invalid_settings(qtbot: Any) -> None:
    """With an invalid text field the controls have no settings."""
    valid = [StyleTransferSettings(device="cpu")]

    def settings() -> StyleTransferSettings:
        if not valid:
            raise InputError("scales is 'nonsense'; it must be 'auto' or a whole number.")
        return valid[0]

    box = PresetsBox(settings)
    qtbot.addWidget(box)
    chosen: list[StyleTransferSettings] = []
    problems: list[str] = []
    box.chosen.connect(chosen.append)
    box.warning.connect(problems.append)
    valid.clear()
    box.choose("draft")
    box.refresh()
    box.save("Mine")

    assert chosen == [presets.preset("draft").replace(device="cpu")]
    assert problems == ["scales is 'nonsense'; it must be 'auto' or a whole number."]


def test_replacing_a_preset_asks_first(box: Any, monkeypatch: Any) -> None:
    box.save("Soft lines")
    before = own_presets.user_preset("soft  lines")
    assert before is not None
    asked = []
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("soft lines", True))
    for answer in (QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes):
        monkeypatch.setattr(
            QMessageBox, "question", lambda *words, answer=answer: asked.append(words[2]) or answer
        )
        box._ask_name()
        after = own_presets.user_preset("soft lines")
        assert (after == before) == (answer is QMessageBox.StandardButton.No)
    assert asked == ["Replace the preset 'Soft lines'?"] * 2
