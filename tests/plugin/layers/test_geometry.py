"""A result covers its content exactly: their corners coincide."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_helpers import result_layer
from napari.layers import Image

from napari_nst.plugin.layers.arrays import take_plane
from napari_nst.plugin.layers.geometry import View

# napari warns about rotated layers before the order of axes is set.
pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")

IN_PLANE = [[1, 0, 0], [0, 0.8, 0.6], [0, -0.6, 0.8]]
numbers = st.floats(-50, 50)
scales = st.floats(0.1, 10)


def view(layer: Image, order: tuple[int, ...] | None = None, place: Any = None) -> View:
    """Return the view of a viewer at a position in pixels of a layer."""
    place = np.zeros(layer.ndim) if place is None else place
    return View(layer.ndim, tuple(layer.data_to_world(place)), order or tuple(range(layer.ndim)))


def corners(layer: Image, begin: dict[int, float] | None = None, end: Any = None) -> np.ndarray:
    """Return the world coordinates of all corners of a layer, or of a part of it."""
    full = layer.data[0].shape if layer.multiscale else layer.data.shape
    low, high = np.full(layer.ndim, -0.5), np.array(full[: layer.ndim]) - 0.5
    for axis, value in (begin or {}).items():
        low[axis] = value
    for axis, value in (end or {}).items():
        high[axis] = value
    ends = list(zip(low, high, strict=True))
    return np.array([layer.data_to_world(corner) for corner in itertools.product(*ends)])


@st.composite
def placed_layers(draw: st.DrawFn) -> tuple[Image, tuple[int, ...]]:
    """Draw a layer of two to four axes, grey or colour, with a transform, and an order of axes.

    Rotation, shear and affine are within the displayed plane, so it is not oblique.
    """
    ndim = draw(st.integers(2, 4))
    order = tuple(draw(st.permutations(range(ndim))))
    shape = tuple(draw(st.integers(2, 9)) for _ in range(ndim))
    rgb = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    together = np.equal.outer(*[[axis in order[-2:] for axis in range(ndim)]] * 2)
    rotation, affine = np.eye(ndim), np.eye(ndim + 1)
    for axes in (order[:-2], order[-2:]):
        turned, _ = np.linalg.qr(rng.normal(size=(len(axes), len(axes))))
        if axes and np.linalg.det(turned) < 0:
            turned[0] *= -1
        rotation[np.ix_(axes, axes)] = turned
    affine[:ndim, :ndim] += rng.uniform(-0.2, 0.2, (ndim, ndim)) * together
    affine[:ndim, ndim] = [draw(numbers) for _ in range(ndim)]
    shear = rng.uniform(-1, 1, (ndim, ndim)) * together
    layer = Image(
        np.zeros((*shape, 3) if rgb else shape),
        rgb=rgb,
        scale=[draw(scales) * draw(st.sampled_from((1, -1))) for _ in range(ndim)],
        translate=[draw(numbers) for _ in range(ndim)],
        rotate=rotation,
        shear=shear[np.triu_indices(ndim, 1)],
        affine=affine,
        units=("s", "um", "um", "um")[-ndim:],
        axis_labels=("t", "z", "y", "x")[-ndim:],
        contrast_limits=(0, 1),
    )
    return layer, order


def assert_covers(result: Image, expected: np.ndarray, content: Image) -> None:
    span = np.abs(expected).max() + 1
    np.testing.assert_allclose(corners(result), expected, atol=1e-6 * span)
    assert result.units == content.units
    assert result.axis_labels == content.axis_labels


@settings(max_examples=80, deadline=None)
@given(drawn=placed_layers(), data=st.data())
def test_a_result_of_any_size_covers_its_plane(drawn: Any, data: Any) -> None:
    layer, order = drawn
    place = [data.draw(st.integers(0, size - 1)) for size in layer.data.shape[: layer.ndim]]
    size = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    plane = take_plane(layer, view(layer, order, place))
    picture = np.zeros((*size, 3) if layer.rgb else size, np.float32)
    result = result_layer(plane, plane.restore(picture))

    fixed = {axis: value for axis, value in enumerate(place) if axis in order[:-2]}
    expected = corners(
        layer,
        {axis: value - 0.5 for axis, value in fixed.items()},
        {axis: value + 0.5 for axis, value in fixed.items()},
    )
    assert_covers(result, expected, layer)


@settings(max_examples=80, deadline=None)
@given(drawn=placed_layers(), data=st.data())
def test_a_stack_of_resized_planes_covers_the_whole_content(drawn: Any, data: Any) -> None:
    layer, order = drawn
    place = [data.draw(st.integers(0, size - 1)) for size in layer.data.shape[: layer.ndim]]
    shape = list(layer.data.shape)
    for axis in order[-2:]:
        shape[axis] = data.draw(st.integers(1, 20))
    plane = take_plane(layer, view(layer, order, place))
    result = result_layer(plane, np.zeros(shape))

    assert_covers(result, corners(layer), layer)
    for axis in order[:-2]:  # plane k of the result is plane k of the content
        assert result.data.shape[axis] == layer.data.shape[axis]
        assert result.scale[axis] == pytest.approx(layer.scale[axis], rel=1e-6)


def test_a_result_of_some_planes_covers_these_planes() -> None:
    layer = Image(np.zeros((9, 20, 30)), scale=(4, 1, 2), translate=(5, 6, 7), rotate=IN_PLANE)
    plane = take_plane(layer, view(layer))
    some = dataclasses.replace(plane, index=(slice(2, 6), *plane.index[1:]))
    result = result_layer(some, np.zeros((4, 10, 15)))

    expected = corners(layer, {0: 1.5}, {0: 5.5})
    np.testing.assert_allclose(corners(result), expected, atol=1e-9)
    with pytest.raises(ValueError, match="Axis 0 of the result has 4 planes; of 9 it must have"):
        plane.layer_kwargs((4, 10, 15))


@pytest.mark.parametrize("whole", [False, True])
def test_a_result_of_a_level_with_fewer_planes_covers_the_finest_level(whole: bool) -> None:
    levels = [np.zeros((8, 200, 100), np.uint8), np.zeros((4, 100, 50), np.uint8)]
    layer = Image(levels, multiscale=True, scale=(3, 2, 1), rotate=IN_PLANE)
    plane = take_plane(layer, view(layer, place=(5, 0, 0)), 90)
    assert plane.data is levels[1]
    assert plane.source.level == 1
    assert plane.index[0] == 2
    shape = (4 if whole else 1, 50, 25)
    result = result_layer(plane, np.zeros(shape))

    expected = corners(layer) if whole else corners(layer, {0: 3.5}, {0: 5.5})
    np.testing.assert_allclose(corners(result), expected, atol=1e-9)


def test_a_result_covers_its_plane_of_a_rotated_stack_with_units() -> None:
    layer = Image(
        np.zeros((5, 20, 30)), rotate=IN_PLANE, scale=(4, 0.5, 0.25), translate=(7, 8, 9),
        units=("um", "um", "um"), axis_labels=("z", "y", "x"), contrast_limits=(0, 1),
        colormap="magma",
    )  # fmt: skip
    plane = take_plane(layer, view(layer, place=(3, 0, 0)))
    index = plane.index[0]
    data = plane.restore(np.zeros((10, 15), np.float32))
    over = result_layer(plane, data)

    for y, x in ((-0.5, -0.5), (19.5, 29.5), (3, 4)):
        inside = ((y + 0.5) / 2 - 0.5, (x + 0.5) / 2 - 0.5)
        np.testing.assert_allclose(
            over.data_to_world((0, *inside)), layer.data_to_world((index, y, x)), atol=1e-9
        )
    assert over.units == layer.units
    assert over.axis_labels == layer.axis_labels
    assert over.colormap.name == "magma"


def test_a_result_of_a_coarser_level_covers_the_finest_level() -> None:
    levels = [np.zeros((200, 100), np.uint8), np.zeros((100, 50), np.uint8)]
    layer = Image(levels, multiscale=True, scale=(2, 3), contrast_limits=(0, 255))
    plane = take_plane(layer, view(layer), 90)
    data = plane.restore(np.zeros((100, 50), np.float32))
    over = result_layer(plane, data)

    np.testing.assert_allclose(corners(over), corners(layer))
