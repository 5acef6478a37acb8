"""The command ``batch``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_nst.cli import main
from napari_nst.files import write_image
from napari_nst.settings import StyleTransferSettings

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")

TINY = ["--size", "40", "--iterations", "2", "--set", "scales=1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Any, stripes: Any) -> Path:
    """Change to a folder with two contents and two styles."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    write_image("in/a.png", photo(40, 48))
    write_image("in/b.png", photo(44, 36))
    write_image("s.png", stripes(44, 36))
    write_image("t.png", stripes(36, 44))
    return tmp_path


def test_results_are_made_once_and_then_skipped(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("masks").mkdir()
    Image.fromarray(np.ones((40, 48), np.uint8)).save("masks/a.png")
    command = ["batch", "in/*.png", "--styles", "s.png", "t.png", "-o", "out", "--masks", "masks"]
    assert main([*command, *TINY]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("napari-nst: 4 results to make: ")
    assert lines[1].startswith("napari-nst: 1 of 4: a.png x s.png, ")
    assert lines[1].endswith(" left.")
    assert lines[-2] == "napari-nst: no mask for b.png."
    assert lines[-1].startswith("napari-nst: 4 made, 0 skipped, 0 failed in ")
    assert Path("out/masks/a__t.png").exists()
    assert main([*command, *TINY]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "napari-nst: 4 of 4 there from before; nothing to make."
    assert main([*command, *TINY, "--style-weight", "2"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "a__s.png is there, but its style_weight was 1.0, not 2.0: it is made" in lines[0]


def test_start_of_the_planes_is_printed_and_can_be_chosen(
    folder: Path, capsys: pytest.CaptureFixture[str], photo: Any
) -> None:
    planes = (255 * np.stack([photo(40, 48)[..., 0]] * 2)).astype(np.uint8)
    for axes in ("TYX", "ZYX"):
        tifffile.imwrite(f"{axes}.ome.tif", planes, metadata={"axes": axes})
    command = ["batch", "TYX.ome.tif", "ZYX.ome.tif", "--styles", "s.png", "-o", "out", *TINY]
    assert main(command) == 0
    assert capsys.readouterr().err.splitlines()[1:3] == [
        "napari-nst: TYX.ome.tif: each plane starts from the result before it, carried along the "
        "motion (warped).",
        "napari-nst: ZYX.ome.tif: each plane starts from the result before it (previous).",
    ]
    assert main([*command, "--long-term", "--set", "temporal_weight=2"]) == 0
    lines = capsys.readouterr().err.splitlines()
    default = StyleTransferSettings().temporal_weight
    assert f"TYX.ome.tif is there, but its temporal_weight was {default}, not 2.0" in lines[0]
    assert lines[3].endswith(
        "TYX.ome.tif, ZYX.ome.tif: each plane starts from the result before it, carried along the "
        "motion (warped, long term)."
    )
    assert main([*command, "--long-term", "--start-from", "content"]) == 2
    assert "start_from is 'content': choose 'warped'" in capsys.readouterr().err


def test_unreadable_file_is_named_at_the_end(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in/a0.png").write_bytes(b"no picture")
    assert main(["batch", "in", "--styles", "s.png", "--out", "out", *TINY]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2].startswith("napari-nst: a0.png failed. ")
    assert lines[-1].startswith("napari-nst: 2 made, 0 skipped, 1 failed in ")


def test_unexpected_error_is_one_line_and_its_traceback_is_logged(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_nst.batch import task

    read = task.read_picture

    def fail(path: Path, *given: Any, **more: Any) -> Any:
        if path.name == "a.png":
            raise TypeError("no such mode")
        return read(path, *given, **more)

    monkeypatch.setattr(task, "read_picture", fail)
    assert main(["batch", "in", "--styles", "s.png", "--out", "out", *TINY]) == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    log = Path("out/napari-nst-batch.log")
    assert captured.err.splitlines()[-2] == (
        f"napari-nst: a.png failed. {Path('in/a.png')} failed unexpectedly (TypeError: no such "
        f"mode); the traceback is in {log}."
    )
    assert "in make_picture" in log.read_text() and "TypeError: no such mode" in log.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["in", "--styles", "s.png", "-o", "out", "--seeds", "0,x"], "--seeds is '0,x'"),
        (["in", "--styles", "s.png", "-o", "out", "--intensities", "1,x"], "intensities is '1,x'"),
        (["in", "--styles", "s.png", "-o", "out", "--chunk", "9"], "--chunk divides stacks for"),
        (
            [
                "in",
                "--styles",
                "s.png",
                "-o",
                "out",
                "--chunk",
                "x",
                "--scheduler",
                "tcp://127.0.0.1:9",
            ],
            "--chunk is 'x'; it must be a number of planes, or none",
        ),
        (["none*", "--styles", "s.png", "-o", "out"], "There is no content none*"),
        (["--styles", "s.png", "in", "-o", "out"], "CONTENT"),  # parsed as a style
        (["in", "--styles", "s.png", "-o", "out", "--set", "sizes=3"], "no setting 'sizes'"),
    ],
)
def test_invalid_option_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["batch", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert not Path("out").exists()


def test_interrupted_batch_says_how_to_continue(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_nst.cli._batch_messages import BatchProgress

    def interrupt(self: object, step: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BatchProgress, "__call__", interrupt)
        assert main(["batch", "in", "--styles", "s.png", "-o", "out", *TINY]) == 130
    assert "The same command continues the batch" in capsys.readouterr().err
    assert main(["batch", "in", "--styles", "s.png", "-o", "out", *TINY]) == 0
