from __future__ import annotations

import importlib
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_nst.batch import BatchRecord, batch
from napari_nst.engine.run.stylize import stylize
from napari_nst.errors import InputError, WeightsError
from napari_nst.files import open_stack, read_image, read_metadata, write_image
from napari_nst.ranges import Range
from napari_nst.record import RunRecord
from napari_nst.settings import StyleTransferSettings
from napari_nst.stacks import StackRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_nst.batch import BatchReport, JobProgress

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")

TINY: dict[str, Any] = {
    "size": 48,
    "iterations": 2,
    "scales": 1,
    "precision": "float32",
    "content_layers": ("relu3_1",),
    "style_layers": ("relu1_1", "relu3_1"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Any, stripes: Any) -> Path:
    """A folder with two contents and two styles."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    write_image("in/a.png", photo(40, 48))
    write_image("in/b.png", photo(44, 36))
    write_image("s.png", stripes(44, 36))
    write_image("t.png", stripes(36, 44)[..., ::-1])
    return tmp_path


def record_of(name: str) -> BatchRecord:
    return BatchRecord.model_validate_json(Path(f"out/{name}.napari-nst.json").read_text())


def statuses(report: BatchReport) -> list[str]:
    return [outcome.status for outcome in report.outcomes]


def files_of(folder: str) -> dict[str, tuple[int, bytes]]:
    """Return the modification time and the content of all files in a folder."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def test_one_result_per_content_and_style(folder: Path) -> None:
    steps: list[JobProgress] = []
    report = batch("in", ["s.png", "t.png"], "out", progress=steps.append, **TINY)
    assert statuses(report) == ["made"] * 4
    names = ["a__s", "a__t", "b__s", "b__t"]
    assert [outcome.job.result.name for outcome in report.made] == [f"{n}.png" for n in names]
    assert sorted(files_of("out")) == sorted(
        [f"{name}.png" for name in names] + [f"{name}.napari-nst.json" for name in names]
    )
    expected = stylize(read_image("in/b.png"), read_image("t.png"), **TINY)
    write_image("expected.png", expected.image)
    np.testing.assert_array_equal(read_image("out/b__t.png"), read_image("expected.png"))
    record = record_of("b__t")
    assert isinstance(record.run, RunRecord)
    assert record.run.status == "finished"
    assert record.run.content.sha256 == expected.record.content.sha256
    assert record.fingerprint.settings == expected.settings
    assert record.limits == (0, 255)
    # The metadata of the picture have the record for a replay.
    inside = RunRecord.model_validate_json(read_metadata("out/b__t.png") or "")
    assert inside == record.run
    ends = [step for step in steps if step.outcome is not None]
    assert [step.outcome for step in ends] == list(report.outcomes)
    assert {step.progress for step in steps} == {0.5, 1.0}


def test_existing_results_are_skipped(folder: Path) -> None:
    batch("in", "s.png", "out", **TINY)
    before = files_of("out")
    assert statuses(batch(["in/*.png"], ["s.png"], "out", **TINY)) == ["skipped", "skipped"]
    assert files_of("out") == before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("settings", ["made", "made"]),
        ("intensities", ["made", "made"]),
        ("content", ["made", "skipped"]),
        ("style", ["made", "made"]),
    ],
)
def test_results_of_other_settings_or_inputs_are_made_again(
    folder: Path, change: str, expected: list[str], photo: Any
) -> None:
    batch("in", "s.png", "out", **TINY)
    before = files_of("out")
    options = dict(TINY)
    if change == "settings":
        options["style_weight"] = 2.0
    elif change == "intensities":
        options["intensities"] = "percentiles"
    elif change == "content":
        write_image("in/a.png", photo(40, 48)[::-1])
    else:
        write_image("s.png", photo(40, 48))
    assert statuses(batch("in", "s.png", "out", **options)) == expected
    (time, content), (time_before, content_before) = (
        files["a.png"] for files in (files_of("out"), before)
    )
    assert time != time_before
    # Percentiles leave the values of colours with 8 bits unchanged.
    assert content != content_before or change == "intensities"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", None),
        ("a.png", "truncated"),
        ("a.napari-nst.json", None),
        ("a.napari-nst.json", b"{}"),
        ("a.napari-nst.json", b"\xff\xfe\x00"),
    ],
    ids=["no result", "a truncated result", "no record", "an empty record", "a binary record"],
)
def test_a_result_with_a_missing_or_damaged_file_is_made_again(
    folder: Path, name: str, content: bytes | str | None
) -> None:
    batch("in", "s.png", "out", **TINY)
    before = files_of("out")
    file = Path("out", name)
    if content is None:
        file.unlink()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_bytes(file.read_bytes()[:-1])
    assert statuses(batch("in", "s.png", "out", **TINY)) == ["made", "skipped"]
    after = files_of("out")
    assert after["a.png"][0] != before["a.png"][0]
    assert after["a.png"][1] == before["a.png"][1]


def test_seeds_give_different_results(folder: Path) -> None:
    report = batch("in/a.png", "s.png", "out", seeds=[1, 2], init="noise", **TINY)
    assert len(report.made) == 2
    assert record_of("a__seed-2").fingerprint.settings.seed == 2
    first, second = (read_image(f"out/a__seed-{seed}.png") for seed in (1, 2))
    assert (first != second).any()


def test_unreadable_content_fails_its_own_job(folder: Path) -> None:
    Path("in/a0.png").write_bytes(b"not a picture")
    report = batch("in", "s.png", "out", **TINY)
    assert statuses(report) == ["made", "failed", "made"]
    assert "a0.png" in (report.failed[0].error or "")
    assert not list(Path("out").glob("a0*"))
    assert statuses(batch("in", "s.png", "out", **TINY)) == ["skipped", "failed", "skipped"]


def test_unreadable_style_fails_its_own_jobs(folder: Path) -> None:
    Path("bad.png").write_bytes(b"not a picture")
    report = batch("in", ["bad.png", "s.png"], "out", **TINY)
    assert statuses(report) == ["failed", "made"] * 2
    assert all(
        "bad.png is not an image of a supported format" in (o.error or "") for o in report.failed
    )
    assert report.failed[0].traceback is None
    assert not Path("out/napari-nst-batch.log").exists()


ERRORS = [
    ValueError("Invalid integer data type 'f'."),
    ZeroDivisionError("division by zero"),
    struct.error("unpack requires a buffer"),
    RecursionError("maximum recursion depth exceeded"),
    KeyError("mode"),
]

FAILURE_POINTS = {  # a module, the function that raises in it, and the file for which it raises
    "hashing": ("records", "_hash_file", "a.png"),
    "comparing with the result": ("run", "is_up_to_date", "a.png"),
    "recognising a stack": ("plan", "is_stack", "a.png"),
    "reading the content": ("task", "read_picture", "a.png"),
    "checking the mask": ("task", "check_mask", "a.png"),
    "writing the result": ("task", "write_result", "a.png"),
    "copying the mask": ("task", "copy_mask", "a.png"),
    "writing the record": ("task", "write_record", "a.napari-nst.json"),
    "reading the style": ("run", "read_style", "s.png"),
    "opening a stack": ("stack_task", "open_stack", "c.tif"),
    "writing a stack": ("stack_task", "write_stack", "c.tif"),
}


def file_names_of(argument: Any) -> set[str]:
    """Return the names of the files of an argument: a path, a job or a stack."""
    paths = [argument, getattr(argument, "content", None), getattr(argument, "path", None)]
    return {path.name for path in paths if isinstance(path, Path)}


def fail_at(patch: pytest.MonkeyPatch, point: str, error: Exception) -> None:
    """Make a function raise an error for one file."""
    module, name, bad = FAILURE_POINTS[point]
    original = getattr(importlib.import_module(f"napari_nst.batch.{module}"), name)

    def fail(*given: Any, **more: Any) -> Any:
        if any(bad in file_names_of(argument) for argument in given):
            raise error
        return original(*given, **more)

    patch.setattr(f"napari_nst.batch.{module}.{name}", fail)


@pytest.fixture
def mixed(folder: Path, photo: Any) -> Path:
    """Two pictures with masks and a stack."""
    Path("masks").mkdir()
    for name, shape in (("a", (40, 48)), ("b", (44, 36))):
        Image.fromarray(np.ones(shape, np.uint8)).save(f"masks/{name}.png")
    values = np.stack([photo(40, 48)[..., 0]] * 2)
    tifffile.imwrite("in/c.tif", (255 * values).astype(np.uint8), imagej=True)
    return folder


@pytest.mark.parametrize("point", FAILURE_POINTS)
def test_unexpected_error_anywhere_fails_one_job(
    mixed: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    bad = FAILURE_POINTS[point][2]
    expected = {"a": "failed", "b": "made", "c": "made"}
    if bad == "c.tif":
        expected = {"a": "made", "b": "made", "c": "failed"}
    elif bad == "s.png":
        expected = dict.fromkeys("abc", "failed")
    elif point == "recognising a stack":  # read as a picture
        expected["a"] = "made"
    given: dict[str, Any] = {**TINY, "masks": "masks"}
    styles = ["s.png", "t.png"] if bad == "s.png" else ["s.png"]
    with monkeypatch.context() as patch:
        fail_at(patch, point, ERRORS[list(FAILURE_POINTS).index(point) % len(ERRORS)])
        report = batch("in", styles, "out", **given)
    found = {
        o.job.content.stem: o.status for o in report.outcomes if o.job.styles[0].name == "s.png"
    }
    assert found == expected
    for outcome in report.failed:
        assert re.fullmatch(
            r".* failed unexpectedly \(.*\); the traceback is in out.napari-nst-batch\.log\.",
            outcome.error or "",
        )
        assert "in fail" in (outcome.traceback or "")
        assert (outcome.traceback or "none") in Path("out/napari-nst-batch.log").read_text()
    assert statuses(batch("in", styles, "out", **given)).count("failed") == 0


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_batch_continues_after_any_exception(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fail_at(monkeypatch, "reading the content", error)
    report = batch("in", "s.png", "out", **TINY)
    assert statuses(report) == ["failed", "made"]
    assert f"({type(error).__name__}: " in (report.failed[0].error or "")


def test_error_of_the_progress_callback_is_raised(folder: Path) -> None:
    class CallbackError(Exception):
        pass

    def on_progress(step: JobProgress) -> None:
        raise CallbackError

    with pytest.raises(CallbackError):
        batch("in", "s.png", "out", progress=on_progress, **TINY)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupts_end_the_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    fail_at(monkeypatch, "reading the content", error())  # type: ignore[arg-type]
    with pytest.raises(error):
        batch("in", "s.png", "out", **TINY)


@pytest.mark.usefixtures("real_network")
def test_error_if_no_job_can_run(folder: Path) -> None:
    Path("bad.png").write_bytes(b"not a picture")
    Path("worse.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"bad\.png is not an image of a supported format"):
        batch("in", ["bad.png", "worse.png"], "out", **TINY)
    with pytest.raises(InputError, match="device is 'cuda:99'"):
        batch("in", "s.png", "out", device="cuda:99", **TINY)
    Path("weights.pth").write_bytes(b"none")
    with pytest.raises(WeightsError):
        batch("in", "s.png", "out", weights="weights.pth", **TINY)


def test_percentiles_of_16_bit_grey_are_the_range_of_the_result(
    folder: Path, photo: Any, stripes: Any
) -> None:
    counts = (100 + 900 * photo(40, 48)[..., 0]).astype(np.uint16)
    Image.fromarray(counts).save("cells.png")
    tifffile.imwrite("cells16.tif", counts)
    tifffile.imwrite("style.tif", (5000 * stripes(40, 40)[..., 0]).astype(np.uint16))
    contents = ["cells.png", "cells16.tif"]
    report = batch(contents, "style.tif", "out", intensities="percentiles", **TINY)
    assert statuses(report) == ["made", "made"]
    made = read_image("out/cells.png")
    np.testing.assert_array_equal(made, read_image("out/cells16.tif"))
    low, high = record_of("cells").limits
    assert made.dtype == np.uint16
    assert 100 <= low <= made.min() < made.max() <= high <= 1000
    style = read_image("style.tif")
    expected = stylize(
        Range(low, high).to_unit(counts), Range.from_percentiles(style).to_unit(style), **TINY
    ).image
    np.testing.assert_array_equal(made, Range(low, high).from_unit(expected, np.uint16))
    batch("cells.png", "style.tif", "two", intensities=(0, 2000), **TINY)
    assert (read_image("two/cells.png") != made).any()


def test_masks_of_the_same_size_are_copied(folder: Path) -> None:
    Path("masks").mkdir()
    labels = np.zeros((40, 48), np.uint8)
    labels[10:20, 5:30] = 3
    palette = Image.fromarray(labels, mode=None).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save("masks/a.png")
    np.save("masks/b.npy", np.arange(44 * 36).reshape(44, 36))
    report = batch("in", "s.png", "out", masks="masks", **TINY)
    assert statuses(report) == ["made", "made"]
    assert Path("out/masks/a.png").read_bytes() == Path("masks/a.png").read_bytes()
    assert Path("out/masks/b.npy").read_bytes() == Path("masks/b.npy").read_bytes()
    assert record_of("a").mask_result == "copied"
    Path("out/masks/a.png").unlink()
    assert statuses(batch("in", "s.png", "out", masks="masks", **TINY)) == ["made", "skipped"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_masks_of_another_size_are_resampled(folder: Path, suffix: str) -> None:
    Path("masks").mkdir()
    labels = np.arange(40 * 48).reshape(40, 48).astype(np.uint16)
    if suffix == ".npy":
        np.save("masks/a.npy", labels)
    elif suffix == ".tif":
        tifffile.imwrite("masks/a.tif", labels)
    else:
        Image.fromarray(labels).save("masks/a.png")
    choices = TINY | {"size": 24, "output_size": "working"}
    batch("in/a.png", "s.png", "out", masks="masks", **choices)
    made = Path(f"out/masks/a{suffix}")
    found: Any = np.load(made) if suffix == ".npy" else np.asarray(read_any(made))
    height, width = read_image("out/a.png").shape[:2]
    assert (height, width) != (40, 48)
    assert found.shape == (height, width)
    assert found.dtype == np.uint16
    rows = ((np.arange(height) + 0.5) * 40 / height).astype(int)
    columns = ((np.arange(width) + 0.5) * 48 / width).astype(int)
    np.testing.assert_array_equal(found, labels[np.ix_(rows, columns)])
    assert record_of("a").mask_result == "resampled"


@pytest.mark.parametrize("kind", ["miniswhite", "palette"])
def test_resampled_masks_keep_palette_and_photometric(folder: Path, kind: str) -> None:
    Path("masks").mkdir()
    labels = np.random.default_rng(0).integers(0, 5, (40, 48), dtype=np.uint8)
    table = np.arange(768, dtype=np.uint16).reshape(3, 256) * 80 if kind == "palette" else None
    tifffile.imwrite("masks/a.tif", labels, photometric=kind, colormap=table)
    choices = TINY | {"size": 24, "output_size": "working"}
    batch("in/a.png", "s.png", "out", masks="masks", **choices)
    with tifffile.TiffFile("out/masks/a.tif") as tiff:
        page = tiff.pages.first
        assert tifffile.PHOTOMETRIC(page.photometric).name.lower() == kind
        assert set(np.unique(page.asarray())) <= set(range(5))
        assert kind != "palette" or (page.colormap == table).all()


def read_any(path: Path) -> Any:
    return tifffile.imread(path) if path.suffix == ".tif" else Image.open(path)


def test_mask_with_other_proportions_fails(folder: Path) -> None:
    Path("masks").mkdir()
    Image.fromarray(np.zeros((40, 80), np.uint8)).save("masks/a.png")
    report = batch("in", "s.png", "out", masks="masks", **TINY)
    assert statuses(report) == ["failed", "made"]
    assert "80 x 40 pixels, and its content 48 x 40" in (report.failed[0].error or "")


@pytest.mark.usefixtures("real_network")
@pytest.mark.parametrize("choice", ["auto", "percentiles"])
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("uint16", 800, 3000),
        ("int16", -900, 2000),
        ("int32", 1200, 3100),
        ("uint32", 1000, 90_000),
        ("int64", 0, 10**10),
        ("float32", 1200, 3100),
        ("float64", -3, 5),
        ("float32", 0, 1e-4),
    ],
)
def test_results_keep_type_and_range_of_the_content(
    folder: Path, photo: Any, dtype: str, low: float, high: float, choice: Any
) -> None:
    values = (low + (high - low) * photo(40, 48)[..., 0]).astype(dtype)
    tifffile.imwrite("a.tif", values)
    assert statuses(batch("a.tif", "s.png", "out", intensities=choice, **TINY)) == ["made"]
    with tifffile.TiffFile("out/a.tif") as tiff:
        made = tiff.pages.first.asarray()
    span = np.ptp(values.astype(float))
    assert made.dtype == values.dtype
    assert abs(made.mean() - values.mean()) < 0.15 * span
    assert np.corrcoef(made.ravel(), values.ravel())[0, 1] > 0.7
    first, last = record_of("a").limits
    assert first - 0.5 <= made.min() < made.max() <= last + 0.5  # rounded


@pytest.mark.parametrize(("dtype", "low", "high"), [("float32", 1200, 3100), ("int32", 0, 3100)])
def test_full_range_falls_back_to_the_extremes(
    folder: Path, photo: Any, dtype: str, low: float, high: float
) -> None:
    values = (low + (high - low) * photo(40, 48)[..., 0]).astype(dtype)
    tifffile.imwrite("a.tif", values)
    assert statuses(batch("a.tif", "s.png", "out", intensities="full", **TINY)) == ["made"]
    made = tifffile.imread("out/a.tif")
    assert made.dtype == values.dtype
    assert values.min() - 0.5 <= made.min() < made.max() <= values.max() + 0.5  # rounded
    assert np.corrcoef(made.ravel(), values.ravel())[0, 1] > 0.7


def test_colours_of_12_bits_share_one_range_and_keep_alpha(folder: Path, photo: Any) -> None:
    values = (photo(40, 48) * 4000).astype(np.uint16)
    alpha = np.full((40, 48, 1), 65_535, np.uint16)
    alpha[:10] = 300
    image = np.concatenate([values, alpha], axis=-1)
    tifffile.imwrite("a.tif", image, photometric="rgb", extrasamples=["unassalpha"])
    batch("a.tif", "s.png", "out", **TINY)
    made = read_image("out/a.tif")
    assert record_of("a").limits == (0, 4095)
    np.testing.assert_array_equal(made[..., 3:], alpha)
    assert made[..., :3].max() <= 4095
    opaque = made[10:, :, :3]
    assert np.corrcoef(opaque.ravel(), values[10:].ravel())[0, 1] > 0.7
    replayed = RunRecord.model_validate_json(read_metadata("out/a.tif") or "")
    assert replayed.content.range == (0, 4095)


def test_transparent_colours_do_not_affect_the_range(folder: Path, photo: Any) -> None:
    values = (photo(40, 48) * 4000).astype(np.uint16)
    alpha = np.full((40, 48, 1), 65_535, np.uint16)
    alpha[:10] = 0
    made = []
    for hidden in (0, 60_000):
        values[:10] = hidden
        image = np.concatenate([values, alpha], axis=-1)
        tifffile.imwrite("a.tif", image, photometric="rgb", extrasamples=["unassalpha"])
        batch("a.tif", "s.png", f"out{hidden}", **TINY)
        made.append(read_image(f"out{hidden}/a.tif"))
    np.testing.assert_array_equal(*made)


def test_animation_that_is_no_stack_fails_as_content(folder: Path) -> None:
    frames = [Image.fromarray(np.full((40, 48), 9 * k, np.uint8)) for k in range(3)]
    frames[0].save("a.avif", save_all=True, append_images=frames[1:])
    report = batch("a.avif", "s.png", "out", **TINY)
    assert "a.avif has 3 planes, and a content is one picture" in (report.failed[0].error or "")
    assert "--plane" not in (report.failed[0].error or "")


def test_style_plane_selects_a_plane(folder: Path, stripes: Any) -> None:
    style = stripes(40, 40)[..., 0]
    stack = (np.stack([style[::-1], style]) * 3000).astype(np.uint16)
    tifffile.imwrite("styles.tif", stack, photometric="minisblack")
    report = batch("in/a.png", ["styles.tif", "s.png"], "out", style_plane=1, **TINY)
    assert statuses(report) == ["made", "made"]
    planes = [record_of(f"a__{name}").fingerprint.style_planes for name in ("styles", "s")]
    assert planes == [((1,),), (None,)]
    expected = stylize(read_image("in/a.png"), stack[1], **TINY).image
    np.testing.assert_allclose(read_image("out/a__styles.png") / 255, expected, atol=0.01)
    with pytest.raises(InputError, match=r"--style-plane is 2, and styles\.tif has 2 planes"):
        batch("in/a.png", "styles.tif", "out", style_plane=2, **TINY)
    with pytest.raises(InputError, match="no style has several planes"):
        batch("in/a.png", "s.png", "out", style_plane=1, **TINY)


# Stacks


@pytest.fixture
def cells(folder: Path, photo: Any) -> NDArray[np.uint16]:
    """A stack of three planes in cells.ome.tif; its values."""
    planes = np.stack([np.roll(photo(40, 48)[..., 0], 2 * k, axis=1) for k in range(3)])
    values = (100 + 900 * planes).astype(np.uint16)
    about = {"axes": "ZYX", "PhysicalSizeX": 0.2, "PhysicalSizeZ": 1.5}
    tifffile.imwrite("cells.ome.tif", values, ome=True, photometric="minisblack", metadata=about)
    return values


@pytest.mark.parametrize("start_from", ["previous", "content"])
def test_stack_is_stylized_plane_by_plane(cells: NDArray[np.uint16], start_from: Any) -> None:
    options: Any = {"start_from": start_from, "intensities": "percentiles", **TINY}
    steps: list[JobProgress] = []
    report = batch("cells.ome.tif", "s.png", "out", progress=steps.append, **options)
    assert statuses(report) == ["made"]
    shares = [step.progress for step in steps]
    assert shares == sorted(shares) and shares[-1] == 1
    with open_stack("out/cells.ome.tif") as stack:
        assert (stack.axes, stack.shape, stack.dtype) == (("z", "y", "x"), (3, 40, 48), np.uint16)
        assert (stack.sizes["x"], stack.sizes["z"]) == (0.2, 1.5)
        made = np.stack(list(stack))
    record = record_of("cells")
    assert isinstance(record.run, StackRecord)
    assert [plane.plane for plane in record.run.finished] == [0, 1, 2]
    assert (record.run.status, record.run.start_from) == ("finished", start_from)
    limits = Range(*record.limits)
    assert limits == Range.from_percentiles(cells)  # one for all planes
    first = stylize(limits.to_unit(cells[0]), read_image("s.png"), **TINY).image
    np.testing.assert_array_equal(made[0], limits.from_unit(first, np.uint16))
    alone = stylize(limits.to_unit(cells[2]), read_image("s.png"), **TINY).image
    same = (made[2] == limits.from_unit(alone, np.uint16)).all()
    assert same == (start_from == "content")
    assert not list(Path("out").glob(".*"))
    assert statuses(batch("cells.ome.tif", "s.png", "out", **options)) == ["skipped"]


class Interrupt(Exception):
    """Ends a batch from the callback, like a killed process."""


def interrupt_after(share: float) -> Callable[[JobProgress], None]:
    def on_progress(step: JobProgress) -> None:
        if step.progress > share:
            raise Interrupt

    return on_progress


def test_interrupted_stack_continues_at_the_first_unfinished_plane(
    cells: NDArray[np.uint16],
) -> None:
    batch("cells.ome.tif", "s.png", "whole", **TINY)
    with pytest.raises(Interrupt):
        batch("cells.ome.tif", "s.png", "out", progress=interrupt_after(2 / 3), **TINY)
    assert not Path("out/cells.ome.tif").exists()
    steps: list[JobProgress] = []
    report = batch("cells.ome.tif", "s.png", "out", progress=steps.append, **TINY)
    assert statuses(report) == ["made"]
    assert len(steps) == 3  # two iterations of the last plane, and the end
    np.testing.assert_array_equal(
        tifffile.imread("out/cells.ome.tif"), tifffile.imread("whole/cells.ome.tif")
    )
    assert isinstance(run := record_of("cells").run, StackRecord)
    assert len(run.finished) == 3


def test_planes_of_other_settings_are_discarded(cells: NDArray[np.uint16]) -> None:
    with pytest.raises(Interrupt):
        batch("cells.ome.tif", "s.png", "out", progress=interrupt_after(2 / 3), **TINY)
    other = TINY | {"style_weight": 3.0}
    batch("cells.ome.tif", "s.png", "out", **other)
    batch("cells.ome.tif", "s.png", "whole", **other)
    np.testing.assert_array_equal(
        tifffile.imread("out/cells.ome.tif"), tifffile.imread("whole/cells.ome.tif")
    )


def test_negative_and_float_values_keep_their_type(folder: Path, photo: Any) -> None:
    signed = (1000 * photo(40, 48)[..., 0] - 500).astype(np.int16)
    tifffile.imwrite("signed.tif", signed)
    tifffile.imwrite("floats.tif", (photo(40, 48)[..., 0] * 7 - 2).astype(np.float32))
    report = batch(["signed.tif", "floats.tif"], "s.png", "out", intensities="percentiles", **TINY)
    assert statuses(report) == ["made", "made"]
    made = tifffile.imread("out/signed.tif")
    assert made.dtype == np.int16
    assert made.min() < 0 < made.max()
    assert tifffile.imread("out/floats.tif").dtype == np.float32


def test_masks_of_stacks_are_copied(cells: NDArray[np.uint16]) -> None:
    Path("masks").mkdir()
    tifffile.imwrite("masks/cells.tif", np.ones((3, 40, 48), np.int32), photometric="minisblack")
    assert statuses(batch("cells.ome.tif", "s.png", "out", masks="masks", **TINY)) == ["made"]
    assert Path("out/masks/cells.tif").read_bytes() == Path("masks/cells.tif").read_bytes()
    with pytest.raises(InputError, match="a stack keeps its size"):
        batch("cells.ome.tif", "s.png", "out", output_size="working", **TINY)
    with pytest.raises(InputError, match="3 planes, and a style is one picture"):
        batch("in", "cells.ome.tif", "out", **TINY)


def test_stack_with_another_start_is_made_again(cells: NDArray[np.uint16]) -> None:
    about = {"axes": "TYX"}
    tifffile.imwrite("series.ome.tif", cells, photometric="minisblack", metadata=about)
    made = list[Any]()
    choices: list[dict[str, Any]] = [{}, {"long_term": True}, {"start_from": "previous"}]
    for options in choices:
        assert statuses(batch("series.ome.tif", "s.png", "out", **options, **TINY)) == ["made"]
        assert statuses(batch("series.ome.tif", "s.png", "out", **options, **TINY)) == ["skipped"]
        run = record_of("series").run
        assert isinstance(run, StackRecord)
        made.append((run.start_from, run.long_term, run.flow_method))
    assert made == [("warped", False, "dis"), ("warped", True, "dis"), ("previous", False, None)]
    expected = StyleTransferSettings(temporal_weight=3, **TINY)
    batch("series.ome.tif", "s.png", "out", temporal_weight=3, **TINY)
    assert record_of("series").fingerprint.settings == expected


@pytest.mark.parametrize("name", ["out/a.png", "out/masks/a.png"])
def test_file_not_made_by_a_batch_is_not_replaced(folder: Path, name: str, photo: Any) -> None:
    Path("masks").mkdir()
    write_image("masks/a.png", photo(40, 48)[..., 0])
    write_image("masks/b.png", photo(44, 36)[..., 0])
    Path(name).parent.mkdir(parents=True)
    Path(name).write_bytes(b"a drawing")
    report = batch("in", "s.png", "out", masks="masks", **TINY)
    assert statuses(report) == ["failed", "made"]
    assert f"{Path(name)} exists and is not a result of a batch" in str(report.failed[0].error)
    assert Path(name).read_bytes() == b"a drawing"
    Path(name).unlink()
    assert statuses(batch("in", "s.png", "out", masks="masks", **TINY)) == ["made", "skipped"]


# Channels


@pytest.fixture
def stained(folder: Path, photo: Any) -> NDArray[np.uint16]:
    """Two times, two depths and two channels, one of them dim, in stained.ome.tif; its values."""
    scene = photo(40, 48)
    values = np.empty((2, 2, 2, 40, 48), np.uint16)
    for t, z in np.ndindex(2, 2):
        moved = np.roll(scene, 2 * z + t, axis=1)
        values[t, z, 0] = 100 + 2900 * moved[..., 0]
        values[t, z, 1] = 500 + 40_000 * moved[..., 2]
    about = {"axes": "TZCYX", "Channel": {"Name": ["dim", "bright"]}}
    tifffile.imwrite("stained.ome.tif", values, photometric="minisblack", metadata=about)
    return values


@pytest.mark.parametrize("channels", ["separate", "together"])
@pytest.mark.parametrize(
    ("choice", "limits"),
    [
        ("auto", ((0, 4095), (0, 65_535))),
        ("percentiles", None),
        ((0.0, 50_000.0), (0, 50_000)),
        ("full", (0, 65_535)),
    ],
)
def test_each_channel_has_its_own_range(
    stained: NDArray[np.uint16], channels: Any, choice: Any, limits: Any
) -> None:
    options: Any = {"intensities": choice, "channels": channels, **TINY}
    assert statuses(batch("stained.ome.tif", "s.png", "out", **options)) == ["made"]
    with open_stack("out/stained.ome.tif") as stack:
        assert stack.axes == ("t", "z", "c", "y", "x")
        made = np.stack(list(stack)).reshape(stack.shape)
    record = record_of("stained")
    if limits is None:
        own = [Range.from_percentiles(stained[:, :, c]) for c in (0, 1)]
        limits = tuple((span.low, span.high) for span in own)
    assert record.limits == limits
    if choice in ("auto", "percentiles"):
        for c, (low, high) in enumerate(limits):
            values = made[:, :, c]
            assert low - 0.5 <= values.min() < values.max() <= high + 0.5  # rounded
            assert np.corrcoef(values.ravel(), stained[:, :, c].ravel())[0, 1] > 0.6
    assert record.fingerprint.channels == channels
    assert statuses(batch("stained.ome.tif", "s.png", "out", **options)) == ["skipped"]


def test_planes_start_from_the_previous_plane_of_their_channel(
    stained: NDArray[np.uint16],
) -> None:
    batch("stained.ome.tif", "s.png", "out", **TINY)
    run = record_of("stained").run
    assert isinstance(run, StackRecord)
    assert [plane.init_image is not None for plane in run.finished] == [False] * 2 + [True] * 6
    dim = stained[:, :, 0]
    about = {"axes": "TZYX"}
    tifffile.imwrite("dim.ome.tif", dim, photometric="minisblack", metadata=about)
    batch("dim.ome.tif", "s.png", "out", **TINY)
    with open_stack("out/dim.ome.tif") as alone, open_stack("out/stained.ome.tif") as both:
        for k in range(4):
            np.testing.assert_array_equal(alone[k], both[2 * k])


def test_channels_together_are_red_green_and_blue(stained: NDArray[np.uint16]) -> None:
    options: Any = {"channels": "together", "start_from": "content", **TINY}
    batch("stained.ome.tif", "s.png", "out", **options)
    colours = np.zeros((40, 48, 3), np.float32)
    spans = Range(0, 4095), Range(0, 65_535)
    for c, span in enumerate(spans):
        colours[..., c] = span.to_unit(stained[1, 0, c])
    expected = stylize(colours, read_image("s.png"), **TINY).image
    with open_stack("out/stained.ome.tif") as stack:
        for c, span in enumerate(spans):
            np.testing.assert_array_equal(stack[4 + c], span.from_unit(expected[..., c], np.uint16))
    run = record_of("stained").run
    assert isinstance(run, StackRecord)
    assert (len(run.finished), run.content.shape) == (4, (4, 40, 48, 3))


def test_interrupted_stack_with_joined_channels_continues(stained: NDArray[np.uint16]) -> None:
    options: Any = {"channels": "together", **TINY}

    with pytest.raises(Interrupt):
        batch("stained.ome.tif", "s.png", "out", progress=interrupt_after(0.6), **options)
    batch("stained.ome.tif", "s.png", "out", **options)
    batch("stained.ome.tif", "s.png", "whole", **options)
    np.testing.assert_array_equal(
        tifffile.imread("out/stained.ome.tif"), tifffile.imread("whole/stained.ome.tif")
    )


def test_results_are_carried_within_their_channel(folder: Path, photo: Any) -> None:
    scene = (255 * photo(40, 48)).astype(np.uint8)
    values = np.stack([[np.roll(scene[..., c], k, axis=1) for c in (0, 2)] for k in range(3)])
    options: dict[str, Any] = {"long_term": True, "intensities": "full", **TINY}
    tifffile.imwrite("both.ome.tif", values, metadata={"axes": "TCYX"})
    batch("both.ome.tif", "s.png", "out", **options)
    both = tifffile.imread("out/both.ome.tif")
    for c in range(2):
        tifffile.imwrite("one.ome.tif", values[:, c], metadata={"axes": "TYX"})
        batch("one.ome.tif", "s.png", "out", **options)
        np.testing.assert_array_equal(both[:, c], tifffile.imread("out/one.ome.tif"))


def test_four_channels_cannot_be_joined(folder: Path) -> None:
    values = np.arange(4 * 40 * 48, dtype=np.uint16).reshape(4, 40, 48)
    tifffile.imwrite("four.tif", values, imagej=True, metadata={"axes": "CYX"})
    report = batch("four.tif", "s.png", "out", channels="together", **TINY)
    assert "has 4 channels, of which 2 or 3" in (report.failed[0].error or "")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_stack_with_miniswhite_is_written_with_0_as_black(
    folder: Path, photo: Any, dtype: str
) -> None:
    scene = 3000 * photo(40, 48)[..., 0] if dtype != "uint8" else 250 * photo(40, 48)[..., 0]
    values = np.stack([scene, scene[::-1]]).astype(dtype)
    tifffile.imwrite("white.tif", values, photometric="miniswhite")
    batch("white.tif", "s.png", "out", **TINY)
    with tifffile.TiffFile("out/white.tif") as tiff:
        assert tiff.pages.first.photometric == tifffile.PHOTOMETRIC.MINISBLACK
        made = tiff.asarray()
    assert made.dtype == values.dtype
    assert np.corrcoef(made.ravel(), values.ravel())[0, 1] < -0.8
