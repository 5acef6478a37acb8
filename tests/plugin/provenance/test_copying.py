"""Copied Python code and shell commands reproduce a result to the same bytes."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from layer_helpers import run_python
from napari.components import ViewerModel
from npe2 import PluginManager
from PIL import Image

from napari_nst.cli import main
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.errors import InputError
from napari_nst.files import read_image
from napari_nst.plugin.layers.arrays import take_plane
from napari_nst.plugin.layers.geometry import View
from napari_nst.plugin.layers.labels import take_labels
from napari_nst.plugin.provenance.copying import as_command, as_python
from napari_nst.plugin.provenance.origins import ORIGINS_KEY, origins_of_job, origins_of_planes
from napari_nst.plugin.run.job import Job, StackOptions
from napari_nst.plugin.run.layer_jobs import (
    LayerPlane,
    job_from_layers,
    make_result_layer,
    result_metadata,
)
from napari_nst.plugin.run.stack_run import StackRun
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from napari_nst.plugin.layers.value_range import LayerIntensities

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")


@pytest.fixture
def viewer() -> ViewerModel:
    """A viewer model, with the installed readers and samples."""
    PluginManager.instance().discover()
    return ViewerModel()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a photo, a painting and a stack of 16 bits."""
    rng = np.random.default_rng(0)
    for name, shape in (("photo.png", (40, 48, 3)), ("it's paint.png", (44, 36, 3))):
        Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(tmp_path / name)
    stack = rng.integers(500, 900, (4, 36, 40), np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    return tmp_path


def run_transfer(
    viewer: Any,
    content: Any,
    *styles: Any,
    steer: bool = False,
    origins: bool = True,
    **choices: Any,
) -> Any:
    """Run a transfer as the panel does, and return the result layer."""
    layers = (content, *styles)
    planes = [take_plane(layer, viewer.dims) for layer in layers]
    images = [plane.load() for plane in planes]
    settings = StyleTransferSettings(**({"iterations": 3, "size": 48} | choices))
    run = StyleTransfer(images[0], images[1:], settings, names=[plane.name for plane in planes])
    for snapshot in run:
        if steer and snapshot.iteration == 1:
            run.steer(style_weight=5)
    result = run.result()
    job = Job(planes[0], tuple(planes[1:]), settings)
    metadata: dict[str, Any] = {"napari_nst": result.record.to_dict()}
    if origins:
        metadata[ORIGINS_KEY] = origins_of_job(job)
    data = planes[0].restore(result.image)
    return viewer.add_image(data, name="result", rgb=planes[0].rgb, metadata=metadata)


def run_stack(
    viewer: Any,
    content: Any,
    style: Any,
    options: StackOptions,
    *,
    changes: dict[int, dict[str, Any]] | None = None,
    intensities: LayerIntensities = "limits",
) -> Any:
    """Run a stack as the panel does, and return the result layer."""
    view = View.from_dims(viewer.dims)
    job = job_from_layers(
        LayerPlane(content, view),
        [LayerPlane(style, view)],
        StyleTransferSettings(iterations=3, size=32, device="cpu"),
        longest=32,
        intensities=intensities,
        stack=options,
    )
    origins = origins_of_job(job)
    stack_run = StackRun(job)
    changes = changes or {}
    if 0 in changes:
        stack_run.run.steer(**changes[0])
    for snapshot in stack_run.run:
        if snapshot.iteration in changes:
            stack_run.run.steer(**changes[snapshot.iteration])
    result = stack_run.end()
    layer = make_result_layer(job, result.picture, result_metadata(result.record, origins))
    return viewer.add_layer(layer)


def run_command(text: str, folder: Path) -> np.ndarray:
    """Run a command in this process, and return the picture that it writes."""
    name, *arguments = shlex.split(text)
    assert name == "napari-nst"
    with contextlib.chdir(folder):
        assert main(arguments) == 0
    return read_image(folder / arguments[-1])


def run_in_shell(text: str, folder: Path) -> np.ndarray:
    """Run a command in a shell, and return the picture that it writes."""
    scripts = str(Path(sys.executable).parent)
    path = os.pathsep.join([scripts, os.environ["PATH"]])
    subprocess.run(text, shell=True, check=True, cwd=folder, env={**os.environ, "PATH": path})
    return read_image(folder / shlex.split(text)[-1])


def same_bytes(a: np.ndarray, b: Any) -> bool:
    b = np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.usefixtures("real_network")
def test_inputs_from_files_are_read_from_the_files(viewer: Any, pictures: Path) -> None:
    (photo,) = viewer.open(pictures / "photo.png", plugin="napari")
    (paint,) = viewer.open(pictures / "it's paint.png", plugin="napari")
    layer = run_transfer(viewer, photo, paint, steer=True)
    photo.name = "renamed"
    viewer.layers.remove(paint)

    text = as_python(layer)
    assert "viewer" not in text
    assert same_bytes(run_python(text), layer.data)
    command = as_command(layer, viewer.layers)
    assert shlex.split(command)[3:] == [
        str(pictures / "photo.png"), str(pictures / "it's paint.png"), "-o", "result.png",
    ]  # fmt: skip
    assert same_bytes(run_in_shell(command, pictures), layer.data)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 1, 3, 2)])
@pytest.mark.parametrize(
    "options",
    [
        StackOptions(1, "warped", long_term=True),
        StackOptions(1, "previous"),
        StackOptions(0, "content"),
    ],
)
def test_a_stack_is_repeated(viewer: Any, order: tuple[int, ...], options: StackOptions) -> None:
    rng = np.random.default_rng(0)
    still = rng.integers(500, 900, (2, 1, 24, 30), np.uint16)
    film = np.concatenate([np.roll(still, k, axis=2) for k in range(4)], axis=1)
    content = viewer.add_image(film, name="film", contrast_limits=(450.5, 850))
    style = viewer.add_image(rng.integers(0, 255, (28, 20, 3), np.uint8), name="paint", rgb=True)
    viewer.dims.order = order
    viewer.dims.set_current_step(0, 1)
    layer = run_stack(viewer, content, style, options)

    content.name = "renamed"
    content.contrast_limits = (0, 9000)
    text = as_python(layer, viewer.layers)
    assert "viewer.layers['renamed']" in text
    assert f'start_from="{options.start_from}"' in text
    assert ("long_term=True" in text) == options.long_term
    assert same_bytes(run_python(text, viewer), layer.data)
    content.data[:] += 1
    with pytest.raises(AssertionError, match="other planes than the run had"):
        run_python(text, viewer)
    with pytest.raises(InputError, match="is a whole stack, which no command replays"):
        as_command(layer, viewer.layers)


def test_changes_during_the_run_of_a_stack_are_repeated(viewer: Any) -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 255, (3, 24, 30, 4), np.uint8)
    content = viewer.add_image(colour, name="film", rgb=True)
    style = viewer.add_image(rng.integers(0, 255, (28, 20, 3), np.uint8), name="paint", rgb=True)
    changes: dict[int, dict[str, Any]] = {
        0: {"style_weight": 3},
        3: {"temporal_weight": 80},
        5: {"temporal_weight": 1, "tv_weight": 0},
    }
    layer = run_stack(viewer, content, style, StackOptions(0, "warped"), changes=changes)
    text = as_python(layer, viewer.layers)
    assert "3: {'temporal_weight': 80.0}" in text
    assert same_bytes(run_python(text, viewer), layer.data)


def test_displayed_intensities_of_a_stack_are_repeated(viewer: Any) -> None:
    rng = np.random.default_rng(0)
    content = viewer.add_image(rng.random((3, 24, 30)), name="film", colormap="viridis")
    style = viewer.add_image(rng.integers(0, 255, (28, 20, 3), np.uint8), name="paint", rgb=True)
    layer = run_stack(viewer, content, style, StackOptions(0), intensities="displayed")
    assert layer.data.shape == (3, 24, 30, 3)
    assert same_bytes(run_python(as_python(layer, viewer.layers), viewer), layer.data)


def test_a_stack_that_code_cannot_repeat_is_refused(viewer: Any) -> None:
    rng = np.random.default_rng(0)
    data = rng.random((2, 24, 30))
    content = viewer.add_image(data, name="channels", axis_labels=("c", "y", "x"))
    style = viewer.add_image(rng.integers(0, 255, (28, 20, 3), np.uint8), name="paint", rgb=True)
    options = StackOptions(0, "content")
    layer = run_stack(viewer, content, style, options, intensities="percentiles")
    with pytest.raises(InputError, match="because each of its channels has its own intensities"):
        as_python(layer, viewer.layers)
    layer.metadata["napari_nst"]["finished"][1]["content_labels"] = {"name": "labels"}
    with pytest.raises(InputError, match="because it has regions"):
        as_python(layer, viewer.layers)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
def test_a_plane_of_a_grey_stack_is_replayed(
    viewer: Any, pictures: Path, order: tuple[int, ...]
) -> None:
    (stack,) = viewer.open(pictures / "stack.tif", plugin="napari")
    stack.contrast_limits = (450.5, 850)
    paint = viewer.add_image(np.asarray(Image.open(pictures / "it's paint.png")), name="paint")
    viewer.dims.order = order
    viewer.dims.set_current_step(0, 2)
    layer = run_transfer(viewer, stack, paint)
    viewer.dims.set_current_step(0, 0)
    stack.contrast_limits = (0, 9000)

    text = as_python(layer)
    assert "tifffile.imread(" in text
    assert "[2, :, :]" in text
    assert 'viewer.layers["paint"]' in text.replace("'", '"')
    assert layer.data.dtype == np.uint16
    assert same_bytes(run_python(text, viewer), layer.data)

    written = run_command(as_command(layer, viewer.layers), pictures)
    shown = (layer.data[0].T if order == (0, 2, 1) else layer.data[0]).astype(float)
    assert written.dtype == np.uint16
    # The file has the full range of 16 bits, the layer the values between its limits.
    np.testing.assert_allclose(written / 65535, (shown - 450.5) / (850 - 450.5), atol=1 / 399)


def test_inputs_from_samples_are_read_from_the_samples(viewer: Any, tmp_path: Path) -> None:
    camera, woodcut = viewer.open_sample("napari-nst", "camera_woodcut")
    layer = run_transfer(viewer, camera, woodcut)

    text = as_python(layer)
    assert "samples.SAMPLES['camera_woodcut'].content()" in text
    assert "samples.SAMPLES['camera_woodcut'].style()" in text
    assert "viewer" not in text
    assert same_bytes(run_python(text), layer.data)
    command = as_command(layer, viewer.layers)
    viewer.layers.clear()
    assert as_command(layer, viewer.layers) == command  # without the layers of the sample
    written = run_command(command, tmp_path)
    assert written.shape == layer.data.shape


def test_inputs_from_layers_are_checked_by_hash(viewer: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    photo = viewer.add_image(rng.random((40, 48, 4)), name='pho"to', rgb=True)  # float64, alpha
    one = viewer.add_image([rng.random((44, 36)), rng.random((22, 18))], name="one")  # two levels
    two = viewer.add_image(rng.integers(0, 99, (44, 36, 3), np.uint8), name="two", rgb=True)
    layer = run_transfer(viewer, photo, one, two, style_weights=(0.3, 0.7))

    text = as_python(layer)
    assert same_bytes(run_python(text, viewer), layer.data)
    command = as_command(layer, viewer.layers)
    assert run_command(command, tmp_path).shape == (40, 48, 4)
    two.data = two.data + 1
    with pytest.raises(InputError, match="is not the image"):
        run_python(text, viewer)
    with pytest.raises(InputError, match="two has changed since"):
        as_command(layer, viewer.layers)


def test_a_changed_file_is_not_used(viewer: Any, pictures: Path) -> None:
    (photo,) = viewer.open(pictures / "photo.png", plugin="napari")
    layer = run_transfer(viewer, photo, photo)
    (pictures / "photo.png").write_bytes((pictures / "it's paint.png").read_bytes())
    assert "viewer.layers['photo']" in as_python(layer)
    (pictures / "photo.png").unlink()

    assert same_bytes(run_python(as_python(layer), viewer), layer.data)
    assert "photo.png" not in as_command(layer, viewer.layers)


def test_without_origins_inputs_are_layers_of_the_recorded_names(viewer: Any) -> None:
    rng = np.random.default_rng(1)
    photo = viewer.add_image(rng.integers(0, 255, (40, 48, 3), np.uint8), name="photo")
    layer = run_transfer(viewer, photo, photo, origins=False)

    assert (
        run_python(as_python(layer), viewer).astype(np.float64) * 255
    ).round().tolist() == layer.data.tolist()
    assert as_command(layer, viewer.layers).startswith("napari-nst replay ")


def test_labels_and_replacements_are_replayed(viewer: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    photo, one, two, three = (
        viewer.add_image(rng.integers(0, 255, (*shape, 3), np.uint8), name=name, rgb=True)
        for name, shape in (
            ("photo", (40, 48)), ("one", (44, 36)), ("two", (40, 40)), ("three", (36, 44)),
        )
    )  # fmt: skip
    halves = np.ones((40, 48), np.uint8)
    halves[:, 24:] = 2
    labels = viewer.add_labels(halves, name="halves")
    thirds = viewer.add_labels(np.where(np.arange(48) < 16, 1, 2) * np.ones((40, 1), int))
    on_one = viewer.add_labels(np.ones((44, 36), np.uint8), name="on one")
    on_two = viewer.add_labels(np.full((40, 40), 2, np.uint8), name="on two")
    content, *styles = (take_plane(layer, viewer.dims) for layer in (photo, one, two))
    painted = [take_labels(labels, content)]
    painted += [
        take_labels(layer, plane) for layer, plane in zip((on_one, on_two), styles, strict=True)
    ]
    settings = StyleTransferSettings(iterations=4, size=48)
    job = Job(content, tuple(styles), settings, None, painted[0], tuple(painted[1:]))
    run = StyleTransfer(
        content.load(),
        [style.load() for style in styles],
        settings,
        names=["photo", "one", "two"],
        content_labels=painted[0].load(),
        style_labels=[each.load() for each in painted[1:]],
    )
    origins = origins_of_job(job)
    for snapshot in run:
        if snapshot.iteration == 2:
            other = take_plane(three, viewer.dims)
            replacements = (styles[0], other, take_labels(thirds, content))
            run.steer(
                styles=[styles[0].load(), other.load()],
                content_labels=thirds.data,
                style_labels=None,
            )
            origins["replacements"] = origins_of_planes(replacements)
    result = run.result()
    layer = viewer.add_image(
        content.restore(result.image),
        name="result",
        metadata={"napari_nst": result.record.to_dict(), ORIGINS_KEY: origins},
    )

    assert same_bytes(run_python(as_python(layer), viewer), layer.data)
    assert same_bytes(run_command(as_command(layer, viewer.layers), tmp_path), layer.data)
    thirds.data = thirds.data + 1
    with pytest.raises(InputError, match="has changed since the run began"):
        as_command(layer, viewer.layers)


def test_a_layer_without_a_record_is_refused(viewer: Any) -> None:
    layer = viewer.add_image(np.zeros((9, 9)), name="mine")
    for copy in (as_python, lambda layer: as_command(layer, viewer.layers)):
        with pytest.raises(InputError) as caught:
            copy(layer)
        assert str(caught.value) == (
            "mine has no record of a run: choose a layer that the style transfer made."
        )
