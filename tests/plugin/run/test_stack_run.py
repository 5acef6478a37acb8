"""Runs of whole stacks from the panel, with a fake engine."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from fake_engine import FakeEngine
from layer_helpers import open_without_dock
from napari.components import ViewerModel
from skimage.filters import gaussian

from napari_nst import stacks
from napari_nst.errors import InputError
from napari_nst.plugin.panel import StyleTransferPanel
from napari_nst.plugin.provenance.copying import as_command
from napari_nst.plugin.run import stack_costs
from napari_nst.plugin.run.session import State
from napari_nst.ranges import Range
from napari_nst.settings import StyleTransferSettings

DEFAULT_WEIGHT = StyleTransferSettings().temporal_weight


@pytest.fixture
def stack():
    viewer = ViewerModel()
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 4000, (3, 4, 20, 24), dtype=np.uint16)
    layer = viewer.add_image(volume, name="volume", contrast_limits=(0, 4000), scale=(1, 3, 1, 1))
    layer.axis_labels = ("t", "z", "y", "x")
    viewer.add_image(rng.integers(0, 255, (30, 30, 3), dtype=np.uint8), name="paint", rgb=True)
    viewer.dims.set_current_step(0, 1)
    return viewer


@pytest.fixture
def panel(stack, qtbot):
    panel = StyleTransferPanel(stack, FakeEngine())
    open_without_dock(panel, stack, qtbot)
    panel.engine = panel.session._engine
    panel.controls.fields["iterations"].value = 4
    panel.controls.content.value = stack.layers["volume"]
    panel.controls.planes.choice.value = 1
    return panel


def finish(panel, qtbot):
    qtbot.waitUntil(lambda: panel.session.state is State.IDLE, timeout=20000)


def stop_in_plane(panel, qtbot, plane):
    """Start a run and stop it in the first iteration of a plane, counted from 1."""
    reached, gate = threading.Event(), threading.Event()

    def step(iteration):
        if len(panel.engine.made) == plane and iteration == 1:
            reached.set()
            gate.wait(20)

    panel.engine.made.clear()
    panel.engine.step = step
    panel.start()
    assert reached.wait(20)
    panel.stop()
    gate.set()
    finish(panel, qtbot)
    panel.engine.step = None


def test_planes_are_offered_along_each_hidden_axis(stack, panel):
    planes = panel.controls.planes
    assert planes.choice.choices == (-1, 0, 1)
    assert planes.choice.current_choice == "all along z"
    options = [
        planes.start_from.native,
        planes.long_term,
        panel.controls.fields["temporal_weight"].widget.native,
        planes.on_disk,
    ]
    assert not planes.choice.native.isHidden()
    assert not any(option.isHidden() for option in options)
    planes.choice.value = -1
    assert all(option.isHidden() for option in options)
    assert not planes.choice.native.isHidden()
    panel.controls.content.value = stack.layers["paint"]
    assert all(option.isHidden() for option in options)
    assert planes.choice.native.isHidden()
    assert panel.jobs.job().stack is None


def test_the_offered_axes_follow_the_order_of_the_viewer(stack, panel):
    stack.dims.order = (1, 0, 2, 3)
    assert panel.controls.planes.choice.choices == (-1, 0, 1)
    stack.dims.order = (0, 2, 1, 3)
    assert panel.controls.planes.choice.choices == (-1, 0, 2)
    assert panel.controls.planes.stack is None


def test_all_planes_are_processed_into_a_layer_over_the_content(stack, panel, qtbot):
    reports = []
    panel.session.reported.connect(reports.append)
    panel.start()
    finish(panel, qtbot)
    layer = stack.layers["volume x paint"]
    assert layer.data.shape == (1, 4, 20, 24)
    assert layer.data.dtype == np.uint16
    assert (layer.data == 4000).all()
    np.testing.assert_array_equal(layer.scale, (1, 3, 1, 1))
    np.testing.assert_array_equal(layer.translate, (1, 0, 0, 0))
    record = layer.metadata["napari_nst"]
    assert [plane["plane"] for plane in record["finished"]] == [0, 1, 2, 3]
    assert stacks.StackRecord.model_validate(record).status == "finished"
    volume = stack.layers["volume"].data
    for k, run in enumerate(panel.engine.made):
        np.testing.assert_allclose(run.content, volume[1, k] / 4000, atol=1e-6)
        assert ("init_image" in run.more) == (k > 0)
    snapshots = [report.snapshot for report in reports]
    iterations = [snapshot.iteration for snapshot in snapshots]
    assert sorted(iterations) == iterations
    assert {(snapshot.planes, snapshot.iterations) for snapshot in snapshots} == {(4, 16)}
    assert "4 of 4 planes are done." in panel.status


@pytest.mark.parametrize(
    ("start_from", "inputs"),
    [
        ("warped", {"init_image", "init_reliability"}),
        ("previous", {"init_image"}),
        ("content", set()),
    ],
)
def test_planes_start_from_the_chosen_image(stack, panel, qtbot, start_from, inputs):
    panel.controls.planes.start_from.value = start_from
    panel.start()
    finish(panel, qtbot)
    first, *later = (set(run.more) for run in panel.engine.made)
    assert first == set()
    assert later == [inputs] * 3
    record = stack.layers["volume x paint"].metadata["napari_nst"]
    assert record["start_from"] == start_from
    assert (record["flow_method"] is not None) == (start_from == "warped")
    reliable = [plane["init_reliability"] is not None for plane in record["finished"]]
    assert reliable == [False, *[start_from == "warped"] * 3]


def test_planes_start_from_the_moved_plane_along_time_only(stack, panel):
    planes = panel.controls.planes
    assert planes.stack.start_from == "previous"  # along z
    planes.choice.value = 0
    assert planes.stack.start_from == "warped"
    planes.choice.value = 1
    assert planes.stack.start_from == "previous"
    stack.add_image(np.zeros((5, 20, 24)), name="some frames")
    panel.controls.content.value = stack.layers["some frames"]
    planes.choice.value = 0
    assert planes.stack.start_from == "previous"
    stack.add_image(np.zeros((5, 20, 24)), name="a film")
    panel.controls.content.value = stack.layers["a film"]
    planes.choice.value = 0
    assert planes.stack.start_from == "warped"


def test_a_choice_of_the_user_is_kept(stack, panel):
    planes = panel.controls.planes
    planes.choice.value = 0
    planes.start_from.value = "content"
    planes.choice.value = 1
    assert planes.stack.start_from == "content"
    stack.dims.set_current_step(0, 2)
    panel.presets.choose("draft")
    panel.controls.content.value = stack.layers["paint"]
    panel.controls.content.value = stack.layers["volume"]
    planes.choice.value = 0
    assert planes.stack.start_from == "content"
    planes.start_from.value = "previous"
    assert planes.stack.start_from == "previous"


def test_channels_do_not_change_the_choice_of_the_user(stack, panel):
    planes, volume = panel.controls.planes, stack.layers["volume"]
    planes.start_from.value = "warped"
    volume.axis_labels = ("t", "c", "y", "x")
    planes.offer(volume, stack.dims)
    assert planes.stack.start_from == "content"
    planes.choice.value = 0
    assert planes.start_from.native.isEnabled()
    assert planes.stack.start_from == "warped"


def test_long_term_goes_with_moved_planes(stack, panel, qtbot):
    planes = panel.controls.planes
    steadiness = panel.controls.fields["temporal_weight"].widget.native
    assert not planes.long_term.isEnabled()
    assert not steadiness.isEnabled()
    planes.start_from.value = "warped"
    assert planes.long_term.isEnabled()
    assert steadiness.isEnabled()
    planes.long_term.click()
    assert planes.stack.long_term
    panel.start()
    finish(panel, qtbot)
    record = stack.layers["volume x paint"].metadata["napari_nst"]
    assert record["long_term"]
    planes.start_from.value = "previous"
    assert planes.long_term.isChecked()
    assert not planes.stack.long_term


def test_steadiness_steers_this_plane_and_the_next(panel, qtbot):
    reached, gate = threading.Event(), threading.Event()

    def step(iteration):
        if len(panel.engine.made) == 2 and iteration == 1:
            reached.set()
            gate.wait(20)

    panel.engine.step = step
    panel.controls.planes.start_from.value = "warped"
    panel.start()
    qtbot.waitUntil(reached.is_set, timeout=20000)
    panel.controls.fields["temporal_weight"].widget.value = 100
    panel.steering.flush()
    gate.set()
    finish(panel, qtbot)
    runs = panel.engine.made
    strong = 10 * DEFAULT_WEIGHT
    weights = [run.settings.temporal_weight for run in runs]
    assert weights == [DEFAULT_WEIGHT, DEFAULT_WEIGHT, strong, strong]
    assert [run.steered for run in runs] == [[], [{"temporal_weight": strong}], [], []]


@pytest.mark.parametrize(("position", "share"), [(0, 0), (50, 1), (75, 10**0.5), (100, 10)])
def test_steadiness_has_the_default_in_the_middle_and_is_off_at_zero(panel, position, share):
    steadiness = panel.controls.fields["temporal_weight"]
    steadiness.widget.value = position
    found = panel.controls.settings.temporal_weight
    assert found == pytest.approx(share * DEFAULT_WEIGHT)
    steadiness.value = 0.3
    assert panel.controls.settings.temporal_weight == 0.3
    assert steadiness.widget.value == 1


def test_reuse_restores_what_planes_started_from(stack, panel, qtbot):
    planes = panel.controls.planes
    planes.start_from.value = "warped"
    planes.long_term.setChecked(True)
    panel.start()
    finish(panel, qtbot)
    planes.start_from.value = "content"
    planes.long_term.setChecked(False)
    panel.reuse(stack.layers["volume x paint"])
    assert planes.stack.start_from == "warped"
    assert planes.stack.long_term


def test_channels_are_independent_and_have_their_own_range(stack, panel, qtbot):
    volume = stack.layers["volume"]
    volume.axis_labels = ("t", "c", "y", "x")
    panel.controls.planes.offer(volume, stack.dims)
    volume.data[:, 1] //= 16  # a dim channel
    panel.controls.advanced.intensities.value = "percentiles"
    assert panel.controls.planes.choice.current_choice == "all along c"
    assert panel.controls.planes.start_from.value == "content"
    assert not panel.controls.planes.start_from.native.isEnabled()
    panel.start()
    finish(panel, qtbot)
    runs = panel.engine.made
    assert all("init_image" not in run.more for run in runs)
    for k, run in enumerate(runs):
        own = Range.from_percentiles(volume.data[:, k])
        np.testing.assert_allclose(run.content, own.to_unit(volume.data[1, k]), atol=1e-6)
        made = stack.layers["volume x paint"].data[0, k]  # the fake result is white
        assert (made == round(own.high)).all()


def test_a_stopped_stack_keeps_its_finished_planes(stack, panel, qtbot):
    stop_in_plane(panel, qtbot, 3)
    layer = stack.layers["volume x paint"]
    assert [int(plane.max()) for plane in layer.data[0]] == [4000, 4000, 0, 0]
    assert layer.metadata["napari_nst"]["status"] == "stopped"
    assert panel.status.startswith("Stopped")
    assert "2 of 4 planes are done." in panel.status


def test_a_stack_stopped_in_its_first_plane_leaves_no_layer(stack, panel, qtbot):
    stop_in_plane(panel, qtbot, 1)
    assert len(stack.layers) == 2


def test_a_failing_plane_keeps_the_planes_before_it(stack, panel, qtbot):
    def step(iteration):
        if len(panel.engine.made) == 3:
            raise ValueError("odd")

    panel.engine.step = step
    panel.start()
    finish(panel, qtbot)
    assert [int(p.max()) for p in stack.layers["volume x paint"].data[0]] == [4000, 4000, 0, 0]
    assert "The transfer failed: odd." in panel.status


def test_a_stack_on_disk_continues_at_its_first_unfinished_plane(stack, panel, qtbot, own_cache):
    panel.controls.planes.on_disk.setChecked(True)
    stop_in_plane(panel, qtbot, 3)
    (folder,) = (own_cache / "stacks").iterdir()
    messages = []
    panel.session.info.connect(messages.append)
    panel.engine.made.clear()
    panel.start()
    finish(panel, qtbot)
    assert len(panel.engine.made) == 2
    assert messages == [f"Continuing an earlier run: 2 planes found in {folder}."]
    layer = stack.layers["volume x paint [1]"]
    assert (layer.data == 4000).all()
    assert len(layer.metadata["napari_nst"]["finished"]) == 4
    np.testing.assert_array_equal(np.load(folder / "planes.npy"), layer.data)
    panel.engine.made.clear()
    panel.start()  # a complete one is not continued
    finish(panel, qtbot)
    assert len(panel.engine.made) == 4
    assert len(list((own_cache / "stacks").iterdir())) == 2


def test_other_settings_start_another_store(panel, qtbot, own_cache):
    panel.controls.planes.on_disk.setChecked(True)
    stop_in_plane(panel, qtbot, 2)
    panel.controls.strength.value = 70
    stop_in_plane(panel, qtbot, 2)
    assert len(panel.engine.made) == 2  # from its first plane
    assert len(list((own_cache / "stacks").iterdir())) == 2


def test_another_start_begins_another_store(panel, qtbot, own_cache):
    planes = panel.controls.planes
    planes.on_disk.setChecked(True)
    for start_from, long_term in (("previous", False), ("warped", False), ("warped", True)):
        planes.start_from.value = start_from
        planes.long_term.setChecked(long_term)
        stop_in_plane(panel, qtbot, 2)
        assert len(panel.engine.made) == 2  # from its first plane
    assert len(list((own_cache / "stacks").iterdir())) == 3
    stop_in_plane(panel, qtbot, 1)
    assert len(list((own_cache / "stacks").iterdir())) == 3


def test_a_cancelled_stack_leaves_neither_layer_nor_files(stack, panel, qtbot, own_cache):
    panel.controls.planes.on_disk.setChecked(True)
    gate = threading.Event()
    panel.engine.step = lambda _: len(panel.engine.made) < 3 or gate.wait(20)
    panel.start()
    qtbot.waitUntil(lambda: len(panel.engine.made) == 3, timeout=4000)
    panel.cancel()
    gate.set()
    finish(panel, qtbot)
    assert len(stack.layers) == 2
    assert list((own_cache / "stacks").iterdir()) == []


def test_a_result_that_does_not_fit_into_memory_is_stored_on_disk(
    panel, qtbot, monkeypatch, own_cache
):
    assert "on disk" not in panel.estimate
    free = stack_costs.result_bytes(panel.jobs.job(), "cpu") * 2 - 1
    memory = SimpleNamespace(available=free)
    monkeypatch.setattr(stack_costs.psutil, "virtual_memory", lambda: memory)
    assert not stack_costs.stays_in_memory(panel.jobs.job(), "cpu")
    panel.start()
    finish(panel, qtbot)
    assert len(list((own_cache / "stacks").iterdir())) == 1


def test_the_estimate_needs_neither_the_device_nor_the_data(panel, stack, monkeypatch):
    """It is shown while torch is imported, and for stacks that take minutes to read."""

    def refuse(*_):
        raise AssertionError("read")

    monkeypatch.setattr("napari_nst.plugin.layers.value_range.RangeEstimator._places", refuse)
    monkeypatch.setattr("napari_nst.engine.resources.device.Device.from_name", refuse)
    panel.controls.fields["device"].value = "mps"
    panel.controls.fields["output_size"].value = "working"
    panel.controls.advanced.intensities.value = "percentiles"
    assert panel.estimate.startswith("4 planes of ")


def test_the_estimate_counts_all_planes(panel):
    assert panel.estimate.startswith("4 planes of ")
    panel.controls.planes.choice.value = -1
    assert "planes" not in panel.estimate


def test_a_draft_processes_the_displayed_plane(panel):
    assert panel.jobs.job().stack is not None
    job = panel.jobs.job(draft=True)
    assert job.stack is None


def test_actions_that_need_a_single_plane_explain_why_they_do_nothing(stack, panel, qtbot):
    panel.start()
    finish(panel, qtbot)
    layer = stack.layers["volume x paint"]
    with pytest.raises(InputError, match="is a whole stack"):
        as_command(layer, stack.layers)
    panel.continue_from(layer)
    assert "a run continues from the result of one plane" in panel.status
    panel.reuse(layer)
    assert panel.status == "The settings are those of volume x paint."


def test_labels_with_as_many_planes_belong_to_them_one_by_one(stack, panel, qtbot):
    labels = np.zeros((3, 4, 20, 24), np.uint8)
    labels[1, :, :10] = np.arange(1, 5)[:, None, None]
    layer = stack.add_labels(labels, scale=(1, 3, 1, 1))
    panel.controls.regions.content_labels.value = layer
    panel.start()
    finish(panel, qtbot)
    assert [run.more["content_labels"].max() for run in panel.engine.made] == [1, 2, 3, 4]


def test_labels_belong_to_the_planes_at_their_position(stack, panel, qtbot):
    labels = np.zeros((2, 10, 12), np.uint8)
    labels[:] = np.arange(1, 3)[:, None, None]
    layer = stack.add_labels(labels, scale=(6, 2, 2), translate=(1.5, 0.5, 0.5))
    panel.controls.regions.content_labels.value = layer
    panel.start()
    finish(panel, qtbot)
    assert [run.more["content_labels"].max() for run in panel.engine.made] == [1, 1, 2, 2]
    assert panel.engine.made[0].more["content_labels"].min() == 1


def test_a_plane_without_labels_is_reported_before_the_run(stack, panel, qtbot):
    labels = np.ones((2, 20, 24), np.uint8)
    layer = stack.add_labels(labels, scale=(3, 1, 1), name="cells")
    panel.controls.regions.content_labels.value = layer
    panel.start()
    finish(panel, qtbot)
    assert panel.engine.made == []
    assert "cells has no label over plane 4 of 4 of volume: paint on every plane" in panel.status


def test_labels_of_the_first_plane_are_moved_along(stack, panel, qtbot):
    smooth = gaussian(np.random.default_rng(0).random((20, 24)), 1.5, mode="wrap")
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    volume = stack.layers["volume"]
    volume.data[1] = [4000 * np.roll(smooth, k, axis=1) for k in range(4)]
    labels = np.zeros((3, 4, 20, 24), np.uint8)
    labels[1, 0, 6:14, 6:14] = 1
    layer = stack.add_labels(labels, scale=(1, 3, 1, 1), name="cells")
    stack.dims.set_current_step(1, 0)
    panel.controls.regions.content_labels.value = layer
    panel.start()
    finish(panel, qtbot)
    assert "cells has no label over plane 4 of 4 of volume: paint on every plane" in panel.status
    panel.controls.planes.start_from.value = "warped"
    stack.dims.set_current_step(1, 3)
    panel.start()
    finish(panel, qtbot)
    columns = [np.nonzero(run.more["content_labels"])[1].mean() for run in panel.engine.made]
    np.testing.assert_allclose(columns, np.arange(9.5, 13), atol=0.5)
    panel.controls.regions.content_labels.value = None
    panel.reuse(stack.layers["volume x paint"])
    assert panel.status == "The settings are those of volume x paint."
    assert panel.controls.regions.content_labels.value is layer
    layer.data = np.roll(labels, 1, axis=1)
    panel.start()
    finish(panel, qtbot)
    assert "plane 1 of 4 of volume: paint on it, and later planes have its labels" in panel.status


def test_a_thick_slice_is_projected_along_the_other_axes_only(stack, panel, qtbot):
    stack.dims.thickness = (2, 6, 0, 0)
    panel.start()
    finish(panel, qtbot)
    volume, result = stack.layers["volume"], stack.layers["volume x paint"]
    assert len(panel.engine.made) == 4
    expected = volume.data.mean(axis=0) / 4000  # t alone is projected
    np.testing.assert_allclose(panel.engine.made[2].content, expected[2], atol=1e-6)
    assert result.data.shape == (1, 4, 20, 24)
    assert result.data_to_world((-0.5, 0, 0, 0))[0] == pytest.approx(-0.5)
    assert result.data_to_world((0.5, 0, 0, 0))[0] == pytest.approx(2.5)
