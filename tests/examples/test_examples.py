"""The scripts in examples/ run as a reader runs them, without a network connection."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from skimage.data import coffee, coins

from napari_nst.files import read_image, read_metadata
from napari_nst.record import RunRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Run = Callable[[str], tuple[Path, str]]

EXAMPLES = Path(__file__).parents[2] / "examples"
NOWHERE = "http://127.0.0.1:9"

pytestmark = pytest.mark.xdist_group("examples")  # which share the fixture `ends`


# Arguments of each script, beside a size of 48 pixels.
ARGUMENTS = {
    "photo": ["cup.png", "--iterations", "8"],
    "layer": ["--iterations", "8"],
    "stack": ["--iterations", "6"],
    "regions": ["--iterations", "8"],
    "steering": ["--iterations", "12"],
}

# One process for all, because importing torch takes longer than a script.
RUN_SCRIPTS = """
import contextlib, io, json, os, runpy, sys, traceback

def run(path, *given):
    sys.argv = [path, *given]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            if end.code:
                traceback.print_exc()
        except BaseException:
            traceback.print_exc()
    return out.getvalue(), err.getvalue()

scripts, arguments, ends = sys.argv[1], json.loads(sys.argv[2]), {}
for name, given in arguments.items():
    os.makedirs(name)
    os.chdir(name)
    path = os.path.join(scripts, name + ".py")
    ends[name] = run(path, *given, "--size", "48")
    ends[name + " --help"] = run(path, "--help")
    os.chdir("..")
print(json.dumps(ends))
"""


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the scripts in folders of their own; return where, and what each prints."""
    folder, cache = tmp_path_factory.mktemp("scripts"), str(tmp_path_factory.mktemp("cache"))
    offline = dict.fromkeys(("http_proxy", "https_proxy"), NOWHERE)
    no_cache = dict.fromkeys(("SKIMAGE_DATADIR", "XDG_CACHE_HOME"), cache)
    process = subprocess.run(
        [sys.executable, "-c", RUN_SCRIPTS, str(EXAMPLES), json.dumps(ARGUMENTS)],
        cwd=folder,
        env=os.environ | offline | no_cache,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    return {"folder": folder, **json.loads(process.stdout)}


@pytest.fixture
def run(ends: dict[str, Any]) -> Run:
    """Return a function that returns the file that a script wrote, and what it printed."""

    def outcome(name: str) -> tuple[Path, str]:
        printed, errors = ends[name]
        assert errors == ""
        (path,) = (ends["folder"] / name).iterdir()
        return path, printed

    return outcome


def difference(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Return the mean absolute difference."""
    return float(np.abs(one.astype(float) - other).mean())


def correlation(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Return Pearson's correlation of the pixels."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_photo_writes_the_photograph_in_another_style_with_its_record(run: Run) -> None:
    path, printed = run("photo")
    assert path.name == "cup.png"
    assert "100%" in printed
    assert printed.endswith("cup.png: 600 x 400 pixels\n")
    content, picture = coffee(), read_image(path)
    assert (picture.shape, picture.dtype) == (content.shape, np.uint8)
    assert difference(picture, content) > 8
    assert correlation(picture, content) > 0.5
    record = RunRecord.model_validate_json(read_metadata(path) or "")
    assert record.iterations == 8


def test_layer_keeps_dtype_range_and_scale(run: Run) -> None:
    path, printed = run("layer")
    assert path.name == "layer.tif"
    assert "coins x woodcut, uint16, (303, 384)" in printed
    assert "pixel size 0.2 millimeter" in printed
    content, picture = coins().astype(np.uint16) * 16, tifffile.imread(path)
    assert (picture.shape, picture.dtype) == (content.shape, np.uint16)
    assert picture.max() <= 4095
    assert difference(picture, content) > 8 * 16
    assert correlation(picture, content) > 0.5


def test_stack_writes_all_planes_in_the_intensities_of_the_content(run: Run) -> None:
    path, printed = run("stack")
    assert path.name == "stack.tif"
    assert "plane 1 of 4" in printed
    assert "stack.tif: 4 planes" in printed
    planes = tifffile.imread(path)
    assert (planes.shape, planes.dtype) == ((4, 128, 128), np.uint16)
    assert 1000 < planes.max() <= 4095
    neighbours = [correlation(*planes[k : k + 2]) for k in range(3)]
    assert min(neighbours) > 0.8
    assert all(planes[k].tobytes() != planes[k + 1].tobytes() for k in range(3))


def test_regions_leave_the_cup_as_it_is(run: Run) -> None:
    path, printed = run("regions")
    assert path.name == "regions.png"
    assert "label 1: style 0" in printed
    assert "label 2: style 1" in printed
    content = coffee()
    _, picture = np.split(read_image(path), 2)
    assert picture.shape == content.shape
    assert np.array_equal(picture[100:200, 240:340], content[100:200, 240:340])
    assert difference(picture[300:330, 240:340], content[300:330, 240:340]) > 8  # the saucer
    assert difference(picture[:, 520:], content[:, 520:]) > 8  # the table


def test_steering_changes_and_stops_the_run(run: Run) -> None:
    path, printed = run("steering")
    assert path.name == "steering.png"
    assert "stopped after 9 of 12 iterations" in printed
    assert "paused for 0.5 s" in printed
    assert "iteration 3: {'style_weight': 5.0}" in printed
    assert "iteration 6: ['stained glass']" in printed
    pictures = np.split(read_image(path), 3, axis=1)
    assert {picture.shape for picture in pictures} == {(512, 512, 3)}
    assert difference(pictures[0], pictures[1]) > 2
    assert difference(pictures[1], pictures[2]) > 2


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_every_script_explains_its_options(name: str, ends: dict[str, Any]) -> None:
    printed, errors = ends[f"{name} --help"]
    assert errors == ""
    assert "[output]" in printed
    assert "--iterations" in printed
