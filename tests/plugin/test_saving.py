"""A result written with its record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel
from npe2 import PluginManager
from qtpy.QtWidgets import QFileDialog

from napari_nst.errors import InputError
from napari_nst.files import read_image, read_metadata
from napari_nst.plugin.saving import ask_and_save, default_name, save_with_record

if TYPE_CHECKING:
    from pathlib import Path

RECORD = {"settings": {"seed": 3}, "iterations": 5}


def result(data: np.ndarray, **options: Any) -> Any:
    return ViewerModel().add_image(data, metadata={"napari_nst": RECORD}, name="a x b", **options)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("shape", "dtype"), [((40, 48, 3), np.uint8), ((40, 48, 4), np.uint8), ((1, 40, 48), np.uint16)]
)
def test_whole_numbers_are_written_as_they_are(
    tmp_path: Path, shape: tuple[int, ...], dtype: Any, suffix: str
) -> None:
    data = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    saved = save_with_record(result(data, rgb=shape[-1] < 5), tmp_path / f"out{suffix}")

    written = read_image(saved.picture)
    assert written.dtype == dtype
    np.testing.assert_array_equal(written, data.squeeze())
    assert saved.record == tmp_path / "out.json"
    assert json.loads(saved.record.read_text()) == RECORD
    assert json.loads(read_metadata(saved.picture) or "") == RECORD
    assert saved.note == ""


def test_floats_become_16_bits_between_the_contrast_limits(tmp_path: Path) -> None:
    data = np.linspace(-4, 6, 20 * 30, dtype=np.float32).reshape(20, 30)
    saved = save_with_record(result(data, contrast_limits=(-2, 6)), tmp_path / "out.png")

    expected = np.rint((data.clip(-2, 6) + 2) / 8 * 65535)
    np.testing.assert_allclose(read_image(saved.picture), expected, atol=1)
    assert "-2 became 0 and 6 became 65535" in saved.note


def test_a_jpeg_says_what_it_cannot_hold(tmp_path: Path) -> None:
    data = np.zeros((40, 48), np.uint16)
    assert "8 bits" in save_with_record(result(data), tmp_path / "out.jpg").note


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    stack = result(np.zeros((4, 40, 48), np.uint8))
    with pytest.raises(InputError, match="only a single plane is a picture"):
        save_with_record(stack, tmp_path / "out.png")
    layer = result(np.zeros((40, 48), np.uint8))
    with pytest.raises(InputError, match="has no suffix"):
        save_with_record(layer, tmp_path / "out.gif")
    (tmp_path / "out.json").mkdir()
    with pytest.raises(InputError, match=r"out\.json cannot be written"):
        save_with_record(layer, tmp_path / "out.png")
    layer.metadata.clear()
    with pytest.raises(InputError, match="a x b has no record"):
        save_with_record(layer, tmp_path / "new.png")
    assert not (tmp_path / "new.png").exists()


def test_the_dialog_begins_with_the_layers_name(tmp_path: Path, monkeypatch: Any) -> None:
    layer = result(np.zeros((40, 48), np.uint8))
    layer.name = "cells/day: 3 x <ink>."
    assert default_name(layer) == "cells_day_ 3 x _ink_.png"
    answers = [("", ""), (str(tmp_path / "mine"), "")]
    asked: list[str] = []

    def ask(parent: Any, title: str, name: str, formats: str) -> tuple[str, str]:
        asked.append(name)
        return answers.pop(0)

    monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
    assert ask_and_save(layer) is None
    saved = ask_and_save(layer)

    assert saved is not None
    assert saved.picture == tmp_path / "mine.png"
    assert asked == [default_name(layer)] * 2


def test_naparis_own_writers_drop_the_record(tmp_path: Path) -> None:
    """The reason for all this: when it fails, the module's docstring is to be changed."""
    PluginManager.instance().discover()
    layer = result(np.zeros((40, 48), np.uint8))
    for name in ("plain.png", "plain.tif"):
        layer.save(str(tmp_path / name))
        assert not read_metadata(tmp_path / name) or "seed" not in str(
            read_metadata(tmp_path / name)
        )
