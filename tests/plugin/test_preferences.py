"""The plugin's page in napari's Preferences."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import napari.settings
import pytest
from npe2 import PluginManager, PluginManifest

from napari_nst.plugin.preferences import Preferences

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return napari's model of the page, made from the manifest, in a temporary directory."""
    PluginManager.instance().discover()
    monkeypatch.setattr(napari.settings, "_PLUGIN_SETTINGS", {})
    return napari.settings.get_plugin_settings("napari-nst", path_dir=tmp_path)


def test_the_page_and_preferences_have_the_same_defaults(page: Any) -> None:
    assert Preferences.read() == Preferences()
    assert page.compute.device == "auto"


def test_values_of_the_page_are_read(page: Any, tmp_path: Path) -> None:
    page.compute.device = "cpu"
    page.compute.precision = "float32"
    page.storage.cache = str(tmp_path)
    page.viewer.preview_rate = 1
    assert Preferences.read() == Preferences("cpu", "float32", str(tmp_path), 1.0)


def test_every_entry_of_the_page_has_a_description() -> None:
    manifest = PluginManifest.from_distribution("napari-nst")
    for group in manifest.contributions.configurations.values():
        for entry in group.properties.values():
            assert entry.title
            assert len(entry.description) > 20


@pytest.mark.parametrize("failure", [ImportError, KeyError, ValueError])
def test_defaults_are_used_if_the_page_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, failure: Any
) -> None:
    def fail(plugin: str) -> Any:
        raise failure

    monkeypatch.setattr(napari.settings, "get_plugin_settings", fail)
    assert Preferences.read() == Preferences()


def test_missing_or_invalid_entries_have_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    class Group:
        device = 7
        preview_rate = 500

    class Page:
        compute = viewer = Group()

    monkeypatch.setattr(napari.settings, "get_plugin_settings", lambda plugin: Page())
    assert Preferences.read() == Preferences(preview_rate=10.0)


def test_the_environment_overrides_the_cache_of_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Preferences(cache="elsewhere").apply()
    assert os.environ["NAPARI_NST_CACHE"] != "elsewhere"
    monkeypatch.delenv("NAPARI_NST_CACHE")
    Preferences().apply()
    assert "NAPARI_NST_CACHE" not in os.environ
    monkeypatch.setenv("HOME", str(tmp_path))
    Preferences(cache="~/weights").apply()
    found = os.environ.pop("NAPARI_NST_CACHE")
    assert found == str(tmp_path / "weights")
