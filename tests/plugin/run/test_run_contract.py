"""One contract for the engine and for the fake engine of the panel's tests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_engine import FakeEngine

from napari_nst import StyleTransfer, StyleTransferSettings
from napari_nst.engine.run.control import Control
from napari_nst.errors import InputError
from napari_nst.stacks import PlaneArray, ResumableStack

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_nst.engine.run.protocol import Run

CONTENT = np.random.default_rng(0).random((40, 48, 3), np.float32)
STYLE = np.random.default_rng(1).random((44, 36, 3), np.float32)
SETTINGS = StyleTransferSettings(
    content_layers=("relu2_1",),
    style_layers=("relu1_1",),
    size=None,
    scales=1,
    iterations=6,
    device="cpu",
)


class AsIs:
    """Conversion of planes that changes nothing."""

    def from_engine(self, k: int, image: NDArray[Any]) -> NDArray[Any]:
        return image

    def to_engine(self, k: int, plane: NDArray[Any]) -> Any:
        return plane


def picture(engine: Callable[..., Any], control: Control) -> Run:
    run: Run = engine(CONTENT, [STYLE], SETTINGS, names=["photo", "paint"], control=control)
    return run


def one_plane(engine: Callable[..., Any], control: Control) -> Run:
    store = PlaneArray((1, *CONTENT.shape), np.float32, 0)
    return ResumableStack(
        CONTENT[None],
        [STYLE],
        SETTINGS,
        store=store,
        conversion=AsIs(),
        names=["photo", "paint"],
        engine=engine,
        control=control,
    )


@pytest.fixture(params=["engine", "fake"])
def engine(request: pytest.FixtureRequest) -> Any:
    return StyleTransfer if request.param == "engine" else FakeEngine()


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture(params=[picture, one_plane])
def run(request: pytest.FixtureRequest, engine: Any, control: Control) -> Run:
    made: Run = request.param(engine, control)
    return made


def test_a_run_yields_a_snapshot_for_each_iteration(run: Run) -> None:
    snapshots = list(run)
    assert [one.iteration for one in snapshots] == [1, 2, 3, 4, 5, 6]
    assert {(one.iterations, one.scale, one.scales) for one in snapshots} == {(6, 1, 1)}
    assert {(one.shape, one.plane, one.planes) for one in snapshots} == {((40, 48), 1, 1)}
    assert [one.progress for one in snapshots] == pytest.approx([k / 6 for k in range(1, 7)])
    elapsed = [one.elapsed for one in snapshots]
    assert elapsed == sorted(elapsed)
    assert snapshots[-1].image((40, 48)).shape == CONTENT.shape
    for name in ("content", "style", "total"):
        assert getattr(snapshots[-1].losses, name) > 0
    assert [(s.height, s.width, s.iterations) for s in run.scales] == [(40, 48, 6)]
    assert next(run, None) is None


def test_a_snapshot_can_drop_its_image(run: Run) -> None:
    bare = next(run).without_image()
    assert bare.iteration == 1
    with pytest.raises(AssertionError, match="without its image"):
        bare.image()


def test_the_result_has_the_image_and_the_record(run: Run) -> None:
    next(run)
    assert status(run) == "running"
    list(run)
    result = run.result()
    assert result.image.reshape(CONTENT.shape).dtype == np.float32
    assert result.record == run.record
    assert status(run) == "finished"
    assert run.record.to_dict()["settings"] == SETTINGS.model_dump(mode="json")
    assert [style.name for style in run.record.styles] == ["paint"]
    assert run.record.resolved.device == "cpu"


def test_a_loop_can_be_left_and_continued(run: Run) -> None:
    for snapshot in run:
        if snapshot.iteration == 2:
            break
    assert [one.iteration for one in run] == [3, 4, 5, 6]


def test_stop_ends_the_run(run: Run) -> None:
    next(run)
    run.stop()
    assert next(run, None) is None
    assert status(run) == "stopped"


def test_a_predicate_ends_the_run(run: Run) -> None:
    next(run)
    run.stop_if(lambda: True)
    assert next(run, None) is None


def test_a_paused_run_waits_and_counts_the_seconds(run: Run) -> None:
    next(run)
    run.pause()
    rest: list[Any] = []
    thread = threading.Thread(target=lambda: rest.extend(run))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert rest == []
    run.resume()
    thread.join(20)
    assert len(rest) == 5
    assert run.paused_seconds >= 0.2
    assert rest[-1].elapsed < 20 - run.paused_seconds


def test_an_update_applies_to_the_next_evaluation(run: Run) -> None:
    seen: list[Any] = []
    for snapshot in run:
        if snapshot.iteration == 2:
            run.steer(style_weight=3.0)
        seen.append(steering(run))
    assert seen[:2] == [[], []]
    assert seen[2:5] == [[(2, {"style_weight": 3.0})]] * 3


def test_images_are_read_by_the_thread_that_iterates(run: Run) -> None:
    threads: list[threading.Thread] = []

    def read() -> Any:
        threads.append(threading.current_thread())
        return STYLE[:30]

    next(run)
    caller = threading.Thread(target=lambda: run.steer(styles=[read], names=["new"]))
    caller.start()
    caller.join()
    assert threads == []
    next(run)
    assert threads == [threading.current_thread()]
    assert [iteration for iteration, _ in steering(run)] == [1]


def test_an_image_that_cannot_be_read_is_a_warning_and_changes_nothing(run: Run) -> None:
    def read() -> Any:
        raise InputError("The layer is empty.")

    next(run)
    run.steer(styles=[read])
    assert next(run).warnings == ("The layer is empty.",)
    assert next(run).warnings == ()
    assert steering(run) == []


def test_an_invalid_setting_raises_at_once(run: Run) -> None:
    next(run)
    with pytest.raises(InputError, match=r"^iterations cannot be changed during a run"):
        run.steer(iterations=3)
    with pytest.raises(InputError, match=r"^style_weight is -1"):
        run.steer(style_weight=-1)
    assert next(run).warnings == ()


def test_a_control_steers_a_run_before_its_first_iteration(run: Run, control: Control) -> None:
    run.steer(tv_weight=0.5)
    pending = [len(control.pending)]
    next(run)
    pending.append(len(control.pending))
    assert pending == [1, 0]
    assert steering(run) == [(0, {"tv_weight": 0.5})]


def test_labels_that_are_already_in_use_are_no_change(engine: Any, control: Control) -> None:
    labels = np.ones((40, 48), np.int32)
    run = engine(
        CONTENT, [STYLE], SETTINGS, names=["a", "b"], control=control, content_labels=labels
    )
    next(run)
    run.steer(content_labels=labels.copy)
    next(run)
    assert steering(run) == []
    run.steer(content_labels=lambda: labels + 1)
    next(run)
    assert len(steering(run)) == 1


def status(run: Run) -> str:
    return run.record.status


def steering(run: Run) -> list[tuple[int, dict[str, Any]]]:
    """Return iteration and choices of each change so far; of a stack, in its current plane."""
    if isinstance(run, ResumableStack):
        record: Any = run.run.record if run.run is not None else run.record.finished[-1]
    else:
        record = run.record
    return [(change.iteration, change.choices) for change in record.steering]
