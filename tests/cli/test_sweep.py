"""The command ``sweep``."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_nst import StyleTransfer, StyleTransferSettings, own_presets, presets
from napari_nst.cli import main
from napari_nst.cli._choices import parse_values
from napari_nst.cli._sweep_run import make_cells
from napari_nst.errors import InputError, OutOfMemoryError
from napari_nst.files import read_image, write_image

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("folder", "one_thread", "thin_network")

TINY = ["--size", "40", "--iterations", "2"]
TWO = ["--columns", "style_weight=0.5,4"]


def sweep(*options: str) -> int:
    return main(["sweep", "content.png", "style.png", "-o", "sheet.png", *options])


def cells(longest_side: int = 40, pairs: Any = (), named: Any = None, **options: Any) -> Any:
    """Return settings by the headings of row and column."""
    usual: dict[str, Any] = dict.fromkeys(("rows", "columns", "presets", "file", "preset"))
    values = parse_values(pairs, named or {})
    return make_cells(**usual | options, values=values, longest_side=longest_side)


def kept() -> list[str]:
    """Return the names of the pictures in "kept", without their hash."""
    names = [file.stem.rpartition("-") for file in sorted(Path("kept").glob("*.png"))]
    assert all(re.fullmatch("[0-9a-f]{8}", digest) for _, _, digest in names)
    return [name for name, _, _ in names]


# The cells


def test_cells_have_the_settings_of_their_row_and_column() -> None:
    made = cells(
        rows="style_weight=1,2", columns="pooling=max,average", pairs=["seed=3"], preset="draft"
    )
    common = presets.preset("draft").replace(seed=3, output_size="working")
    assert list(made) == [
        ("style weight 1", "pooling max"),
        ("style weight 1", "pooling average"),
        ("style weight 2", "pooling max"),
        ("style weight 2", "pooling average"),
    ]
    assert list(made.values()) == [
        common.replace(style_weight=weight, pooling=pooling)
        for weight in (1, 2)
        for pooling in ("max", "average")
    ]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("learning_rate=0.01,null", [0.01, None]),
        ("style_weights=[0.7,0.3],[1, 0]", [(0.7, 0.3), (1, 0)]),
        ("size=none,64", [None, 64]),
        ("normalize_gradients=true,false", [True, False]),
        ('color="match", luminance', ["match", "luminance"]),
        ("style_weight=1,2,1.0", [1, 2]),  # a repeated value counts once
    ],
)
def test_values_of_an_axis_are_json_or_words(columns: str, expected: list[Any]) -> None:
    name = columns.partition("=")[0]
    made = cells(columns=columns).values()
    assert [getattr(settings, name) for settings in made] == expected


def test_layer_weights_can_be_an_axis() -> None:
    made = cells(columns='style_layers={"relu1_1": 1, "relu2_1": 0.5},["relu3_1"]')
    assert [dict(settings.style_layers) for settings in made.values()] == [
        {"relu1_1": 1, "relu2_1": 0.5},
        {"relu3_1": 1},
    ]
    assert list(made) == [
        ("", "style layers relu1_1 1, relu2_1 0.5"),
        ("", "style layers relu3_1"),
    ]


@pytest.mark.parametrize("values", ["cpu,cuda:0", "0.5,1e-05"])
def test_headings_show_the_values(values: str) -> None:
    name = "device" if "cpu" in values else "style_weight"
    headings = [column for _, column in cells(columns=f"{name}={values}")]
    assert headings == [f"{name.replace('_', ' ')} {value}" for value in values.split(",")]


def test_single_axis_gives_one_row_or_column() -> None:
    names = ["seed 1", "seed 2", "seed 3"]
    assert list(cells(columns="seed=1,2,3")) == [("", name) for name in names]
    assert list(cells(rows="seed=1,2,3")) == [(name, "") for name in names]


def test_all_presets_are_compared_with_their_settings() -> None:
    made = cells(presets="all")
    assert list(made) == [("", f"preset {key}") for key in presets.presets()]
    assert next(iter(made.values())) == StyleTransferSettings(size=40, output_size="working")


def test_presets_use_the_free_axis() -> None:
    made = cells(columns="seed=1,2", presets="Draft, keep-colours", named={"iterations": 5})
    assert list(made)[1:] == [
        ("preset Draft", "seed 2"),
        ("preset keep-colours", "seed 1"),
        ("preset keep-colours", "seed 2"),
    ]
    options = {"iterations": 5, "output_size": "working", "seed": 2, "size": 40}
    expected = presets.preset("keep-colours").replace(**options)
    assert made["preset keep-colours", "seed 2"] == expected


@pytest.mark.parametrize(
    ("options", "longest", "sizes"),
    [
        ({"columns": "seed=1,2"}, 1000, [256, 256]),
        ({"columns": "seed=1,2"}, 100, [100, 100]),
        ({"columns": "seed=1,2", "named": {"size": "auto"}}, 1000, ["auto", "auto"]),
        ({"columns": "seed=1,2", "pairs": ["size=none"]}, 1000, [None, None]),
        ({"columns": "size=auto,99"}, 1000, ["auto", 99]),
        ({"presets": "balanced,draft"}, 1000, [256, 192]),
    ],
)
def test_default_size_is_small(options: dict[str, Any], longest: int, sizes: list[Any]) -> None:
    assert [settings.size for settings in cells(longest, **options).values()] == sizes


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
        ({"presets": "draft,best"}, "There is no preset 'best'; there are balanced"),
        ({"presets": "all", "preset": "draft"}, "--preset and --presets both name initial"),
        ({"presets": "all", "file": Path("a.json")}, "--preset and --settings both name initial"),
        ({"rows": "seed=1", "columns": "tv_weight=1", "presets": "all"}, "three axes"),
    ],
)
def test_invalid_axes_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        cells(**options)


# The runs and the sheet


@pytest.mark.parametrize("shape", [(40, 48), (40, 48, 3), (40, 48, 4)])
def test_sheet_shows_the_results_of_stylize(
    shows: Any, picture: Any, shape: tuple[int, ...]
) -> None:
    write_image("content.png", picture(shape))
    assert sweep("--rows", "seed=1,2", *TWO, *TINY) == 0
    sheet = read_image("sheet.png")
    for weight in ("0.5", "4"):
        files = ["content.png", "style.png", "-o", "out.png", "--set", "output_size=working"]
        assert main(["stylize", *files, "--style-weight", weight, *TINY]) == 0
        made = read_image("out.png")
        if made.ndim == 2:
            made = np.dstack([made] * 3)
        if made.shape[2] == 4:
            unit = made / 255
            made = np.rint(255 * (1 - unit[..., 3:] * (1 - unit[..., :3]))).astype(np.uint8)
        assert shows(sheet, made)


def test_sheet_shows_a_small_content_and_styles(shows: Any, photo: Any) -> None:
    write_image("content.png", photo(33, 40))
    write_image("style.png", photo(33, 40)[::-1])
    write_image("other.png", photo(33, 40)[:, ::-1])
    files = ["content.png", "style.png", "other.png"]
    assert main(["sweep", *files, "-o", "sheet.png", "--rows", "seed=1", *TINY]) == 0
    for file in files:
        assert shows(read_image("sheet.png"), read_image(file))


@pytest.mark.parametrize(("columns", "lines"), [("seed=1,2,3", 1), ("seed=1,2,3,4,5,6", 2)])
def test_long_row_is_wrapped(columns: str, lines: int) -> None:
    options = ["--size", "40", "--iterations", "1"]
    assert sweep("--columns", columns, *options) == 0
    sheet = read_image("sheet.png")
    assert sweep("--columns", "seed=1", *options) == 0
    assert (sheet.shape[0] > read_image("sheet.png").shape[0]) == (lines > 1)


def test_sweep_prints_lines_before_after_each_run_and_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sweep(*TWO, *TINY) == 0
    before, first, second, report, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"napari-nst: 2 results to make: (about|roughly) \d+ s on \w+\.", before)
    assert re.fullmatch(r"napari-nst: 1 of 2: style weight 0.5, \d+ s; about \d+ s left\.", first)
    assert re.fullmatch(r"napari-nst: 2 of 2: style weight 4, \d+ s\.", second)
    assert re.fullmatch(r"napari-nst: 2 made, 0 skipped, 0 failed in \d+ s\.", report)
    assert last == "napari-nst: wrote sheet.png, 2 of 2 pictures."


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
    shows: Any, record_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(*TWO, *TINY, "--keep", "kept") == 0
    assert kept() == ["style-weight-0.5", "style-weight-4"]
    files = sorted(Path("kept").glob("*.png"))
    for file, weight in zip(files, (0.5, 4), strict=True):
        record = record_of(file)
        assert (record.status, record.settings.style_weight) == ("finished", weight)
        assert record.content.name == "content.png"
    sheet = read_image("sheet.png")
    times = {file: file.stat().st_mtime_ns for file in files}
    capsys.readouterr()

    assert sweep("--columns", "style_weight=4,9,0.5", *TINY, "--keep", "kept") == 0
    assert "2 of 3 there from before; 1 result to make" in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in files} == times
    assert kept() == ["style-weight-0.5", "style-weight-4", "style-weight-9"]
    for file in files:
        assert shows(sheet, read_image(file))
        assert shows(read_image("sheet.png"), read_image(file))


def test_rows_and_columns_can_be_exchanged(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("--rows", "seed=1", *TWO, *TINY, "--keep", "kept") == 0
    assert kept() == ["seed-1-style-weight-0.5", "seed-1-style-weight-4"]
    rows = ["--rows", "style_weight=0.5,4", "--columns", "seed=1"]
    assert sweep(*rows, *TINY, "--keep", "kept") == 0
    assert "2 of 2 there from before; nothing to make" in capsys.readouterr().err


@pytest.mark.parametrize("bytes_left", [200, -1])
def test_damaged_pictures_are_made_again(
    bytes_left: int, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ["--columns", "style_weight=1", *TINY, "--keep", "kept"]
    assert sweep(*one) == 0
    [file] = Path("kept").glob("*.png")
    whole = file.read_bytes()
    file.write_bytes(whole[:bytes_left])
    assert sweep(*one) == 0
    assert file.read_bytes() == whole
    assert f"{file} is there, but it is damaged: it is made again" in capsys.readouterr().err


def test_pictures_of_changed_inputs_are_made_again(picture: Any) -> None:
    one = ["--columns", "style_weight=1", *TINY, "--keep", "kept"]
    assert sweep(*one) == 0
    [file] = Path("kept").glob("*.png")
    before = read_image(file)
    write_image("style.png", picture((36, 40, 3), seed=2))
    assert sweep(*one) == 0
    assert (read_image(file) != before).any()


def test_pictures_of_other_settings_and_other_files_are_kept_as_well(picture: Any) -> None:
    one = ["--columns", "style_weight=1", *TINY, "--keep", "kept"]
    assert sweep(*one) == 0
    assert sweep(*one, "--set", "seed=1") == 0
    write_image("other.png", picture((36, 40, 3), seed=2))
    assert main(["sweep", "content.png", "other.png", "-o", "sheet.png", *one]) == 0
    assert len(kept()) == 3


def test_kept_pictures_of_16_bits_have_16_bits(picture: Any) -> None:
    write_image("content.png", picture((40, 48)), dtype="uint16")
    assert sweep("--columns", "seed=1", *TINY, "--keep", "a/b") == 0
    [file] = Path("a/b").glob("*.png")
    assert read_image(file).dtype == np.uint16


@pytest.mark.usefixtures("real_network")
def test_all_presets_leaves_out_those_without_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NAPARI_NST_CONFIG", str(tmp_path / "config"))
    own_presets.save("Large network", StyleTransferSettings(network="vgg19"))
    options = ["--size", "32", "--iterations", "1"]
    assert sweep("--presets", "all", *options) == 0
    shown = capsys.readouterr().err
    assert "preset large-network is left out. VGG-19's weights are not on this machine" in shown
    count = len(presets.presets())
    assert f"{count} of {count} pictures" in shown
    assert sweep("--presets", "draft,large-network", *options) == 2
    assert capsys.readouterr().err.startswith("napari-nst: VGG-19's weights are not on this")


@pytest.mark.usefixtures("real_network")
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
    original, iterations = StyleTransfer.__next__, 0

    def next_snapshot(run: StyleTransfer) -> Any:
        nonlocal iterations
        snapshot = original(run)
        iterations += 1
        if iterations in callbacks:
            callbacks.pop(iterations)()
        return snapshot

    monkeypatch.setattr(StyleTransfer, "__next__", next_snapshot)
    yield callbacks
    assert not callbacks


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_writes_the_unfinished_sheet(
    shows: Any, at_iteration: dict[int, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    at_iteration[6] = press_ctrl_c
    options = ["--columns", "style_weight=1,2,3", "--size", "40", "--iterations", "4"]
    assert sweep(*options, "--keep", "kept") == 130
    assert "stopped early; wrote sheet.png, 2 of 3 pictures" in capsys.readouterr().err
    assert kept() == ["style-weight-1"]
    [file] = Path("kept").glob("*.png")
    assert shows(read_image("sheet.png"), read_image(file))

    assert sweep(*options, "--keep", "kept") == 0
    assert len(kept()) == 3


def test_ctrl_c_in_the_first_iteration_writes_no_sheet(at_iteration: dict[int, Any]) -> None:
    at_iteration[1] = press_ctrl_c
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


def test_unexpected_error_is_one_line_and_its_traceback_is_beside_the_sheet(
    at_iteration: dict[int, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise TypeError("no such mode")

    at_iteration[1] = fail
    assert sweep(*TWO, *TINY) == 2
    shown = capsys.readouterr().err
    assert (
        "failed unexpectedly (TypeError: no such mode); the traceback is in napari-nst-sw" in shown
    )
    assert "TypeError: no such mode" in Path("napari-nst-sweep.log").read_text()
