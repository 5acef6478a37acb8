"""A run in the real viewer: whatever its user does, nothing hangs, leaks or is lost."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from fake_engine import FakeEngine
from napari.utils import progress as activity

from napari_nst import speed
from napari_nst.engine.run.updates import SettingsUpdate
from napari_nst.errors import OutOfMemoryError
from napari_nst.plugin.run.session import Session, State


@pytest.fixture
def slow():
    """An engine that waits before every iteration but the first until it is let go."""
    gate = threading.Event()
    engine = FakeEngine(step=lambda iteration: iteration == 1 or gate.wait(20))
    engine.gate = gate
    yield engine
    gate.set()


@pytest.fixture
def outcomes(request):
    return []


def begin(session, outcomes, qtbot, run_job, viewer, **choices):
    """Start a run and wait until its layer is there."""
    session.ended.connect(outcomes.append)
    run_job(session, viewer, wait=False, **choices)
    qtbot.waitUntil(lambda: session.layer is not None, timeout=4000)


def finish(session, qtbot):
    qtbot.waitUntil(lambda: session.state is State.IDLE, timeout=4000)


def test_a_run_makes_one_layer_with_the_last_picture_and_the_record(viewer, engine, run_job):
    session = Session(viewer, engine)
    states, outcomes = [], []
    session.state_changed.connect(states.append)
    session.ended.connect(outcomes.append)
    run_job(session, viewer)

    assert [layer.name for layer in viewer.layers] == ["photo", "paint", "photo x paint"]
    layer = viewer.layers[-1]
    assert layer is session.layer
    assert layer.rgb
    assert layer.data.dtype == np.uint8
    assert (layer.data == 255).all()
    assert layer.metadata["napari_nst"]["iterations"] == 5
    assert states == [State.RUNNING, State.IDLE]
    assert [outcome.status for outcome in outcomes] == ["finished"]
    assert engine.made[0].names == ["photo", "paint"]


def test_the_layer_is_updated_in_place_during_a_run(viewer, slow, run_job, qtbot):
    session = Session(viewer, slow)
    outcomes = []
    begin(session, outcomes, qtbot, run_job, viewer, iterations=4)
    layer = session.layer
    assert layer.data.max() == 64  # one iteration of four
    slow.gate.set()
    finish(session, qtbot)

    assert session.layer is layer
    assert layer.data.min() == 255
    assert len(viewer.layers) == 3


def test_progress_counts_up_in_the_activity_dock_and_leaves_it(viewer, slow, run_job, qtbot):
    session = Session(viewer, slow)
    reports, outcomes = [], []
    session.reported.connect(reports.append)
    begin(session, outcomes, qtbot, run_job, viewer, iterations=7)

    (bar,) = activity._all_instances
    assert (bar.total, bar.n) == (7, 1)
    assert (reports[0].snapshot.iteration, reports[0].snapshot.iterations) == (1, 7)
    slow.gate.set()
    finish(session, qtbot)
    assert not activity._all_instances


def test_stop_keeps_the_picture(viewer, slow, run_job, qtbot):
    session = Session(viewer, slow)
    outcomes = []
    begin(session, outcomes, qtbot, run_job, viewer, iterations=4)
    session.stop()
    assert session.state is State.STOPPING
    slow.gate.set()
    finish(session, qtbot)

    assert outcomes[0].status == "stopped"
    assert 0 < viewer.layers["photo x paint"].data.max() < 255
    assert len(slow.made[0].history) < 4


def test_a_paused_run_waits_and_resumes(viewer, run_job, qtbot):
    engine = FakeEngine(step=lambda iteration: threading.Event().wait(0.02))
    session = Session(viewer, engine)
    states, outcomes = [], []
    session.state_changed.connect(states.append)
    begin(session, outcomes, qtbot, run_job, viewer, iterations=40)
    session.pause()
    qtbot.wait(300)
    done = len(engine.made[0].history)
    qtbot.wait(300)
    assert len(engine.made[0].history) == done < 40
    session.resume()
    finish(session, qtbot)

    assert states == [State.RUNNING, State.PAUSED, State.RUNNING, State.IDLE]
    assert outcomes[0].status == "finished"


def test_a_paused_run_can_be_stopped(viewer, engine, run_job, qtbot):
    engine.step = lambda iteration: threading.Event().wait(0.02)
    session = Session(viewer, engine)
    outcomes = []
    begin(session, outcomes, qtbot, run_job, viewer, iterations=1000)
    session.pause()
    session.stop()
    finish(session, qtbot)

    assert outcomes[0].status == "stopped"
    assert session.layer in viewer.layers


def test_a_viewer_can_be_closed_while_its_run_is_paused(make_napari_viewer, engine, run_job, qtbot):
    viewer = make_napari_viewer()
    for name in ("photo", "paint"):
        viewer.add_image(np.zeros((20, 20, 3), np.uint8), name=name, rgb=True)
    engine.step = lambda iteration: threading.Event().wait(0.01)
    session = Session(viewer, engine)
    outcomes = []
    begin(session, outcomes, qtbot, run_job, viewer, iterations=1000)
    session.pause()
    viewer.close()
    finish(session, qtbot)

    assert len(engine.made[0].history) < 1000


@pytest.fixture
def in_tiles():
    """An engine whose iterations are of many tiles; it tells which it is at."""
    engine = FakeEngine(tiles=1000)
    engine.at = 0

    def step(_):
        engine.at += 1
        threading.Event().wait(0.005)

    engine.step = step
    return engine


def held(engine, qtbot):
    """Wait until a run stands still, and return the tile at which it does."""
    qtbot.waitUntil(lambda: engine.made and engine.made[0].control.paused, timeout=4000)
    qtbot.wait(100)
    at = engine.at
    qtbot.wait(100)
    assert engine.at == at
    return at


def test_a_pause_is_kept_between_two_tiles(viewer, in_tiles, run_job, qtbot):
    session = Session(viewer, in_tiles)
    outcomes = []
    session.ended.connect(outcomes.append)
    run_job(session, viewer, wait=False, iterations=1)
    qtbot.waitUntil(lambda: in_tiles.at > 2, timeout=4000)
    session.pause()
    at = held(in_tiles, qtbot)
    assert 0 < at < 1000
    session.resume()
    qtbot.waitUntil(lambda: in_tiles.at > at, timeout=4000)
    session.stop()
    finish(session, qtbot)
    assert in_tiles.at < 1000
    assert outcomes[0].status == "stopped"


def test_seconds_in_which_a_tile_waited_are_not_work(viewer, in_tiles, run_job, qtbot):
    in_tiles.tiles = 20
    session = Session(viewer, in_tiles)
    outcomes = []
    session.ended.connect(outcomes.append)
    run_job(session, viewer, wait=False, iterations=1)
    qtbot.waitUntil(lambda: in_tiles.at > 2, timeout=4000)
    session.pause()
    held(in_tiles, qtbot)
    qtbot.wait(2000)
    session.resume()
    finish(session, qtbot)
    assert outcomes[0].elapsed < 2


def test_a_viewer_can_be_closed_while_a_tile_waits(make_napari_viewer, in_tiles, run_job, qtbot):
    viewer = make_napari_viewer()
    for name in ("photo", "paint"):
        viewer.add_image(np.zeros((20, 20, 3), np.uint8), name=name, rgb=True)
    session = Session(viewer, in_tiles)
    run_job(session, viewer, wait=False, iterations=1)
    qtbot.waitUntil(lambda: in_tiles.at > 2, timeout=4000)
    session.pause()
    held(in_tiles, qtbot)
    viewer.close()
    finish(session, qtbot)
    assert in_tiles.at < 1000


def test_steering_reaches_only_the_current_run(viewer, slow, run_job, qtbot):
    session = Session(viewer, slow)
    session.steer(SettingsUpdate({"style_weight": 3.0}))
    outcomes = []
    begin(session, outcomes, qtbot, run_job, viewer)
    session.steer(SettingsUpdate({"style_weight": 5.0}))
    slow.gate.set()
    finish(session, qtbot)
    session.steer(SettingsUpdate({"style_weight": 7.0}))

    assert slow.made[0].steered == [{"style_weight": 5.0}]


def test_a_second_start_is_refused_during_a_run(viewer, slow, run_job, qtbot):
    session = Session(viewer, slow)
    outcomes = []
    begin(session, outcomes, qtbot, run_job, viewer)
    with pytest.raises(AssertionError):
        run_job(session, viewer)
    slow.gate.set()
    finish(session, qtbot)

    assert len(slow.made) == 1
    run_job(session, viewer)
    assert [layer.name for layer in viewer.layers[2:]] == ["photo x paint", "photo x paint [1]"]


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), ValueError("odd"), KeyError("x")])
def test_an_exception_in_the_engine_is_reported_and_the_image_stays(viewer, run_job, error, caplog):
    def step(iteration):
        if iteration == 3:
            raise error

    session = Session(viewer, FakeEngine(step=step))
    outcomes = []
    session.ended.connect(outcomes.append)
    run_job(session, viewer)

    assert outcomes[0].status == "failed"
    assert outcomes[0].message == f"The transfer failed: {error}."
    assert viewer.layers["photo x paint"].data.max() == 102  # two iterations of five
    assert session.state is State.IDLE
    assert "Traceback" in caplog.text
    run_job(session, viewer, iterations=2)
    assert outcomes[1].status == "finished"


def test_out_of_memory_is_reported_with_its_message(viewer, run_job):
    def engine(*args, **kwargs):
        raise OutOfMemoryError("It needs 90 GiB.")

    session = Session(viewer, engine)
    outcomes = []
    session.ended.connect(outcomes.append)
    run_job(session, viewer)

    assert (outcomes[0].status, outcomes[0].message) == ("failed", "It needs 90 GiB.")
    assert len(viewer.layers) == 2


def test_deleting_the_result_ends_the_run_and_brings_no_layer_back(viewer, slow, run_job, qtbot):
    session = Session(viewer, slow)
    outcomes = []
    begin(session, outcomes, qtbot, run_job, viewer, iterations=1000)
    viewer.layers.remove(session.layer)
    slow.gate.set()
    slow.step = lambda iteration: threading.Event().wait(0.01)
    finish(session, qtbot)

    assert outcomes[0].status == "stopped"
    assert [layer.name for layer in viewer.layers] == ["photo", "paint"]


def test_deleting_and_renaming_the_inputs_changes_nothing(viewer, slow, run_job, qtbot):
    session = Session(viewer, slow)
    outcomes = []
    begin(session, outcomes, qtbot, run_job, viewer)
    session.layer.name = "mine"
    viewer.layers.remove("photo")
    viewer.layers["paint"].name = "other"
    slow.gate.set()
    finish(session, qtbot)

    assert outcomes[0].status == "finished"
    assert (viewer.layers["mine"].data == 255).all()
    assert len(viewer.layers) == 2


def test_a_result_that_the_user_replaced_is_left_alone(viewer, slow, run_job, qtbot):
    session = Session(viewer, slow)
    outcomes = []
    begin(session, outcomes, qtbot, run_job, viewer)
    session.layer.data = np.zeros((10, 10, 3), np.uint8)
    slow.gate.set()
    finish(session, qtbot)

    assert session.layer.data.shape == (10, 10, 3)
    assert outcomes[0].status == "finished"


def test_a_closed_session_ends_its_run_keeps_the_picture_and_says_no_more(
    viewer, slow, run_job, qtbot
):
    session = Session(viewer, slow)
    outcomes = []
    begin(session, outcomes, qtbot, run_job, viewer, iterations=1000)
    session.close()
    slow.gate.set()
    finish(session, qtbot)

    assert outcomes == []
    assert 0 < viewer.layers["photo x paint"].data.max() < 255
    assert len(slow.made[0].history) < 1000


def test_nothing_of_a_run_is_alive_after_it(viewer, engine, run_job, qtbot):
    session = Session(viewer, engine)
    run_job(session, viewer)
    alive = weakref.ref(engine.made.pop())
    gc.collect()

    assert alive() is None


def test_closing_the_viewer_ends_the_run(make_napari_viewer, slow, run_job, qtbot):
    viewer = make_napari_viewer()
    for name in ("photo", "paint"):
        viewer.add_image(np.zeros((20, 20, 3), np.uint8), name=name, rgb=True)
    session = Session(viewer, slow)
    outcomes = []
    begin(session, outcomes, qtbot, run_job, viewer, iterations=1000)
    slow.gate.set()
    slow.step = lambda iteration: threading.Event().wait(0.01)
    viewer.close()
    finish(session, qtbot)
    alive = weakref.ref(slow.made.pop())
    gc.collect()

    assert alive() is None


def test_pictures_do_not_pile_up_when_the_viewer_is_busy(viewer, run_job, qtbot, monkeypatch):
    monkeypatch.setattr("napari_nst.plugin.run.worker._SECONDS_BETWEEN_REPORTS", 0)
    done = threading.Event()

    def step(iteration):
        if iteration == 40:
            done.set()

    session = Session(viewer, FakeEngine(step=step), preview_rate=1e9)
    reports = []
    session.reported.connect(reports.append)
    run_job(session, viewer, wait=False, iterations=40)
    assert done.wait(20)  # the viewer's thread does nothing meanwhile
    finish(session, qtbot)

    assert len(reports) == 40
    assert sum(report.picture is not None for report in reports) == 1


def test_reports_are_few_and_tell_of_every_evaluation(viewer, run_job, qtbot):
    session = Session(viewer, FakeEngine())
    reports = []
    session.reported.connect(reports.append)
    run_job(session, viewer, iterations=40)
    evaluations = [one for report in reports for one in report.evaluations]

    assert len(reports) < 40
    assert [one.iteration for one in evaluations] == list(range(1, 41))
    assert all(one.losses.keys() == {"content", "style", "total"} for one in evaluations)
    assert reports[-1].snapshot.iteration == reports[-1].snapshot.iterations == 40


def test_the_speed_of_a_finished_run_is_remembered(viewer, engine, run_job):
    assert not speed.load_speed("cpu")[1]
    run_job(Session(viewer, engine), viewer)
    rate, measured = speed.load_speed("cpu")

    assert measured
    assert rate > 0
