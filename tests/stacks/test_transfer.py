"""A stack, plane by plane: what it yields, keeps, resumes and records."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_nst import StyleTransfer, StyleTransferSettings
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

PLANES = 4

pytestmark = pytest.mark.usefixtures("one_thread")


def settings(**choices: Any) -> StyleTransferSettings:
    quick: dict[str, Any] = {
        "content_layers": ("relu2_1",),
        "style_layers": ("relu1_1", "relu2_1"),
        "scales": 1,
        "size": None,
        "iterations": 6,
        "device": "cpu",
    }
    return StyleTransferSettings(**(quick | choices))


@pytest.fixture
def planes(photo):
    """A disc that wanders over a photo."""
    y, x = np.mgrid[:40, :48]
    stack = np.stack([photo(40, 48)] * PLANES)
    for k, picture in enumerate(stack):
        picture[(y - 20) ** 2 + (x - 12 - 4 * k) ** 2 < 40] = (0.9, 0.1, 0.1)
    return stack


class Kept(dict):
    """Remembers what was put, and in which order."""

    def put(self, k, result):
        assert k not in self
        self[k] = result.image


def finish(run):
    return list(run)


def place(snapshot):
    """Return the plane of a snapshot, from 0, and its iteration in that plane, of six."""
    return snapshot.plane - 1, (snapshot.iteration - 1) % 6 + 1


def test_planes_come_in_order_and_each_is_put_when_it_is_done(planes, style):
    kept, seen, elapsed = Kept(), [], []
    run = StackTransfer(planes, style, settings(), on_plane_done=kept.put)
    for snap in run:
        assert (snap.planes, snap.iterations) == (PLANES, 6 * PLANES)
        assert snap.progress == pytest.approx(snap.iteration / snap.iterations)
        elapsed.append(snap.elapsed)
        seen.append(place(snap))
        assert list(kept) == list(range(snap.plane - 1))
    assert sorted(seen) == seen
    assert sorted(elapsed) == elapsed
    assert {plane for plane, _ in seen} == set(range(PLANES))
    assert list(kept) == list(run.finished) == list(range(PLANES))
    assert all(image.shape == planes[0].shape for image in kept.values())
    assert run.unfinished == ()


def test_the_first_plane_and_planes_from_content_are_as_pictures_on_their_own(planes, style):
    kept = Kept()
    finish(StackTransfer(planes, style, settings(), start_from="content", on_plane_done=kept.put))
    for k, content in enumerate(planes):
        alone = StyleTransfer(content, style, settings())
        for _ in alone:
            pass
        assert kept[k].tobytes() == alone.result().image.tobytes()
    previous = Kept()
    finish(StackTransfer(planes, style, settings(), on_plane_done=previous.put))
    assert previous[0].tobytes() == kept[0].tobytes()
    assert previous[1].tobytes() != kept[1].tobytes()


def test_planes_that_start_from_the_one_before_agree_more(planes, style):
    changes = []
    for start_from in ("previous", "content"):
        kept = Kept()
        asked = settings(iterations=60)
        finish(StackTransfer(planes, style, asked, start_from=start_from, on_plane_done=kept.put))
        results = np.stack([kept[k] for k in range(PLANES)])
        changes.append(np.abs(np.diff(results, axis=0)).mean())
    assert changes[0] < 0.8 * changes[1]


def test_the_network_and_the_targets_are_computed_once(planes, style, monkeypatch):
    made = []
    init = StyleCache.__init__
    monkeypatch.setattr(StyleCache, "__init__", lambda self: (made.append(self), init(self))[1])
    finish(StackTransfer(planes, style, settings()))
    (style_cache,) = made
    assert (style_cache.networks, style_cache.computed) == (1, 1)


def test_planes_are_read_one_at_a_time_when_their_turn_comes(planes, style):
    read = []

    class Lazy:
        def __len__(self):
            return PLANES

        def __getitem__(self, k):
            read.append(k)
            return planes[k]

    run = StackTransfer(Lazy(), style, settings(), start_from="content")
    assert read == []
    for snap in run:
        assert read == list(range(snap.plane))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_planes_of_whole_numbers_are_taken(photo, style, dtype):
    grey = photo(40, 48)[..., 0]
    stack = (np.stack([grey, grey * 0.9, grey * 0.8]) * np.iinfo(dtype).max).astype(dtype)
    kept = Kept()
    finish(StackTransfer(stack, style, settings(), on_plane_done=kept.put))
    assert [image.shape for image in kept.values()] == [(40, 48)] * 3
    assert all(image.dtype == np.float32 for image in kept.values())


def test_planes_of_16_bits_have_as_many_in_use_as_the_brightest_of_all(photo, style):
    grey = photo(40, 48)[..., 0]
    counts = np.stack([grey * 200, grey * 3000, grey * 1000]).astype(np.uint16)
    for start_from in ("previous", "content"):
        runs = []
        for stack in (counts, (counts / 4095).astype(np.float32)):
            kept = Kept()
            run = StackTransfer(
                stack, style, settings(), start_from=start_from, on_plane_done=kept.put
            )
            finish(run)
            runs.append((np.stack([kept[k] for k in range(3)]), run.record))
        assert {plane.content.bits for plane in runs[0][1].finished} == {12}
        # Rounding moves a step of Adam here and there, by a learning rate at most.
        difference = np.abs(runs[0][0] * 65535 - runs[1][0] * 4095)
        assert difference.mean() < 0.002 * 4095


def test_a_plane_starts_from_the_one_that_is_before_it(planes, style):
    kept = {}
    order = {0: None, 1: None, 2: 0, 3: 1}  # two channels, one after the other
    run = StackTransfer(
        planes,
        style,
        settings(),
        before=order.get,
        load_previous=lambda k: kept[k],
        on_plane_done=lambda k, result: kept.__setitem__(k, result.image),
    )
    finish(run)
    assert [plane.init_image is not None for plane in run.record.finished] == [
        False,
        False,
        True,
        True,
    ]
    for first, second in ((0, 2), (1, 3)):
        own = Kept()
        finish(StackTransfer(planes[[first, second]], style, settings(), on_plane_done=own.put))
        assert own[1].tobytes() == kept[second].tobytes()


def test_missing_values_stay_missing_plane_by_plane(photo, style):
    stack = np.stack([photo(40, 48)[..., 0]] * 3)
    stack[0, :10, :10] = stack[1, 5:15, 5:15] = np.nan
    kept = Kept()
    finish(StackTransfer(stack, style, settings(nan="keep"), on_plane_done=kept.put))
    for image, content in zip(kept.values(), stack, strict=True):
        np.testing.assert_array_equal(np.isnan(image), np.isnan(content))


def test_a_stopped_run_keeps_the_planes_that_are_done(planes, style):
    kept = Kept()
    run = StackTransfer(planes, style, settings(), on_plane_done=kept.put)
    for snap in run:
        if place(snap) == (2, 2):
            run.stop()
    assert list(kept) == [0, 1]
    assert run.unfinished == (2, 3)
    assert (run.record.status, len(run.record.finished)) == ("stopped", 2)
    assert list(run) == []


def test_a_run_that_is_stopped_before_it_begins_does_nothing(planes, style):
    kept = Kept()
    run = StackTransfer(planes, style, settings(), on_plane_done=kept.put)
    run.stop()
    assert list(run) == []
    assert kept == {}


def test_a_run_that_is_stopped_at_a_planes_last_iteration_has_that_plane(planes, style):
    kept = Kept()
    run = StackTransfer(planes, style, settings(), on_plane_done=kept.put)
    for snap in run:
        if snap.iteration == 6:
            run.stop()
    assert list(kept) == [0]
    assert run.record.status == "stopped"


def test_a_run_is_resumed_to_the_same_bytes(planes, style, tmp_path):
    whole, broken = (store(tmp_path / name, planes) for name in ("whole", "broken"))
    finish(into(whole, planes, style))
    run = into(broken, planes, style)
    for snap in run:
        if snap.plane == 3:
            run.stop()
    again = store(tmp_path / "broken", planes)
    assert again.finished == {0, 1}
    run = into(again, planes, style)
    assert {snap.plane - 1 for snap in run} == {2, 3}
    assert again.array.tobytes() == whole.array.tobytes()
    assert [plane.plane for plane in run.record.finished] == [0, 1, 2, 3]
    assert run.record.status == "finished"


def store(path, planes):
    return PlaneStore(path, planes.shape, np.uint8, 0, {"of": "planes"})


class EightBits:
    """Conversion to and from uint8, which rounds."""

    def from_engine(self, k, image):
        return np.rint(image * 255).astype(np.uint8)

    def to_engine(self, k, plane):
        return plane


def into(kept, planes, style, **choices):
    """Return a run into a store of whole numbers."""
    return ResumableStack(planes, style, settings(**choices), store=kept, conversion=EightBits())


def test_the_result_is_the_stores_array_and_the_record(planes, style, tmp_path):
    in_memory = PlaneArray(planes.shape, np.uint8, 0)
    on_disk = store(tmp_path, planes)
    for kept in (in_memory, on_disk):
        run = into(kept, planes, style)
        next(run)
        assert not run.result().image.any()
        finish(run)
        assert run.result().image is kept.array
        assert run.result().record == run.record == stored_record(kept)
    assert in_memory.array.tobytes() == on_disk.array.tobytes()


def test_gaps_are_filled_from_their_neighbours(planes, style, tmp_path):
    whole, gaps = store(tmp_path / "whole", planes), store(tmp_path / "gaps", planes)
    finish(into(whole, planes, style))
    for k in (0, 2):
        gaps.put(k, whole.plane(k))
    assert {snap.plane - 1 for snap in into(gaps, planes, style)} == {1, 3}
    assert gaps.array.tobytes() == whole.array.tobytes()


@pytest.mark.parametrize("start_from", ["previous", "content"])
def test_a_plane_whose_content_changed_meanwhile_is_refused(planes, style, tmp_path, start_from):
    kept = store(tmp_path, planes)
    run = into(kept, planes, style)
    for snap in run:
        if snap.plane == 2:
            run.stop()
    other = planes[::-1]
    records = {0: run.record.finished[0]}
    run = StackTransfer(
        other, style, settings(), start_from=start_from, finished=records, load_previous=kept.plane
    )
    with pytest.raises(InputError, match="Plane 0 of content is not what it was"):
        next(run)


def test_a_finished_plane_that_cannot_be_had_is_asked_for(planes, style):
    with pytest.raises(InputError, match="plane 1 starts from it: give load_previous"):
        next(StackTransfer(planes, style, settings(), finished=[0]))
    independent = StackTransfer(planes, style, settings(), finished=[0], start_from="content")
    assert next(independent).plane == 2


def test_what_is_steered_holds_for_the_planes_after_it(planes, style, stripes):
    run = StackTransfer(planes, style, settings(), on_plane_done=lambda k, result: None)
    weights = {}
    for snap in run:
        if place(snap) == (1, 1):
            run.steer(style_weight=7.0, styles=[stripes(30, 30), style], names=["a", "b"])
        weights[snap.plane - 1] = run.run.settings.style_weight
    assert [weights[k] for k in range(PLANES)] == [1.0, 1.0, 7.0, 7.0]
    record = run.record
    assert record.settings.style_weight == 1.0
    assert [len(plane.steering) for plane in record.finished] == [0, 1, 0, 0]
    assert record.finished[1].steering[0].choices == {"style_weight": 7.0}
    with pytest.raises(InputError, match="The run of the stack has ended"):
        run.steer(style_weight=2)


def test_steering_after_a_planes_last_iteration_acts_on_the_planes_after_it(planes, style):
    run = StackTransfer(planes, style, settings())
    for snap in run:
        if place(snap) == (1, 6):
            run.steer(style_weight=7.0)
        if snap.plane > 3:
            assert run.run.settings.style_weight == 7.0
    changes = [plane.steering for plane in run.record.finished]
    assert [len(own) for own in changes] == [0, 0, 1, 0]
    assert (changes[2][0].iteration, changes[2][0].choices) == (0, {"style_weight": 7.0})


def test_steering_before_the_first_plane_acts_on_all_planes(planes, style):
    run = StackTransfer(planes, style, settings())
    run.steer(style_weight=7.0)
    finish(run)
    first, *others = run.record.finished
    assert [change.iteration for change in first.steering] == [0]
    assert all(plane.steering == () for plane in others)


def test_images_that_are_refused_are_warnings_and_change_no_plane(planes, style):
    run = StackTransfer(planes, style, settings())
    next(run)
    run.steer(styles=[style[:2]])
    assert next(run).warnings[0].startswith("style is 36 x 2 pixels; ")
    finish(run)
    assert all(plane.steering == () for plane in run.record.finished)
    assert run.record.styles[0].shape == style.shape


def test_labels_of_a_stack_can_be_read_when_they_are_needed(planes, style):
    labels = np.zeros(planes.shape[:3], np.uint8)
    labels[:, :20] = 1
    run = StackTransfer(planes, style, settings())
    for snap in run:
        if place(snap) == (1, 2):
            run.steer(content_labels=lambda: labels, region_styles={0: 0, 1: None})
    labelled = [plane.content_labels is not None for plane in run.record.finished]
    assert labelled == [False, False, True, True]


def test_a_refused_update_changes_no_pixel(planes, style):
    kept, alone = Kept(), Kept()
    finish(StackTransfer(planes, style, settings(), on_plane_done=alone.put))
    run = StackTransfer(planes, style, settings(), on_plane_done=kept.put)
    next(run)
    run.steer(style_labels=[np.ones((3, 3), int)])
    finish(run)
    for k, image in alone.items():
        assert kept[k].tobytes() == image.tobytes()
    assert len({plane.content.sha256 for plane in run.record.finished}) == PLANES


def test_a_change_that_is_refused_changes_nothing(planes, style):
    run = StackTransfer(planes, style, settings())
    next(run)
    with pytest.raises(InputError, match="iterations cannot be changed"):
        run.steer(iterations=3)
    with pytest.raises(InputError, match="content_labels has 1 planes, and the stack has 4"):
        run.steer(content_labels=[np.zeros((40, 48), int)])
    finish(run)
    assert all(plane.steering == () for plane in run.record.finished)


def test_each_plane_has_the_labels_painted_on_it(planes, style):
    labels = np.zeros(planes.shape[:3], np.uint8)
    for k, own in enumerate(labels):
        own[:, 10 * k + 4 :] = 1
    kept = Kept()
    asked = settings(region_styles={0: 0, 1: None})
    run = StackTransfer(planes, style, asked, content_labels=labels, on_plane_done=kept.put)
    finish(run)
    for k, image in kept.items():
        right = np.s_[:, 10 * k + 6 :]
        np.testing.assert_allclose(image[right], planes[k][right], atol=1e-6)
    assert len({plane.content_labels.sha256 for plane in run.record.finished}) == PLANES
    with pytest.raises(InputError, match="content_labels has 2 planes, and the stack has 4"):
        StackTransfer(planes, style, asked, content_labels=labels[:2])


def test_labels_can_be_added_and_removed_during_a_run(planes, style):
    labels = np.zeros(planes.shape[:3], np.uint8)
    labels[:, :20] = 1
    run = StackTransfer(planes, style, settings())
    for snap in run:
        at = place(snap)
        if at == (0, 2):
            run.steer(content_labels=labels, region_styles={0: 0, 1: None})
        if at == (2, 2):
            run.steer(content_labels=None, region_styles=None)
    labelled = [plane.content_labels is not None for plane in run.record.finished]
    assert labelled == [False, True, True, False]


def test_the_record_is_json_that_says_what_became_of_each_plane(planes, style):
    run = StackTransfer(planes, style, settings(), names=["stack", "paint"])
    with pytest.raises(InputError, match="no record before"):
        _ = run.record
    run.begin()
    assert run.record.status == "running"
    assert run.record.finished == ()
    finish(run)
    record = run.record
    assert StackRecord.model_validate_json(record.to_json()) == record
    assert (record.status, record.start_from) == ("finished", "previous")
    assert record.content.name == "stack"
    assert record.content.shape == planes.shape
    assert record.content.dtype == "float32"
    assert [one.name for one in record.styles] == ["paint"]
    assert len({plane.content.sha256 for plane in record.finished}) == PLANES
    later = plane_settings(settings(), 1, "previous")
    assert [plane.iterations for plane in record.finished] == [6] + [later.iterations] * 3
    assert [plane.init_image is None for plane in record.finished] == [True, False, False, False]
    assert all(plane.losses["total"] > 0 for plane in record.finished)
    assert record.to_dict()["settings"]["iterations"] == 6


def test_the_record_says_at_which_plane_memory_ran_out(planes, style, monkeypatch):
    run = StackTransfer(np.tile(planes[:3], (1, 4, 4, 1)), style, settings(iterations=2))
    original, calls = FeatureExtractor.record_tape, []

    def once(self, image):
        calls.append(1)
        if len(calls) == 4:  # the second evaluation of the second plane
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return original(self, image)

    monkeypatch.setattr(FeatureExtractor, "record_tape", once)
    finish(run)
    first, second, third = run.record.finished
    (shortage,) = second.out_of_memory_events
    assert (shortage.iteration, shortage.tile, second.scales[0].tile) == (1, None, 96)
    for plane in (first, third):  # each has its own tiles
        assert (plane.out_of_memory_events, plane.scales[0].tile) == ((), None)


def test_a_plane_of_another_shape_ends_the_run_and_keeps_what_is_done(planes, style):
    kept = Kept()
    run = StackTransfer([planes[0], planes[1][:30]], style, settings(), on_plane_done=kept.put)
    with pytest.raises(InputError, match=r"Plane 1 of content has shape \(30, 48, 3\)"):
        finish(run)
    assert list(kept) == [0]
    assert run.record.status == "failed"


def test_an_empty_stack_is_refused(style):
    with pytest.raises(InputError, match="no planes"):
        StackTransfer([], style)


def test_a_stack_that_is_done_already_is_finished_at_once(planes, style):
    run = StackTransfer(planes, style, settings(), finished=range(PLANES))
    assert list(run) == []
    assert run.unfinished == ()


KILLED = """
import os, signal, sys
import numpy as np
sys.path.insert(0, {tests!r})
import test_transfer as t
import torch
torch.set_num_threads(1)
planes, style = (np.load({folder!r} + name) for name in ("/planes_in.npy", "/style.npy"))
kept = t.store({folder!r} + "/store", planes)
for snap in t.into(kept, planes, style):
    if t.place(snap) == (2, 2):
        kept.array[2] = 99  # half a plane is written when the process is killed
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_a_killed_run_is_resumed_to_the_same_bytes(planes, style, tmp_path):
    np.save(tmp_path / "planes_in.npy", planes)
    np.save(tmp_path / "style.npy", style)
    here = str(Path(__file__).parent)
    code = KILLED.format(tests=here, folder=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    broken = store(tmp_path / "store", planes)
    assert broken.finished == {0, 1}
    assert (broken.array[2] == 99).any()
    assert {snap.plane - 1 for snap in into(broken, planes, style)} == {2, 3}
    whole = store(tmp_path / "whole", planes)
    finish(into(whole, planes, style))
    assert broken.array.tobytes() == whole.array.tobytes()


def test_the_name_of_a_file_is_no_stack(style):
    with pytest.raises(InputError, match=r"The stack is 'cells\.tif', .*files\.open_stack"):
        StackTransfer("cells.tif", style)
