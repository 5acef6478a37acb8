"""`stylize_layer`: from layers to a result layer, without a viewer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zarr
from layer_helpers import run_python
from napari.components import ViewerModel
from napari.layers import Image, Labels

import napari_nst
from napari_nst.errors import InputError
from napari_nst.plugin.provenance.copying import as_python
from napari_nst.plugin.provenance.origins import ORIGINS_KEY

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")

QUICK: dict[str, Any] = {"size": 48, "iterations": 3}


@pytest.fixture
def paint(style: Any) -> Image:
    return Image((style * 255).astype(np.uint8), name="paint", rgb=True)


@pytest.fixture
def grey_paint(style: Any) -> Image:
    return Image(style.mean(axis=2), name="grey paint")


@pytest.fixture
def cells(content: Any) -> Image:
    """A stack of 16 bits with a transform and units."""
    planes = np.stack([content.mean(axis=2) * k for k in (1, 2, 3)])
    return Image(
        (100 + 1000 * planes).astype(np.uint16),
        name="cells",
        contrast_limits=(100, 3000),
        colormap="magma",
        gamma=0.8,
        scale=(5, 0.5, 0.25),
        translate=(1, 2, 3),
        units=("um", "um", "um"),
        axis_labels=("z", "y", "x"),
    )


def test_a_plane_of_a_grey_stack_keeps_dtype_and_place(cells: Image, paint: Image) -> None:
    seen: list[int] = []
    result = napari_nst.stylize_layer(
        cells, paint, plane=2, callback=lambda snapshot: seen.append(snapshot.iteration), **QUICK
    )

    assert type(result) is Image
    assert result.name == "cells x paint"
    assert result.data.dtype == np.uint16
    assert result.data.shape == (1, 40, 48)
    assert result.data.min() >= 100
    assert result.contrast_limits == cells.contrast_limits
    assert result.colormap.name == "magma"
    assert result.gamma == 0.8
    assert result.units == cells.units
    assert result.axis_labels == cells.axis_labels
    for place in ((-0.5, -0.5), (39.5, 47.5)):
        np.testing.assert_allclose(
            result.data_to_world((0, *place)), cells.data_to_world((2, *place)), atol=1e-9
        )
    record = napari_nst.RunRecord.model_validate(result.metadata["napari_nst"])
    assert record.content.name == "cells"
    assert record.iterations == 3
    assert result.metadata[ORIGINS_KEY]["content"]["index"] == [2, None, None]
    assert seen == [1, 2, 3]


def test_the_middle_plane_is_the_default(cells: Image, paint: Image) -> None:
    def index(**choices: Any) -> Any:
        result = napari_nst.stylize_layer(cells, paint, iterations=1, size=32, **choices)
        return result.metadata[ORIGINS_KEY]["content"]["index"][0]

    assert index() == 1
    assert index(plane=0) == 0
    assert index(plane=(-1,)) == 2
    assert index(point=cells.data_to_world((2, 0, 0))) == 2


def test_any_two_axes_can_be_displayed(cells: Image, paint: Image) -> None:
    stack = Image(np.moveaxis(cells.data, 0, 2), name="columns", rgb=False)
    result = napari_nst.stylize_layer(stack, paint, plane=1, displayed=(1, 0), **QUICK)

    assert result.data.shape == (40, 48, 1)
    origin = result.metadata[ORIGINS_KEY]["content"]
    assert origin["index"] == [None, None, 1]
    assert origin["transposed"]


@pytest.mark.parametrize("intensities", ["limits", "percentiles", "displayed"])
def test_the_copied_python_makes_the_same_bytes_for_all_intensities(
    cells: Image, grey_paint: Image, intensities: Any
) -> None:
    result = napari_nst.stylize_layer(
        cells, grey_paint, plane=1, intensities=intensities, nan="keep", **QUICK
    )
    viewer = ViewerModel()
    viewer.add_layer(cells)
    viewer.add_layer(grey_paint)
    origins = result.metadata[ORIGINS_KEY]
    assert {one["intensities"] for one in (origins["content"], *origins["styles"])} == {intensities}
    cells.contrast_limits, cells.colormap = (0, 1), "gray"  # those of the run are used

    picture = run_python(as_python(result), viewer)
    assert picture.dtype == result.data.dtype
    assert picture.tobytes() == result.data.tobytes()
    assert result.rgb == (intensities == "displayed")
    if result.rgb:
        assert result.data.dtype == np.uint8
        assert result.contrast_limits == [0, 255]
    else:
        assert result.contrast_limits == [100, 3000]


def test_missing_pixels_stay_missing(content: Any, grey_paint: Image) -> None:
    data = content.mean(axis=2).astype(np.float64)
    data[3:9, 5:20] = np.nan
    cells = Image(data, name="cells")
    with pytest.raises(InputError, match="cells has 90 values that are not finite"):
        napari_nst.stylize_layer(cells, grey_paint, **QUICK)
    result = napari_nst.stylize_layer(cells, grey_paint, nan="keep", **QUICK)
    np.testing.assert_array_equal(np.isnan(result.data), np.isnan(data))
    assert result.data.dtype == np.float64


def test_alpha_is_kept(content: Any, paint: Image) -> None:
    alpha = np.linspace(0, 1, 48) * np.ones((40, 1))
    cells = Image(np.dstack([content, alpha]), rgb=True)
    for intensities in ("limits", "percentiles"):
        result = napari_nst.stylize_layer(cells, paint, intensities=intensities, **QUICK)
        assert result.data.dtype == np.float64
        np.testing.assert_allclose(result.data[..., 3], alpha, atol=1e-6)
    shown = napari_nst.stylize_layer(cells, paint, intensities="displayed", **QUICK)
    np.testing.assert_allclose(shown.data[..., 3] / 255, alpha, atol=0.003)


def test_a_dark_background_stays_darker_than_the_cells(grey_paint: Image) -> None:
    y, x = np.mgrid[0:64, 0:64]
    cells = sum(np.exp(-((y - b) ** 2 + (x - a) ** 2) / 30) for a, b in ((15, 20), (40, 45)))
    layer = Image((200 + 3000 * cells).astype(np.uint16), name="cells")
    settings = napari_nst.presets.preset("grey microscopy")
    for intensities in ("limits", "percentiles"):
        result = napari_nst.stylize_layer(
            layer, grey_paint, settings, intensities=intensities, size=64, iterations=30
        )
        background = cells < 0.01
        low, high = layer.contrast_limits
        grey = (result.data[background].mean() - low) / (high - low)
        assert grey < 0.15
        assert result.data[cells > 0.8].mean() > 3 * result.data[background].mean()


def test_only_one_plane_of_one_level_of_a_lazy_pyramid_is_read(paint: Image) -> None:
    class Counted:
        """Array that counts the values read."""

        def __init__(self, shape: tuple[int, ...]) -> None:
            self.shape, self.dtype, self.ndim = shape, np.dtype(np.uint16), len(shape)
            self.read = 0

        @property
        def size(self) -> int:
            return int(np.prod(self.shape))

        def __getitem__(self, index: Any) -> Any:
            part = np.broadcast_to(np.uint16(7), self.shape)[index]
            self.read += part.size
            return part

    levels = [Counted((50, side, side)) for side in (512, 256, 128, 64)]
    layer = Image(levels, multiscale=True, contrast_limits=(0, 9))
    for level in levels:
        level.read = 0
    napari_nst.stylize_layer(layer, paint, plane=20, size=100, iterations=1)
    assert [level.read for level in levels[:2]] == [0, 0]
    # napari reads the coarsest level; the run reads one plane of the third.
    assert levels[2].read == 128 * 128


def test_a_zarr_array_gives_a_numpy_array(content: Any, grey_paint: Image) -> None:
    array = zarr.create_array(zarr.storage.MemoryStore(), shape=(4, 40, 48), dtype="uint8")
    array[...] = np.stack([(content.mean(axis=2) * 255).astype(np.uint8)] * 4)
    result = napari_nst.stylize_layer(Image(array, name="store"), grey_paint, **QUICK)
    assert isinstance(result.data, np.ndarray)
    assert result.data.dtype == np.uint8


def test_a_result_can_be_content_style_and_init_image(
    cells: Image, paint: Image, grey_paint: Image
) -> None:
    first = napari_nst.stylize_layer(cells, [paint, grey_paint], plane=0, seed=3, **QUICK)
    assert first.name == "cells x paint + grey paint"
    second = napari_nst.stylize_layer(first, grey_paint, **QUICK)
    third = napari_nst.stylize_layer(cells, second, plane=0, **QUICK)
    fourth = napari_nst.stylize_layer(cells, paint, plane=0, init_image=first, **QUICK)
    for result in (second, third, fourth):
        assert result.data.dtype == np.uint16
        assert result.data.shape == (1, 40, 48)
        assert result.contrast_limits == cells.contrast_limits
        np.testing.assert_allclose(result.translate, first.translate)
    assert fourth.metadata["napari_nst"]["init_image"]["name"] == "init_image"
    assert fourth.metadata[ORIGINS_KEY]["init_image"]["layer"] == first.name


def test_regions_are_taken_from_labels_layers(content: Any, paint: Image) -> None:
    photo = Image((content * 255).astype(np.uint8), name="photo", rgb=True)
    halves = np.zeros((40, 48), np.uint8)
    halves[:, 24:] = 1
    result = napari_nst.stylize_layer(
        photo, paint, content_labels=Labels(halves), region_styles={1: 0}, **QUICK
    )
    np.testing.assert_array_equal(result.data[:, :20], photo.data[:, :20])
    assert (result.data[:, 30:] != photo.data[:, 30:]).any()
    painted = Labels(1 + (np.arange(36) > 18) * np.ones((44, 1), np.uint8))
    guided = napari_nst.stylize_layer(
        photo, paint, content_labels=Labels(halves + 1), style_labels=[painted], **QUICK
    )
    assert guided.metadata[ORIGINS_KEY]["style_labels"][0]["layer"] == painted.name


def test_a_style_can_have_more_axes_than_the_content(content: Any, cells: Image) -> None:
    flat = Image(content.mean(axis=2), name="flat")
    result = napari_nst.stylize_layer(flat, cells, **QUICK)
    assert result.data.shape == (40, 48)
    assert result.metadata[ORIGINS_KEY]["styles"][0]["index"][0] == 1


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"plane": 3}, r"There is no plane 3 in cells: its axes .* have the lengths \(3,\)"),
        ({"plane": (0, 0)}, r"There is no plane \(0, 0\) in cells"),
        ({"plane": 0, "point": (0, 0, 0)}, "either plane or point"),
        ({"point": (0, 0)}, "point has 2 coordinates; cells has 3 axes"),
        ({"displayed": (0, 3)}, r"displayed is \(0, 3\); it must be two axes of the 3"),
        ({"displayed": (1, 1)}, "it must be two axes"),
        ({"intensities": "auto"}, "intensities is 'auto'"),
        ({"style": []}, "There is no style"),
        ({"style": np.zeros((9, 9))}, "of type ndarray; it must be a napari layer of type Image"),
        ({"style": Labels(np.ones((9, 9), int), name="seg")}, "seg is of type Labels; it must be"),
        ({"content_labels": Image(np.zeros((9, 9)))}, "it must be a napari layer of type Labels"),
        ({"style_labels": [None]}, "style_labels go with content_labels"),
    ],
)
def test_invalid_arguments_raise_a_message(
    cells: Image, paint: Image, choices: dict[str, Any], message: str
) -> None:
    arguments: dict[str, Any] = {"style": paint, **choices}
    with pytest.raises(InputError, match=message):
        napari_nst.stylize_layer(cells, **arguments)


def test_styles_in_other_units_are_taken_at_the_same_place(cells: Image, content: Any) -> None:
    planes = np.stack([np.roll(content, k, axis=0) for k in range(3)])
    style = Image(planes, rgb=True, scale=(5000, 500, 250), translate=(1000, 2000, 3000),
                  units=("nm", "nm", "nm"), name="other")  # fmt: skip
    for place in ({"plane": 2}, {"point": (11, 0, 0)}):
        result = napari_nst.stylize_layer(cells, style, **place, **QUICK)
        assert result.metadata[ORIGINS_KEY]["content"]["index"] == [2, None, None]
        assert result.metadata[ORIGINS_KEY]["styles"][0]["index"] == [2, None, None, None]
    with pytest.raises(InputError, match="cells shows nothing at this point: on z it lies from 1 "):
        napari_nst.stylize_layer(cells, style, point=(30, 0, 0), **QUICK)


def test_a_point_can_be_the_dims_of_a_viewer(cells: Image, paint: Image) -> None:
    viewer = ViewerModel()
    viewer.add_layer(cells)
    viewer.add_image(np.zeros((9, 9)), units=("nm", "nm"))
    viewer.dims.set_current_step(0, viewer.dims.nsteps[0] - 1)
    viewer.dims.transpose()
    result = napari_nst.stylize_layer(cells, paint, point=viewer.dims, **QUICK)
    assert result.metadata[ORIGINS_KEY]["content"]["index"] == [2, None, None]
    assert result.metadata[ORIGINS_KEY]["content"]["transposed"]
    viewer.dims.thickness = (10_000, 0, 0)
    result = napari_nst.stylize_layer(cells, paint, point=viewer.dims, **QUICK)
    assert result.metadata[ORIGINS_KEY]["content"]["projection"] == ["mean", (0,)]
    assert result.data_to_world((0, 0, 0))[0] == pytest.approx(8.5)
    with pytest.raises(InputError, match="Give either displayed or a point"):
        napari_nst.stylize_layer(cells, paint, point=viewer.dims, displayed=(1, 2), **QUICK)


def test_a_thick_slice_and_rotated_labels_can_be_replayed(cells: Image, paint: Image) -> None:
    viewer = ViewerModel()
    viewer.add_layer(cells)
    viewer.add_layer(paint)
    viewer.dims.set_current_step(0, 1)
    viewer.dims.thickness = (8, 0, 0)
    data = np.ones((20, 60), np.uint8)
    data[:, 30:] = 2
    turned = viewer.add_labels(
        data, scale=(0.5, 0.25), rotate=40, translate=(4, 2), units=("um", "um"), name="turned"
    )
    result = napari_nst.stylize_layer(
        cells, paint, point=viewer.dims, content_labels=turned, region_styles={1: 0}, **QUICK
    )
    text = as_python(result)
    assert "np.mean(content, axis=(0,))" in text
    assert "napari_nst.sampling.nearest(content_labels, [[" in text
    np.testing.assert_array_equal(run_python(text, viewer), result.data)
