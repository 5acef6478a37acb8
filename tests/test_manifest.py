"""The manifest names existing objects, and importing them does not import torch."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest
from npe2 import PluginManifest

import napari_nst

PACKAGED = Path(napari_nst.__file__).parent / "napari.yaml"
AT_THE_ROOT = Path(__file__).parents[1] / "napari.yaml"
MANIFEST = PluginManifest.from_file(PACKAGED)
COMMANDS = {command.id: command.python_name for command in MANIFEST.contributions.commands}


def test_the_manifest_at_the_root_equals_the_packaged_one() -> None:
    assert AT_THE_ROOT.read_text() == PACKAGED.read_text()


def test_napari_finds_the_manifest_through_the_entry_point() -> None:
    assert PluginManifest.from_distribution("napari-nst").name == MANIFEST.name == "napari-nst"


@pytest.mark.parametrize("python_name", COMMANDS.values())
def test_every_command_exists(python_name: str) -> None:
    module, _, name = python_name.partition(":")

    assert callable(getattr(importlib.import_module(module), name))


def test_the_panel_is_in_the_plugins_menu_and_among_the_filters() -> None:
    (widget,) = MANIFEST.contributions.widgets

    assert widget.display_name == "Neural style transfer"
    filters = MANIFEST.contributions.menus["napari/layers/filter"]
    assert filters[0].command == widget.command


def test_names_of_plugin_and_panel_differ_because_the_menu_shows_both() -> None:
    (widget,) = MANIFEST.contributions.widgets

    assert widget.display_name != MANIFEST.display_name


def test_every_menu_item_is_an_existing_command_or_submenu() -> None:
    contributions = MANIFEST.contributions
    submenus = {submenu.id for submenu in contributions.submenus}

    for menu, items in contributions.menus.items():
        assert menu in submenus or menu == "napari/layers/filter"
        for item in items:
            assert getattr(item, "command", None) in COMMANDS or item.submenu in submenus


def test_both_themes_have_an_svg_icon() -> None:
    for place in (MANIFEST.icon.light, MANIFEST.icon.dark):
        package, _, name = place.partition(":")
        picture = ElementTree.fromstring((files(package) / name).read_text())

        assert picture.tag == "{http://www.w3.org/2000/svg}svg"


def test_importing_the_modules_of_the_manifest_does_not_import_torch() -> None:
    modules = sorted({name.partition(":")[0] for name in COMMANDS.values()})
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_at_least_three_samples_exist_and_each_opens() -> None:
    samples = MANIFEST.contributions.sample_data

    assert len(samples) >= 3
    for sample in samples:
        module, _, name = COMMANDS[sample.command].partition(":")
        layers = getattr(importlib.import_module(module), name)()
        assert [kind for _, _, kind in layers] == ["image", "image"]
        for data, options, _ in layers:
            assert options["rgb"] == (data.ndim == 3)
