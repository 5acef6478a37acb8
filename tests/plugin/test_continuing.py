"""The input layers of a result are found by their pixels to continue, compare and copy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from layer_helpers import run_python
from napari.components import ViewerModel
from napari.layers import Image

from napari_nst import stylize_layer
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.errors import InputError
from napari_nst.plugin import commands
from napari_nst.plugin.commands import continue_layer
from napari_nst.plugin.layers.arrays import take_plane
from napari_nst.plugin.layers.labels import take_labels
from napari_nst.plugin.provenance.comparison import Comparison
from napari_nst.plugin.provenance.copying import as_command, as_python
from napari_nst.plugin.provenance.finding import RunInputs, find_layer
from napari_nst.plugin.provenance.origins import ORIGINS_KEY, origins_of_job, origins_of_planes
from napari_nst.plugin.run.job import Job
from napari_nst.settings import StyleTransferSettings

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")

QUICK: dict[str, Any] = {"size": 48, "iterations": 2}
RNG = np.random.default_rng(0)


def colours(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> ViewerModel:
    """A photo, two paintings and a stack in the current viewer."""
    viewer = ViewerModel()
    monkeypatch.setattr(commands.napari, "current_viewer", lambda: viewer)
    viewer.add_image(colours(40, 48), name="photo")
    for name in ("oil", "ink"):
        viewer.add_image(colours(36, 44), name=name)
    stack = RNG.integers(0, 900, (9, 40, 44), dtype=np.uint16)
    viewer.add_image(stack, name="stack", scale=(2, 1, 1))
    return viewer


def stylize(viewer: ViewerModel, content: str = "photo", *styles: str, **choices: Any) -> Image:
    layers = [viewer.layers[name] for name in styles or ("oil",)]
    result = stylize_layer(viewer.layers[content], layers, **QUICK, **choices)
    viewer.add_layer(result)
    return result


def flip(viewer: ViewerModel, result: Image) -> tuple[list[str], list[str]]:
    """Show the content instead of the result; return visible layers and warnings."""
    for layer in viewer.layers:
        layer.visible = layer is result
    warnings: list[str] = []
    comparison = Comparison(
        SimpleNamespace(layers=viewer.layers, bind_key=lambda *_: None),  # type: ignore[arg-type]
        lambda: result,
    )
    comparison.warning.connect(warnings.append)
    comparison.flip(True)
    return [layer.name for layer in viewer.layers if layer.visible], warnings


def hash_of(layer: Image, *path: Any) -> str:
    """Return the hash of an input in the record of a result."""
    found: Any = layer.metadata["napari_nst"]
    for part in path:
        found = found[part]
    return str(found["sha256"])


def replace_layer(viewer: ViewerModel, name: str, other: str) -> None:
    """Rename a layer, and give its name to a new layer of the same shape."""
    layer = viewer.layers[name]
    layer.name = other
    data = np.zeros_like(np.asarray(layer.data))
    kind = viewer.add_labels if type(layer).__name__ == "Labels" else viewer.add_image
    kind(data, name=name)


def test_renamed_layers_are_found_by_their_pixels(viewer: ViewerModel) -> None:
    regions = np.ones((40, 48), np.uint8)
    regions[:20] = 0
    labels = viewer.add_labels(regions, name="regions")
    result = stylize(viewer, content_labels=labels)
    for name in ("photo", "oil", "regions"):
        replace_layer(viewer, name, f"my {name}")

    assert flip(viewer, result) == (["my photo"], [])
    again = continue_layer(result)
    for path in (("content",), ("styles", 0), ("content_labels",)):
        assert hash_of(again, *path) == hash_of(result, *path)
    origins = again.metadata[ORIGINS_KEY]
    assert [origins[role]["layer"] for role in ("content", "content_labels", "init_image")] == [
        "my photo", "my regions", result.name,
    ]  # fmt: skip
    text = as_python(result, viewer.layers)
    assert run_python(text, viewer).tobytes() == result.data.tobytes()
    assert as_command(result, viewer.layers)


def test_the_input_layer_is_preferred_to_a_copy(viewer: ViewerModel) -> None:
    result = stylize(viewer)
    photo = viewer.layers["photo"]
    photo.name = "first"
    viewer.layers.insert(0, Image(photo.data.copy(), name="photo"))
    assert flip(viewer, result)[0] == ["first"]
    viewer.layers.remove("first")
    assert flip(viewer, result)[0] == ["photo"]  # the copy


def test_messages_name_removed_and_changed_layers(viewer: ViewerModel) -> None:
    result = stylize(viewer)
    photo = viewer.layers["photo"]
    photo.data = photo.data[::-1]
    shown, warnings = flip(viewer, result)
    assert shown == [result.name]
    assert "The pixels of photo have changed since the run of photo x oil began" in warnings[0]
    with pytest.raises(InputError, match="began: undo the change, or give the"):
        continue_layer(result)
    replace_layer(viewer, "photo", "moved")
    viewer.layers.remove("moved")
    viewer.layers.remove("photo")
    shown, warnings = flip(viewer, result)
    assert shown == [result.name]
    assert warnings == [
        "photo x oil was made of photo, and no layer has its pixels (48 x 40, uint8) now: bring it "
        "back."
    ]
    with pytest.raises(InputError, match="was made of photo, and no layer has"):
        continue_layer(result)
    assert "# No layer has these pixels now" in as_python(result, viewer.layers)
    with pytest.raises(InputError, match=r"no layer and no file has its pixels \(48 x 40, uint8\)"):
        as_command(result, viewer.layers)


def test_only_planes_of_matching_layers_are_read(viewer: ViewerModel) -> None:
    class Lazy:
        """Array that records the shapes of its reads."""

        def __init__(self, data: np.ndarray) -> None:
            self._data, self.read = data, []
            self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim

        def __getitem__(self, index: Any) -> np.ndarray:
            part = self._data[index]
            self.read.append(part.shape)
            return part

    result = stylize(viewer, "stack", plane=3)
    one = RunInputs.from_layer(result).content
    stack = viewer.layers["stack"].data
    other, deeper, whole = (
        Lazy(stack[:, ::-1]),
        Lazy(np.zeros((99, 40, 44), np.uint16)),
        Lazy(stack),
    )
    layers = [Image(data, contrast_limits=(0, 9)) for data in (deeper, other, whole)]
    for data in (other, deeper, whole):
        data.read.clear()
    assert find_layer(one, layers) is layers[2]
    assert (deeper.read, other.read, whole.read) == ([], [(40, 44)], [(40, 44)])


def test_continue_takes_the_plane_of_the_result(viewer: ViewerModel) -> None:
    result = stylize(viewer, "stack", plane=3)
    viewer.dims.set_point(0, 2)  # the slider has moved to plane 1
    again = continue_layer(result)
    assert hash_of(again, "content") == hash_of(result, "content")
    np.testing.assert_allclose(again.translate, result.translate)
    with pytest.raises(InputError, match=r"stack x oil shows nothing .*move the slider"):
        continue_layer(result, point=(2, 0, 0))
    assert hash_of(continue_layer(result, point=(6, 0, 0)), "content") == hash_of(result, "content")


@pytest.mark.parametrize("mode", ["max", "mean"])
def test_continue_takes_the_thick_slice_of_the_result(viewer: ViewerModel, mode: str) -> None:
    stack = viewer.layers["stack"]
    stack.projection_mode = mode
    viewer.dims.set_point(0, 8)
    viewer.dims.margin_left = viewer.dims.margin_right = (3, 0, 0)
    result = stylize(viewer, "stack", point=viewer.dims)
    assert result.scale[0] > stack.scale[0]
    viewer.dims.set_point(0, 0)
    viewer.dims.margin_left = viewer.dims.margin_right = (0, 0, 0)
    again = continue_layer(result)
    assert hash_of(again, "content") == hash_of(result, "content")
    np.testing.assert_allclose(again.scale, result.scale)
    np.testing.assert_allclose(again.translate, result.translate)


@pytest.mark.parametrize("displayed", [(0, 2), (1, 0), (2, 1)])
def test_continue_takes_the_view_of_the_result(viewer: ViewerModel, displayed: Any) -> None:
    result = stylize(viewer, "stack", plane=2, displayed=displayed)
    again = continue_layer(result)
    assert again.data.shape == result.data.shape
    assert hash_of(again, "content") == hash_of(result, "content")


def test_continue_takes_the_plane_of_each_style(viewer: ViewerModel) -> None:
    styles = viewer.add_image(
        RNG.integers(0, 255, (4, 36, 40), dtype=np.uint8), name="styles", scale=(2, 1, 1)
    )
    result = stylize(viewer, "stack", "styles", plane=3)
    styles.translate = (100, 0, 0)  # no point of the stack shows its plane
    again = continue_layer(result)
    assert hash_of(again, "styles", 0) == hash_of(result, "styles", 0)


def test_a_result_of_a_pyramid_is_continued_at_its_level_or_a_finer(
    viewer: ViewerModel,
) -> None:
    full = colours(160, 192)
    viewer.add_image([full, full[::2, ::2], full[::4, ::4]], name="pyramid", multiscale=True)
    result = stylize(viewer, "pyramid")
    assert result.metadata[ORIGINS_KEY]["content"]["level"] == 2
    again = continue_layer(result)
    assert hash_of(again, "content") == hash_of(result, "content")
    finer = continue_layer(result, settings={"size": 96, "iterations": 1})
    assert finer.data.shape == (80, 96, 3)


def test_continue_keeps_all_regions(viewer: ViewerModel) -> None:
    halves = np.zeros((40, 48), np.uint8)
    halves[20:, :24], halves[20:, 24:] = 1, 2
    labels = viewer.add_labels(halves, name="halves")
    on_oil = viewer.add_labels(np.ones((36, 44), np.uint8), name="on oil")
    result = stylize(
        viewer, "photo", "oil", "ink", content_labels=labels, style_labels=[on_oil, None],
        region_styles={1: 0, 2: 1}, style_weights=(0.25, 0.75), intensities="percentiles",
    )  # fmt: skip
    for removed in (False, True):
        if removed:  # the labels are stored with the result
            viewer.layers.remove(labels)
            on_oil.data = on_oil.data * 0
        again = continue_layer(result)
        record, before = again.metadata["napari_nst"], result.metadata["napari_nst"]
        for role in ("content", "styles", "content_labels", "style_labels", "kept_labels"):
            assert record[role] == before[role]
        assert record["settings"] == before["settings"] | {"init": "image"}
        assert again.metadata[ORIGINS_KEY]["content"]["intensities"] == "percentiles"
        np.testing.assert_array_equal(again.data[:20], result.data[:20])
        assert continue_layer(again).metadata["napari_nst"]["content_labels"] is not None

    origins = result.metadata[ORIGINS_KEY]
    for one in (origins["content_labels"], origins["style_labels"][0]):
        one["pixels"] = None  # as in a result that was loaded from a file
    with pytest.raises(InputError, match="was made of halves, and no layer has"):
        continue_layer(result)
    other = viewer.add_labels(halves, name="others")
    with pytest.raises(InputError, match="The pixels of on oil have changed"):
        continue_layer(result, content_labels=other)
    given = continue_layer(result, content_labels=other, style_labels=[None, None])
    assert hash_of(given, "content_labels") == hash_of(result, "content_labels")
    assert given.metadata["napari_nst"]["style_labels"] is None
    with pytest.raises(InputError, match="labels on 1 styles and 2 styles"):
        continue_layer(result, content_labels=other, style_labels=[None])


def test_continue_keeps_steered_settings_and_inputs(viewer: ViewerModel) -> None:
    labels = viewer.add_labels(np.ones((40, 48), np.uint8), name="labels")
    photo, oil, ink = (
        take_plane(viewer.layers[name], viewer.dims) for name in ("photo", "oil", "ink")
    )
    painted = take_labels(labels, photo)
    settings = StyleTransferSettings(**QUICK)
    job = Job(photo, (oil,), settings, content_labels=painted)
    origins = origins_of_job(job)
    run = StyleTransfer(
        photo.load(), [oil.load()], settings, names=["photo", "oil"], content_labels=painted.load()
    )
    for snapshot in run:
        if snapshot.iteration == 1:
            labels.data = np.full((40, 48), 2, np.uint8)
            replacements = (ink, take_labels(labels, photo))
            run.steer(styles=[ink.load()], names=["ink"], style_weight=5)
            run.steer(content_labels=labels.data)
            origins["replacements"] = origins_of_planes(replacements)
    result = run.result()
    layer = viewer.add_image(
        photo.restore(result.image),
        name="result",
        metadata={"napari_nst": result.record.to_dict(), ORIGINS_KEY: origins},
    )
    labels.data = labels.data * 0  # changed after the run
    replace_layer(viewer, "ink", "my ink")

    record = continue_layer(layer).metadata["napari_nst"]
    first, second = layer.metadata["napari_nst"]["steering"]
    assert record["settings"]["style_weight"] == 5
    assert [one["sha256"] for one in record["styles"]] == [first["styles"][0]["sha256"]]
    assert record["content_labels"]["sha256"] == second["content_labels"]["sha256"]


def test_inputs_without_origins_are_found_by_hash(viewer: ViewerModel) -> None:
    result = stylize(viewer)
    del result.metadata[ORIGINS_KEY]
    replace_layer(viewer, "photo", "renamed")
    assert flip(viewer, result)[0] == ["renamed"]


def test_the_content_of_a_stack_is_found_by_its_first_finished_plane() -> None:
    data = RNG.integers(0, 900, (5, 12, 14), dtype=np.uint16)
    stack, other = Image(data, name="stack"), Image(data[::-1], name="other")
    result = stylize_layer(stack, Image(colours(36, 44)), plane=2, size=32, iterations=1)
    record = result.metadata["napari_nst"]
    whole = record | {
        "finished": [{"plane": 2, "content": record["content"], "content_labels": None,
                      "steering": []}],
    }  # fmt: skip
    origins = {"content": result.metadata[ORIGINS_KEY]["content"] | {"index": [0, None, None]}}
    inputs = RunInputs.from_metadata(whole, origins)
    assert find_layer(inputs.content, [other, stack]) is stack
