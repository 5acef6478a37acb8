"""The measures and the table of benchmarks/stacks.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from scenes import Scene
from scipy import ndimage

import stacks

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 24


def noise(seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random((SIZE, SIZE, 3))
    return ndimage.gaussian_filter(values, (1, 1, 0)).astype(np.float32)


def shifted(planes: int = 3) -> Scene:
    """Return a scene whose left half is still, and whose right half moves down by a pixel."""
    right = np.zeros((SIZE, SIZE), bool)
    right[:, SIZE // 2 :] = True
    flow = np.where(right[..., None], (-1.0, 0.0), 0.0).astype(np.float32)
    occluded = np.zeros((SIZE, SIZE), bool)
    occluded[0, SIZE // 2 :] = True
    picture = noise()
    contents = [np.where(right[..., None], np.roll(picture, k, 0), picture) for k in range(planes)]
    far_occluded = occluded.copy()
    far_occluded[: planes - 1, SIZE // 2 :] = True
    pairs = planes - 1
    return Scene(
        "shifted", contents, [flow] * pairs, [occluded] * pairs, flow * pairs, far_occluded
    )


def test_planes_that_follow_the_flow_agree() -> None:
    scene = shifted()
    found = stacks.agreement(scene, scene.contents)
    assert found.error == pytest.approx(0, abs=1e-10)
    assert found.far == pytest.approx(0, abs=1e-10)
    assert found.change > 0.01


def test_the_error_is_counted_where_the_scene_moves_or_is_still() -> None:
    scene = shifted()
    results = [plane.copy() for plane in scene.contents]
    results[1][:, : SIZE // 2] += 0.1
    results[2][:, : SIZE // 2] += 0.1
    results[2][:, SIZE // 2 :] += 0.2
    found = stacks.agreement(scene, results)
    moving = (SIZE - 1) * SIZE / 2
    still = SIZE * SIZE / 2
    assert found.still == pytest.approx(0.1**2 / 2, rel=1e-3)
    assert found.moves == pytest.approx(0.2**2 / 2, rel=1e-3)
    mean = (moving * found.moves + still * found.still) / (moving + still)
    assert found.error == pytest.approx(mean, rel=1e-3)


def test_occluded_pixels_do_not_count() -> None:
    scene = shifted(2)
    results = [plane.copy() for plane in scene.contents]
    results[1][0, SIZE // 2 :] = 5
    found = stacks.agreement(scene, results)
    assert found.error == pytest.approx(0, abs=1e-9)
    assert found.far == pytest.approx(0, abs=1e-9)


def test_small_errors_that_accumulate_are_far_from_the_first_plane() -> None:
    scene = shifted(5)
    results = [plane + 0.01 * k for k, plane in enumerate(scene.contents)]
    found = stacks.agreement(scene, results)
    assert found.error == pytest.approx(0.01**2, rel=1e-3)
    assert found.far == pytest.approx(0.04**2, rel=1e-3)


def test_a_scene_in_which_nothing_moves_has_no_error_of_what_moves() -> None:
    picture, zero = noise(), np.zeros((SIZE, SIZE), bool)
    flow = np.zeros((SIZE, SIZE, 2), np.float32)
    scene = Scene("still", [picture] * 2, [flow], [zero], flow, zero)
    found = stacks.agreement(scene, [picture, picture + 0.1])
    assert np.isnan(found.moves)
    assert found.still == found.error == pytest.approx(0.01, rel=1e-4)


def test_a_blurred_picture_is_less_sharp() -> None:
    picture = noise()
    assert stacks.sharpness(ndimage.gaussian_filter(picture, (1, 1, 0))) < 0.7 * stacks.sharpness(
        picture
    )
    assert stacks.sharpness(picture[..., 0]) > 0


def test_words_without_an_equals_sign_are_refused() -> None:
    with pytest.raises(SystemExit, match="'tv_weight'; it must be a setting's name"):
        stacks.main(["--set", "tv_weight"])


def test_each_start_and_variant_has_a_line_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stacks.main(
        [
            *("--size", "32", "--planes", "2", "--iterations", "1", "--scenes", "pan", "still"),
            *("--start-from", "content", "previous", "--pictures", str(tmp_path)),
            *("--set", "--set", "tv_weight=0", "content_weight=0.5"),
        ]
    )
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in capsys.readouterr().out.splitlines()
    ]
    runs = [
        ["previous", ""],
        ["previous", "tv_weight=0 content_weight=0.5"],
        ["content", ""],
        ["content", "tv_weight=0 content_weight=0.5"],
    ]
    lines = [["(the contents)", ""], *runs]
    assert [row[:3] for row in rows] == [
        *(["pan", *line] for line in lines),
        *(["still", *line] for line in lines),
        *(["all", *line] for line in runs),
    ]
    table = [dict(zip(header, row, strict=True)) for row in rows]
    with Image.open(tmp_path / "pan.jpg") as comparison:
        assert comparison.size == (2 * 32, 5 * 32 + 4 * 4)
    assert {table[k]["to previous"] for k in (1, 6, 10)} == {"1.00"}
    assert all(float(row["warping error"]) > 0 for row in table[:10])
    assert all((row["moves"] == "") == (row["scene"] != "pan") for row in table)
    for line in range(2, 5):
        ratios = [float(table[k + line]["to previous"]) for k in (0, 5)]
        mean = float(table[9 + line]["to previous"])
        assert mean == pytest.approx((ratios[0] * ratios[1]) ** 0.5, abs=0.02)
    stem = "pan_content_tv_weight=0_content_weight=0.5"
    assert np.load(tmp_path / f"{stem}.npy").shape == (2, 32, 32, 3)
    assert np.load(tmp_path / "pan_flows.npy").shape == (1, 32, 32, 2)
    assert {path.name for path in tmp_path.glob("*.png")} == {
        f"{scene}_{start_from}{part}.png"
        for scene in ("pan", "still")
        for start_from in ("previous", "content")
        for part in (
            *("", "_detail"),
            *(f"_tv_weight=0_content_weight=0.5{end}" for end in ("", "_detail")),
        )
    }
