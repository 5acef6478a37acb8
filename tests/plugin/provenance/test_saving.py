"""Results are saved with their record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from npe2 import PluginManager
from qtpy.QtWidgets import QFileDialog

from napari_nst.errors import InputError
from napari_nst.files import read_image, read_metadata
from napari_nst.plugin.provenance.origins import ORIGINS_KEY
from napari_nst.plugin.provenance.saving import ask_and_save, default_name, save_with_record

if TYPE_CHECKING:
    from pathlib import Path

RECORD = {"settings": {"seed": 3}, "iterations": 5}


def result(data: np.ndarray, **options: Any) -> Any:
    return ViewerModel().add_image(data, metadata={"napari_nst": RECORD}, name="a x b", **options)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("shape", "dtype"), [((40, 48, 3), np.uint8), ((40, 48, 4), np.uint8), ((1, 40, 48), np.uint16)]
)
def test_integers_are_written_unchanged(
    tmp_path: Path, shape: tuple[int, ...], dtype: Any, suffix: str
) -> None:
    data = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    saved = save_with_record(result(data, rgb=shape[-1] < 5), tmp_path / f"out{suffix}")

    written = read_image(saved.picture)
    assert written.dtype == dtype
    np.testing.assert_array_equal(written, data.squeeze())
    assert saved.record == tmp_path / f"out{suffix}.napari-nst.json"
    assert json.loads(saved.record.read_text()) == RECORD
    assert json.loads(read_metadata(saved.picture) or "") == RECORD
    assert saved.note == ""


def test_floats_become_16_bits_between_the_contrast_limits(tmp_path: Path) -> None:
    data = np.linspace(-4, 6, 20 * 30, dtype=np.float32).reshape(20, 30)
    saved = save_with_record(result(data, contrast_limits=(-2, 6)), tmp_path / "out.png")

    expected = np.rint((data.clip(-2, 6) + 2) / 8 * 65535)
    np.testing.assert_allclose(read_image(saved.picture), expected, atol=1)
    assert "-2 became 0 and 6 became 65535" in saved.note


def test_a_jpeg_notes_lost_precision(tmp_path: Path) -> None:
    data = np.zeros((40, 48), np.uint16)
    assert "8 bits" in save_with_record(result(data), tmp_path / "out.jpg").note


def test_messages_say_why_a_result_cannot_be_saved(tmp_path: Path) -> None:
    stack = result(np.zeros((4, 40, 48), np.uint8))
    with pytest.raises(InputError, match=r"has 4 planes, and out\.png can hold one"):
        save_with_record(stack, tmp_path / "out.png")
    deep = result(np.zeros((2, 2, 2, 2, 9, 8), np.uint8))
    with pytest.raises(InputError, match="planes along 4 axes"):
        save_with_record(deep, tmp_path / "out.tif")
    layer = result(np.zeros((40, 48), np.uint8))
    with pytest.raises(InputError, match="has no suffix"):
        save_with_record(layer, tmp_path / "out.gif")
    (tmp_path / "out.png.napari-nst.json").mkdir()
    with pytest.raises(InputError, match=r"out\.png\.napari-nst\.json exists and is no record"):
        save_with_record(layer, tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()
    layer.metadata.clear()
    with pytest.raises(InputError, match="a x b has no record"):
        save_with_record(layer, tmp_path / "new.png")
    assert not (tmp_path / "new.png").exists()


RAMP = np.linspace(0, 1, 20 * 30 * 3).reshape(20, 30, 3)


@pytest.mark.parametrize("rgb", [True, False], ids=["rgb", "grey"])
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("float32", 0, 255),
        ("float32", 0, 0.3),
        ("float64", -3, 3),
        ("float16", 0, 2),
        ("int32", 0, 4095),
        ("int16", -2000, 2000),
        ("int8", -100, 100),
        ("uint32", 10, 2_000_000),
        ("bool", 0, 1),
    ],
)
def test_other_values_are_written_by_the_contrast_limits(
    tmp_path: Path, dtype: str, low: float, high: float, rgb: bool
) -> None:
    values = low + RAMP * (high - low)
    data = (values > 0.5 if dtype == "bool" else values).astype(dtype)
    layer = result(data if rgb else data[..., 0], rgb=rgb)
    saved = save_with_record(layer, tmp_path / "out.png")

    black, white = layer.contrast_limits
    expected = (layer.data.astype(np.float64) - black) / (white - black) * 65535
    np.testing.assert_allclose(read_image(saved.picture), expected, atol=1)
    assert f"{black:g} became 0 and {white:g} became 65535" in saved.note


def test_alpha_is_not_rescaled(tmp_path: Path) -> None:
    data = np.dstack([RAMP * 90, np.full(RAMP.shape[:2], 0.25)]).astype(np.float32)
    saved = save_with_record(result(data, rgb=True, contrast_limits=(0, 90)), tmp_path / "a.tif")
    written = read_image(saved.picture)
    np.testing.assert_allclose(written[..., :3], RAMP * 65535, atol=1)
    np.testing.assert_allclose(written[..., 3], 65535 / 4, atol=1)


def test_16_bits_are_rescaled_to_8_for_jpeg_by_the_contrast_limits(tmp_path: Path) -> None:
    data = np.full((16, 16), 2000, np.uint16)
    saved = save_with_record(result(data, contrast_limits=(0, 4000)), tmp_path / "out.jpg")
    np.testing.assert_allclose(read_image(saved.picture), 127, atol=2)
    assert "0 became 0 and 4000 became 255" in saved.note


def origin(index: list[Any], *, transposed: bool = False) -> dict[str, Any]:
    return {ORIGINS_KEY: {"content": {"index": index, "transposed": transposed}}}


@pytest.mark.parametrize("colours", [0, 3, 4])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    "index",
    [[5, None, None], [None, 5, None], [None, None, 5], [1, None, 0, [2, 50], 3], [None, None]],
)
def test_every_view_is_saved_as_displayed(
    tmp_path: Path, index: list[Any], transposed: bool, colours: int
) -> None:
    sides = iter((20, 30))
    shape = [1 if isinstance(place, int) else next(sides) for place in index]
    data = np.random.default_rng(0).integers(
        0, 255, (*shape, *[colours][: bool(colours)]), np.uint8
    )
    layer = result(data, rgb=bool(colours))
    layer.metadata.update(origin(index + [None] * bool(colours), transposed=transposed))

    shown = data.reshape(20, 30, *data.shape[layer.ndim :])
    shown = shown.swapaxes(0, 1) if transposed else shown
    np.testing.assert_array_equal(
        read_image(save_with_record(layer, tmp_path / "out.png").picture), shown
    )


def test_a_view_of_one_row_keeps_its_axes(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 255, (1, 1, 30), np.uint8)
    layer = result(data)
    layer.metadata.update(origin([None, 4, None]))
    np.testing.assert_array_equal(
        read_image(save_with_record(layer, tmp_path / "out.png").picture), data[:, 0]
    )


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "int64", "uint64", "float16", "float32", "bool"]
)
@pytest.mark.parametrize("colours", [0, 3])
def test_a_whole_stack_is_saved_with_its_values(tmp_path: Path, dtype: str, colours: int) -> None:
    data = np.random.default_rng(0).integers(0, 100, (12, 1, 5, 14, *[colours][: bool(colours)]))
    data = (data % 2 if dtype == "bool" else data).astype(dtype)
    layer = result(data, rgb=bool(colours), scale=(0.5, 1, 2, 0.25), units=("um",) * 4)
    # Planes along the third axis, displayed with the last axis as rows.
    layer.metadata.update(origin([None, 0, 3, None, *[None] * bool(colours)], transposed=True))
    assert default_name(layer) == "a x b.tif"
    saved = save_with_record(layer, tmp_path / "out.tif")

    expected = np.moveaxis(data[:, 0], (1, 2, 0), (0, 1, 2))
    with tifffile.TiffFile(saved.picture) as tiff:
        assert tiff.series[0].axes == ("ZYXS" if colours else "ZYX")
        written = tiff.asarray()
        assert 'PhysicalSizeZ="2.0" PhysicalSizeZUnit="µm"' in (tiff.ome_metadata or "")
        assert 'PhysicalSizeX="0.5"' in (tiff.ome_metadata or "")
    np.testing.assert_array_equal(written, expected * 255 if dtype == "bool" else expected)
    assert json.loads(saved.record.read_text()) == RECORD
    assert json.loads(read_metadata(saved.picture) or "") == RECORD


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    layer = result(np.zeros((9, 8), np.uint8))
    others = {name: tmp_path / name for name in ("out.json", "out.napari-nst.json", "out.tif")}
    for file in others.values():
        file.write_text("mine")
    saved = save_with_record(layer, tmp_path / "out.png")
    assert {file.read_text() for file in others.values()} == {"mine"}
    again = save_with_record(layer, tmp_path / "out.png")  # replaces its own record
    assert again == saved

    saved.record.write_text('{"shapes": []}')
    before = saved.picture.read_bytes()
    layer.data = layer.data + 1
    with pytest.raises(InputError, match="is no record of a run: move it"):
        save_with_record(layer, tmp_path / "out.png")
    assert saved.picture.read_bytes() == before


def test_a_name_without_a_suffix_replaces_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "mine.png").write_text("a photo")
    answer = [str(tmp_path / "mine"), ""]
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: tuple(answer))
    layer = result(np.zeros((40, 48), np.uint8))
    with pytest.raises(InputError, match=r"mine\.png exists"):
        ask_and_save(layer)
    assert (tmp_path / "mine.png").read_text() == "a photo"
    answer[1] = "TIFF (*.tif *.tiff)"
    saved = ask_and_save(layer)
    assert saved is not None
    assert saved.picture.name == "mine.tif"


def test_the_dialog_suggests_the_layers_name(tmp_path: Path, monkeypatch: Any) -> None:
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


def test_naparis_writers_drop_the_record(tmp_path: Path) -> None:
    """If this fails, napari's own writers suffice, and `saving` can be simplified."""
    PluginManager.instance().discover()
    layer = result(np.zeros((40, 48), np.uint8))
    for name in ("plain.png", "plain.tif"):
        layer.save(str(tmp_path / name))
        assert not read_metadata(tmp_path / name) or "seed" not in str(
            read_metadata(tmp_path / name)
        )
