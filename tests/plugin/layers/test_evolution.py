"""Intermediate images of a run as a layer with a time axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_nst.plugin.layers.evolution import Evolution


def collect(evolution: Evolution, count: int, shape: tuple[int, ...] = (6, 8, 3)) -> None:
    for iteration in range(1, count + 1):
        evolution.add(iteration, np.full(shape, iteration % 256, np.uint8))


@pytest.mark.parametrize("count", [1, 2, 7, 59, 60, 61, 62, 150, 1000])
def test_frames_are_limited_evenly_spaced_and_include_the_last(count: int) -> None:
    evolution = Evolution()
    collect(evolution, count)
    iterations = evolution.iterations

    assert iterations[0] == 1
    assert iterations[-1] == count
    assert len(iterations) <= 60
    assert len(iterations) >= min(count, 30)
    steps = np.diff(iterations)
    assert len(set(steps[:-1])) <= 1  # the last step may be shorter
    assert count < 3 or steps[-1] <= steps[0]


def test_memory_is_bounded() -> None:
    evolution = Evolution(most_bytes=10 * 6 * 8 * 3)
    collect(evolution, 500)
    assert 5 <= len(evolution.iterations) <= 10
    evolution = Evolution(most_bytes=1)
    collect(evolution, 50)
    assert evolution.iterations == (1, 50)


@pytest.mark.parametrize("rgb", [True, False])
def test_the_layer_lies_over_the_result_with_time_in_front(rgb: bool) -> None:
    viewer = ViewerModel()
    shape = (6, 8, 3) if rgb else (6, 8)
    grey: dict[str, Any] = {} if rgb else {"colormap": "magma", "contrast_limits": (2, 90)}
    result = viewer.add_image(
        np.zeros(shape, np.uint8),
        name="a x b",
        rgb=rgb,
        scale=(2, 3),
        translate=(5, 7),
        rotate=30,
        shear=[0.2],
        affine=[[1, 0.1, 4], [0, 2, 1], [0, 0, 1]],
        units=("um", "um"),
        axis_labels=("y", "x"),
        **grey,
    )
    evolution = Evolution()
    collect(evolution, 5, shape)
    layer = evolution.add_to(viewer, result)
    assert layer is not None
    assert layer.name == "a x b evolution"
    assert layer.data.shape == (5, *shape)
    assert layer.data[:, 0, 0].reshape(5, -1)[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert layer.metadata["napari_nst_iterations"] == [1, 2, 3, 4, 5]
    assert layer.rgb == rgb
    assert layer.axis_labels == ("time", "y", "x")
    assert [str(unit) for unit in layer.units] == ["pixel", "micrometer", "micrometer"]
    for point in ((0, 0), (5, 7), (2, 1)):
        world = layer.data_to_world((3, *point))
        np.testing.assert_allclose(world, (3, *result.data_to_world(point)), atol=1e-9)
    if not rgb:
        assert layer.colormap.name == "magma"
        assert tuple(layer.contrast_limits) == (2, 90)


def test_the_evolution_of_a_plane_covers_it_in_the_stack() -> None:
    viewer = ViewerModel()
    result = viewer.add_image(np.zeros((1, 6, 8)), scale=(5, 2, 2), translate=(15, 0, 0))
    evolution = Evolution()
    collect(evolution, 3, (1, 6, 8))
    layer = evolution.add_to(viewer, result)
    assert layer is not None
    assert layer.data.shape == (3, 1, 6, 8)
    np.testing.assert_allclose(layer.data_to_world((2, 0, 1, 1)), (2, 15, 2, 2))


def test_frames_of_another_run_are_dropped() -> None:
    evolution = Evolution()
    assert evolution.add_to(ViewerModel(), None) is None  # type: ignore[arg-type]
    collect(evolution, 9)
    collect(evolution, 4, (12, 16, 3))
    assert evolution.iterations == (1, 2, 3, 4)
    evolution.clear()
    assert evolution.iterations == ()
