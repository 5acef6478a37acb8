"""The truth of benchmarks/scenes.py: flow, occlusions and rendering."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from scenes import SCENES, Scene, warp
from skimage.transform import resize_local_mean

MOVING = [name for name in SCENES if name != "still"]
SIZE, PLANES = 80, 6


@functools.cache
def render(name: str, size: int = SIZE, planes: int = PLANES) -> Scene:
    return SCENES[name](size, planes)


def squares(scene: Scene, *, warped: bool = True) -> np.ndarray:
    """Return squared differences of neighbouring planes, (pairs, H, W)."""
    return np.stack(
        [
            ((warp(before, flow) if warped else before) - after).reshape(*after.shape[:2], -1) ** 2
            for (before, after), flow in zip(
                itertools.pairwise(scene.contents), scene.flows, strict=True
            )
        ]
    ).mean(axis=-1)


@pytest.mark.parametrize("name", SCENES)
def test_planes_are_float32_in_the_unit_range_with_a_flow_for_each_pair(name: str) -> None:
    scene = render(name)
    assert scene.name == name
    assert len(scene.contents) == PLANES
    assert len(scene.flows) == len(scene.occluded) == PLANES - 1
    for content in scene.contents:
        assert content.dtype == np.float32
        assert content.shape in ((SIZE, SIZE, 3), (SIZE, SIZE))
        assert content.min() >= 0
        assert content.max() <= 1
        assert content.std() > 0.1
    for flow, occluded in zip(scene.flows, scene.occluded, strict=True):
        assert (flow.shape, flow.dtype) == ((SIZE, SIZE, 2), np.float32)
        assert (occluded.shape, occluded.dtype) == ((SIZE, SIZE), bool)


@pytest.mark.parametrize("name", MOVING)
def test_a_plane_along_the_flow_is_the_next_plane_where_nothing_is_occluded(name: str) -> None:
    scene = render(name)
    visible = ~np.stack(scene.occluded)
    error = squares(scene)[visible].mean()
    assert error < 0.01**2
    assert error < 0.05 * squares(scene, warped=False)[visible].mean()


@pytest.mark.parametrize("name", MOVING)
def test_the_first_plane_along_the_far_flow_is_the_last_where_nothing_is_occluded(
    name: str,
) -> None:
    scene = render(name)
    visible = ~scene.far_occluded
    assert 0.3 < visible.mean() < 1
    first, last = scene.contents[0], scene.contents[-1]
    error = ((warp(first, scene.far_flow) - last)[visible] ** 2).mean()
    assert error < 0.01**2
    assert error < 0.05 * ((first - last)[visible] ** 2).mean()


@pytest.mark.parametrize("name", MOVING)
def test_some_pixels_are_occluded_and_most_are_not(name: str) -> None:
    for occluded in render(name).occluded:
        assert 0 < occluded.mean() < 0.5


@pytest.mark.parametrize("name", ["objects", "cells"])
def test_what_is_occluded_differs_from_the_plane_before(name: str) -> None:
    scene = render(name)
    occluded = np.stack(scene.occluded)
    error = squares(scene)
    assert error[occluded].mean() > 20 * error[~occluded].mean()


def test_the_still_scene_has_noise_and_nothing_moves() -> None:
    scene = render("still")
    assert not np.any(scene.flows)
    assert not np.any(scene.occluded)
    assert squares(scene).mean() ** 0.5 == pytest.approx(2**0.5 * 2 / 255, rel=0.05)


def test_a_camera_that_moves_right_and_down_finds_the_point_right_and_below_before() -> None:
    for flow in render("pan").flows:
        np.testing.assert_allclose(flow, np.full_like(flow, (0.37, 1.43)) * SIZE / 128, rtol=1e-4)


def test_a_camera_that_turns_and_approaches_leaves_the_middle_in_place() -> None:
    flow = render("turn").flows[0]
    middle = (SIZE - 1) / 2
    rows, columns = np.indices((SIZE, SIZE)) - middle
    angle = np.deg2rad(0.9)
    turned = [
        np.cos(angle) * rows - np.sin(angle) * columns,
        np.sin(angle) * rows + np.cos(angle) * columns,
    ]
    expected = np.stack(turned, axis=-1) / 1.012 - np.stack([rows, columns], axis=-1)
    np.testing.assert_allclose(flow, expected, atol=1e-4)


def test_the_objects_move_at_two_speeds_over_a_still_ground() -> None:
    scene = render("objects", 128)
    speed = np.hypot(*np.moveaxis(scene.flows[0][~scene.occluded[0]], -1, 0))
    shares = [np.mean(part) for part in (speed < 1e-3, (speed > 0.5) & (speed < 1.5), speed > 2.5)]
    assert all(share > 0.02 for share in shares)
    assert sum(shares) > 0.98


def test_the_parts_of_a_cell_that_divides_move_apart() -> None:
    """Some cell is cut by a line, and its flow points to that line on both sides."""
    scene = render("cells", 128, 9)
    lines = 0
    for flow, occluded in zip(scene.flows, scene.occluded, strict=True):
        for row, column in np.argwhere(occluded[8:-8, 8:-8]) + 8:
            for step in ((0, 6), (6, 0), (5, 5), (5, -5)):
                one = (row - step[0], column - step[1])
                other = (row + step[0], column + step[1])
                if min(min(*one), min(*other)) < 0 or max(*one, *other) > 127:
                    continue
                if occluded[one] or occluded[other]:
                    continue
                along = np.array(step) / np.hypot(*step)
                lines += flow[one] @ along > 0.5 and flow[other] @ along < -0.5
    assert lines > 20


@pytest.mark.parametrize("name", MOVING)
def test_a_larger_plane_shows_the_same_scene(name: str) -> None:
    large, small = render(name, 2 * SIZE, 2), render(name, SIZE, 2)
    reduced = resize_local_mean(large.contents[1], (SIZE, SIZE))
    assert np.abs(reduced - small.contents[1]).mean() < 0.025
    speed, large_speed = np.abs(small.flows[0]).mean(), np.abs(large.flows[0]).mean()
    assert large_speed == pytest.approx(2 * speed, rel=0.1)


def test_scenes_are_the_same_each_time() -> None:
    for first, second in zip(
        SCENES["cells"](32, 2).contents, SCENES["cells"](32, 2).contents, strict=True
    ):
        np.testing.assert_array_equal(first, second)


def test_more_planes_do_not_change_the_first_ones() -> None:
    for name in SCENES:
        longer = SCENES[name](32, 4)
        np.testing.assert_array_equal(longer.contents[1], SCENES[name](32, 2).contents[1])
