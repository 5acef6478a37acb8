"""The command ``sweep``."""

from __future__ import annotations

import math
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_nst import RunRecord, StyleTransfer, StyleTransferSettings, presets, stylize
from napari_nst.cli import main
from napari_nst.cli._choices import parse_values
from napari_nst.cli._grid import Grid, make_grid
from napari_nst.errors import InputError, OutOfMemoryError
from napari_nst.files import read_image, read_metadata, write_image

if TYPE_CHECKING:
    from collections.abc import Iterator

TINY = ["--size", "40", "--iterations", "2"]
TWO = ["--columns", "style_weight=0.5,4"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a directory with a content and a style."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-weights"))
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    write_image("content.png", picture((40, 48, 3)))
    write_image("style.png", picture((36, 40, 3), seed=1))


def picture(shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).random(shape, np.float32)


def sweep(*options: str) -> int:
    return main(["sweep", "content.png", "style.png", "-o", "sheet.png", *options])


def grid(longest_side: int = 40, pairs: Any = (), named: Any = None, **options: Any) -> Grid:
    usual = dict.fromkeys(("rows", "columns", "preset_names", "file", "preset"))
    values = parse_values(pairs, named or {})
    return make_grid(**usual | options, values=values, longest_side=longest_side)


def kept() -> list[tuple[str, RunRecord]]:
    """Return the names of the pictures in "kept", without their hash, and their records."""
    found = []
    for file in sorted(Path("kept").iterdir()):
        name, _, digest = file.stem.rpartition("-")
        assert re.fullmatch("[0-9a-f]{8}", digest)
        text = read_metadata(file)
        assert text is not None
        found.append((name, RunRecord.model_validate_json(text)))
    return found


def shows(sheet: np.ndarray[Any, Any], part: np.ndarray[Any, Any]) -> bool:
    """Return whether a picture is on a sheet, pixel by pixel."""
    height, width = part.shape[:2]
    corners = np.argwhere((sheet[: 1 - height, : 1 - width] == part[0, 0]).all(axis=-1))
    return any(np.array_equal(sheet[y : y + height, x : x + width], part) for y, x in corners)


# The grid


def test_cells_have_the_settings_of_their_row_and_column() -> None:
    made = grid(
        rows="style_weight=1,2", columns="pooling=max,average", pairs=["seed=3"], preset="draft"
    )
    assert made.rows == ("style weight 1", "style weight 2")
    assert made.columns == ("pooling max", "pooling average")
    common = presets.preset("draft").replace(seed=3, output_size="working")
    assert made.width == 2
    assert [cell.settings for cell in made.cells] == [
        common.replace(style_weight=weight, pooling=pooling)
        for weight in (1, 2)
        for pooling in ("max", "average")
    ]
    assert made.cells[1].heading == "style weight 1, pooling average"
    assert made.cells[1].name == "pooling=average,style_weight=1"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("learning_rate=0.01,null", [0.01, None]),
        ("style_weights=[0.7,0.3],[1, 0]", [(0.7, 0.3), (1, 0)]),
        ("size=none,64", [None, 64]),
        ("normalize_gradients=true,false", [True, False]),
        ('color="match",luminance', ["match", "luminance"]),
    ],
)
def test_values_of_an_axis_are_json_or_words(columns: str, expected: list[Any]) -> None:
    name = columns.partition("=")[0]
    assert [getattr(cell.settings, name) for cell in grid(columns=columns).cells] == expected


def test_layer_weights_can_be_an_axis() -> None:
    columns = 'style_layers={"relu1_1": 1, "relu2_1": 0.5},["relu3_1"]'
    made = grid(columns=columns)
    assert [dict(cell.settings.style_layers) for cell in made.cells] == [
        {"relu1_1": 1, "relu2_1": 0.5},
        {"relu3_1": 1},
    ]
    assert made.columns == ("style layers relu1_1 1, relu2_1 0.5", "style layers relu3_1")
    assert all(re.fullmatch(r"[\w.=,+-]+", cell.name) for cell in made.cells)


def test_single_axis_gives_one_row_or_column() -> None:
    across, down = grid(columns="seed=1,2,3"), grid(rows="seed=1,2,3")
    assert (len(across.cells), across.width) == (3, 3)
    assert (len(down.cells), down.width) == (3, 1)
    assert (across.rows, down.columns) == ((), ())


def test_presets_wrap_to_several_rows() -> None:
    made = grid(preset_names="all")
    assert (made.rows, made.columns) == ((), ())
    assert [cell.heading for cell in made.cells] == [
        preset.name for preset in presets.presets().values()
    ]
    assert math.ceil(len(made.cells) / made.width) == 2
    assert made.cells[0].settings == StyleTransferSettings(size=40, output_size="working")


def test_presets_use_the_free_axis() -> None:
    made = grid(columns="seed=1,2", preset_names="Draft, keep-colours", named={"iterations": 5})
    assert made.rows == ("Draft", "Keep colours")
    assert made.columns == ("seed 1", "seed 2")
    options = {"iterations": 5, "output_size": "working", "seed": 2, "size": 40}
    assert made.cells[3].settings == presets.preset("keep-colours").replace(**options)


@pytest.mark.parametrize(
    ("options", "longest", "sizes"),
    [
        ({"columns": "seed=1,2"}, 1000, [256, 256]),
        ({"columns": "seed=1,2"}, 100, [100, 100]),
        ({"columns": "seed=1,2", "named": {"size": "auto"}}, 1000, ["auto", "auto"]),
        ({"columns": "seed=1,2", "pairs": ["size=none"]}, 1000, [None, None]),
        ({"columns": "size=auto,99"}, 1000, ["auto", 99]),
        ({"preset_names": "balanced,draft"}, 1000, [256, 192]),
    ],
)
def test_default_size_is_small(options: dict[str, Any], longest: int, sizes: list[Any]) -> None:
    assert [cell.settings.size for cell in grid(longest, **options).cells] == sizes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "There is nothing to compare: give --rows, --columns or --presets"),
        ({"rows": "seed"}, "--rows is 'seed'; it must be a setting's name, '=' and its values"),
        ({"rows": "seed=1,,2"}, "--rows is 'seed=1,,2'; it must be"),
        ({"columns": "=1"}, "--columns is '=1'; it must be"),
        ({"rows": "sed=1"}, "There is no setting 'sed'; did you mean 'seed'?"),
        ({"rows": "seed=1,2", "columns": "style_weight=1,-1"}, "style_weight is -1; it must be"),
        ({"rows": "seed=1,2", "columns": "seed=3"}, "--rows and --columns are both seed"),
        ({"rows": "style_weight=1,2,1.0"}, "style_weight has the value 1 twice."),
        ({"rows": "preset=draft,balanced"}, "presets have --presets draft,balanced."),
        ({"preset_names": "draft,best"}, "There is no preset 'best'; there are balanced"),
        ({"preset_names": "draft,Draft"}, "--presets names 'draft' twice"),
        ({"preset_names": "all", "preset": "draft"}, "--presets compares initial settings"),
        ({"rows": "seed=1", "columns": "tv_weight=1", "preset_names": "all"}, "three axes"),
    ],
)
def test_invalid_axes_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        grid(**options)


# The runs and the sheet


@pytest.mark.parametrize("shape", [(40, 48), (40, 48, 3), (40, 48, 4)])
def test_sheet_shows_the_results_of_stylize(shape: tuple[int, ...]) -> None:
    write_image("content.png", picture(shape))
    assert sweep("--rows", "seed=1,2", *TWO, *TINY) == 0
    sheet = read_image("sheet.png")
    for weight in (0.5, 4):
        made = stylize(
            read_image("content.png"),
            read_image("style.png"),
            size=40,
            iterations=2,
            output_size="working",
            style_weight=weight,
        ).image
        if made.ndim == 2:
            made = np.dstack([made] * 3)
        if made.shape[2] == 4:
            made = 1 - made[..., 3:] * (1 - made[..., :3])
        assert shows(sheet, np.rint(made * 255).astype(np.uint8))


def test_sweep_prints_lines_before_after_each_run_and_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sweep(*TWO, *TINY) == 0
    before, first, second, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"napari-nst: 2 pictures of 40 x 33 pixels to make: (about|roughly) 1 s on \w+\.", before
    )
    assert re.fullmatch(r"napari-nst: 1 of 2: style weight 0.5, \d+ s; about \d+ s left\.", first)
    assert re.fullmatch(r"napari-nst: 2 of 2: style weight 4, \d+ s\.", second)
    assert re.fullmatch(r"napari-nst: wrote sheet.png, 2 of 2 pictures in \d+ s\.", last)


def test_terminal_shows_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    assert sweep(*TWO, *TINY) == 0
    shown = capsys.readouterr().err
    assert "2/2 style weight 4" in shown
    assert "napari-nst: wrote sheet.png" in shown.splitlines()[-1]


def test_kept_pictures_have_records_and_are_not_made_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sweep(*TWO, *TINY, "--keep", "kept") == 0
    assert [name for name, _ in kept()] == ["style_weight=0.5", "style_weight=4"]
    for (_, record), weight in zip(kept(), (0.5, 4), strict=True):
        assert (record.status, record.settings.style_weight) == ("finished", weight)
        assert record.content.name == "content.png"
    sheet = read_image("sheet.png")
    times = {file: file.stat().st_mtime_ns for file in Path("kept").iterdir()}
    capsys.readouterr()

    assert sweep("--columns", "style_weight=4,9,0.5", *TINY, "--keep", "kept") == 0
    assert "2 kept from before; 1 picture of 40 x 33 pixels to make" in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in times} == times
    assert [name for name, _ in kept()] == ["style_weight=0.5", "style_weight=4", "style_weight=9"]
    for file in times:
        assert shows(sheet, read_image(file))
        assert shows(read_image("sheet.png"), read_image(file))


def test_changed_inputs_changed_settings_and_damaged_files_are_made_again() -> None:
    one = ["--columns", "style_weight=1", *TINY, "--keep", "kept"]
    assert sweep(*one) == 0
    [file] = Path("kept").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:200])
    assert sweep(*one) == 0
    assert file.read_bytes()[:200] == whole[:200]
    assert len(file.read_bytes()) > 200
    assert sweep(*one, "--set", "seed=1") == 0
    assert len(kept()) == 2
    write_image("style.png", picture((36, 40, 3), seed=2))
    assert sweep(*one) == 0
    assert len(kept()) == 3


def test_kept_pictures_of_16_bits_have_16_bits() -> None:
    write_image("content.png", picture((40, 48)), dtype="uint16")
    assert sweep("--columns", "seed=1", *TINY, "--keep", "a/b") == 0
    [file] = Path("a/b").iterdir()
    assert read_image(file).dtype == np.uint16


def test_all_presets_leaves_out_those_without_weights(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--size", "32", "--iterations", "1"]
    assert sweep("--presets", "all", *options) == 0
    shown = capsys.readouterr().err
    assert "Gatys 2015 is left out. VGG-19's weights are not on this machine" in shown
    count = len(presets.presets())
    assert f"{count - 1} of {count - 1} pictures" in shown
    assert sweep("--presets", "draft,gatys-2015", *options) == 2
    assert capsys.readouterr().err.startswith("napari-nst: VGG-19's weights are not on this")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "style_weight=1,x"], "style_weight is 'x'; it must be"),
        (["--rows", "style_weights=[1],[0.5,0.5]"], "style_weights has 2 shares for 1 styles"),
        (["--rows", "network=vgg16,vgg19"], "VGG-19's weights are not on this machine"),
        (["--rows", "seed=1", "-o", "sheet.gif"], "sheet.gif has no suffix that can be written"),
        (["--rows", "seed=1", "-o", "style.png"], "style.png is also an input: name another"),
        (["--rows", "seed=1", "--keep", "style.png"], "style.png cannot be made a folder (File"),
        (["--rows", "seed=1", "--keep", "style.png/a"], "style.png/a cannot be made a folder"),
        ([], "There is nothing to compare"),
    ],
)
def test_invalid_option_is_one_line_before_the_first_run(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(StyleTransfer, "__next__", lambda run: pytest.fail("it runs"))
    assert sweep(*options, *TINY) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"napari-nst: {message}")
    assert shown.count("\n") == 1
    assert not Path("sheet.png").exists()


# Interrupted and failed runs


@pytest.fixture
def at_iteration(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, Any]]:
    """Callbacks by iteration, counted over all runs."""
    callbacks: dict[int, Any] = {}
    step, done = StyleTransfer.__next__, 0

    def do(run: StyleTransfer) -> Any:
        nonlocal done
        snapshot = step(run)
        done += 1
        if done in callbacks:
            callbacks.pop(done)()
        return snapshot

    monkeypatch.setattr(StyleTransfer, "__next__", do)
    yield callbacks
    assert not callbacks


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_writes_the_unfinished_sheet(
    at_iteration: dict[int, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    at_iteration[5] = press_ctrl_c
    options = ["--columns", "style_weight=1,2,3", "--size", "40", "--iterations", "4"]
    before = signal.getsignal(signal.SIGINT)
    assert sweep(*options, "--keep", "kept") == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "stopped early; wrote sheet.png, 2 of 3 pictures" in capsys.readouterr().err
    assert [name for name, _ in kept()] == ["style_weight=1"]
    [file] = Path("kept").iterdir()
    assert shows(read_image("sheet.png"), read_image(file))

    assert sweep(*options, "--keep", "kept") == 0
    assert len(kept()) == 3


def test_second_ctrl_c_exits_immediately(at_iteration: dict[int, Any]) -> None:
    def press_twice() -> None:
        press_ctrl_c()
        press_ctrl_c()

    at_iteration[1] = press_twice
    assert sweep(*TWO, *TINY) == 130
    assert not Path("sheet.png").exists()


def test_failed_run_does_not_stop_the_others(
    at_iteration: dict[int, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OutOfMemoryError("It does not fit.")

    at_iteration[1] = fail
    assert sweep(*TWO, *TINY) == 2
    shown = capsys.readouterr().err
    assert "napari-nst: style weight 0.5 failed. It does not fit." in shown
    assert "wrote sheet.png, 1 of 2 pictures" in shown


def test_no_sheet_is_written_without_a_picture(
    at_iteration: dict[int, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OutOfMemoryError("It does not fit.")

    at_iteration[1] = at_iteration[2] = fail
    assert sweep(*TWO, *TINY) == 2
    assert "there is no picture; sheet.png was not written." in capsys.readouterr().err
    assert not Path("sheet.png").exists()
