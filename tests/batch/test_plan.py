from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_nst.batch import make_plan
from napari_nst.errors import InputError
from napari_nst.files import write_image
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def write_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.chdir(tmp_path)

    def write(*names: str) -> None:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith((".bmp", ".webp")):
                Path(name).write_bytes(b"not read")
            else:
                write_image(name, np.zeros((20, 24)))

    write("s1.png", "s2.png")
    return write


def results(*contents: str, styles: Any = ("s1.png",), **options: Any) -> list[str]:
    return [job.result.name for job in make_plan(contents, styles, "out", **options)]


def test_results_have_the_names_of_contents(write_files: Callable[..., None]) -> None:
    write_files("in/b.png", "in/a.jpg", "in/c.webp", "in/.hidden.png", "in/deeper/d.png")
    (Path("in") / "notes.txt").write_text("no image")
    assert results("in") == ["a.jpg", "b.png", "c.png"]


def test_patterns_are_expanded(write_files: Callable[..., None]) -> None:
    write_files("in/b.png", "in/a.png", "in/c.jpg", "in/deep/d.png")
    assert results("in/*.png") == ["a.png", "b.png"]
    assert results("in/**/*.png") == ["a.png", "b.png", "d.png"]
    assert results("in/a.png", "in/*.png") == ["a.png", "b.png"]  # each once
    write_files("odd[1].png")
    assert results("odd[1].png") == ["odd[1].png"]  # an existing name is not a pattern


def test_several_styles_and_seeds_are_in_the_names(
    write_files: Callable[..., None],
) -> None:
    write_files("a.png")
    assert results("a.png", styles=["s1.png", "s2.png"]) == ["a__s1.png", "a__s2.png"]
    assert results("a.png", seeds=[0, 3]) == ["a__seed-0.png", "a__seed-3.png"]
    assert results("a.png", styles=["s?.png"], seeds=[1, 2]) == [
        "a__s1__seed-1.png",
        "a__s1__seed-2.png",
        "a__s2__seed-1.png",
        "a__s2__seed-2.png",
    ]


def test_colliding_names_become_unique(write_files: Callable[..., None]) -> None:
    write_files("x/a.png", "x/a.tif", "y/b.png", "x/b.png", "x/c.png", "x/C.jpg")
    assert results("x/a.png", "x/a.tif") == ["a_png.png", "a_tif.tif"]
    assert results("x/b.png", "y/b.png") == ["x_b.png", "y_b.png"]
    assert results("x/c.png", "x/C.jpg") == ["c_png.png", "C_jpg.jpg"]  # one file on Windows
    write_files("x/a_png.png")
    found = results("x/a.png", "x/a.tif", "x/a_png.png")
    assert len({name.casefold() for name in found}) == 3
    write_files("x/p.bmp", "x/p.png", "p__s1.png")
    found = results("x/p.bmp", "x/p.png", "p__s1.png", styles=["s1.png", "s2.png"])
    assert len({Path(name).stem for name in found}) == 6


def test_masks_are_found_by_the_name_of_the_content(write_files: Callable[..., None]) -> None:
    write_files("in/a.jpg", "in/b.png", "in/c.png", "masks/a.png", "masks/c.png", "masks/c.tif")
    jobs = make_plan(["in"], ["s?.png"], "out", masks="masks")
    assert [job.mask and job.mask.name for job in jobs[::2]] == ["a.png", None, "c.png"]
    assert jobs[1].mask_result == Path("out/masks/a__s2.png")
    write_files("masks/a.tif")
    with pytest.raises(InputError, match=r"a\.jpg has two masks"):
        make_plan(["in"], ["s1.png"], "out", masks="masks")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"t": "warped", "tc": "warped", "z": "previous", "tz": "previous", "film": "warped"}),
        ({"start_from": "previous"}, dict.fromkeys(["t", "tc", "z", "tz", "film"], "previous")),
        ({"start_from": "warped"}, dict.fromkeys(["t", "tc", "z", "tz", "film"], "warped")),
        ({"long_term": True}, dict.fromkeys(["t", "tc", "z", "tz", "film"], "warped")),
    ],
)
def test_films_and_stacks_along_time_start_from_warped_results_by_default(
    write_files: Callable[..., None], options: dict[str, Any], expected: dict[str, str]
) -> None:
    contents = ["film.mp4"]
    Path("film.mp4").touch()  # not read
    for axes, lengths in {"t": (2,), "tc": (2, 2), "z": (2,), "tz": (2, 2)}.items():
        contents.append(f"{axes}.ome.tif")
        about = {"axes": f"{axes}yx".upper()}
        tifffile.imwrite(contents[-1], np.zeros((*lengths, 8, 8), np.uint8), metadata=about)
    jobs = make_plan(contents, ["s1.png"], "out", **options)
    assert {job.result.name.partition(".")[0]: job.start_from for job in jobs} == expected
    assert {job.long_term for job in jobs} == {options.get("long_term", False)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contents": ["none.png"]}, r"There is no content none\.png"),
        ({"contents": ["none*.png"]}, r"There is no content none\*\.png"),
        ({"styles": ["none.png"]}, r"There is no style none\.png"),
        ({"contents": []}, "There is no content: name"),
        ({"seeds": [1, 1]}, "seeds is"),
        ({"seeds": []}, "seeds is"),
        ({"masks": "none"}, "none is not a folder"),
        ({"intensities": "all"}, "intensities is 'all'"),
        ({"intensities": (5.0, 5.0)}, "intensities is"),
        ({"start_from": "next"}, "start_from is 'next'"),
        ({"start_from": "previous", "long_term": True}, "long_term carries .* is 'previous'"),
        ({"channels": "both"}, "channels is 'both'"),
        ({"chunk": 1}, "chunk is 1; it must be 2 planes or more"),
        ({"style_plane": (1,)}, r"style_plane is \(1,\), and no style has several planes"),
        ({"out": "."}, r"a\.png is also an input"),
        ({"settings": {"init": "image"}}, "init is 'image'"),
        ({"settings": {"style_weights": (1, 1)}}, "style_weights"),
        ({"settings": {"style_scale": (1, 1)}}, "style_scale"),
        ({"settings": {"region_styles": {1: 0}}}, "region_styles"),
    ],
)
def test_error_for_invalid_arguments_before_anything_is_written(
    write_files: Callable[..., None], options: dict[str, Any], message: str
) -> None:
    write_files("a.png")
    arguments = {"contents": ["a.png"], "styles": ["s1.png"], "out": "out"} | options
    if "settings" in arguments:
        arguments["settings"] = StyleTransferSettings(**arguments["settings"])
    with pytest.raises(InputError, match=message):
        make_plan(
            arguments.pop("contents"), arguments.pop("styles"), arguments.pop("out"), **arguments
        )
    assert not Path("out").exists()
