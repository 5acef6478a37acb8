"""Changes of controls and layers during a run: which ones are sent to the run, and when."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from napari.components import ViewerModel
from qtpy.QtWidgets import QWidget

from napari_nst.plugin.run.session import Session, State
from napari_nst.plugin.run.steering import Steering
from napari_nst.plugin.widgets.controls import Controls
from napari_nst.plugin.widgets.job_maker import JobMaker

if TYPE_CHECKING:
    from collections.abc import Iterator


class Workbench:
    """A viewer without a window, controls, and a session whose iterations take 20 milliseconds."""

    def __init__(self, qtbot: Any) -> None:
        self.qtbot = qtbot
        self.viewer = ViewerModel()
        rng = np.random.default_rng(0)
        for name in ("photo", "paint", "third"):
            self.viewer.add_image(rng.random((30, 40, 3)), name=name, rgb=True)
        self.controls = Controls(self.viewer)
        self.engine = FakeEngine(step=lambda _: threading.Event().wait(0.02))
        self.session = Session(self.viewer, self.engine)
        self.parent = QWidget()
        qtbot.addWidget(self.parent)
        self.steering = Steering(self.viewer, self.controls, self.session, self.parent)
        for name in ("inserted", "removed"):
            getattr(self.viewer.layers.events, name).connect(self.on_layers)
        self.messages: list[str] = []
        self.steering.info.connect(self.messages.append)
        self.session.warning.connect(self.messages.append)

    def on_layers(self, _: object) -> None:
        self.controls.reset_choices()
        self.steering.sync_baseline()

    def start(self) -> None:
        self.controls.fields["iterations"].value = 10**5
        job = JobMaker(self.viewer, self.controls).job()
        self.steering.begin(job)
        assert self.session.start(job)
        self.qtbot.waitUntil(lambda: self.session.layer is not None, timeout=20000)

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The updates that the run has applied."""
        return self.engine.made[-1].steered

    def wait_for_update(self) -> dict[str, Any]:
        count = len(self.updates)
        self.qtbot.waitUntil(lambda: len(self.updates) > count, timeout=5000)
        return self.updates[-1]

    def end(self) -> None:
        self.session.cancel()
        self.qtbot.waitUntil(lambda: self.session.state is State.IDLE, timeout=20000)


@pytest.fixture
def bench(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    # A fifth of the time, so that tests need not wait long until no change can follow.
    monkeypatch.setattr("napari_nst.plugin.run.steering._DEBOUNCE_MILLISECONDS", 30)
    monkeypatch.setattr("napari_nst.plugin.widgets.regions_box._MILLISECONDS", 60)
    bench = Workbench(qtbot)
    yield bench
    bench.end()


def test_strength_smoothness_and_colour_steer_the_run(bench: Workbench) -> None:
    bench.start()
    bench.controls.strength.value = 100
    assert bench.wait_for_update() == {"style_weight": 10.0}
    bench.controls.fields["tv_weight"].widget.value = "0.5"
    bench.controls.color.value = "match"
    assert bench.wait_for_update() == {"tv_weight": 0.5, "color": "match"}
    assert bench.messages == []


def test_dragging_a_slider_is_one_update(bench: Workbench) -> None:
    bench.start()
    for value in range(50, 80):
        bench.controls.strength.value = value
    bench.wait_for_update()
    bench.qtbot.wait(150)

    assert len(bench.updates) == 1


def test_the_shares_of_styles_steer_the_run(bench: Workbench) -> None:
    bench.controls.styles.add(bench.viewer.layers["third"])
    bench.start()
    bench.controls.styles.rows[0].share.value = 80

    assert bench.wait_for_update() == {"style_weights": pytest.approx((0.8, 0.2))}


def test_another_style_steers_the_run(bench: Workbench) -> None:
    bench.start()
    third = bench.viewer.layers["third"]
    bench.controls.styles.rows[0].choice.value = third
    change = bench.wait_for_update()

    assert change["names"] == ["third"]
    low, high = third.contrast_limits
    np.testing.assert_allclose(change["styles"][0], (third.data - low) / (high - low), atol=1e-6)


def test_an_added_style_comes_with_its_share(bench: Workbench) -> None:
    bench.start()
    bench.controls.styles.add(bench.viewer.layers["third"])
    change = bench.wait_for_update()

    assert len(change["styles"]) == 2
    assert change["style_weights"] is None


def test_removing_layers_does_not_change_the_run(bench: Workbench) -> None:
    labels = bench.viewer.add_labels(np.ones((30, 40), int))
    bench.controls.regions.content_labels.value = labels
    bench.start()
    for layer in ("photo", "paint", labels):
        bench.viewer.layers.remove(layer)
    bench.qtbot.wait(200)

    assert bench.updates == []
    assert bench.session.state is State.RUNNING


def test_renaming_and_hiding_layers_does_not_change_the_run(bench: Workbench) -> None:
    bench.start()
    for layer in list(bench.viewer.layers):
        layer.name = f"{layer.name}, renamed"
        layer.visible = False
    bench.on_layers(None)
    bench.qtbot.wait(150)

    assert bench.updates == []


def test_painting_labels_steers_the_run(bench: Workbench) -> None:
    labels = bench.viewer.add_labels(np.ones((30, 40), np.uint8))
    bench.controls.regions.content_labels.value = labels
    bench.controls.styles.add(bench.viewer.layers["third"])
    bench.start()
    assert (bench.engine.made[0].more["content_labels"] == 1).all()
    labels.paint((5, 5), 2)
    change = bench.wait_for_update()

    np.testing.assert_array_equal(change["content_labels"], labels.data)
    assert change["content_labels"] is not labels.data
    assert dict(change["region_styles"]) == {1: 0, 2: 1}


def test_refreshing_a_layer_is_no_update(bench: Workbench) -> None:
    labels = bench.viewer.add_labels(np.ones((30, 40), np.uint8))
    bench.controls.regions.content_labels.value = labels
    bench.start()
    labels.refresh()
    bench.qtbot.wait(250)

    assert bench.updates == []


def test_painted_labels_are_those_of_the_plane_in_the_run(
    bench: Workbench,
) -> None:
    stack = bench.viewer.add_image(np.random.default_rng(0).random((3, 30, 40)), name="stack")
    labels = bench.viewer.add_labels(np.ones((3, 30, 40), np.uint8))
    bench.controls.content.value = stack
    bench.controls.regions.content_labels.value = labels
    bench.start()
    bench.viewer.dims.set_current_step(0, 2)
    first = int(bench.session.job.content.index[0])
    labels.paint((first, 5, 5), 3)
    change = bench.wait_for_update()

    np.testing.assert_array_equal(change["content_labels"], labels.data[first])


def test_regions_can_be_removed(bench: Workbench) -> None:
    bench.controls.regions.content_labels.value = bench.viewer.add_labels(np.ones((30, 40), int))
    bench.start()
    bench.controls.regions.content_labels.value = None
    change = bench.wait_for_update()

    assert change["content_labels"] is None
    assert change["style_labels"] is None


def test_labels_of_a_style_steer_the_run(bench: Workbench) -> None:
    labels = bench.viewer.add_labels(np.ones((30, 40), np.uint8))
    of_style = bench.viewer.add_labels(np.ones((30, 40), np.uint8))
    bench.controls.regions.content_labels.value = labels
    bench.controls.regions.style_labels[0].value = of_style
    bench.start()
    of_style.data_setitem((np.arange(9), np.arange(9)), 0)
    change = bench.wait_for_update()

    np.testing.assert_array_equal(change["style_labels"][0], of_style.data)


def test_a_setting_that_cannot_change_is_reported(bench: Workbench) -> None:
    bench.start()
    bench.controls.size.value = 640
    bench.qtbot.waitUntil(lambda: bool(bench.messages), timeout=5000)

    assert bench.messages == ["Size (px): this affects the next run, not the current one."]
    assert bench.updates == []


def test_a_refused_update_is_reported_and_the_run_continues(bench: Workbench) -> None:
    bench.start()
    bench.engine.refused = 10.0
    bench.controls.strength.value = 100
    bench.qtbot.waitUntil(lambda: bool(bench.messages), timeout=5000)

    assert bench.messages == ["The style weight is refused."]
    assert bench.session.state is State.RUNNING


def test_an_invalid_value_is_reported_and_not_sent(bench: Workbench) -> None:
    bench.start()
    bench.controls.fields["tv_weight"].widget.value = "a lot"
    bench.qtbot.waitUntil(lambda: bool(bench.messages), timeout=5000)

    assert bench.messages[0].startswith("tv_weight is 'a lot'")
    assert bench.updates == []


def test_updates_of_a_paused_run_apply_when_it_resumes(bench: Workbench) -> None:
    bench.start()
    bench.session.pause()
    bench.controls.strength.value = 0
    bench.qtbot.wait(150)
    assert bench.updates == []
    bench.session.resume()

    assert bench.wait_for_update() == {"style_weight": pytest.approx(0.1)}


def test_changes_without_a_run_are_no_updates(bench: Workbench) -> None:
    bench.controls.strength.value = 100
    bench.qtbot.wait(100)
    bench.start()

    assert bench.engine.made[0].settings.style_weight == 10
    assert bench.updates == []
