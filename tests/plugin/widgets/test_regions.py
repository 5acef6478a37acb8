"""Labels of planes, and the styles of labels."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import dask.array
import hypothesis
import numpy as np
import pytest
from layer_helpers import outer_corners
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtWidgets import QLabel
from random_viewers import in_units_of, viewers

from napari_nst.errors import InputError
from napari_nst.plugin.layers.arrays import take_plane
from napari_nst.plugin.layers.geometry import canvas_corners, visible_part
from napari_nst.plugin.layers.labels import take_labels, unique_labels
from napari_nst.plugin.widgets.controls import Controls
from napari_nst.plugin.widgets.job_maker import JobMaker
from napari_nst.plugin.widgets.regions_table import RegionsTable

STYLES = ("photo", "paint")


def bands(shape: tuple[int, ...] = (30, 40)) -> np.ndarray:
    """Return labels 0, 1 and 2 in three bands."""
    labels = np.zeros(shape, np.uint8)
    labels[..., 10:20, :] = 1
    labels[..., 20:, :] = 2
    return labels


@pytest.fixture
def viewer() -> ViewerModel:
    viewer = ViewerModel()
    rng = np.random.default_rng(0)
    viewer.add_image(rng.random((30, 40, 3)), name="photo", rgb=True)
    viewer.add_image(rng.random((24, 20, 3)), name="paint", rgb=True)
    return viewer


@pytest.fixture
def controls(viewer: ViewerModel, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> Controls:
    monkeypatch.setattr("napari_nst.plugin.widgets.regions_box._MILLISECONDS", 30)
    return controls_of(viewer)


def controls_of(viewer: ViewerModel) -> Controls:
    """Return controls that are connected to the layer events like a panel."""
    controls = Controls(viewer)
    viewer.layers.events.inserted.connect(lambda _: controls.reset_choices())
    viewer.layers.events.removed.connect(lambda _: controls.reset_choices())
    return controls


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_labels_are_taken_from_the_shown_plane(order: tuple[int, int, int]) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((5, 6, 7)), scale=(3, 1, 1))
    data = np.random.default_rng(0).integers(0, 9, (5, 6, 7))
    labels = viewer.add_labels(data, scale=(3, 1, 1))
    viewer.dims.order = order
    viewer.dims.set_current_step(order[0], 2)
    taken = take_labels(labels, take_plane(image, viewer.dims))

    np.testing.assert_array_equal(taken.load(), data.transpose(order)[2])


def test_2d_labels_apply_to_every_plane_of_a_stack() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((5, 30, 40)))
    labels = viewer.add_labels(bands())

    taken = take_labels(labels, take_plane(image, viewer.dims))
    np.testing.assert_array_equal(taken.load(), bands())


def labels_at_pixels(image: Image, labels: Labels) -> np.ndarray:
    """Return the label that napari finds at each pixel of a two-dimensional image."""
    rows, columns = image.data.shape[:2]
    found = [
        [labels.get_value(image.data_to_world((r, c)), world=True) or 0 for c in range(columns)]
        for r in range(rows)
    ]
    return np.array(found)


@pytest.mark.parametrize("place", [
    {"translate": (10, -7)},
    {"translate": (100, 0)},
    {"scale": (-1, 1), "translate": (29, 0)},
    {"scale": (2, 2)},
    {"scale": (0.5, 0.25), "translate": (3.1, 2.2)},
    {"rotate": 180, "translate": (29, 39)},
    {"rotate": 90, "translate": (0, 39)},
    {"rotate": 33, "shear": [0.4], "translate": (5, 5)},
    {"affine": [[0.5, 1, 3], [-1, 0.3, 20], [0, 0, 1]]},
])  # fmt: skip
@pytest.mark.parametrize("shape", [(30, 40), (9, 13)])
def test_labels_match_the_canvas(
    viewer: ViewerModel, place: dict[str, Any], shape: tuple[int, int]
) -> None:
    data = np.arange(1, shape[0] * shape[1] + 1).reshape(shape)
    labels = viewer.add_labels(data, **place)
    photo = viewer.layers["photo"]
    taken = take_labels(labels, take_plane(photo, viewer.dims))

    expected = labels_at_pixels(photo, labels)
    np.testing.assert_array_equal(taken.load(), expected)
    # Labels between the pixels of a coarser image are included.
    assert set(taken.unique_labels()) >= set(np.unique(expected).tolist())
    assert (0 in taken.unique_labels()) == (0 in expected)


# Shears and rotations are in the displayed plane; napari warns before the order of axes is set.
@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")
@hypothesis.settings(
    max_examples=30, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
@hypothesis.given(drawn=viewers("il"))
def test_labels_match_napari_in_random_viewers(drawn: Any) -> None:
    viewer, (image, labels) = drawn
    dims = viewer.dims
    try:
        plane = take_plane(image, dims)
    except InputError:
        hypothesis.reject()
    taken = take_labels(labels, plane).load()
    units = dims.units or (None,) * dims.ndim
    for row, column in np.ndindex(*plane.shape):
        pixel = np.zeros(image.ndim)
        pixel[list(plane.shown)] = row, column
        world = np.array(dims.point)
        own = np.array(image.data_to_world(pixel))
        if dims.units is not None:
            own = in_units_of(own, image.units, units[-image.ndim :])
        for axis in plane.shown:
            world[axis - image.ndim] = own[axis]
        on_labels = world[-labels.ndim :]
        if dims.units is not None:
            on_labels = in_units_of(on_labels, units[-labels.ndim :], labels.units)
        place = np.asarray(labels.world_to_data(on_labels))
        if (np.abs(place % 1 - 0.5) < 1e-6).any():
            continue  # on the edge of a pixel, where rounding is undefined
        assert taken[row, column] == (labels.get_value(on_labels, world=True) or 0)


def test_labels_of_a_plane_are_taken_at_its_world_position() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((6, 4, 5)), units=("um",) * 3)
    data = np.arange(1, 4)[:, None, None] * np.ones((3, 4, 5), int)
    labels = viewer.add_labels(
        data, scale=(1000, 1000, 1000), translate=(2000, 0, 0), units=("nm",) * 3
    )
    taken = take_labels(labels, take_plane(image, viewer.dims))

    assert [int(taken.at(0, k).load().max()) for k in range(6)] == [0, 0, 1, 2, 3, 0]


def test_only_the_covered_part_of_lazy_labels_is_read() -> None:
    read: list[tuple[int, ...]] = []

    def block(block_info: Any = None) -> np.ndarray:
        read.append(block_info[None]["chunk-location"])
        return np.ones((1, 8, 8), np.uint8)

    data = dask.array.map_blocks(block, chunks=((1,) * 4, (8,) * 3, (8,) * 3), dtype=np.uint8)
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((6, 7)), translate=(9, 9))
    labels = viewer.add_labels(data)
    taken = take_labels(labels, take_plane(image, viewer.dims))
    read.clear()

    assert taken.load().all()
    assert read == [(0, 1, 1)]


def test_labels_follow_a_coarser_level_of_a_pyramid() -> None:
    viewer = ViewerModel()
    levels = [np.zeros((64, 96), np.uint8), np.zeros((32, 48), np.uint8)]
    image = viewer.add_image(levels, multiscale=True)
    data = np.arange(64 * 96).reshape(64, 96)
    labels = viewer.add_labels(data)
    plane = take_plane(image, viewer.dims, 40)

    assert plane.shape == (32, 48)
    taken = take_labels(labels, plane).load()
    np.testing.assert_array_equal(taken, data[1::2, 1::2])


def test_labels_follow_a_part_of_the_image() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((30, 40)))
    data = np.arange(30 * 40).reshape(30, 40)
    labels = viewer.add_labels(data)
    plane = take_plane(image, viewer.dims, part={0: (3, 20), 1: (7, 31)})

    assert plane.shape == (17, 24)
    np.testing.assert_array_equal(take_labels(labels, plane).load(), data[3:20, 7:31])


def test_later_painting_is_read_on_load(viewer: ViewerModel) -> None:
    labels = viewer.add_labels(bands())
    taken = take_labels(labels, take_plane(viewer.layers["photo"], viewer.dims))
    before = taken.load()
    labels.data[0, 0] = 7

    assert before[0, 0] == 0
    assert taken.load()[0, 0] == 7


def point_camera(
    viewer: ViewerModel, center: tuple[float, float], height: float, width: float
) -> Any:
    """Point the camera at a part of the world; return the corners of the canvas."""
    viewer.canvas.size = (round(height * 10), round(width * 10))
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0, *center), 10
    return canvas_corners(viewer)


def test_the_visible_part_of_a_pyramid_is_in_pixels_of_its_finest_level() -> None:
    viewer = ViewerModel()
    levels = [np.zeros((640, 960), np.uint8), np.zeros((160, 240), np.uint8)]
    image = viewer.add_image(levels, multiscale=True)
    corners = point_camera(viewer, (119.5, 239.5), 160, 320)

    assert visible_part(image, viewer.dims, corners) == {0: (40, 200), 1: (80, 400)}


def test_the_visible_part_is_found_in_other_units_and_directions() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(
        np.zeros((100, 200)), scale=(-0.5, 0.25), translate=(49.5, 0), units=("um", "um")
    )
    viewer.add_image(np.zeros((9, 9)), units=("nm", "nm"))
    # Rows 60 to 79 and columns 40 to 99, in nanometers.
    corners = point_camera(viewer, (49500 - 69.5 * 500, 69.5 * 250), 20 * 500, 60 * 250)
    np.testing.assert_allclose(corners[1] - corners[0], (10000, 15000))
    assert visible_part(image, viewer.dims, corners) == {0: (60, 80), 1: (40, 100)}
    viewer.dims.transpose()
    corners = point_camera(viewer, (69.5 * 250, 49500 - 69.5 * 500), 60 * 250, 20 * 500)
    assert visible_part(image, viewer.dims, corners) == {0: (60, 80), 1: (40, 100)}


@pytest.mark.parametrize("change", ["hidden", "out of view"])
def test_a_layer_outside_the_canvas_cannot_be_drafted(viewer: ViewerModel, change: str) -> None:
    layer = viewer.layers["photo"]
    corners = point_camera(viewer, (15, 20), 100, 100)
    assert visible_part(layer, viewer.dims, corners) == {0: (0, 30), 1: (0, 40)}
    if change == "hidden":
        layer.visible = False
    else:
        corners = point_camera(viewer, (300, 20), 100, 100)

    with pytest.raises(InputError, match="shows too little of photo"):
        visible_part(layer, viewer.dims, corners)


@pytest.mark.parametrize(
    "values", [[], [3, 3, 0], [70000, 5], [-4, 2], np.array([1, 9], np.uint8), [2**40]]
)
def test_unique_labels_finds_all_labels_of_an_array(values: Any) -> None:
    array = np.array(values, dtype=getattr(values, "dtype", np.int64))

    assert unique_labels(array) == sorted(set(array.tolist()))


def table(labels: list[int], *, same: bool = False, styles: tuple[str, ...] = STYLES) -> Any:
    regions = RegionsTable()
    regions.show_labels(labels, Labels(np.zeros((2, 2), int)), styles, same=same)
    return regions


def test_by_default_each_label_has_its_own_style(qtbot: Any) -> None:
    assert table([0, 1, 2, 3]).region_styles == {0: None, 1: 0, 2: 1, 3: 0}


def test_default_assignments_are_none(qtbot: Any) -> None:
    assert table([0, 1, 2], styles=("photo",)).region_styles is None
    assert table([0, 1, 2], same=True).region_styles is None


def test_a_label_takes_the_choice_of_its_row(qtbot: Any) -> None:
    regions = table([0, 1, 2], same=True)
    combo = regions.combos[1]
    assert [combo.itemText(i) for i in range(combo.count())] == [
        "Same label", "1: photo", "2: paint", "Keep content",
    ]  # fmt: skip
    combo.setCurrentIndex(2)
    combo.activated.emit(2)
    regions.choose(2, "keep")

    assert regions.region_styles == {0: None, 1: 1, 2: None}


def test_a_choice_is_remembered_while_its_label_is_absent(qtbot: Any) -> None:
    regions = table([1, 2])
    regions.choose(2, "keep")
    regions.show_labels([1], None, STYLES, same=False)
    assert regions.region_styles == {1: 0}
    regions.show_labels([1, 2], None, STYLES, same=False)
    assert regions.region_styles == {1: 0, 2: None}


def test_a_removed_style_is_not_assigned(qtbot: Any) -> None:
    regions = table([1, 2])
    regions.choose(1, 1)
    regions.show_labels([1, 2], None, STYLES[:1], same=False)

    assert regions.region_styles is None


def test_a_row_shows_number_and_colour(qtbot: Any) -> None:
    layer = Labels(np.arange(3)[None])
    regions = RegionsTable()
    regions.show_labels([0, 1], layer, STYLES, same=False)
    texts = [label.text() for label in regions.findChildren(QLabel) if label.text()]
    (swatch,) = [
        x for x in regions.findChildren(QLabel) if x.accessibleName() == "Colour of label 1"
    ]
    color = swatch.pixmap().toImage().pixelColor(8, 8).getRgbF()

    assert texts == ["0, unpainted", "1"]
    np.testing.assert_allclose(color, layer.get_color(1), atol=0.01)


def test_many_labels_do_not_make_many_rows(qtbot: Any) -> None:
    regions = table(list(range(200)))

    assert len(regions.combos) < 40
    assert len(regions.region_styles) == 200


def test_a_job_includes_the_chosen_labels(viewer: ViewerModel, controls: Controls) -> None:
    controls.regions.content_labels.value = viewer.add_labels(bands(), name="bands")
    controls.regions.table.choose(2, "keep")
    job = JobMaker(viewer, controls).job()

    assert job.settings.region_styles == {0: None, 1: 0, 2: None}
    np.testing.assert_array_equal(job.content_labels.load(), bands())
    assert job.style_labels is None


def test_labels_on_a_style_are_matched_by_their_number(
    viewer: ViewerModel, controls: Controls
) -> None:
    controls.regions.content_labels.value = viewer.add_labels(bands(), name="bands")
    of_style = viewer.add_labels(bands((24, 20)), name="of paint")
    controls.regions.style_labels[0].value = of_style
    job = JobMaker(viewer, controls).job()

    assert job.settings.region_styles is None
    np.testing.assert_array_equal(job.style_labels[0].load(), of_style.data)
    of_style.data[of_style.data == 2] = 5
    controls.regions.refresh()
    with pytest.raises(InputError, match="Label 2 is on the content and on no style"):
        JobMaker(viewer, controls).job()


def test_empty_labels_are_refused_before_the_run(viewer: ViewerModel, controls: Controls) -> None:
    controls.regions.paint()

    layer = viewer.layers["regions of photo"]
    assert controls.regions.content_labels.value is layer
    assert layer.mode == "paint"
    assert layer.data.shape == (30, 40)
    with pytest.raises(InputError, match="No label of the content has a style"):
        JobMaker(viewer, controls).job()
    assert "No label" in JobMaker(viewer, controls).estimate()


@pytest.mark.parametrize("change", ["paint", "fill", "undo", "set", "hidden", "data"])
def test_any_change_of_labels_emits_painted_once(
    viewer: ViewerModel, controls: Controls, qtbot: Any, change: str
) -> None:
    layer = viewer.add_labels(bands())
    controls.regions.content_labels.value = layer
    layer.paint((2, 2), 6)
    qtbot.wait(100)
    emitted: list[object] = []
    controls.regions.painted.connect(lambda: emitted.append(1))
    if change == "paint":
        for column in range(5, 15):
            layer.paint((2, column), 7)
    elif change == "fill":
        layer.fill((15, 15), 7)
    elif change == "undo":
        layer.undo()
    elif change == "set":
        layer.data_setitem((np.array([1]), np.array([1])), 7)
    elif change == "hidden":
        layer.visible = False
        layer.paint((2, 20), 7)
    else:
        layer.data = np.ones_like(layer.data)
    qtbot.waitUntil(lambda: bool(emitted), timeout=3000)

    assert len(emitted) == 1
    assert controls.regions.table.labels == sorted(np.unique(layer.data).tolist())


def test_a_deselected_layer_is_disconnected(
    viewer: ViewerModel, controls: Controls, qtbot: Any
) -> None:
    layer = viewer.add_labels(bands())
    controls.regions.content_labels.value = layer
    controls.regions.content_labels.value = None
    qtbot.wait(100)
    emitted: list[object] = []
    controls.regions.painted.connect(lambda: emitted.append(1))
    layer.paint((2, 2), 6)
    qtbot.wait(100)

    assert emitted == []
    assert JobMaker(viewer, controls).job().content_labels is None


def test_deleting_the_labels_removes_the_regions(viewer: ViewerModel, controls: Controls) -> None:
    controls.regions.content_labels.value = viewer.add_labels(bands())
    viewer.layers.remove(viewer.layers[-1])

    assert controls.regions.content_labels.value is None
    assert JobMaker(viewer, controls).job().settings.region_styles is None


class Huge:
    """Lazy stack that does not fit into memory."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "uint16") -> None:
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)
        self.size = math.prod(shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        lengths = [
            len(range(*place.indices(size))) if isinstance(place, slice) else 0
            for place, size in zip(index, self.shape, strict=False)
        ]
        return np.zeros([length for length in lengths if length], self.dtype)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit labels to 4000 bytes, and planes to 3000 pixels."""
    memory = SimpleNamespace(available=4 * 4000)
    monkeypatch.setattr(
        "napari_nst.plugin.widgets.regions_box.psutil.virtual_memory", lambda: memory
    )
    monkeypatch.setattr("napari_nst.plugin.widgets.regions_box._MAX_PIXELS", 3000)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("shape", "layer_shape"),
    [
        ((3, 30, 40), (3, 30, 40)),  # 3600 bytes
        ((9, 30, 40), (1, 30, 40)),  # one plane for all
        ((2, 60, 80), (1, 47, 63)),  # 4800 pixels in a plane
    ],
)
def test_new_labels_fit_into_memory_and_cover_the_content(
    shape: tuple[int, ...], layer_shape: tuple[int, ...], qtbot: Any
) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(
        np.zeros(shape, np.float32), name="stack", scale=(4, 2, 2), translate=(7, 1, 5),
        rotate=(0, 0, 20), shear=(0, 0, 0.3), contrast_limits=(0, 1),
    )  # fmt: skip
    controls = controls_of(viewer)
    messages: list[str] = []
    controls.regions.info.connect(messages.append)
    controls.regions.paint()
    labels = viewer.layers[-1]

    assert labels.data.shape == layer_shape
    np.testing.assert_allclose(outer_corners(labels), outer_corners(image))
    assert bool(messages) == (layer_shape != shape)
    assert all(labels.name in text and "GiB" in text for text in messages)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
def test_one_plane_of_labels_lies_over_all_planes(order: tuple[int, ...], qtbot: Any) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((36, 30, 40), np.float32), contrast_limits=(0, 1))
    viewer.dims.order = order
    controls = controls_of(viewer)
    controls.regions.paint()
    labels = viewer.layers[-1]
    labels.data[..., 0] = 3
    for step in (0, 17, 29):
        viewer.dims.set_current_step(order[0], step)
        taken = take_labels(labels, take_plane(image, viewer.dims)).load()
        assert set(np.unique(taken)) >= {3}
        assert labels._slice_input.displayed == image._slice_input.displayed
        assert not labels._slice.empty  # displayed by napari


def test_labels_over_a_huge_lazy_stack_fit_into_memory(qtbot: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(Huge((500, 60000, 60000)), name="slide", contrast_limits=(0, 9), cache=False)
    controls = controls_of(viewer)
    controls.regions.paint()
    labels = viewer.layers[-1]

    assert labels.data.shape == (1, 8192, 8192)
    assert outer_corners(labels)[1].tolist() == [499.5, 59999.5, 59999.5]


def test_paint_regions_reuses_an_empty_layer(viewer: ViewerModel, controls: Controls) -> None:
    controls.regions.paint_button.click()
    first = viewer.layers[-1]
    viewer.layers.selection.active = viewer.layers[0]
    first.mode = "pan_zoom"
    controls.regions.paint_button.click()
    assert viewer.layers[-1] is first and len(viewer.layers) == 3
    assert viewer.layers.selection.active is first and first.mode == "paint"

    elsewhere = viewer.add_labels(np.zeros((30, 40), int), translate=(999, 0))
    controls.regions.content_labels.value = elsewhere
    controls.regions.paint_button.click()
    assert viewer.layers[-1] is not elsewhere
    viewer.layers.remove(elsewhere)
    viewer.layers.remove(viewer.layers[-1])
    controls.regions.content_labels.value = first
    controls.regions.paint_button.click()
    first = viewer.layers[-1]

    first.data[:5] = 1  # painted regions are not reused
    controls.regions.refresh()
    controls.regions.paint_button.click()
    assert controls.regions.content_labels.value is viewer.layers[-1] is not first


@pytest.mark.parametrize("lost", ["scale", "translate"])
def test_labels_that_lost_the_place_of_the_content_are_reported(
    lost: str, viewer: ViewerModel, controls: Controls, qtbot: Any
) -> None:
    photo = viewer.layers["photo"]
    photo.scale, photo.translate, photo.units = (0.2, 0.2), (3, 5), ("mm", "mm")
    place: dict[str, Any] = {"scale": (0.2, 0.2), "translate": (3, 5)}
    kept = viewer.add_labels(bands(), name="kept", **place)  # units are lost
    labels = viewer.add_labels(bands(), name="other", **{k: place[k] for k in {*place} - {lost}})
    smaller = viewer.add_labels(bands((20, 40)), name="smaller")
    controls.content.value = photo
    (shown,) = (
        label
        for label in controls.regions.findChildren(QLabel)
        if label.accessibleName() == "Problem with the regions"
    )

    for layer in (kept, smaller):
        controls.regions.content_labels.value = layer
        assert shown.text() == ""
    controls.regions.content_labels.value = labels
    assert "other has the shape of photo but lies elsewhere" in shown.text()
    setattr(labels, lost, place[lost])
    qtbot.waitUntil(lambda: shown.text() == "", timeout=5000)
