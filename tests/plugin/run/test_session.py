"""Runs in a viewer: their layer, progress, pauses, errors, and deleted layers."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from layer_helpers import add_pictures
from napari.utils import progress as activity

from napari_nst import speed
from napari_nst.engine.run.updates import SettingsUpdate
from napari_nst.errors import OutOfMemoryError
from napari_nst.plugin.run.session import Session, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class GatedEngine(FakeEngine):
    """An engine that waits for `gate` before every iteration but the first."""

    def __init__(self) -> None:
        super().__init__(step=lambda iteration: iteration == 1 or self.gate.wait(20))
        self.gate = threading.Event()


class TiledEngine(FakeEngine):
    """An engine whose iterations have 1000 tiles of 5 milliseconds."""

    def __init__(self) -> None:
        super().__init__(step=self._compute_tile, tiles=1000)
        self.tiles_computed = 0

    def _compute_tile(self, iteration: int) -> None:
        self.tiles_computed += 1
        threading.Event().wait(0.005)


@pytest.fixture
def viewer(model: Any) -> Any:
    return model


@pytest.fixture
def gated() -> Iterator[GatedEngine]:
    engine = GatedEngine()
    yield engine
    engine.gate.set()


@pytest.fixture
def tiled() -> TiledEngine:
    return TiledEngine()


@pytest.fixture
def start(run_job: Any, qtbot: Any) -> Callable[..., list[Any]]:
    """Start a run, wait for its first snapshot, and return a list for its outcome."""

    def start(session: Session, viewer: Any, **choices: Any) -> list[Any]:
        outcomes: list[Any] = []
        session.ended.connect(outcomes.append)
        run_job(session, viewer, wait=False, **choices)
        qtbot.waitUntil(lambda: session.layer is not None, timeout=4000)
        return outcomes

    return start


def wait_for_end(session: Session, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: session.state is State.IDLE, timeout=4000)


def test_a_run_adds_one_layer_with_its_result_and_record(viewer, engine, run_job):
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


def test_the_layer_is_updated_in_place_during_a_run(viewer, gated, start, qtbot):
    session = Session(viewer, gated)
    start(session, viewer, iterations=4)
    layer = session.layer
    assert layer.data.max() == 64  # one iteration of four
    gated.gate.set()
    wait_for_end(session, qtbot)

    assert session.layer is layer
    assert layer.data.min() == 255
    assert len(viewer.layers) == 3


def test_the_activity_dock_shows_the_progress_during_a_run(viewer, gated, start, qtbot):
    session = Session(viewer, gated)
    reports = []
    session.reported.connect(reports.append)
    start(session, viewer, iterations=7)

    (bar,) = activity._all_instances
    assert (bar.total, bar.n) == (7, 1)
    assert (reports[0].snapshot.iteration, reports[0].snapshot.iterations) == (1, 7)
    gated.gate.set()
    wait_for_end(session, qtbot)
    assert not activity._all_instances


# Stopping and pausing


def test_a_stopped_run_keeps_its_image(viewer, gated, start, qtbot):
    session = Session(viewer, gated)
    outcomes = start(session, viewer, iterations=4)
    session.stop()
    assert session.state is State.STOPPING
    gated.gate.set()
    wait_for_end(session, qtbot)

    assert outcomes[0].status == "stopped"
    assert 0 < viewer.layers["photo x paint"].data.max() < 255
    assert len(gated.made[0].history) < 4


def test_a_paused_run_waits_and_can_be_resumed(viewer, start, qtbot):
    engine = FakeEngine(step=lambda iteration: threading.Event().wait(0.02))
    session = Session(viewer, engine)
    states = []
    session.state_changed.connect(states.append)
    outcomes = start(session, viewer, iterations=40)
    session.pause()
    qtbot.wait(100)
    iterations = len(engine.made[0].history)
    qtbot.wait(100)
    assert len(engine.made[0].history) == iterations < 40
    session.resume()
    wait_for_end(session, qtbot)

    assert states == [State.RUNNING, State.PAUSED, State.RUNNING, State.IDLE]
    assert outcomes[0].status == "finished"


def test_a_paused_run_can_be_stopped(viewer, engine, start, qtbot):
    engine.step = lambda iteration: threading.Event().wait(0.02)
    session = Session(viewer, engine)
    outcomes = start(session, viewer, iterations=1000)
    session.pause()
    session.stop()
    wait_for_end(session, qtbot)

    assert outcomes[0].status == "stopped"
    assert session.layer in viewer.layers


def pause_between_tiles(session: Session, engine: TiledEngine, qtbot: Any) -> int:
    """Pause a run in its first iteration; return how many tiles it has computed."""
    qtbot.waitUntil(lambda: engine.tiles_computed > 2, timeout=4000)
    session.pause()
    qtbot.waitUntil(lambda: engine.made[0].control.paused, timeout=4000)
    qtbot.wait(50)
    tiles = engine.tiles_computed
    qtbot.wait(50)
    assert engine.tiles_computed == tiles
    return tiles


def test_a_run_can_be_paused_and_stopped_between_tiles(viewer, tiled, run_job, qtbot):
    session = Session(viewer, tiled)
    outcomes = []
    session.ended.connect(outcomes.append)
    run_job(session, viewer, wait=False, iterations=1)
    tiles = pause_between_tiles(session, tiled, qtbot)
    assert 0 < tiles < 1000
    session.resume()
    qtbot.waitUntil(lambda: tiled.tiles_computed > tiles, timeout=4000)
    session.stop()
    wait_for_end(session, qtbot)

    assert tiled.tiles_computed < 1000
    assert outcomes[0].status == "stopped"


def test_a_pause_does_not_count_as_elapsed_time(viewer, tiled, run_job, qtbot):
    tiled.tiles = 20
    session = Session(viewer, tiled)
    outcomes = []
    session.ended.connect(outcomes.append)
    run_job(session, viewer, wait=False, iterations=1)
    pause_between_tiles(session, tiled, qtbot)
    qtbot.wait(1000)
    session.resume()
    wait_for_end(session, qtbot)

    assert outcomes[0].elapsed < 1


@pytest.mark.parametrize("moment", ["running", "paused", "paused between tiles"])
def test_closing_the_viewer_ends_the_run_and_releases_it(
    make_napari_viewer, engine, tiled, start, run_job, qtbot, moment
):
    viewer = make_napari_viewer()
    add_pictures(viewer)
    engine = tiled if moment == "paused between tiles" else engine
    session = Session(viewer, engine)
    if moment == "paused between tiles":
        run_job(session, viewer, wait=False, iterations=1000)
        pause_between_tiles(session, engine, qtbot)
    else:
        engine.step = lambda iteration: threading.Event().wait(0.01)
        start(session, viewer, iterations=1000)
    if moment == "paused":
        session.pause()
    viewer.close()
    wait_for_end(session, qtbot)
    run = engine.made.pop()
    assert len(run.history) < 1000
    reference = weakref.ref(run)
    del run
    gc.collect()

    assert reference() is None


def test_a_closed_session_stops_its_run_keeps_the_image_and_emits_nothing(
    viewer, gated, start, qtbot
):
    session = Session(viewer, gated)
    outcomes = start(session, viewer, iterations=1000)
    session.close()
    gated.gate.set()
    wait_for_end(session, qtbot)

    assert outcomes == []
    assert 0 < viewer.layers["photo x paint"].data.max() < 255
    assert len(gated.made[0].history) < 1000


def test_a_finished_run_is_released(viewer, engine, run_job):
    session = Session(viewer, engine)
    run_job(session, viewer)
    reference = weakref.ref(engine.made.pop())
    gc.collect()

    assert reference() is None


# Steering and a second start


def test_only_the_current_run_is_steered(viewer, gated, start, qtbot):
    session = Session(viewer, gated)
    session.steer(SettingsUpdate({"style_weight": 3.0}))
    start(session, viewer)
    session.steer(SettingsUpdate({"style_weight": 5.0}))
    gated.gate.set()
    wait_for_end(session, qtbot)
    session.steer(SettingsUpdate({"style_weight": 7.0}))

    assert gated.made[0].steered == [{"style_weight": 5.0}]


def test_a_second_run_can_start_after_the_first_but_not_during_it(
    viewer, gated, start, run_job, qtbot
):
    session = Session(viewer, gated)
    start(session, viewer)
    with pytest.raises(AssertionError):
        run_job(session, viewer)
    gated.gate.set()
    wait_for_end(session, qtbot)

    assert len(gated.made) == 1
    run_job(session, viewer)
    assert [layer.name for layer in viewer.layers[2:]] == ["photo x paint", "photo x paint [1]"]


# Errors


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


# Layers deleted or changed by the user during a run


def test_deleting_the_result_layer_ends_the_run_without_another_layer(viewer, gated, start, qtbot):
    session = Session(viewer, gated)
    outcomes = start(session, viewer, iterations=1000)
    viewer.layers.remove(session.layer)
    gated.step = lambda iteration: threading.Event().wait(0.01)
    gated.gate.set()
    wait_for_end(session, qtbot)

    assert outcomes[0].status == "stopped"
    assert [layer.name for layer in viewer.layers] == ["photo", "paint"]


def test_deleting_and_renaming_input_layers_does_not_affect_the_run(viewer, gated, start, qtbot):
    session = Session(viewer, gated)
    outcomes = start(session, viewer)
    session.layer.name = "mine"
    viewer.layers.remove("photo")
    viewer.layers["paint"].name = "other"
    gated.gate.set()
    wait_for_end(session, qtbot)

    assert outcomes[0].status == "finished"
    assert (viewer.layers["mine"].data == 255).all()
    assert len(viewer.layers) == 2


def test_result_data_replaced_by_the_user_are_not_overwritten(viewer, gated, start, qtbot):
    session = Session(viewer, gated)
    outcomes = start(session, viewer)
    session.layer.data = np.zeros((10, 10, 3), np.uint8)
    gated.gate.set()
    wait_for_end(session, qtbot)

    assert session.layer.data.shape == (10, 10, 3)
    assert outcomes[0].status == "finished"


# Reports


def test_only_the_last_picture_is_sent_to_a_busy_viewer(viewer, run_job, qtbot, monkeypatch):
    monkeypatch.setattr("napari_nst.plugin.run.worker._SECONDS_BETWEEN_REPORTS", 0)
    done = threading.Event()

    def step(iteration):
        if iteration == 40:
            done.set()

    session = Session(viewer, FakeEngine(step=step), preview_rate=1e9)
    reports = []
    session.reported.connect(reports.append)
    run_job(session, viewer, wait=False, iterations=40)
    assert done.wait(20)  # blocks the viewer's thread
    wait_for_end(session, qtbot)

    assert len(reports) == 40
    assert sum(report.picture is not None for report in reports) == 1


def test_a_few_reports_contain_all_evaluations(viewer, run_job):
    session = Session(viewer, FakeEngine())
    reports = []
    session.reported.connect(reports.append)
    run_job(session, viewer, iterations=40)
    evaluations = [one for report in reports for one in report.evaluations]

    assert len(reports) < 40
    assert [one.iteration for one in evaluations] == list(range(1, 41))
    terms = {"content", "style", "temporal", "total"}
    assert all(one.losses.keys() == terms for one in evaluations)
    assert reports[-1].snapshot.iteration == reports[-1].snapshot.iterations == 40


def test_the_speed_of_a_finished_run_is_saved(viewer, engine, run_job):
    assert not speed.load_speed("cpu")[1]
    run_job(Session(viewer, engine), viewer)
    rate, measured = speed.load_speed("cpu")

    assert measured
    assert rate > 0


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ((0, 0.9), "filtered is all white to the run: its values, 2 to 231, are above"),
        ((300, 400), "filtered is all black to the run: its values, 2 to 231, are below"),
        ((0, 2), ""),
        ((0, 255), ""),
    ],
)
def test_a_content_outside_its_contrast_limits_is_reported(viewer, engine, run_job, limits, told):
    filtered = viewer.add_image(np.linspace(2, 231, 40 * 48).reshape(40, 48), name="filtered")
    filtered.contrast_limits = limits
    viewer.layers.move(2, 0)
    session = Session(viewer, engine)
    messages = []
    session.info.connect(messages.append)
    run_job(session, viewer)
    assert len(messages) == bool(told)
    assert "".join(messages).startswith(told)
