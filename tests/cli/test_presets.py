"""Presets from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_nst import StyleTransferSettings, presets
from napari_nst.cli import main

pytestmark = pytest.mark.usefixtures("folder")


def stylize(*options: str) -> int:
    return main(["stylize", "content.png", "style.png", "-o", "out.png", *options])


def test_options_override_the_preset(record_of: Any) -> None:
    options = ["--preset", "keep-colours", "--size", "40", "--set", "tv_weight=3"]
    assert stylize(*options, "--iterations", "2") == 0
    assert record_of("out.png").settings == presets.preset("keep-colours").replace(
        size=40, tv_weight=3, iterations=2
    )


def test_preset_and_settings_file_exclude_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("mine.json").write_text(StyleTransferSettings().to_json())

    assert stylize("--preset", "draft", "--settings", "mine.json") == 2
    assert "--preset and --settings both" in capsys.readouterr().err
    assert stylize("--preset", "best") == 2
    assert "There is no preset 'best'; there are balanced" in capsys.readouterr().err


def test_presets_are_listed_with_their_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert [line.split()[0] for line in lines] == list(presets.presets())
    for line, preset in zip(lines, presets.presets().values(), strict=True):
        assert line.endswith(preset.purpose)
