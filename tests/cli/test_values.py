"""Values, planes and channels of files, in all commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_nst.cli import main
from napari_nst.engine.run.stylize import stylize
from napari_nst.files import read_image, write_image
from napari_nst.ranges import Range, RangedImage

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")

CHOICES: dict[str, Any] = {"size": 48, "iterations": 2, "scales": 1, "precision": "float32"}
TINY = [word for name, value in CHOICES.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Any, stripes: Any) -> Any:
    """Write style.png and a stack of 3 depths and 2 channels; return grey values in [0, 1]."""
    monkeypatch.chdir(tmp_path)
    write_image("style.png", stripes(40, 40))
    scene = photo(40, 48)[..., 0]
    planes = np.stack([np.roll(scene, 2 * z, axis=1) for z in range(3)])
    stack = np.stack([planes * 3000 + 50, planes * 50_000], axis=1).astype(np.uint16)
    about = {"axes": "ZCYX"}
    tifffile.imwrite("stack.ome.tif", stack, photometric="minisblack", metadata=about)
    return scene


def values_in(name: str) -> Any:
    if name.endswith(".tif"):
        with tifffile.TiffFile(name) as tiff:
            return tiff.pages.first.asarray()
    return read_image(name)


@pytest.mark.parametrize("out", ["new.tif", "new.png"])
def test_content_of_12_bits_is_not_black(scene: Any, record_of: Any, out: str) -> None:
    counts = (scene * 3000).astype(np.uint16)
    tifffile.imwrite("a.tif", counts)
    assert main(["stylize", "a.tif", "style.png", "-o", out, *TINY]) == 0
    made = values_in(out)
    # The range that its largest value needs, given: other divisions round differently.
    content = RangedImage(counts, Range(0, 4095))
    expected = stylize(content, read_image("style.png"), **CHOICES).image
    np.testing.assert_allclose(made.astype(float), expected * 4095, atol=1)
    assert np.corrcoef(made.ravel(), counts.ravel())[0, 1] > 0.8
    assert record_of(out).content.range == (0, 4095)


@pytest.mark.usefixtures("real_network")
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("int16", -500, 2000), ("int32", 1200, 3100), ("float32", 1200, 3100), ("uint64", 0, 10**9)],
)
def test_tiff_has_the_values_of_the_content_and_png_their_share_of_the_range(
    scene: Any,
    record_of: Any,
    capsys: pytest.CaptureFixture[str],
    dtype: str,
    low: float,
    high: float,
) -> None:
    values = (low + scene * (high - low)).astype(dtype)
    tifffile.imwrite("a.tif", values)
    assert main(["stylize", "a.tif", "style.png", "-o", "new.tif", *TINY]) == 0
    made = values_in("new.tif")
    assert made.dtype == dtype
    assert abs(made.mean() - values.mean()) < 0.1 * (high - low)
    assert "are 0 to" not in capsys.readouterr().err
    assert main(["stylize", "a.tif", "style.png", "-o", "new.png", *TINY]) == 0
    first, last = record_of("new.png").content.range or (0, 1)
    message = f"its values from {first:g} to {last:g} are 0 to 65535 in new.png."
    assert message in capsys.readouterr().err
    unit = (made.astype(float) - first) / (last - first)
    np.testing.assert_allclose(values_in("new.png") / 65_535, unit, atol=1e-3)


@pytest.mark.parametrize("options", [["-o", "new.jpg"], ["-o", "new.png", "--depth", "8"]])
def test_12_bits_in_8_are_stretched_with_a_message(
    scene: Any, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    tifffile.imwrite("a.tif", (scene * 4000).astype(np.uint16))
    assert main(["stylize", "a.tif", "style.png", *options, *TINY]) == 0
    assert values_in(options[1]).max() > 150
    assert f"its values from 0 to 4095 are 0 to 255 in {options[1]}." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("choice", "span"),
    [("auto", (0, 4095)), ("full", None), ("percentiles", None), ("100,2500", (100, 2500))],
)
def test_intensities_are_as_in_batch(scene: Any, record_of: Any, choice: str, span: Any) -> None:
    counts = (scene * 3000).astype(np.uint16)
    tifffile.imwrite("a.tif", counts)
    words = ["--intensities", choice, *TINY]
    assert main(["stylize", "a.tif", "style.png", "-o", "new.tif", *words]) == 0
    assert main(["batch", "a.tif", "--styles", "style.png", "-o", "out", *words]) == 0
    np.testing.assert_array_equal(values_in("new.tif"), values_in("out/a.tif"))
    if choice == "percentiles":
        found = Range.from_percentiles(counts)
        span = (found.low, found.high)
    assert record_of("new.tif").content.range == span
    content = RangedImage(counts, None if span is None else Range(*span))
    expected = stylize(content, read_image("style.png"), **CHOICES).record
    assert record_of("new.tif").losses == expected.losses


def test_plane_of_the_content_is_required(scene: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["stylize", "stack.ome.tif", "style.png", "-o", "new.tif", *TINY]
    assert main(command) == 2
    assert capsys.readouterr().err == (
        "napari-nst: stack.ome.tif has 6 planes, and a content is one picture: name one with "
        "--plane N,N (z 0 to 2, c 0 to 1), or restyle all with 'napari-nst batch'.\n"
    )
    for plane in ("1", "3,0", "0,0,0"):
        assert main([*command, "--plane", plane]) == 2
        message = capsys.readouterr().err
        assert f"--plane is {plane}, and stack.ome.tif has 6 planes: give N,N (z 0" in message
    with tifffile.TiffFile("stack.ome.tif") as tiff:
        stack = tiff.asarray()
    for c, span in ((0, (0, 4095)), (1, (0, 65_535))):
        assert main([*command, "--plane", f"2,{c}"]) == 0
        counts = RangedImage(stack[2, c], Range(*span))
        expected = stylize(counts, read_image("style.png"), **CHOICES).image
        np.testing.assert_array_equal(
            values_in("new.tif"), Range(*span).from_unit(expected, np.uint16)
        )


def test_plane_of_the_style_is_required(
    scene: Any, record_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["stylize", "style.png", "style.png", "stack.ome.tif", "-o", "new.png", *TINY]
    assert main(command) == 2
    assert "and a style is one picture: name one with --style-plane N,N" in capsys.readouterr().err
    assert main([*command, "--style-plane", "1,0"]) == 0
    first = values_in("new.png")
    assert main([*command, "--style-plane", "none", "--style-plane", "1,0"]) == 0
    np.testing.assert_array_equal(values_in("new.png"), first)
    assert main([*command, *["--style-plane", "1,0"] * 3]) == 2
    assert "--style-plane is given 3 times, and there are 2 styles" in capsys.readouterr().err
    assert record_of("new.png").styles[1].range == (0, 4095)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.avif"])
def test_frame_is_required(
    scene: Any, record_of: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    frames = [Image.fromarray((scene * 80 * k).astype(np.uint8)).convert("RGB") for k in (1, 2, 3)]
    frames[0].save(name, save_all=True, append_images=frames[1:], lossless=True)
    command = ["stylize", name, "style.png", "-o", "new.png", *TINY]
    assert main(command) == 2
    rest = "" if name == "a.avif" else ", or restyle all with 'napari-nst batch'"
    assert f"name one with --plane N (frame 0 to 2){rest}.\n" in capsys.readouterr().err
    assert main([*command, "--plane", "2"]) == 0
    frame = read_image(name, 2)[..., :3]
    assert record_of("new.png").content.sha256 == (
        stylize(frame, read_image("style.png"), **CHOICES).record.content.sha256
    )


def test_run_on_a_plane_is_replayed_and_resumed(scene: Any) -> None:
    inputs = ["stack.ome.tif", "style.png"]
    more = ["--plane", "2,0", "--intensities", "percentiles", "--save-run", "run.nst", *TINY]
    assert main(["stylize", *inputs, "-o", "new.tif", *more]) == 0
    assert main(["replay", "new.tif", *inputs, "-o", "again.tif", "--plane", "2,0"]) == 0
    assert main(["resume", "run.nst", "-o", "resumed.tif"]) == 0
    for name in ("again.tif", "resumed.tif"):
        np.testing.assert_array_equal(values_in(name), values_in("new.tif"))
    assert main(["replay", "new.tif", *inputs, "-o", "again.tif", "--plane", "1,0"]) == 2


def test_initial_image_has_the_range_of_the_content(scene: Any, record_of: Any) -> None:
    tifffile.imwrite("a.tif", (scene * 3000).astype(np.uint16))
    tifffile.imwrite("dim.tif", (scene * 200).astype(np.uint16))
    command = ["stylize", "a.tif", "style.png", "-o", "new.png", *TINY, "--init-image"]
    for start, span in (("dim.tif", (0, 4095)), ("style.png", None)):
        assert main([*command, start]) == 0
        record = record_of("new.png").init_image
        assert record is not None and record.range == span


def test_sweep_of_a_plane_keeps_its_intensities(scene: Any, record_of: Any, shows: Any) -> None:
    command = ["sweep", "stack.ome.tif", "style.png", "-o", "sheet.png", "--plane", "0,0"]
    command += ["--rows", "style_weight=1,2", "--keep", "kept", "--size", "48"]
    for _ in range(2):  # the second time, all are kept from before
        assert main([*command, "--iterations", "2"]) == 0
        kept = [read_image(path) for path in Path("kept").glob("*.png")]
        assert len(kept) == 2
        for picture in kept:
            assert picture.dtype == np.uint16 and 1500 < picture.max() <= 4095
            grey = np.rint(picture / 4095 * 255).astype(np.uint8)
            assert shows(read_image("sheet.png"), np.dstack([grey] * 3))
    assert main([*command, "--iterations", "2", "--intensities", "0,20000"]) == 0
    ranges = [record_of(path).content.range for path in Path("kept").glob("*.png")]
    assert sorted(ranges) == [(0, 4095), (0, 4095), (0, 20_000), (0, 20_000)]


def test_batch_options_for_channels_and_the_plane_of_a_style(scene: Any) -> None:
    command = ["batch", "stack.ome.tif", "--styles", "stack.ome.tif", "-o", "out", *TINY]
    assert main([*command, "--style-plane", "0,1", "--channels", "together"]) == 0
    with tifffile.TiffFile("out/stack.ome.tif") as tiff:
        assert tiff.asarray().shape == (3, 2, 40, 48)
    assert main(command) == 2
