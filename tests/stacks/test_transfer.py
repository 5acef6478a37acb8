"""Runs of stacks: order of planes, results, resuming, steering, labels and records."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_helpers import quick_settings, run_to_end

from napari_nst import StyleTransfer
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.engine.run.style_cache import StyleCache
from napari_nst.errors import InputError
from napari_nst.stacks import (
    PlaneArray,
    PlaneStore,
    ResumableStack,
    StackRecord,
    StackTransfer,
    plane_settings,
    stored_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_nst import Snapshot, StyleTransferResult, StyleTransferSettings

    Image = NDArray[np.float32]
    Maker = Callable[[int, int], Image]

PLANES = 4
ITERATIONS = 6  # of each plane

quick = partial(quick_settings, iterations=ITERATIONS, device="cpu")

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")


@pytest.fixture
def planes(photo: Maker) -> Image:
    """A disc that moves over a photo."""
    y, x = np.mgrid[:40, :48]
    stack = np.stack([photo(40, 48)] * PLANES)
    for k, picture in enumerate(stack):
        picture[(y - 20) ** 2 + (x - 12 - 4 * k) ** 2 < 40] = (0.9, 0.1, 0.1)
    return stack


class Results(dict[int, Any]):
    """Images of the finished planes, in the order in which they finished."""

    def add(self, plane: int, result: StyleTransferResult) -> None:
        assert plane not in self
        self[plane] = result.image


def stylize_stack(
    planes: Any, style: Any, settings: StyleTransferSettings | None = None, **options: Any
) -> Results:
    """Run a whole stack and return its results."""
    results = Results()
    list(StackTransfer(planes, style, settings or quick(), on_plane_done=results.add, **options))
    return results


def position(snapshot: Snapshot) -> tuple[int, int]:
    """Return the plane of a snapshot, from 0, and the iteration of that plane, from 1."""
    return snapshot.plane - 1, (snapshot.iteration - 1) % ITERATIONS + 1


def half_labels(planes: Image) -> NDArray[np.uint8]:
    """Return labels of every plane: 1 at the left, 0 at the right."""
    labels = np.zeros(planes.shape[:3], np.uint8)
    labels[:, :20] = 1
    return labels


def test_planes_are_processed_in_order(planes: Image, style: Image) -> None:
    results, positions, elapsed = Results(), list[tuple[int, int]](), list[float]()
    run = StackTransfer(planes, style, quick(), on_plane_done=results.add)
    for snapshot in run:
        assert (snapshot.planes, snapshot.iterations) == (PLANES, ITERATIONS * PLANES)
        assert snapshot.progress == pytest.approx(snapshot.iteration / snapshot.iterations)
        elapsed.append(snapshot.elapsed)
        positions.append(position(snapshot))
        assert list(results) == list(range(snapshot.plane - 1))
    assert sorted(positions) == positions
    assert sorted(elapsed) == elapsed
    assert {plane for plane, _ in positions} == set(range(PLANES))
    assert list(results) == list(run.finished) == list(range(PLANES))
    assert all(image.shape == planes[0].shape for image in results.values())
    assert run.unfinished == ()


def test_planes_that_start_from_their_content_equal_single_images(
    planes: Image, style: Image
) -> None:
    from_content = stylize_stack(planes, style, start_from="content")
    for k, content in enumerate(planes):
        alone = run_to_end(StyleTransfer(content, style, quick()))
        assert from_content[k].tobytes() == alone.image.tobytes()
    from_previous = stylize_stack(planes, style)
    assert from_previous[0].tobytes() == from_content[0].tobytes()
    assert from_previous[1].tobytes() != from_content[1].tobytes()


@pytest.mark.usefixtures("real_network")
def test_planes_that_start_from_the_previous_one_agree_better(planes: Image, style: Image) -> None:
    differences = []
    for start_from in ("previous", "content"):
        results = stylize_stack(planes, style, quick(iterations=60), start_from=start_from)
        differences.append(np.abs(np.diff(list(results.values()), axis=0)).mean())
    assert differences[0] < 0.8 * differences[1]


def test_network_and_style_statistics_are_computed_once(
    planes: Image, style: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = list[StyleCache]()
    init = StyleCache.__init__
    monkeypatch.setattr(StyleCache, "__init__", lambda self: (caches.append(self), init(self))[1])
    stylize_stack(planes, style)
    (style_cache,) = caches
    assert (style_cache.networks, style_cache.computed) == (1, 1)


def test_a_plane_is_read_when_it_is_processed(planes: Image, style: Image) -> None:
    read = list[int]()

    class Lazy:
        def __len__(self) -> int:
            return PLANES

        def __getitem__(self, k: int) -> Image:
            read.append(k)
            return planes[k]

    run = StackTransfer(Lazy(), style, quick(), start_from="content")
    assert read == []
    for snapshot in run:
        assert read == list(range(snapshot.plane))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_can_be_grey_integers(photo: Maker, style: Image, dtype: Any) -> None:
    grey = photo(40, 48)[..., 0]
    stack = (np.stack([grey, grey * 0.9, grey * 0.8]) * np.iinfo(dtype).max).astype(dtype)
    results = stylize_stack(stack, style)
    assert [image.shape for image in results.values()] == [(40, 48)] * 3
    assert all(image.dtype == np.float32 for image in results.values())


@pytest.mark.usefixtures("real_network")
@pytest.mark.parametrize("start_from", ["previous", "content"])
def test_all_planes_have_the_bits_that_the_largest_value_needs(
    photo: Maker, style: Image, start_from: Any
) -> None:
    grey = photo(40, 48)[..., 0]
    counts = np.stack([grey * 200, grey * 3000, grey * 1000]).astype(np.uint16)
    images, records = [], []
    for stack in (counts, (counts / 4095).astype(np.float32)):
        results = Results()
        options: Any = {"start_from": start_from, "on_plane_done": results.add}
        run = StackTransfer(stack, style, quick(), **options)
        list(run)
        images.append(np.stack(list(results.values())))
        records.append(run.record)
    assert {plane.content.bits for plane in records[0].finished} == {12}
    # Where rounding changes the sign of a gradient, a pixel differs by up to the learning rate.
    difference = np.abs(images[0] * 65535 - images[1] * 4095)
    assert difference.mean() < 0.002 * 4095


def test_the_order_of_planes_can_be_given(planes: Image, style: Image) -> None:
    results = Results()
    before = {0: None, 1: None, 2: 0, 3: 1}  # two channels whose planes alternate
    run = StackTransfer(
        planes,
        style,
        quick(),
        before=before.get,
        load_previous=results.get,
        on_plane_done=results.add,
    )
    list(run)
    from_previous = [plane.init_image is not None for plane in run.record.finished]
    assert from_previous == [False, False, True, True]
    for first, second in ((0, 2), (1, 3)):
        channel = stylize_stack(planes[[first, second]], style)
        assert channel[1].tobytes() == results[second].tobytes()


def test_missing_values_of_a_plane_are_missing_in_its_result(photo: Maker, style: Image) -> None:
    stack = np.stack([photo(40, 48)[..., 0]] * 3)
    stack[0, :10, :10] = stack[1, 5:15, 5:15] = np.nan
    results = stylize_stack(stack, style, quick(nan="keep"))
    for image, content in zip(results.values(), stack, strict=True):
        np.testing.assert_array_equal(np.isnan(image), np.isnan(content))


# Stopping and resuming


@pytest.mark.parametrize(
    ("stop_at", "finished"), [(None, []), ((0, ITERATIONS), [0]), ((2, 2), [0, 1])]
)
def test_a_stopped_run_keeps_the_finished_planes(
    planes: Image, style: Image, stop_at: tuple[int, int] | None, finished: list[int]
) -> None:
    results = Results()
    run = StackTransfer(planes, style, quick(), on_plane_done=results.add)
    if stop_at is None:
        run.stop()
    for snapshot in run:
        if position(snapshot) == stop_at:
            run.stop()
    assert list(results) == list(run.finished) == finished
    assert run.unfinished == tuple(range(len(finished), PLANES))
    assert list(run) == []
    if finished:
        assert run.record.status == "stopped"
        assert [plane.plane for plane in run.record.finished] == finished


def store(path: Path, planes: Image) -> PlaneStore:
    return PlaneStore(path, planes.shape, np.uint8, 0, {"of": "planes"})


class EightBits:
    """Conversion to and from uint8, which rounds."""

    def from_engine(self, k: int, image: NDArray[Any]) -> NDArray[Any]:
        return np.rint(image * 255).astype(np.uint8)

    def to_engine(self, k: int, plane: NDArray[Any]) -> Any:
        return plane


def stored_run(
    store: PlaneArray, planes: Image, style: Image, start_from: Any = "previous"
) -> ResumableStack:
    """Return a run that writes its planes to a store, as uint8."""
    return ResumableStack(
        planes, style, quick(), store=store, conversion=EightBits(), start_from=start_from
    )


def test_a_run_is_resumed_to_the_same_bytes(planes: Image, style: Image, tmp_path: Path) -> None:
    whole, interrupted = (store(tmp_path / name, planes) for name in ("whole", "interrupted"))
    list(stored_run(whole, planes, style))
    run = stored_run(interrupted, planes, style)
    for snapshot in run:
        if snapshot.plane == 3:
            run.stop()
    resumed = store(tmp_path / "interrupted", planes)
    assert resumed.finished == {0, 1}
    run = stored_run(resumed, planes, style)
    assert {snapshot.plane - 1 for snapshot in run} == {2, 3}
    assert resumed.array.tobytes() == whole.array.tobytes()
    assert [plane.plane for plane in run.record.finished] == [0, 1, 2, 3]
    assert run.record.status == "finished"


def test_the_result_has_the_array_of_the_store_and_the_record(
    planes: Image, style: Image, tmp_path: Path
) -> None:
    in_memory = PlaneArray(planes.shape, np.uint8, 0)
    on_disk = store(tmp_path, planes)
    for target in (in_memory, on_disk):
        run = stored_run(target, planes, style)
        next(run)
        assert not run.result().image.any()
        list(run)
        assert run.result().image is target.array
        assert run.result().record == run.record == stored_record(target)
    assert in_memory.array.tobytes() == on_disk.array.tobytes()


def test_missing_planes_start_from_the_stored_ones(
    planes: Image, style: Image, tmp_path: Path
) -> None:
    whole, gaps = store(tmp_path / "whole", planes), store(tmp_path / "gaps", planes)
    list(stored_run(whole, planes, style))
    for k in (0, 2):
        gaps.put(k, whole.plane(k))
    assert {snapshot.plane - 1 for snapshot in stored_run(gaps, planes, style)} == {1, 3}
    assert gaps.array.tobytes() == whole.array.tobytes()


@pytest.mark.parametrize("installed", [True, False])
def test_a_resumed_run_estimates_motion_by_the_method_of_the_finished_planes(
    planes: Image, style: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    def install_opencv(installed: bool) -> None:
        monkeypatch.setattr("napari_nst.stacks.motion.find_spec", lambda _: installed or None)

    install_opencv(installed)
    whole, interrupted = (store(tmp_path / name, planes[:3]) for name in ("whole", "interrupted"))
    list(stored_run(whole, planes[:3], style, "warped"))
    run = stored_run(interrupted, planes[:3], style, "warped")
    for snapshot in run:
        if snapshot.plane == 3:
            run.stop()
    install_opencv(not installed)
    if installed:
        with pytest.raises(InputError, match=r"OpenCV is not installed: .*napari-nst\[motion\]"):
            stored_run(interrupted, planes[:3], style, "warped")
        return
    run = stored_run(interrupted, planes[:3], style, "warped")
    assert len(list(run)) > 0
    assert run.record.flow_method == "tvl1"
    assert interrupted.array.tobytes() == whole.array.tobytes()


@pytest.mark.parametrize("start_from", ["previous", "content"])
def test_a_finished_plane_whose_content_changed_raises(
    planes: Image, style: Image, start_from: Any
) -> None:
    finished = StackTransfer(planes, style, quick(iterations=1))
    list(finished)
    run = StackTransfer(
        planes[::-1],
        style,
        quick(),
        start_from=start_from,
        finished={0: finished.record.finished[0]},
        load_previous=lambda k: planes[k],
    )
    with pytest.raises(InputError, match="Plane 0 of content has changed since"):
        next(run)


def test_a_finished_plane_that_cannot_be_loaded_raises(planes: Image, style: Image) -> None:
    with pytest.raises(InputError, match="plane 1 starts from it: give load_previous"):
        next(StackTransfer(planes, style, quick(), finished=[0]))
    independent = StackTransfer(planes, style, quick(), finished=[0], start_from="content")
    assert next(independent).plane == 2


def test_a_run_of_a_complete_stack_does_nothing(planes: Image, style: Image) -> None:
    run = StackTransfer(planes, style, quick(), finished=range(PLANES))
    assert list(run) == []
    assert run.unfinished == ()


KILLED_RUN = """
import os, signal, sys
import numpy as np
sys.path[:0] = {paths!r}
import test_transfer as t
import thin_vgg
import torch
from napari_nst.engine.network import weights
torch.set_num_threads(1)
weights.load = thin_vgg.load
planes, style = (np.load({folder!r} + name) for name in ("/content.npy", "/style.npy"))
store = t.store(t.Path({folder!r}) / "store", planes)
for snapshot in t.stored_run(store, planes, style):
    if t.position(snapshot) == (2, 2):
        store.array[2] = 99  # half a plane is written when the process is killed
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_a_killed_run_is_resumed_to_the_same_bytes(
    planes: Image, style: Image, tmp_path: Path
) -> None:
    np.save(tmp_path / "content.npy", planes)
    np.save(tmp_path / "style.npy", style)
    tests = Path(__file__).parents[1]
    paths = [str(tests / "stacks"), str(tests / "engine")]
    code = KILLED_RUN.format(paths=paths, folder=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = store(tmp_path / "store", planes)
    assert resumed.finished == {0, 1}
    assert (resumed.array[2] == 99).any()
    assert {snapshot.plane - 1 for snapshot in stored_run(resumed, planes, style)} == {2, 3}
    whole = store(tmp_path / "whole", planes)
    list(stored_run(whole, planes, style))
    assert resumed.array.tobytes() == whole.array.tobytes()


# Steering


def test_changes_apply_to_the_planes_after_them(
    planes: Image, style: Image, stripes: Maker
) -> None:
    run = StackTransfer(planes, style, quick())
    weights = {}
    for snapshot in run:
        if position(snapshot) == (1, 1):
            run.steer(style_weight=7.0, styles=[stripes(30, 30), style], names=["a", "b"])
        weights[snapshot.plane - 1] = run.run.settings.style_weight
    assert [weights[k] for k in range(PLANES)] == [1.0, 1.0, 7.0, 7.0]
    record = run.record
    assert record.settings.style_weight == 1.0
    assert [len(plane.steering) for plane in record.finished] == [0, 1, 0, 0]
    assert record.finished[1].steering[0].choices == {"style_weight": 7.0}
    with pytest.raises(InputError, match="The run of the stack has ended"):
        run.steer(style_weight=2)


def test_a_change_after_the_last_iteration_of_a_plane_applies_to_the_next(
    planes: Image, style: Image
) -> None:
    run = StackTransfer(planes, style, quick())
    for snapshot in run:
        if position(snapshot) == (1, 6):
            run.steer(style_weight=7.0)
        if snapshot.plane > 3:
            assert run.run.settings.style_weight == 7.0
    changes = [plane.steering for plane in run.record.finished]
    assert [len(own) for own in changes] == [0, 0, 1, 0]
    assert (changes[2][0].iteration, changes[2][0].choices) == (0, {"style_weight": 7.0})


def test_a_change_before_the_first_plane_applies_to_all(planes: Image, style: Image) -> None:
    run = StackTransfer(planes, style, quick())
    run.steer(style_weight=7.0)
    list(run)
    first, *others = run.record.finished
    assert [change.iteration for change in first.steering] == [0]
    assert all(plane.steering == () for plane in others)


def test_an_invalid_image_is_a_warning_and_changes_nothing(planes: Image, style: Image) -> None:
    run = StackTransfer(planes, style, quick())
    next(run)
    run.steer(styles=[style[:2]])
    assert next(run).warnings[0].startswith("style is 36 x 2 pixels; ")
    list(run)
    assert all(plane.steering == () for plane in run.record.finished)
    assert run.record.styles[0].shape == style.shape


def test_labels_can_be_read_when_they_are_applied(planes: Image, style: Image) -> None:
    labels = half_labels(planes)
    run = StackTransfer(planes, style, quick())
    for snapshot in run:
        if position(snapshot) == (1, 2):
            run.steer(content_labels=lambda: labels, region_styles={0: 0, 1: None})
    labelled = [plane.content_labels is not None for plane in run.record.finished]
    assert labelled == [False, False, True, True]


def test_an_invalid_change_does_not_change_the_result(planes: Image, style: Image) -> None:
    results, unsteered = Results(), stylize_stack(planes, style)
    run = StackTransfer(planes, style, quick(), on_plane_done=results.add)
    next(run)
    run.steer(style_labels=[np.ones((3, 3), int)])  # found to be invalid when it is applied
    with pytest.raises(InputError, match="iterations cannot be changed"):
        run.steer(iterations=3)
    with pytest.raises(InputError, match="content_labels has 1 planes, and the stack has 4"):
        run.steer(content_labels=[np.zeros((40, 48), int)])
    list(run)
    for k, image in unsteered.items():
        assert results[k].tobytes() == image.tobytes()
    assert all(plane.steering == () for plane in run.record.finished)


# Labels


def test_each_plane_has_its_own_labels(planes: Image, style: Image) -> None:
    labels = np.zeros(planes.shape[:3], np.uint8)
    for k, own in enumerate(labels):
        own[:, 10 * k + 4 :] = 1
    results = Results()
    settings = quick(region_styles={0: 0, 1: None})
    run = StackTransfer(planes, style, settings, content_labels=labels, on_plane_done=results.add)
    list(run)
    for k, image in results.items():
        right = np.s_[:, 10 * k + 6 :]
        np.testing.assert_allclose(image[right], planes[k][right], atol=1e-6)
    assert len({plane.content_labels.sha256 for plane in run.record.finished}) == PLANES
    with pytest.raises(InputError, match="content_labels has 2 planes, and the stack has 4"):
        StackTransfer(planes, style, settings, content_labels=labels[:2])


def test_labels_can_be_added_and_removed_during_a_run(planes: Image, style: Image) -> None:
    labels = half_labels(planes)
    run = StackTransfer(planes, style, quick())
    for snapshot in run:
        if position(snapshot) == (0, 2):
            run.steer(content_labels=labels, region_styles={0: 0, 1: None})
        if position(snapshot) == (2, 2):
            run.steer(content_labels=None, region_styles=None)
    labelled = [plane.content_labels is not None for plane in run.record.finished]
    assert labelled == [False, True, True, False]


# Record and errors


def test_the_record_describes_each_plane(planes: Image, style: Image) -> None:
    run = StackTransfer(planes, style, quick(), names=["stack", "paint"])
    with pytest.raises(InputError, match="no record before"):
        _ = run.record
    run.begin()
    assert run.record.status == "running"
    assert run.record.finished == ()
    list(run)
    record = run.record
    assert StackRecord.model_validate_json(record.to_json()) == record
    assert (record.status, record.start_from) == ("finished", "previous")
    assert record.content.name == "stack"
    assert record.content.shape == planes.shape
    assert record.content.dtype == "float32"
    assert [one.name for one in record.styles] == ["paint"]
    assert len({plane.content.sha256 for plane in record.finished}) == PLANES
    later = plane_settings(quick(), 1, "previous", (64, 80), "cpu")
    assert [plane.iterations for plane in record.finished] == [6] + [later.iterations] * 3
    assert [plane.init_image is None for plane in record.finished] == [True, False, False, False]
    assert all(plane.losses["total"] > 0 for plane in record.finished)
    assert record.to_dict()["settings"]["iterations"] == 6


def test_the_record_says_in_which_plane_memory_ran_out(
    planes: Image, style: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = StackTransfer(np.tile(planes[:3], (1, 4, 4, 1)), style, quick(iterations=2))
    original, calls = FeatureExtractor.record_tape, []

    def fail_once(self: FeatureExtractor, image: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:  # the second evaluation of the second plane
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return original(self, image)

    monkeypatch.setattr(FeatureExtractor, "record_tape", fail_once)
    list(run)
    first, second, third = run.record.finished
    (event,) = second.out_of_memory_events
    assert (event.iteration, event.tile, second.scales[0].tile) == (1, None, 96)
    for plane in (first, third):  # each has its own tiles
        assert (plane.out_of_memory_events, plane.scales[0].tile) == ((), None)


def test_a_plane_of_another_shape_raises_and_finished_planes_are_kept(
    planes: Image, style: Image
) -> None:
    results = Results()
    stack = [planes[0], planes[1][:30]]
    run = StackTransfer(stack, style, quick(), on_plane_done=results.add)
    with pytest.raises(InputError, match=r"Plane 1 of content has shape \(30, 48, 3\)"):
        list(run)
    assert list(results) == [0]
    assert run.record.status == "failed"


def test_an_initial_image_raises(planes: Image, style: Image) -> None:
    with pytest.raises(InputError, match="init is 'image', and a stack has no initial image"):
        StackTransfer(planes, style, quick(init="image"))


def test_an_empty_stack_raises(style: Image) -> None:
    with pytest.raises(InputError, match="no planes"):
        StackTransfer([], style)


def test_a_file_name_raises_with_advice_to_open_the_file(style: Image) -> None:
    with pytest.raises(InputError, match=r"The stack is 'cells\.tif', .*files\.open_stack"):
        StackTransfer("cells.tif", style)
