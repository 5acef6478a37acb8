"""The commands ``stylize``, ``info`` and ``demo``, and the program itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch

from napari_nst.cli import _demo, main
from napari_nst.engine.run.stylize import stylize
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.errors import OutOfMemoryError
from napari_nst.files import read_image, read_metadata, write_image
from napari_nst.record import RunRecord
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable

TINY = ["--size", "40", "--iterations", "2"]


@pytest.fixture(autouse=True)
def old_result(folder: Path) -> None:
    """Write an old out.png, which failed runs must not change."""
    Path("out.png").write_bytes(b"old")


def run_program(*arguments: str, before: str = "", **options: Any) -> subprocess.Popen[str]:
    code = f"import sys\nfrom napari_nst.cli import main\n{before}\nsys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


# Stylize


def test_stylize_writes_the_picture_with_its_record(
    record_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stylize", "content.png", "style.png", "-o", "out.png", *TINY]) == 0
    image = read_image("out.png")
    assert image.shape == (40, 48, 3)
    assert image.dtype == np.uint8
    record = record_of("out.png")
    assert record.content.name == "content.png"
    assert [style.name for style in record.styles] == ["style.png"]
    assert record.settings == StyleTransferSettings(size=40, iterations=2)
    assert (record.iterations, record.status) == (2, "finished")
    out, err = capsys.readouterr()
    assert out == ""
    first, last = err.splitlines()
    assert first == "napari-nst: scale 1 of 1, 40 x 33 pixels"
    assert last.startswith("napari-nst: wrote out.png, 48 x 40 pixels after 2 iterations in ")


@pytest.mark.parametrize(
    ("stored", "shape", "out", "options", "expected"),
    [
        ("uint16", (40, 48), "new.tif", [], "uint16"),
        ("uint16", (40, 48, 4), "new.png", [], "uint16"),
        ("uint16", (40, 48), "new.png", ["--depth", "8"], "uint8"),
        ("uint16", (40, 48, 3), "new.jpg", [], "uint8"),
        ("uint8", (40, 48, 4), "new.png", [], "uint8"),
        ("uint8", (40, 48), "new.png", ["--depth", "16"], "uint16"),
        ("float32", (40, 48), "new.tif", [], "uint16"),
    ],
)
def test_result_has_the_depth_and_channels_of_the_content(
    picture: Any, stored: str, shape: tuple[int, ...], out: str, options: list[str], expected: str
) -> None:
    values = picture(shape)
    if stored == "float32":
        tifffile.imwrite("in.tif", values)
    else:
        write_image("in.tif", values, dtype=stored)  # type: ignore[arg-type]
    assert main(["stylize", "in.tif", "style.png", "-o", out, *TINY, *options]) == 0
    result = read_image(out)
    assert result.dtype == expected
    assert result.shape == shape
    if shape[2:] == (4,):
        np.testing.assert_array_equal(result[..., 3], read_image("in.tif")[..., 3])


def test_tiff_contains_its_record() -> None:
    assert main(["stylize", "content.png", "style.png", "-o", "out.tif", *TINY]) == 0
    record = json.loads(read_metadata("out.tif") or "")
    assert record["content"]["name"] == "content.png"


def test_record_too_long_for_jpeg_is_written_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = RunRecord.to_json
    monkeypatch.setattr(RunRecord, "to_json", lambda record: whole(record) + 70_000 * "\n")
    assert main(["stylize", "content.png", "style.png", "-o", "out.jpg", *TINY]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == (
        "napari-nst: the record is too long for a JPEG file; wrote it to out.jpg.napari-nst.json."
    )
    record = RunRecord.model_validate_json((folder / "out.jpg.napari-nst.json").read_text("utf-8"))
    assert record.status == "finished"


def test_several_styles_are_mixed_in_one_picture(picture: Any, record_of: Any) -> None:
    write_image("other.png", picture((30, 30), seed=2))
    arguments = ["content.png", "style.png", "other.png", "-o", "out.png", *TINY]
    assert main(["stylize", *arguments, "--set", "style_weights=[0.7, 0.3]"]) == 0
    record = record_of("out.png")
    assert [style.name for style in record.styles] == ["style.png", "other.png"]
    assert record.settings.style_weights == (0.7, 0.3)


def test_options_override_set_and_set_overrides_the_file(record_of: Any) -> None:
    saved = StyleTransferSettings(iterations=7, pooling="average", seed=3, style_weight=9)
    Path("saved.json").write_text(saved.to_json())
    arguments = ["content.png", "style.png", "-o", "out.png", "--settings", "saved.json", *TINY]
    choices = ["iterations=9", "seed=4", "padding=zero", 'style_layers={"relu1_1": 1}']
    sets = [word for choice in choices for word in ("--set", choice)]
    assert main(["stylize", *arguments, *sets, "--style-weight", "2.5"]) == 0
    assert record_of("out.png").settings == saved.replace(
        size=40,
        iterations=2,
        seed=4,
        padding="zero",
        style_layers={"relu1_1": 1},
        style_weight=2.5,
    )


def test_init_image_option_implies_init_image(picture: Any, record_of: Any) -> None:
    write_image("start.png", picture((20, 30, 3), seed=3))
    arguments = ["stylize", "content.png", "style.png", "-o", "out.png", *TINY]
    assert main([*arguments, "--init-image", "start.png"]) == 0
    record, found = record_of("out.png"), read_image("out.png").astype(float) / 255
    assert record.settings.init == "image"
    assert record.init_image is not None and record.init_image.shape == (20, 30, 3)
    images = [read_image(f"{name}.png") for name in ("content", "style", "start")]
    expected = stylize(*images[:2], record.settings, init_image=images[2]).image
    np.testing.assert_allclose(found, expected, atol=0.51 / 255)
    assert main(arguments) == 0
    assert np.abs(read_image("out.png") / 255 - found).mean() > 0.1


@pytest.mark.parametrize(("size", "longest"), [("none", 48), ("auto", 48), ("32", 38)])
def test_size_limits_the_longest_side(size: str, longest: int) -> None:
    arguments = ["stylize", "content.png", "style.png", "-o", "out.png", "--iterations", "1"]
    assert main([*arguments, "--size", size, "--set", "output_size=working"]) == 0
    assert max(read_image("out.png").shape) == longest


def test_terminal_shows_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["stylize", "content.png", "style.png", "-o", "out.png", *TINY]) == 0
    shown = capsys.readouterr().err
    assert "scale 1/1, iteration 1/2" in shown
    assert "style 0." in shown
    assert "left" in shown
    assert shown.splitlines()[-1].endswith(" s.")


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png", "style.png"], "missing.png does not exist: name an image"),
        (["content.png", "missing.png"], "missing.png does not exist: name an image"),
        (
            ["content.png", "style.png", "--init-image", "missing.png"],
            "missing.png does not exist: ",
        ),
        (
            ["content.png", "style.png", "--init-image", "dot.png"],
            "init_image is 1 x 1 pixels; it must be",
        ),
        (
            ["content.png", "style.png", "--set", "init=image"],
            "init is 'image' and init_image",
        ),
        (["content.png", "style.png", "--init-image", "empty.png"], "empty.png is an empty file"),
        (["text.png", "style.png"], "text.png is not an image of a supported format"),
        (["dot.png", "style.png"], "dot.png is 1 x 1 pixels; it must be at least 8 x 8."),
        (["content.png", "dot.png"], "dot.png is 1 x 1 pixels; it must be at least 8 x 8."),
        (["nan.tif", "style.png"], "nan.tif has 1 value that is not finite; replace it"),
        (["content.png", "style.png", "--intensities", "all"], "intensities is 'all'; it must be"),
        (["content.png", "style.png", "--plane", "x"], "--plane is 'x'; it must be whole numbers"),
        (["content.png", "style.png", "--plane", "1"], "--plane is 1, and content.png has one"),
        (["content.png", "style.png", "--size", "big"], "size is 'big'; it must be 'auto', 'n"),
        (["content.png", "style.png", "--iterations", "0"], "iterations is 0; it must be"),
        (["content.png", "style.png", "--iterations", "x"], "Invalid value for '--iterations'"),
        (["content.png", "style.png", "--style-weight", "-1"], "style_weight is -1.0; it must"),
        (["content.png", "style.png", "--depth", "12"], "Invalid value for '--depth'"),
        (["content.png", "style.png", "--nonsense"], "No such option: --nonsense"),
        (["content.png", "style.png", "--set", "pool=max"], "There is no setting 'pool'; did"),
        (["content.png", "style.png", "--set", "pooling=avg"], "pooling is 'avg'; it must be 'm"),
        (["content.png", "style.png", "--set", "pooling"], "--set is 'pooling'; it must be a s"),
        (["content.png", "style.png", "--set", "seed=" + 5000 * "9"], "seed is '999"),
        (["content.png", "style.png", "--set", "style_layers=relu9_1"], "vgg16 has no layer"),
        (["content.png", "style.png", "--set", "network=vgg19"], "VGG-19's weights are not on"),
        (["content.png", "style.png", "--set", "device=cuda:99"], "device is 'cuda:99', but t"),
        (["content.png", "style.png", "--settings", "missing"], "missing cannot be read (No s"),
        (["content.png", "style.png", "--settings", "text.png"], "text.png does not hold setti"),
        (["content.png", "style.png", "--settings", "nan.tif"], "nan.tif does not hold settings"),
        (["content.png"], "Missing argument 'STYLE'."),
        (["content.png", "empty.png"], "empty.png is an empty file"),
    ],
)
def test_invalid_input_is_one_line(
    picture: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    Path("text.png").write_text("No picture, but a thousand words.")
    write_image("dot.png", picture((1, 1, 3)))
    values = picture((40, 48, 3))
    values[3, 4, 1] = np.nan
    tifffile.imwrite("nan.tif", values, photometric="rgb")
    Path("empty.png").write_bytes(b"")
    old = Path("out.png").read_bytes()
    assert main(["stylize", *arguments, "-o", "out.png"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"napari-nst: {message}")
    assert err.count("\n") == 1
    assert Path("out.png").read_bytes() == old


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (["nowhere/out.png"], "nowhere/out.png cannot be written: there is no folder "),
        (["out.gif"], "out.gif has no suffix that can be written"),
        (["."], ". has no suffix that can be written"),
        (["content.png"], "content.png is also an input: name another file for the result."),
        (
            ["start.png", "--init-image", "start.png"],
            "start.png is also an input: name another file",
        ),
        (["new.jpg", "--depth", "16"], "new.jpg cannot have 16 bits, for JPEG has 8: name a"),
        (["a" * 300 + ".png"], "aaa"),
    ],
)
def test_invalid_output_is_refused_before_the_run(
    picture: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    out: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("napari_nst.engine.run.transfer.StyleTransfer", None)
    write_image("start.png", picture((20, 30, 3)))
    before = Path("content.png").read_bytes()
    assert main(["stylize", "content.png", "style.png", "-o", *out]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"napari-nst: {message}")
    assert err.count("\n") == 1
    assert Path("content.png").read_bytes() == before


def test_missing_output_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stylize", "content.png", "style.png"]) == 2
    assert capsys.readouterr().err == "napari-nst: Missing option '-o' / '--output'.\n"


def test_line_break_in_a_file_name_does_not_break_the_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["stylize", "a\nb.png", "style.png", "-o", "out.png"]) == 2
    assert capsys.readouterr().err.startswith("napari-nst: a b.png does not exist")


def fail_at(iteration: int, error: BaseException) -> Callable[[StyleTransfer], Any]:
    real = StyleTransfer.__next__

    def next_snapshot(run: StyleTransfer) -> Any:
        if len(run.history) == iteration:
            raise error
        return real(run)

    return next_snapshot


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OutOfMemoryError("There was not enough memory."), "There was not enough memory."),
        (MemoryError(), "There is not enough memory for images of this size."),
    ],
)
def test_failed_run_leaves_the_old_file(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    message: str,
) -> None:
    monkeypatch.setattr(StyleTransfer, "__next__", fail_at(1, error))
    assert main(["stylize", "content.png", "style.png", "-o", "out.png", *TINY]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == [f"napari-nst: {message}"]
    assert Path("out.png").read_bytes() == b"old"
    assert sorted(os.listdir()) == ["content.png", "out.png", "style.png"]


def test_bug_shows_its_traceback() -> None:
    process = run_program(
        "stylize",
        *("content.png", "style.png", "-o", "out.png"),
        before="import napari_nst.cli._stylize as s\ns.run_with_progress = lambda *_: 1 / 0",
    )
    _, err = process.communicate()
    assert process.returncode == 1
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("ZeroDivisionError: division by zero\n")
    assert Path("out.png").read_bytes() == b"old"


# Ctrl-C


def press_ctrl_c(monkeypatch: pytest.MonkeyPatch, at: int, times: int = 1) -> None:
    """Press Ctrl-C during the evaluation number `at`, from 1."""
    real = StyleTransfer.__next__

    def next_snapshot(run: StyleTransfer) -> Any:
        if len(run.history) + 1 == at:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return real(run)

    monkeypatch.setattr(StyleTransfer, "__next__", next_snapshot)


def test_ctrl_c_writes_the_current_picture(
    record_of: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    press_ctrl_c(monkeypatch, at=3)
    handler = signal.getsignal(signal.SIGINT)
    arguments = ["content.png", "style.png", "-o", "out.png", "--size", "40"]
    assert main(["stylize", *arguments, "--iterations", "50"]) == 130
    assert signal.getsignal(signal.SIGINT) is handler
    record = record_of("out.png")
    assert (record.iterations, record.status) == (2, "stopped")
    assert read_image("out.png").shape == (40, 48, 3)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("napari-nst: stopped early; wrote out.png, 48 x 40 pixels after 2 iter")


def test_ctrl_c_before_the_first_iteration_leaves_the_old_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    press_ctrl_c(monkeypatch, at=1)
    assert main(["stylize", "content.png", "style.png", "-o", "out.png", *TINY]) == 130
    assert Path("out.png").read_bytes() == b"old"
    assert capsys.readouterr().err == (
        "napari-nst: stopped before the first iteration; out.png was not written.\n"
    )


def test_ctrl_c_twice_exits_immediately(monkeypatch: pytest.MonkeyPatch) -> None:
    press_ctrl_c(monkeypatch, at=2, times=2)
    handler = signal.getsignal(signal.SIGINT)
    assert main(["stylize", "content.png", "style.png", "-o", "out.png", *TINY]) == 130
    assert signal.getsignal(signal.SIGINT) is handler
    assert Path("out.png").read_bytes() == b"old"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signals between processes")
def test_ctrl_c_in_a_subprocess_writes_the_current_picture(record_of: Any) -> None:
    process = run_program(
        "stylize",
        *("content.png", "style.png", "-o", "out.png", "--size", "40", "--iterations", "100000"),
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "napari-nst: scale 1 of 1, 40 x 33 pixels\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.startswith("napari-nst: stopped early; wrote out.png, ")
    assert err.count("\n") == 1
    assert record_of("out.png").status == "stopped"


# The program itself


def test_help_does_not_import_torch_or_napari() -> None:
    heavy = ("torch", "qtpy", "PyQt6", "napari", "numpy")
    report = (
        "import atexit\n"
        f"atexit.register(lambda: print([name for name in {heavy} if name in sys.modules]))"
    )
    for arguments in ([], ["--help"], ["stylize", "--help"], ["demo", "--help"], ["--version"]):
        process = run_program(*arguments, before=report)
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        assert out.endswith("[]\n")
        assert arguments == ["--version"] or "Usage: napari-nst" in out


def test_error_in_a_file_is_reported_without_importing_torch() -> None:
    report = "import atexit\natexit.register(lambda: print('torch' in sys.modules))"
    process = run_program("stylize", "none.png", "style.png", "-o", "out.png", before=report)
    out, err = process.communicate()
    assert process.returncode == 2
    assert out == "False\n"
    assert err == "napari-nst: none.png does not exist: name an image file that does.\n"


def test_unknown_command_error_suggests_a_similar_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stylise"]) == 2
    assert capsys.readouterr().err == (
        "napari-nst: No such command 'stylise'. Did you mean 'stylize'?\n"
    )


# Info


def test_info_shows_versions_devices_and_weights(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("napari_nst.cli._info.unused_gpu", lambda: "mend it")
    assert main(["info"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = {line[:12].strip(): line[12:] for line in out.splitlines()}
    for name in ("napari-nst", "python", "napari", "numpy", "Qt", "threads"):
        assert lines[name]
    assert lines["torch"] == torch.__version__
    assert "GiB free" in lines["cpu"]
    assert out.count('taken by device "auto"') == 1
    assert lines["note"] == "mend it"
    assert lines["vgg16"].endswith("vgg16_features.safetensors")
    assert f"sha256 {'551516687b64c019'}" in out
    assert lines["vgg19"].startswith("VGG-19's weights are not on this machine: download ")


# Demo


def test_demo_writes_a_picture_to_the_output_option(
    record_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "-o", "out.png", *TINY]) == 0
    assert read_image("out.png").shape == (400, 600, 3)
    record = record_of("out.png")
    assert (record.content.name, record.styles[0].name) == ("coffee", "impasto")
    assert record.iterations == 2
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "napari-nst: writing a picture instead of opening napari, as requested."


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--headless"], "as requested"),
        (["--iterations", "9"], "as requested"),
        ([], "because there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)"),
    ],
)
def test_demo_without_a_viewer_gives_the_reason(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    written = []
    monkeypatch.setattr(_demo, "write_demo", lambda *arguments: written.append(arguments))
    monkeypatch.setattr(sys, "platform", "linux")
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    assert main(["demo", *arguments]) == 0
    [(why, out, settings)] = written
    assert (why, out) == (reason, Path("napari-nst-demo.png"))
    assert settings == StyleTransferSettings(**({"iterations": 9} if "9" in arguments else {}))


def test_demo_refuses_an_invalid_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "-o", "nowhere/out.png"]) == 2
    assert capsys.readouterr().err.startswith("napari-nst: nowhere/out.png cannot be written")


@pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_demo_with_a_display_opens_napari(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    opened = []
    module = SimpleNamespace(open_demo=lambda: opened.append(True))
    monkeypatch.setitem(sys.modules, "napari_nst.plugin.demo", module)
    monkeypatch.setattr(_demo, "installed_qt", lambda: ["PyQt6 6.9.0"])
    monkeypatch.setenv(variable, ":0")
    assert main(["demo"]) == 0
    assert opened == [True]


def test_demo_without_qt_is_headless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_demo, "installed_qt", list)
    monkeypatch.setenv("DISPLAY", ":0")
    assert "there is no Qt" in (_demo.why_headless() or "")
