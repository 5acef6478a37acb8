"""Regions and saved runs on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_nst.cli import main
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.files import read_image, write_image

TINY = ["--size", "40", "--iterations", "3"]


@pytest.fixture(autouse=True)
def labels(folder: Path, picture: Any) -> None:
    """Write another style, and labels of the content and of a style."""
    write_image("other.png", picture((32, 32), seed=2))
    labels = np.zeros((40, 48), np.uint8)
    labels[:20], labels[20:30] = 1, 2
    Image.fromarray(labels).save("labels.png")
    half = np.ones((36, 40), np.uint8)
    half[:, 20:] = 2
    Image.fromarray(half).save("style_labels.png")


def test_labels_have_their_styles_and_the_rest_is_unchanged(record_of: Any) -> None:
    chosen = ["--content-labels", "labels.png", "--set", 'region_styles={"1": 1, "2": 0}']
    assert (
        main(["stylize", "content.png", "style.png", "other.png", "-o", "out.png", *TINY, *chosen])
        == 0
    )
    content, out = read_image("content.png"), read_image("out.png")
    np.testing.assert_array_equal(out[30:], content[30:])
    assert (out[:30] != content[:30]).any(axis=2).mean() > 0.9
    record = record_of("out.png")
    assert record.kept_labels == (0,)
    assert [(region.labels, region.sources) for region in record.regions] == [
        ((1,), ("style 1",)),
        ((2,), ("style 0",)),
    ]


def test_labels_of_styles_match_labels_of_the_content(record_of: Any) -> None:
    chosen = ["--content-labels", "labels.png", "--style-labels", "style_labels.png"]
    chosen += ["--style-labels", "none"]
    assert (
        main(["stylize", "content.png", "style.png", "other.png", "-o", "out.png", *TINY, *chosen])
        == 0
    )
    sources = [region.sources for region in record_of("out.png").regions]
    assert sources == [("style 0, label 1",), ("style 0, label 2",)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--content-labels", "content.jpg"], "content.jpg is a JPEG file, which blurs labels"),
        (
            ["--content-labels", "style_labels.png"],
            "has shape (36, 40); it must be that of content",
        ),
        (["--content-labels", "no.png"], "no.png does not exist"),
        (["--style-labels", "style_labels.png"], "style_labels and no content_labels"),
        (["--content-labels", "labels.png", "--style-labels", "ones.png"], "Label 2 is on the con"),
        (["--save-run", "no/folder/run"], "no/folder/run cannot be written"),
    ],
)
def test_invalid_labels_are_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image("content.jpg", np.zeros((40, 48, 3), np.float32))
    Image.fromarray(np.ones((36, 40), np.uint8)).save("ones.png")
    assert main(["stylize", "content.png", "style.png", "-o", "out.png", *TINY, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("out.png").exists()


@pytest.mark.usefixtures("one_thread")
def test_interrupted_run_is_resumed_to_the_same_picture(
    record_of: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["stylize", "content.png", "style.png", "--content-labels", "labels.png", *TINY]
    assert main([*options, "-o", "whole.png"]) == 0
    original = StyleTransfer.__next__

    def interrupted(run: StyleTransfer) -> object:
        snapshot = original(run)
        if snapshot.iteration == 2:
            run.stop()  # as Ctrl-C does
        return snapshot

    with monkeypatch.context() as patch:
        patch.setattr(StyleTransfer, "__next__", interrupted)
        assert main([*options, "-o", "part.png", "--save-run", "run.nst"]) == 130
    assert "napari-nst resume run.nst -o part.png" in capsys.readouterr().err
    assert record_of("part.png").iterations == 2
    assert main(["resume", "run.nst", "-o", "resumed.png"]) == 0
    np.testing.assert_array_equal(read_image("resumed.png"), read_image("whole.png"))
    record = record_of("resumed.png")
    assert (record.iterations, record.status) == (3, "finished")


def test_file_without_a_run_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", "style.png", "-o", "out.png"]) == 2
    assert "style.png is not a run that was saved" in capsys.readouterr().err
    assert not Path("out.png").exists()


def test_settings_file_can_have_settings_of_regions(record_of: Any) -> None:
    Path("settings.json").write_text(
        json.dumps({"region_styles": {"1": 0}, "region_guidance": "inside", "region_softness": 0})
    )
    chosen = ["--settings", "settings.json", "--content-labels", "labels.png"]
    assert main(["stylize", "content.png", "style.png", "-o", "out.png", *TINY, *chosen]) == 0
    settings = record_of("out.png").settings
    assert settings.region_guidance == "inside"
    assert settings.region_styles == {1: 0}


def test_warning_of_a_run_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_image("large.png", np.zeros((800, 800), np.float32) + 0.5)
    options = ["--size", "none", "--iterations", "1", "--set", "optimizer=lbfgs", "--set"]
    shallow = ["--set", "style_layers=relu1_1", "--set", "content_layers=relu1_1"]
    limit = ["memory_limit=0.5", "--set", "tile=128", *shallow]
    assert main(["stylize", "large.png", "other.png", "-o", "out.png", *options, *limit]) == 0
    message = capsys.readouterr().err
    (line,) = (line for line in message.splitlines() if "L-BFGS remembers" in line)
    assert line.startswith("napari-nst: L-BFGS remembers ") and "memory_limit is 0.5 GiB" in line
