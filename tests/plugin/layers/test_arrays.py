"""A plane matches the viewer's slice, and a result covers it exactly."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from layer_helpers import outer_corners, result_layer
from napari.components import ViewerModel
from napari.layers import Image
from random_viewers import viewers

from napari_nst.errors import InputError
from napari_nst.plugin.layers.arrays import take_init_image, take_plane

if TYPE_CHECKING:
    from pathlib import Path

    from napari_nst.plugin.layers.value_range import LayerIntensities

RNG = np.random.default_rng(0)


def dims_of(
    layer: Image, *, order: tuple[int, ...] | None = None, step: dict[int, int] | None = None
):
    """Return the dims of a viewer with the layer."""
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
    plane = take_plane(layer, dims_of(layer))

    unit = plane.load()
    restored = plane.restore(unit)

    np.testing.assert_allclose(unit, ((data - 100) / 200).clip(0, 1), rtol=1e-6)
    assert unit.dtype == np.float32
    assert restored.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_allclose(restored.astype(float), data.clip(100, 300), rtol=1e-6)


@pytest.mark.parametrize(("dtype", "one"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_colour_plane_is_passed_unchanged(dtype: str, one: int, channels: int) -> None:
    data = (RNG.random((9, 8, channels)) * one).astype(dtype)
    layer = Image(data, rgb=True, contrast_limits=(0, one))
    plane = take_plane(layer, dims_of(layer))

    # Types other than uint8 become fractions of their range, as on the canvas.
    taken = plane.load()
    assert taken.dtype == ("uint8" if dtype == "uint8" else "float32")
    np.testing.assert_allclose(taken / (one if dtype == "uint8" else 1), data / one, atol=1e-7)
    assert not np.shares_memory(taken, data)
    restored = plane.restore((data / one).astype(np.float32))
    assert restored.dtype == data.dtype
    np.testing.assert_allclose(restored.astype(float), data, atol=0.01 if one > 1 else 1e-6)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "float32", "float64"])
def test_colours_are_scaled_by_the_contrast_limits_and_alpha_is_not(
    dtype: str,
) -> None:
    data = RNG.integers(0, 4096, (9, 8, 4)).astype(dtype)
    data[..., 3] = 1 if data.dtype.kind == "f" else np.iinfo(dtype).max
    layer = Image(data, rgb=True, contrast_limits=(0, 4095))
    plane = take_plane(layer, dims_of(layer))
    unit = plane.load()

    np.testing.assert_allclose(unit[..., :3], data[..., :3] / 4095, atol=1e-6)
    assert unit[..., 3].tolist() == np.ones((9, 8)).tolist()
    restored = plane.restore(unit)
    assert restored.dtype == data.dtype
    np.testing.assert_allclose(restored.astype(float), data, rtol=1e-6, atol=1e-3)


def test_the_shown_plane_of_a_stack_is_taken() -> None:
    data = RNG.integers(0, 255, (5, 6, 7), dtype=np.uint8)
    layer = Image(data, contrast_limits=(0, 255))
    plane = take_plane(layer, dims_of(layer, step={0: 3}))

    np.testing.assert_allclose(plane.load() * 255, data[3], atol=1e-4)
    assert plane.shape == (6, 7)
    assert plane.restore(np.zeros((6, 7), np.float32)).shape == (1, 6, 7)


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1), (0, 2, 1), (2, 1, 0)])
def test_any_two_axes_can_be_displayed(order: tuple[int, int, int]) -> None:
    data = RNG.integers(0, 255, (5, 6, 7), dtype=np.uint8)
    layer = Image(data, contrast_limits=(0, 255))
    plane = take_plane(layer, dims_of(layer, order=order, step={order[0]: 2}))

    expected = data.transpose(order)[2]
    np.testing.assert_allclose(plane.load() * 255, expected, atol=1e-4)
    assert plane.shape == expected.shape
    restored = plane.restore(plane.load())
    np.testing.assert_array_equal(restored.transpose(order)[0], expected)


def test_a_two_dimensional_layer_is_taken_whole_beside_a_stack() -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 5, 6, 7)))
    layer = viewer.add_image(np.full((6, 7), 3, np.uint8), contrast_limits=(0, 3))

    assert take_plane(layer, viewer.dims).load().tolist() == np.ones((6, 7)).tolist()


def test_the_smallest_sufficient_level_of_a_pyramid_is_read() -> None:
    levels = [np.full((size, 2 * size), size, np.uint16) for size in (256, 128, 64)]
    layer = Image(levels, multiscale=True, contrast_limits=(0, 256))
    dims = dims_of(layer)

    assert take_plane(layer, dims, 100).shape == (64, 128)
    assert take_plane(layer, dims, 129).shape == (128, 256)
    assert take_plane(layer, dims, 1000).shape == (256, 512)
    assert take_plane(layer, dims).shape == (256, 512)


def test_only_one_plane_of_a_lazy_stack_is_read_on_load() -> None:
    read = []

    def block(block_info=None):
        read.append(block_info[None]["chunk-location"][0])
        return np.zeros((1, 8, 9), np.uint8)

    data = dask.array.map_blocks(block, chunks=((1,) * 4, 8, 9), dtype=np.uint8)
    layer = Image(data, contrast_limits=(0, 255))
    dims = dims_of(layer, step={0: 2})
    read.clear()
    plane = take_plane(layer, dims)

    assert read == []
    plane.load()
    assert read == [2]


# napari computes a thumbnail even of an empty layer.
@pytest.mark.filterwarnings("ignore:.* encountered in divide:RuntimeWarning")
def test_an_empty_layer_is_refused() -> None:
    layer = Image(np.zeros((0, 8, 8)), name="nothing", contrast_limits=(0, 1))

    with pytest.raises(InputError, match=r"^nothing is empty: its shape is \(0, 8, 8\)\.$"):
        take_plane(layer, dims_of(layer))


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "uint32", "int16", "float16", "float32", "float64", ">u2"]
)
@pytest.mark.parametrize("kind", ["plain", "read-only", "strided", "mapped", "dask", "zarr"])
@pytest.mark.parametrize("intensities", ["limits", "percentiles", "displayed"])
def test_arrays_of_every_kind_and_dtype_are_taken_and_restored(
    dtype: str, kind: str, intensities: LayerIntensities, tmp_path: Path
) -> None:
    data = (RNG.random((3, 12, 14)) * (1.99 if dtype == "bool" else 200)).astype(dtype)
    layer = Image(as_kind(data, kind, tmp_path), name="counts")
    plane = take_plane(layer, dims_of(layer, step={0: 1}), intensities=intensities)
    picture = plane.load()
    restored = plane.restore(picture)

    expected = np.asarray(layer.data[1])
    if intensities == "displayed":
        assert picture.shape == (*expected.shape, 3)
        assert picture.dtype == restored.dtype == np.uint8
    else:
        assert picture.shape == expected.shape
        assert restored.dtype == np.dtype(dtype).newbyteorder("=")
        low, high = plane.limits
        clipped = expected.astype(float).clip(low, high)
        rounded = 0.5 if restored.dtype.kind in "iu" else 1e-4
        np.testing.assert_allclose(restored[0].astype(float), clipped, rtol=1e-3, atol=rounded)
    assert picture.flags.writeable
    result_layer(plane, restored)


def as_kind(data: np.ndarray, kind: str, folder: Path) -> Any:
    """Return the data as another kind of array."""
    if kind == "read-only":
        data.flags.writeable = False
    elif kind == "strided":
        data = data[:, ::-1, ::2]
        assert not data.flags.contiguous
    elif kind == "mapped":
        np.save(folder / "data.npy", data)
        return np.load(folder / "data.npy", mmap_mode="r")
    elif kind == "dask":
        return dask.array.from_array(data, chunks=(1, 6, 7))
    elif kind == "zarr":
        array = zarr.create_array(
            zarr.storage.MemoryStore(), shape=data.shape, chunks=(1, 6, 7), dtype=data.dtype
        )
        array[:] = data
        return array
    return data


def test_booleans_stay_booleans() -> None:
    layer = Image(np.eye(9, dtype=bool), contrast_limits=(0, 255))
    plane = take_plane(layer, dims_of(layer))

    assert plane.load().max() == 1
    assert plane.restore(plane.load()).tolist() == np.eye(9, dtype=bool).tolist()
    assert plane.restore(np.full((9, 9), 0.49, np.float32)).any() == np.False_


def test_complex_values_are_refused() -> None:
    layer = Image(np.zeros((9, 9)), name="waves", contrast_limits=(0, 1))
    dims = dims_of(layer)
    layer._data = np.zeros((9, 9), complex)
    with pytest.raises(InputError, match=r"^waves has dtype complex128; it must be of booleans"):
        take_plane(layer, dims)


def test_an_unknown_choice_of_intensities_is_refused() -> None:
    layer = Image(np.zeros((9, 9)), contrast_limits=(0, 1))
    with pytest.raises(InputError, match=r"^intensities is 'auto'; it must be one of limits, perc"):
        take_plane(layer, dims_of(layer), intensities="auto")


def test_percentiles_are_of_the_whole_stack() -> None:
    data = np.stack([np.linspace(low, low + 50, 80).reshape(8, 10) for low in (0, 100, 400)])
    layer = Image(data, contrast_limits=(0, 1))
    planes = [
        take_plane(layer, dims_of(layer, step={0: k}), intensities="percentiles") for k in range(3)
    ]

    assert len({plane.limits for plane in planes}) == 1
    assert planes[0].limits == pytest.approx(np.percentile(data, (0.1, 99.9)))
    moved = dataclasses.replace(planes[0], index=planes[2].index)
    np.testing.assert_array_equal(moved.load(), planes[2].load())
    # Restored values have the range of the data, and the layer keeps its contrast limits.
    np.testing.assert_allclose(moved.restore(moved.load())[0], data[2].clip(*moved.limits))
    assert moved.appearance["rgb"] is False
    assert moved.appearance["contrast_limits"] == (0, 1)


def test_percentiles_are_of_visible_colours() -> None:
    data = np.random.default_rng(0).random((20, 30, 4)).astype(np.float32)
    data[..., 3] = 1
    data[5:] = (40, -3, 40, 0)  # three quarters are transparent
    plane = take_plane((layer := Image(data, rgb=True)), dims_of(layer), intensities="percentiles")
    assert plane.limits == pytest.approx(np.percentile(data[:5, :, :3], (0.1, 99.9)))


def test_percentiles_of_a_large_stack_are_read_from_a_few_planes() -> None:
    read = []

    def block(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return np.full((1, 1, 256, 256), block_info[None]["chunk-location"][1], np.uint16)

    data = dask.array.map_blocks(
        block, chunks=((1,), (1,) * 50, (256,) * 12, (256,) * 12), dtype=np.uint16
    )
    layer = Image(data, contrast_limits=(0, 9))
    dims = dims_of(layer)
    read.clear()
    plane = take_plane(layer, dims, intensities="percentiles")
    assert read == []

    assert plane.limits == (0, 49)
    assert len({place[:2] for place in read}) == 8
    assert len(read) < 8 * 144
    read.clear()
    dataclasses.replace(plane, index=(0, 1, slice(0, 256), slice(0, 256))).load()
    assert read == [(0, 1, 0, 0)]


@pytest.mark.parametrize("colormap", ["gray", "viridis", "red", "gray_r"])
def test_a_grey_layer_as_displayed_matches_napari(colormap: str) -> None:
    data = np.linspace(0, 1000, 3 * 90, dtype=np.float32).reshape(3, 9, 10)
    layer = Image(data, contrast_limits=(200, 800), gamma=0.6, colormap=colormap)
    plane = take_plane(layer, dims_of(layer, step={0: 1}, order=(0, 2, 1)), intensities="displayed")
    unit = ((data[1].T.astype(float) - 200) / 600).clip(0, 1) ** 0.6

    picture = plane.load()
    assert plane.rgb
    assert picture.dtype == np.uint8
    assert picture.shape == (10, 9, 3)
    expected = layer.colormap.map(unit.ravel())[:, :3].reshape(10, 9, 3)
    np.testing.assert_allclose(picture / 255, expected, atol=0.011)
    restored = plane.restore((picture / 255).astype(np.float32))
    assert restored.shape == (1, 9, 10, 3)
    np.testing.assert_array_equal(restored[0].swapaxes(0, 1), picture)
    over = result_layer(plane, restored)
    assert over.rgb
    assert over.gamma == 1
    assert over.contrast_limits == [0, 255]


def test_colours_as_displayed_have_limits_and_gamma() -> None:
    data = RNG.integers(0, 255, (9, 8, 4), dtype=np.uint8)
    layer = Image(data, rgb=True, contrast_limits=(50, 150), gamma=2)
    plane = take_plane(layer, dims_of(layer), intensities="displayed")
    expected = ((data[..., :3] - 50.0) / 100).clip(0, 1) ** 2

    np.testing.assert_allclose(plane.load()[..., :3] / 255, expected, atol=0.002)
    np.testing.assert_array_equal(plane.load()[..., 3], data[..., 3])


def test_missing_pixels_are_missing_as_displayed() -> None:
    data = RNG.random((9, 8))
    data[2:4, 3] = np.nan
    layer = Image(data, contrast_limits=(0, 1), colormap="viridis")
    plane = take_plane(layer, dims_of(layer), intensities="displayed")
    picture = plane.load()

    np.testing.assert_array_equal(np.isnan(picture).any(axis=2), np.isnan(data))
    restored = plane.restore(picture)
    assert restored.dtype == np.uint8
    assert restored[np.isnan(data)].max() == 0  # transparent on the canvas


def test_a_dark_background_stays_dark_beside_a_few_bright_pixels() -> None:
    data = np.full((60, 60), 100, np.uint16)
    data += RNG.integers(0, 5, data.shape, np.uint16)
    data[30, 30:32] = 4000  # far less than a thousandth of the pixels
    layer = Image(data)
    for intensities in ("limits", "percentiles"):
        plane = take_plane(layer, dims_of(layer), intensities=intensities)
        restored = plane.restore(plane.load())
        assert np.median(restored) == np.median(data)
        assert restored.max() - restored.min() >= 4
    plane = take_plane(layer, dims_of(layer))
    assert np.median(plane.load()) < 0.001


def test_an_init_image_is_taken_with_the_range_of_the_content() -> None:
    data = RNG.integers(0, 4000, (3, 20, 24), dtype=np.uint16)
    layer = Image(data, contrast_limits=(0, 4000))
    content = take_plane(layer, dims_of(layer), intensities="percentiles")
    unit = content.load()
    restored = content.restore(unit)
    result = result_layer(content, restored)
    result.contrast_limits = (5, 99)

    np.testing.assert_allclose(
        take_init_image(result, dims_of(layer), content).load(), unit, atol=1e-3
    )


def test_a_plane_of_a_layer_with_five_axes_is_taken_and_restored() -> None:
    data = RNG.integers(0, 255, (2, 3, 4, 12, 14), dtype=np.uint8)
    layer = Image(data)
    dims = dims_of(layer, order=(3, 0, 2, 4, 1), step={0: 1, 2: 2, 3: 5})
    plane = take_plane(layer, dims)

    assert plane.index == (1, slice(None), 2, 5, slice(None))
    expected = data[1, :, 2, 5, :].T
    np.testing.assert_allclose(plane.load() * 255, expected, atol=1e-4)
    restored = plane.restore(plane.load())
    np.testing.assert_array_equal(restored[0, :, 0, 0, :].T, expected)


def near_half(values: Any) -> bool:
    """Return whether a value is so close to a half that its rounding is undefined."""
    return bool((np.abs(np.asarray(values) % 1 - 0.5) < 1e-6).any())


# Shears and rotations are in the displayed plane; napari warns before the order of axes is set.
@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@settings(max_examples=30, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=viewers())
def test_the_plane_matches_naparis_slice(drawn: Any) -> None:
    viewer, layers = drawn
    for layer in layers:
        sliced = layer._slicing_state.data_slice
        edges = [sliced.point, np.subtract(sliced.point, sliced.margin_left)]
        edges += [np.add(sliced.point, sliced.margin_right)]
        if near_half([each for edge in edges for each in edge if np.isfinite(each)]):
            continue
        if layer._slice.empty:
            with pytest.raises(
                InputError, match=r"shows nothing at this point: on axis \d it lies"
            ):
                take_plane(layer, viewer.dims)
            continue
        plane = take_plane(layer, viewer.dims)
        taken = plane.data[plane.index]
        taken = taken.swapaxes(0, 1) if plane.transposed else taken
        np.testing.assert_array_equal(taken, layer._slice.image.raw)
        np.testing.assert_allclose(
            plane.load() * (1 if plane.range is None else 65535), taken.clip(0, 65535), atol=0.02
        )
        # The result is shown at the same point, also with a slice of zero thickness.
        data = plane.restore(np.ones((*plane.shape, *taken.shape[2:]), np.float32))
        over = viewer.add_image(data, **plane.layer_kwargs(data.shape))
        assert not over._slice.empty
        shown = [*plane.shown]
        np.testing.assert_allclose(
            outer_corners(over)[:, shown], outer_corners(layer)[:, shown], rtol=1e-6
        )
        viewer.layers.remove(over)


def test_a_thick_slice_gives_its_projection_and_an_equally_thick_result() -> None:
    viewer = ViewerModel()
    data = np.arange(7 * 4 * 5, dtype=np.uint8).reshape(7, 4, 5)
    layer = viewer.add_image(data, scale=(2, 1, 1), translate=(10, 0, 0), projection_mode="max")
    viewer.dims.set_current_step(0, 3)
    viewer.dims.margin_left, viewer.dims.margin_right = (2, 0, 0), (4, 0, 0)
    plane = take_plane(layer, viewer.dims)
    np.testing.assert_array_equal(plane.data[plane.index], data[5])

    restored = plane.restore(plane.load())
    result = result_layer(plane, restored)
    assert restored.shape == (1, 4, 5)
    assert restored.dtype == np.uint8
    # Planes 2 to 5 lie from 14 to 20, and are 2 thick.
    assert result.data_to_world((-0.5, 0, 0))[0] == pytest.approx(13)
    assert result.data_to_world((0.5, 0, 0))[0] == pytest.approx(21)


def test_a_sum_projection_keeps_its_values() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(
        np.full((4, 3, 3), 200, np.uint8), projection_mode="sum", contrast_limits=(0, 1000)
    )
    viewer.dims.set_current_step(0, 1)
    viewer.dims.thickness = (2, 0, 0)
    plane = take_plane(layer, viewer.dims)

    assert plane.load().max() == pytest.approx(0.6)
    assert plane.restore(plane.load()).max() == 600


def test_a_thick_slice_of_a_pyramid_has_the_planes_of_its_level() -> None:
    viewer = ViewerModel()
    levels = [np.arange(8.0)[:, None, None] * np.ones((8, 64, 64))]
    levels += [levels[0].reshape(4, 2, 32, 2, 32, 2).mean((1, 3, 5))]
    layer = viewer.add_image(levels, multiscale=True, contrast_limits=(0, 8))
    viewer.dims.set_current_step(0, 4)
    viewer.dims.margin_left, viewer.dims.margin_right = (2, 0, 0), (1, 0, 0)
    plane = take_plane(layer, viewer.dims, 32)

    assert plane.load().max() * 8 == pytest.approx(3.5)  # planes 2 to 5
    data = plane.restore(plane.load())
    over = result_layer(plane, data)
    assert over.data_to_world((-0.5, 0, 0))[0] == pytest.approx(1.5)
    assert over.data_to_world((0.5, 0, 0))[0] == pytest.approx(5.5)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")
@pytest.mark.parametrize("place", [
    {"shear": (0, 0.5, 0)},
    {"rotate": (0, 30, 0)},
    {"affine": [[1, 0, 0.3, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]},
])  # fmt: skip
def test_an_oblique_plane_is_refused(place: dict[str, Any]) -> None:
    layer = Image(np.zeros((5, 9, 9)), name="tilted", **place)
    dims = dims_of(layer)
    with pytest.raises(InputError, match=r"^tilted is rotated or sheared out of its planes"):
        take_plane(layer, dims)


def test_a_sheared_stack_with_parallel_planes_is_not_oblique() -> None:
    affine = np.eye(4)
    affine[2, 0] = 0.5  # as in deskewed light-sheet stacks
    with pytest.warns(UserWarning, match="Non-orthogonal slicing"):
        layer = Image(np.arange(5.0)[:, None, None] * np.ones((5, 9, 9)), affine=affine,
                      contrast_limits=(0, 4))  # fmt: skip
        dims = dims_of(layer, step={0: 3})
    assert take_plane(layer, dims).load().max() == pytest.approx(0.75)


def test_a_layer_outside_the_shown_point_is_refused_with_its_extent() -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((30, 9, 9)))
    layer = viewer.add_image(
        np.zeros((4, 9, 9)), name="paint", translate=(20, 0, 0), axis_labels=("z", "y", "x")
    )
    viewer.dims.set_current_step(0, 19)
    with pytest.raises(InputError, match=r"^paint shows nothing at this point: on z it lies from "
                       r"20 to 23, and the viewer is at 19; move"):  # fmt: skip
        take_plane(layer, viewer.dims)
    viewer.dims.set_current_step(0, 20)
    assert take_plane(layer, viewer.dims).index[0] == 0


@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_thick_slice_without_planes_is_refused() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.ones((9, 4, 4)), scale=(-1, 1, 1), contrast_limits=(0, 1))
    viewer.dims.set_current_step(0, 4)
    viewer.dims.thickness = (4, 0, 0)
    assert np.isnan(layer._slice.image.raw).all()
    with pytest.raises(InputError, match="shows nothing at this point"):
        take_plane(layer, viewer.dims)


def test_a_volume_is_refused_and_a_flat_layer_accepted_in_3d() -> None:
    viewer = ViewerModel()
    stack = viewer.add_image(np.zeros((5, 6, 7)), name="stack")
    flat = viewer.add_image(np.ones((6, 7)), contrast_limits=(0, 1))
    viewer.dims.ndisplay = 3
    with pytest.raises(InputError, match=r"^stack is displayed in 3D, and a run takes a plane"):
        take_plane(stack, viewer.dims)
    assert take_plane(flat, viewer.dims).shape == (6, 7)


@pytest.mark.parametrize("rgb", [False, True])
def test_a_plane_as_displayed_has_the_layers_sides(rgb: bool) -> None:
    """Grey values as displayed have an additional axis of colours."""
    layer = Image(RNG.integers(0, 99, (3, 20, 24, 3)[: 3 + rgb]), rgb=rgb, contrast_limits=(0, 99))
    dims = dims_of(layer, order=(0, 2, 1))
    grey = take_plane(layer, dims)
    plane = take_plane(layer, dims, intensities="displayed")

    assert plane.shape == plane.full_shape == plane.load().shape[:2] == (24, 20)
    assert len(plane.index) == len(plane.data.shape)
    np.testing.assert_array_equal(plane.corners, grey.corners)
    for taken, expected in zip(plane.grid, grey.grid, strict=True):
        np.testing.assert_array_equal(taken, expected)
