"""A plane is what the viewer shows, and a result lies exactly over it."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image

from napari_nst.errors import InputError
from napari_nst.plugin.layers import take_plane

RNG = np.random.default_rng(0)


def shown(
    layer: Image, *, order: tuple[int, ...] | None = None, step: dict[int, int] | None = None
):
    """Return the viewer's dims with a layer in it."""
    viewer = ViewerModel()
    viewer.add_layer(layer)
    if order is not None:
        viewer.dims.order = order
    for axis, value in (step or {}).items():
        viewer.dims.set_current_step(axis, value)
    return viewer.dims


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", ">u2", "int16"])
def test_a_grey_plane_is_scaled_by_the_contrast_limits_and_back(dtype: str) -> None:
    data = np.array([[100, 200], [300, 400]], dtype=np.int64).clip(
        0, 255 if dtype == "uint8" else 500
    )
    layer = Image(data.astype(dtype), contrast_limits=(100, 300))
    plane = take_plane(layer, shown(layer))

    unit = plane.load()
    restored = plane.restore(unit)

    np.testing.assert_allclose(unit, ((data - 100) / 200).clip(0, 1), rtol=1e-6)
    assert unit.dtype == np.float32
    assert restored.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_allclose(restored.astype(float), data.clip(100, 300), rtol=1e-6)


@pytest.mark.parametrize(("dtype", "one"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_colour_plane_is_handed_over_as_it_is(dtype: str, one: int, channels: int) -> None:
    data = (RNG.random((9, 8, channels)) * one).astype(dtype)
    layer = Image(data, rgb=True)
    plane = take_plane(layer, shown(layer))

    np.testing.assert_array_equal(plane.load(), data)
    assert not np.shares_memory(plane.load(), data)
    restored = plane.restore((data / one).astype(np.float32))
    assert restored.dtype == data.dtype
    np.testing.assert_allclose(restored.astype(float), data, atol=0.01 if one > 1 else 1e-6)


def test_a_stack_gives_the_plane_that_shows() -> None:
    data = RNG.integers(0, 255, (5, 6, 7), dtype=np.uint8)
    layer = Image(data, contrast_limits=(0, 255))
    plane = take_plane(layer, shown(layer, step={0: 3}))

    np.testing.assert_allclose(plane.load() * 255, data[3], atol=1e-4)
    assert plane.shape == (6, 7)
    assert plane.restore(np.zeros((6, 7), np.float32)).shape == (1, 6, 7)


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1), (0, 2, 1), (2, 1, 0)])
def test_any_two_axes_can_be_shown(order: tuple[int, int, int]) -> None:
    data = RNG.integers(0, 255, (5, 6, 7), dtype=np.uint8)
    layer = Image(data, contrast_limits=(0, 255))
    plane = take_plane(layer, shown(layer, order=order, step={order[0]: 2}))

    expected = data.transpose(order)[2]
    np.testing.assert_allclose(plane.load() * 255, expected, atol=1e-4)
    assert plane.shape == expected.shape
    restored = plane.restore(plane.load())
    np.testing.assert_array_equal(restored.transpose(order)[0], expected)


def test_a_two_dimensional_layer_in_a_viewer_of_stacks() -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 5, 6, 7)))
    layer = viewer.add_image(np.full((6, 7), 3, np.uint8), contrast_limits=(0, 3))

    assert take_plane(layer, viewer.dims).load().tolist() == np.ones((6, 7)).tolist()


def test_of_a_pyramid_the_level_worth_reading_is_read() -> None:
    levels = [np.full((size, 2 * size), size, np.uint16) for size in (256, 128, 64)]
    layer = Image(levels, multiscale=True, contrast_limits=(0, 256))
    dims = shown(layer)

    assert take_plane(layer, dims, 100).shape == (64, 128)
    assert take_plane(layer, dims, 129).shape == (128, 256)
    assert take_plane(layer, dims, 1000).shape == (256, 512)
    assert take_plane(layer, dims).shape == (256, 512)


def test_a_lazy_stack_is_read_one_plane_and_not_before_it_is_asked_for() -> None:
    read = []

    def block(block_info=None):
        read.append(block_info[None]["chunk-location"][0])
        return np.zeros((1, 8, 9), np.uint8)

    data = dask.array.map_blocks(block, chunks=((1,) * 4, 8, 9), dtype=np.uint8)
    layer = Image(data, contrast_limits=(0, 255))
    dims = shown(layer, step={0: 2})
    read.clear()
    plane = take_plane(layer, dims)

    assert read == []
    plane.load()
    assert read == [2]


# napari makes a thumbnail of everything, of nothing too.
@pytest.mark.filterwarnings("ignore:.* encountered in divide:RuntimeWarning")
def test_an_empty_layer_is_refused_in_a_sentence() -> None:
    layer = Image(np.zeros((0, 8, 8)), name="nothing", contrast_limits=(0, 1))

    with pytest.raises(InputError, match=r"^nothing is empty: its shape is \(0, 8, 8\)\.$"):
        take_plane(layer, shown(layer))


def corners(shape: tuple[int, ...], layer: Image) -> np.ndarray:
    """Return the world coordinates of the outer corners of a layer's first and last pixels."""
    low, high = np.full(len(shape), -0.5), np.array(shape) - 0.5
    return np.array([layer.data_to_world(low), layer.data_to_world(high)])


@settings(max_examples=40, deadline=None)
@given(
    angle=st.floats(-180, 180),
    shear=st.floats(-1, 1),
    scale=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
    translate=st.tuples(st.floats(-100, 100), st.floats(-100, 100)),
    result=st.tuples(st.integers(8, 60), st.integers(8, 60)),
)
def test_a_result_of_any_size_covers_the_content_exactly(
    angle, shear, scale, translate, result
) -> None:
    affine = np.array([[1, 0.2, 3], [-0.1, 2, 1], [0, 0, 1]])
    layer = Image(
        np.zeros((20, 31)), rotate=angle, shear=[shear], scale=scale, translate=translate,
        affine=affine, contrast_limits=(0, 1),
    )  # fmt: skip
    plane = take_plane(layer, shown(layer))
    data = plane.restore(np.zeros(result, np.float32))
    over = Image(data, contrast_limits=(0, 1), **plane.layer_kwargs(data.shape))

    np.testing.assert_allclose(corners(data.shape, over), corners((20, 31), layer), atol=1e-6)


def test_a_result_lies_at_its_place_in_a_rotated_stack_with_units() -> None:
    rotate = [[1, 0, 0], [0, 0.8, 0.6], [0, -0.6, 0.8]]
    layer = Image(
        np.zeros((5, 20, 30)), rotate=rotate, scale=(4, 0.5, 0.25), translate=(7, 8, 9),
        units=("um", "um", "um"), axis_labels=("z", "y", "x"), contrast_limits=(0, 1),
        colormap="magma",
    )  # fmt: skip
    dims = shown(layer)
    plane = take_plane(layer, dims)
    index = plane.index[0]
    data = plane.restore(np.zeros((10, 15), np.float32))
    over = Image(data, contrast_limits=(0, 1), **plane.layer_kwargs(data.shape))

    for y, x in ((-0.5, -0.5), (19.5, 29.5), (3, 4)):
        inside = ((y + 0.5) / 2 - 0.5, (x + 0.5) / 2 - 0.5)
        np.testing.assert_allclose(
            over.data_to_world((0, *inside)), layer.data_to_world((index, y, x)), atol=1e-9
        )
    assert over.units == layer.units
    assert over.axis_labels == layer.axis_labels
    assert over.colormap.name == "magma"


def test_a_result_from_a_coarser_level_covers_the_finest() -> None:
    levels = [np.zeros((200, 100), np.uint8), np.zeros((100, 50), np.uint8)]
    layer = Image(levels, multiscale=True, scale=(2, 3), contrast_limits=(0, 255))
    plane = take_plane(layer, shown(layer), 90)
    data = plane.restore(np.zeros((100, 50), np.float32))
    over = Image(data, **plane.layer_kwargs(data.shape), contrast_limits=(0, 1))

    np.testing.assert_allclose(corners(data.shape, over), corners((200, 100), layer))
