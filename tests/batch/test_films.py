"""Batches of films and animations."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from film_helpers import make_film, scene, sounds_of, times_of
from PIL import Image

from napari_nst.batch import BatchRecord, batch, make_plan
from napari_nst.cli import main
from napari_nst.engine.run.stylize import stylize
from napari_nst.errors import InputError
from napari_nst.files import open_stack, read_image, write_image
from napari_nst.stacks import StackRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_nst.batch import BatchReport, JobProgress

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")

TINY: dict[str, Any] = {"size": 48, "iterations": 2, "scales": 1, "precision": "float32"}
UNEVEN = [0, 20, 90]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stripes: Any) -> Path:
    """A folder with a film of uneven times and sound, clip.mp4, and a style."""
    monkeypatch.chdir(tmp_path)
    frames = [scene(k) for k in range(3)]
    make_film(
        Path("clip.mp4"), frames, times=UNEVEN, time_base=Fraction(1, 600), sound=["aac", "ac3"]
    )
    write_image("s.png", stripes(44, 36))
    return tmp_path


def statuses(report: BatchReport) -> list[str]:
    return [outcome.status for outcome in report.outcomes]


def frames_of(path: str) -> NDArray[np.uint8]:
    with open_stack(path) as stack:
        return np.stack(list(stack))


def record_of(name: str) -> BatchRecord:
    return BatchRecord.model_validate_json(Path(f"out/{name}.napari-nst.json").read_text())


@pytest.mark.parametrize("start_from", ["warped", "previous", "content"])
def test_a_film_becomes_a_film_with_its_times_and_sound(folder: Path, start_from: Any) -> None:
    options: Any = {"start_from": start_from, **TINY}
    assert statuses(batch("clip.mp4", "s.png", "out", **options)) == ["made"]
    clip, result = Path("clip.mp4"), Path("out/clip.mp4")
    assert times_of(result) == times_of(clip) == [Fraction(t, 600) for t in UNEVEN]
    assert sounds_of(result) == sounds_of(clip) and len(sounds_of(clip)) == 2
    made, frames = frames_of("out/clip.mp4"), frames_of("clip.mp4")
    assert made.shape == frames.shape
    expected = stylize(frames[0], read_image("s.png"), **TINY).image * 255
    assert np.abs(made[0] - expected).mean() < 5 < np.abs(made[0].astype(int) - frames[0]).mean()
    alone = stylize(frames[2], read_image("s.png"), **TINY).image * 255
    assert (np.abs(made[2] - alone).mean() < 5) == (start_from == "content")
    record = record_of("clip")
    assert record.limits == (0, 255)
    assert isinstance(record.run, StackRecord) and len(record.run.finished) == 3
    assert statuses(batch("clip.mp4", "s.png", "out", **options)) == ["skipped"]
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "clip.mp4",
        "clip.napari-nst.json",
    ]


def test_an_interrupted_film_continues_to_the_same_bytes(folder: Path) -> None:
    class Interrupt(Exception):
        pass

    def interrupt(step: JobProgress) -> None:
        if step.progress > 2 / 3:
            raise Interrupt

    batch("clip.mp4", "s.png", "whole", **TINY)
    with pytest.raises(Interrupt):
        batch("clip.mp4", "s.png", "out", progress=interrupt, **TINY)
    assert not Path("out/clip.mp4").exists()
    steps: list[JobProgress] = []
    assert statuses(batch("clip.mp4", "s.png", "out", progress=steps.append, **TINY)) == ["made"]
    assert len(steps) == 3  # two iterations of the last frame, and the end
    assert Path("out/clip.mp4").read_bytes() == Path("whole/clip.mp4").read_bytes()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_an_animation_becomes_an_animation(folder: Path, name: str) -> None:
    first, *others = [Image.fromarray(scene(k)) for k in range(3)]
    times = [80, 40, 120]
    first.save(name, save_all=True, append_images=others, duration=times, loop=2, lossless=True)
    assert statuses(batch(name, "s.png", "out", **TINY)) == ["made"]
    with Image.open(f"out/{name}") as image:
        assert image.info["loop"] == 2
        found = []
        for k in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(k)
            image.load()
            found.append(image.info["duration"])
    assert found == times
    expected = stylize(frames_of(name)[0], read_image("s.png"), **TINY).image * 255
    assert np.abs(frames_of(f"out/{name}")[0] - expected).mean() < 5


@pytest.mark.parametrize(
    ("intensities", "limits"), [("auto", (0, 255)), ("full", (0, 255)), ((20, 200), (20, 200))]
)
def test_all_frames_have_the_same_range(folder: Path, intensities: Any, limits: Any) -> None:
    dark = [scene(k) // (4 if k else 1) for k in range(2)]
    make_film(Path("dark.mkv"), dark)
    options: Any = {"intensities": intensities, "channels": "together", **TINY}
    assert statuses(batch("dark.mkv", "s.png", "out", **options)) == ["made"]
    assert record_of("dark").limits == limits
    bright, dim = frames_of("out/dark.mkv")
    assert bright.mean() > 2 * dim.mean()


def test_percentiles_are_those_of_all_frames(folder: Path) -> None:
    assert statuses(batch("clip.mp4", "s.png", "out", intensities="percentiles", **TINY)) == [
        "made"
    ]
    low, high = np.percentile(frames_of("clip.mp4"), [0.1, 99.9])
    assert record_of("clip").limits == pytest.approx((low, high), abs=1.5)


def test_a_film_that_fails_costs_only_its_own_result(folder: Path) -> None:
    Path("bad.mp4").write_text("not a film")
    make_film(Path("sound.mkv"), [scene(0)], sound="ac3")
    Path("sound.mkv").rename("sound.webm")  # WebM has no such sound
    steps: list[JobProgress] = []
    contents = ["bad.mp4", "clip.mp4", "sound.webm"]
    report = batch(contents, "s.png", "out", progress=steps.append, **TINY)
    assert statuses(report) == ["failed", "made", "failed"]
    bad, sound = (outcome.error or "" for outcome in report.failed)
    assert bad.startswith("bad.mp4 is not a film, or is damaged or cut short (")
    assert sound.startswith("sound.webm has sound of the kind ac3, which cannot be copied")
    assert not [step for step in steps if step.job.content.name == "sound.webm" and step.snapshot]


def test_masks_of_films_are_stacks(folder: Path) -> None:
    Path("masks").mkdir()
    mask = np.arange(3 * 48 * 64, dtype=np.uint16).reshape(3, 48, 64) % 5
    tifffile.imwrite("masks/clip.tif", mask, photometric="minisblack")
    assert statuses(batch("clip.mp4", "s.png", "out", masks="masks", **TINY)) == ["made"]
    assert Path("out/masks/clip.tif").read_bytes() == Path("masks/clip.tif").read_bytes()


def test_names_of_results_keep_the_suffix_of_films(folder: Path) -> None:
    names = ["a.MOV", "a.mkv", "b.webm", "c.avi", "d.m4v"]
    for name in names:
        Path(name).touch()
    jobs = make_plan(names, ["s.png"], "out")
    assert [job.result.name for job in jobs] == [
        "a_MOV.MOV",
        "a_mkv.mkv",
        "b.webm",
        "c.avi",
        "d.m4v",
    ]
    assert all(job.stack for job in jobs)


def test_films_are_not_taken_from_folders(folder: Path) -> None:
    """They would turn seconds for photos into hours."""
    assert [job.content.name for job in make_plan(["."], ["s.png"], "out")] == ["s.png"]
    assert [job.content.name for job in make_plan(["*.mp4"], ["s.png"], "out")] == ["clip.mp4"]


def test_a_frame_is_a_content_or_a_style(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--size", "48", "--iterations", "2", "--set", "precision=float32"]
    command = ["stylize", "clip.mp4", "s.png", "-o", "new.png", *tiny]
    assert main(command) == 2
    message = "name one with --plane N (frame 0 to 2), or restyle all with 'napari-nst batch'.\n"
    assert message in capsys.readouterr().err
    assert main([*command, "--plane", "2"]) == 0
    assert read_image("new.png").shape == (48, 64, 3)
    command = ["sweep", "clip.mp4", "s.png", "-o", "sheet.png", "--plane", "1"]
    assert main([*command, "--rows", "style_weight=1,2", *tiny]) == 0
    report = batch("s.png", "clip.mp4", "out", style_plane=1, **TINY)
    assert statuses(report) == ["made"]
    with pytest.raises(InputError, match="3 planes, and a style is one picture"):
        batch("s.png", "clip.mp4", "out", **TINY)
