"""Presets of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_nst import StyleTransferSettings, own_presets, presets
from napari_nst.cli import main
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = StyleTransferSettings(style_weight=3, color="luminance", style_layers={"relu2_1": 1})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_NST_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config" / "presets"


def test_environment_variable_sets_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_presets.config_directory().name == "config"
    monkeypatch.delenv("NAPARI_NST_CONFIG")
    assert own_presets.config_directory().is_absolute()
    assert "napari-nst" in own_presets.config_directory().parts


def test_saved_preset_is_found_by_key_and_name_until_deleted(folder: Path) -> None:
    assert own_presets.all_presets() == presets.presets()
    assert own_presets.save("  My  Gravure, grün ", SETTINGS, "For prints.") == "my-gravure-grün"
    assert [file.name for file in folder.iterdir()] == ["my-gravure-grün.json"]
    saved = own_presets.user_presets()["my-gravure-grün"]
    assert (saved.name, saved.purpose) == ("My Gravure, grün", "For prints.")
    assert set(saved.settings) == {"style_weight", "color", "style_layers"}
    for name in ("my-gravure-grün", "my gravure, GRÜN"):
        assert own_presets.preset(name) == SETTINGS
    assert list(own_presets.all_presets()) == [*presets.presets(), "my-gravure-grün"]
    own_presets.save("My gravure grün", SETTINGS.replace(seed=4))
    assert own_presets.preset("my-gravure-grün").seed == 4
    assert own_presets.preset("Keep colours") == presets.preset("keep-colours")
    own_presets.delete("My gravure, grün")

    assert own_presets.all_presets() == presets.presets()


def test_packaged_presets_cannot_be_replaced_or_deleted() -> None:
    with pytest.raises(InputError, match="'Draft' is a preset of the package: choose another"):
        own_presets.save("Draft", SETTINGS)
    with pytest.raises(InputError, match="'draft' is a preset of the package: only your own"):
        own_presets.delete("draft")
    with pytest.raises(InputError, match="'mine' is no preset: only your own"):
        own_presets.delete("mine")


@pytest.mark.parametrize("name", ["", " ", "../..", "/", "x" * 61])
def test_invalid_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="name is"):
        own_presets.save(name, SETTINGS)
    with pytest.raises(InputError):
        own_presets.delete(name)
    with pytest.raises(InputError, match="There is no preset"):
        own_presets.preset(name)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"name": "b", "purpose": "", "settings": {"gone": 1}}', b"\xff\xfe"]
)
def test_damaged_file_is_skipped(
    folder: Path, text: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    own_presets.save("good", SETTINGS)
    (folder / "bad.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert list(own_presets.user_presets()) == ["good"]
    assert "bad.json does not hold a preset" in caplog.text
    with pytest.raises(InputError, match=r"bad\.json does not hold a preset"):
        own_presets.preset("bad")


def test_error_names_a_file_that_cannot_be_written(folder: Path) -> None:
    folder.parent.write_text("a file where the directory should be")
    with pytest.raises(InputError, match=r"mine\.json cannot be written"):
        own_presets.save("mine", SETTINGS)


def test_written_settings_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "new" / "settings.json"
    own_presets.write_settings(file, SETTINGS)
    assert own_presets.read_settings(file) == SETTINGS
    assert StyleTransferSettings.from_json(file.read_text()) == SETTINGS
    file.write_text('{"style_weight": -1}')
    with pytest.raises(InputError, match=r"settings\.json does not hold settings: style_weight"):
        own_presets.read_settings(file)
    with pytest.raises(InputError, match="cannot be read"):
        own_presets.read_settings(tmp_path / "missing.json")


def test_command_line_uses_presets_of_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    from napari_nst.cli._choices import settings_from_options

    own_presets.save("My etching", SETTINGS, "For lines.")
    assert main(["presets"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["my-etching", "For", "lines."]
    assert settings_from_options(None, ["seed=2"], {}, "my etching") == SETTINGS.replace(seed=2)
