"""The command ``replay``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_nst import StyleTransfer, StyleTransferSettings
from napari_nst.cli import main
from napari_nst.errors import InputError
from napari_nst.files import read_image, read_metadata, write_image

pytestmark = pytest.mark.usefixtures("folder", "one_thread", "thin_network")


def stylize(out: str, *options: str) -> None:
    words = ["stylize", "content.png", "style.png", "-o", out, "--size", "48", "--iterations", "3"]
    assert main([*words, *options]) == 0


def replay(record: str, *words: str, content: str = "content.png", out: str = "again.png") -> int:
    return main(["replay", record, content, "style.png", "-o", out, *words])


@pytest.mark.parametrize("first", ["first.png", "first.jpg", "first.tif"])
def test_picture_is_replayed_from_its_own_record(first: str, record_of: Any) -> None:
    stylize(first, "--set", "seed=7", "--set", "init=noise")
    assert record_of(first).settings.seed == 7
    assert replay(first, out=f"again{Path(first).suffix}") == 0

    np.testing.assert_array_equal(read_image(first), read_image(f"again{Path(first).suffix}"))


def test_json_record_replays_changes_during_the_run(record_of: Any) -> None:
    settings = StyleTransferSettings(size=48, iterations=20)
    run = StyleTransfer(read_image("content.png"), read_image("style.png"), settings)
    for snapshot in run:
        if snapshot.iteration == 2:
            run.steer(style_weight=9)
        if snapshot.iteration == 4:
            run.stop()
    result = run.result()
    Path("record.json").write_text(result.record.to_json())
    assert replay("record.json") == 130  # as a run that was stopped ends
    again = record_of("again.png")

    assert (again.iterations, again.status) == (4, "stopped")
    assert [change.choices for change in again.steering] == [{"style_weight": 9}]
    expected = np.rint(result.image.astype(np.float64) * 255).astype(np.uint8)
    np.testing.assert_array_equal(read_image("again.png"), expected)


def test_replay_accepts_an_initial_image_and_arrays() -> None:
    start = np.random.default_rng(5).random((40, 48, 3))
    np.save("start.npy", start)
    content = np.random.default_rng(6).random((40, 48))  # float64, as no image file holds it
    np.save("content.npy", content)
    settings = StyleTransferSettings(size=48, iterations=2, init="image")
    run = StyleTransfer(content, read_image("style.png"), settings, init_image=start)
    for _ in run:
        pass
    Path("record.json").write_text(run.record.to_json())
    assert replay("record.json", "--init-image", "start.npy", content="content.npy") == 0

    expected = np.rint(run.result().image.astype(np.float64) * 65535).astype(np.uint16)
    np.testing.assert_array_equal(read_image("again.png"), expected)


def test_other_pictures_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    stylize("first.png")
    capsys.readouterr()
    assert replay("first.png", content="style.png") == 2
    assert "style.png is not the image of the record" in capsys.readouterr().err
    assert not Path("again.png").exists()


@pytest.mark.parametrize("record", ["content.png", "missing.json", "other.json", "broken.json"])
def test_file_without_a_record_is_named(record: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.json").write_text(StyleTransferSettings().to_json())
    Path("broken.json").write_bytes(b"{\xff")
    assert replay(record) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"napari-nst: {record} ")
    assert len(error.splitlines()) == 1


def test_input_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    stylize("first.png")
    before = Path("first.png").read_bytes()
    assert replay("first.png", out="first.png") == 2
    assert "first.png is also an input" in capsys.readouterr().err
    assert Path("first.png").read_bytes() == before
    Path("broken.npy").write_bytes(b"no array")
    assert replay("first.png", content="broken.npy") == 2
    assert "broken.npy cannot be read as an array" in capsys.readouterr().err


def test_picture_of_another_program_has_no_record() -> None:
    for name in ("plain.png", "plain.jpg", "plain.tif"):
        write_image(name, np.zeros((9, 9, 3), np.float32))
        assert not read_metadata(name)
    Path("noise.png").write_bytes(b"\x89PNG and no more")
    with pytest.raises(InputError, match=r"noise\.png is not an image of a supported format"):
        read_metadata("noise.png")
