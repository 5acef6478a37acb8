"""Presets that a user keeps."""

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


def test_the_environment_names_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_presets.config_directory().name == "config"
    monkeypatch.delenv("NAPARI_NST_CONFIG")
    assert own_presets.config_directory().is_absolute()
    assert "napari-nst" in own_presets.config_directory().parts


def test_what_is_saved_is_found_by_key_and_name_until_it_is_deleted(folder: Path) -> None:
    assert own_presets.every() == presets.presets()
    assert own_presets.save("  My  Gravure, grün ", SETTINGS, "For prints.") == "my-gravure-grün"
    assert [file.name for file in folder.iterdir()] == ["my-gravure-grün.json"]
    kept = own_presets.own()["my-gravure-grün"]
    assert (kept.name, kept.purpose) == ("My Gravure, grün", "For prints.")
    assert set(kept.settings) == {"style_weight", "color", "style_layers"}
    for name in ("my-gravure-grün", "my gravure, GRÜN"):
        assert own_presets.preset(name) == SETTINGS
    assert list(own_presets.every()) == [*presets.presets(), "my-gravure-grün"]
    own_presets.save("My gravure grün", SETTINGS.replace(seed=4))
    assert own_presets.preset("my-gravure-grün").seed == 4
    assert own_presets.preset("Keep colours") == presets.preset("keep-colours")
    own_presets.delete("My gravure, grün")

    assert own_presets.every() == presets.presets()


def test_the_packages_presets_can_be_neither_replaced_nor_deleted() -> None:
    with pytest.raises(InputError, match="'Draft' is a preset of the package: choose another"):
        own_presets.save("Draft", SETTINGS)
    with pytest.raises(InputError, match="'draft' is the package's: only an own preset"):
        own_presets.delete("draft")
    with pytest.raises(InputError, match="'mine' is none: only an own preset"):
        own_presets.delete("mine")


@pytest.mark.parametrize("name", ["", " ", "../..", "/", "x" * 61])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="name is"):
        own_presets.save(name, SETTINGS)
    with pytest.raises(InputError):
        own_presets.delete(name)
    with pytest.raises(InputError, match="There is no preset"):
        own_presets.preset(name)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"name": "b", "purpose": "", "settings": {"gone": 1}}', b"\xff\xfe"]
)
def test_a_damaged_file_spoils_nothing_else(
    folder: Path, text: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    own_presets.save("good", SETTINGS)
    (folder / "bad.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert list(own_presets.own()) == ["good"]
    assert "bad.json does not hold a preset" in caplog.text
    with pytest.raises(InputError, match=r"bad\.json does not hold a preset"):
        own_presets.preset("bad")


def test_a_place_that_cannot_be_written_is_named(folder: Path) -> None:
    folder.parent.write_text("a file where the directory should be")
    with pytest.raises(InputError, match=r"mine\.json cannot be written"):
        own_presets.save("mine", SETTINGS)


def test_settings_are_exported_as_the_command_line_takes_them(tmp_path: Path) -> None:
    file = tmp_path / "new" / "settings.json"
    own_presets.write_settings(file, SETTINGS)
    assert own_presets.read_settings(file) == SETTINGS
    assert StyleTransferSettings.from_json(file.read_text()) == SETTINGS
    file.write_text('{"style_weight": -1}')
    with pytest.raises(InputError, match=r"settings\.json does not hold settings: style_weight"):
        own_presets.read_settings(file)
    with pytest.raises(InputError, match="cannot be read"):
        own_presets.read_settings(tmp_path / "missing.json")


def test_the_command_line_knows_them(capsys: pytest.CaptureFixture[str]) -> None:
    from napari_nst.cli._choices import gather

    own_presets.save("My etching", SETTINGS, "For lines.")
    assert main(["presets"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["my-etching", "For", "lines."]
    assert gather(None, ["seed=2"], {}, "my etching") == SETTINGS.replace(seed=2)
