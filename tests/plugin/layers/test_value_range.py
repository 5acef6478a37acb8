"""Colours and grey values of any range are rescaled by the contrast limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_nst import stylize_layer
from napari_nst.plugin.layers.arrays import take_init_image, take_plane
from napari_nst.plugin.layers.evolution import Evolution
from napari_nst.plugin.layers.stack_planes import PlanesAlong
from napari_nst.ranges import Range

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS, COLUMNS = np.mgrid[0:40, 0:48] / 48
SCENE = np.dstack([COLUMNS, ROWS, 0.6 - 0.4 * COLUMNS])  # in [0, 1]
STYLE = Image(
    (np.sin(40 * COLUMNS)[..., None] * [90, 60, 30] + 120).astype(np.uint8), rgb=True, name="style"
)
# Values of black and white, and the dtype.
RANGES = {
    "float below one": (0, 1 / 3, "float32"),
    "float above one": (0, 255, "float32"),
    "float about zero": (-2, 2, "float64"),
    "half": (0, 0.25, "float16"),
    "12 bits in 16": (0, 4095, "uint16"),
    "16 bits, none of them black": (9000, 30000, "uint16"),
    "signed": (-2000, 2095, "int16"),
    "wide": (0, 100_000, "int32"),
}


def scene(name: str, *, rgb: bool) -> np.ndarray:
    low, high, dtype = RANGES[name]
    data = (low + SCENE * (high - low)).astype(dtype)
    return data if rgb else data[..., 0]


@pytest.mark.parametrize("rgb", [True, False], ids=["rgb", "grey"])
@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("limits", [None, (0.25, 0.75), (-0.5, 1.5)])
def test_a_plane_has_the_values_that_the_canvas_shows(name: str, rgb: bool, limits: Any) -> None:
    low, high, _ = RANGES[name]
    given = None if limits is None else tuple(low + (high - low) * x for x in limits)
    layer = Image(scene(name, rgb=rgb), rgb=rgb, contrast_limits=given)
    black, white = layer.contrast_limits
    taken = take_plane(layer, ViewerModel().dims).load()

    # The formula of vispy's shader, for colours and grey values.
    shown = ((layer.data.astype(np.float64) - black) / (white - black)).clip(0, 1)
    unit = taken if taken.dtype.kind == "f" else taken / np.iinfo(taken.dtype).max
    np.testing.assert_allclose(unit, shown, atol=1e-6)


@pytest.mark.parametrize("rgb", [True, False], ids=["rgb", "grey"])
@pytest.mark.parametrize("name", RANGES)
def test_a_result_has_the_range_of_the_content(name: str, rgb: bool) -> None:
    content = Image(scene(name, rgb=rgb), rgb=rgb, name="content", gamma=0.7)
    result = stylize_layer(content, STYLE, size=48, iterations=2)

    assert result.data.dtype == content.data.dtype
    low, high = result.contrast_limits
    assert (low, high) == tuple(content.contrast_limits)
    assert result.gamma == content.gamma
    values = result.data.astype(np.float64)
    assert values.min() >= low - 1e-3 * (high - low)
    assert values.max() <= high + 1e-3 * (high - low)
    assert np.ptp(values) > (high - low) / 4


def test_an_evolution_has_the_contrast_limits_and_gamma_of_the_result() -> None:
    viewer = ViewerModel()
    result = viewer.add_image(
        SCENE.astype(np.float32) / 4, rgb=True, contrast_limits=(-1, 2), gamma=0.5
    )
    evolution = Evolution()
    evolution.add(1, result.data / 2)
    evolution.add(2, result.data)
    layer = evolution.add_to(viewer, result)

    assert layer is not None
    assert tuple(layer.contrast_limits) == (-1, 2)
    assert layer.gamma == 0.5


def test_an_init_image_of_another_dtype_has_its_own_range() -> None:
    dims = ViewerModel().dims
    content = take_plane(Image(scene("float below one", rgb=True), rgb=True), dims)
    start = Image((SCENE * 255).astype(np.uint8), rgb=True)
    np.testing.assert_array_equal(take_init_image(start, dims, content).load(), start.data)


def channels(labels: tuple[str, ...] = ("c", "y", "x")) -> Image:
    """Return a layer with a dim and a bright channel."""
    data = np.stack([100 + 2900 * SCENE[..., 0], 500 + 40_000 * SCENE[..., 1]]).astype(np.uint16)
    return Image(data, name="stained", axis_labels=labels)


@pytest.mark.parametrize("label", ["c", "Channel"])
def test_each_channel_has_its_own_percentiles(label: str) -> None:
    viewer = ViewerModel()
    layer = viewer.add_layer(channels((label, "y", "x")))
    for channel in (0, 1):
        viewer.dims.set_current_step(0, channel)
        plane = take_plane(layer, viewer.dims, intensities="percentiles")
        assert plane.range == Range.from_percentiles(layer.data[channel])
    along = PlanesAlong(plane, 0)
    for channel in (0, 1):
        own = Range.from_percentiles(layer.data[channel])
        np.testing.assert_array_equal(along[channel], own.to_unit(layer.data[channel]))


def test_planes_of_other_axes_share_percentiles() -> None:
    viewer = ViewerModel()
    layer = viewer.add_layer(channels(("z", "y", "x")))
    plane = take_plane(layer, viewer.dims, intensities="percentiles")
    assert plane.range == Range.from_percentiles(layer.data)
    assert PlanesAlong(plane, 0).plane(1).range == plane.range


def test_the_result_of_a_channel_has_the_range_of_the_channel() -> None:
    content = channels()
    for channel, top in enumerate((3000, 40_500)):
        result = stylize_layer(
            content, STYLE, plane=channel, size=48, iterations=2, intensities="percentiles"
        )
        assert top / 2 < result.data.max() <= top + 0.5
