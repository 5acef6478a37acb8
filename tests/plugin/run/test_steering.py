"""What is changed while a run goes on reaches the run, and nothing else does."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from napari.components import ViewerModel
from qtpy.QtWidgets import QWidget

from napari_nst.plugin.run.session import Session, State
from napari_nst.plugin.run.steering import Steering
from napari_nst.plugin.widgets.controls import Controls
from napari_nst.plugin.widgets.job_maker import JobMaker


class Desk:
    """A viewer without a window, its controls, and a run that waits for iterations."""

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
        self.remarks: list[str] = []
        self.steering.info.connect(self.remarks.append)
        self.session.warning.connect(self.remarks.append)

    def on_layers(self, _: object) -> None:
        self.controls.reset_choices()
        self.steering.sync_baseline()

    def begin(self) -> None:
        self.controls.fields["iterations"].value = 10**5
        job = JobMaker(self.viewer, self.controls).job()
        self.steering.begin(job)
        assert self.session.start(job)
        self.qtbot.waitUntil(lambda: self.session.layer is not None, timeout=20000)

    @property
    def steered(self) -> list[dict[str, Any]]:
        return self.engine.made[-1].steered

    def wait_for_steering(self) -> dict[str, Any]:
        count = len(self.steered)
        self.qtbot.waitUntil(lambda: len(self.steered) > count, timeout=5000)
        return self.steered[-1]

    def end(self) -> None:
        self.session.cancel()
        self.qtbot.waitUntil(lambda: self.session.state is State.IDLE, timeout=20000)


@pytest.fixture
def desk(qtbot: Any) -> Any:
    made = Desk(qtbot)
    yield made
    made.end()


def test_strength_smoothness_and_colour_act_on_the_run(desk: Desk) -> None:
    desk.begin()
    desk.controls.strength.value = 100
    assert desk.wait_for_steering() == {"style_weight": 10.0}
    desk.controls.fields["tv_weight"].widget.value = "0.5"
    desk.controls.color.value = "match"
    assert desk.wait_for_steering() == {"tv_weight": 0.5, "color": "match"}
    assert desk.remarks == []


def test_dragging_a_slider_is_one_update(desk: Desk) -> None:
    desk.begin()
    for value in range(50, 80):
        desk.controls.strength.value = value
    desk.wait_for_steering()
    desk.qtbot.wait(400)

    assert len(desk.steered) == 1


def test_the_blend_acts_on_the_run(desk: Desk) -> None:
    desk.controls.styles.add(desk.viewer.layers["third"])
    desk.begin()
    desk.controls.styles.rows[0].share.value = 80

    assert desk.wait_for_steering() == {"style_weights": pytest.approx((0.8, 0.2))}


def test_another_style_acts_on_the_run(desk: Desk) -> None:
    desk.begin()
    third = desk.viewer.layers["third"]
    desk.controls.styles.rows[0].choice.value = third
    change = desk.wait_for_steering()

    assert change["names"] == ["third"]
    low, high = third.contrast_limits
    np.testing.assert_allclose(change["styles"][0], (third.data - low) / (high - low), atol=1e-6)


def test_one_style_more_comes_with_its_share(desk: Desk) -> None:
    desk.begin()
    desk.controls.styles.add(desk.viewer.layers["third"])
    change = desk.wait_for_steering()

    assert len(change["styles"]) == 2
    assert change["style_weights"] is None


def test_removing_layers_does_not_change_the_run(desk: Desk) -> None:
    labels = desk.viewer.add_labels(np.ones((30, 40), int))
    desk.controls.regions.content_labels.value = labels
    desk.begin()
    for layer in ("photo", "paint", labels):
        desk.viewer.layers.remove(layer)
    desk.qtbot.wait(600)

    assert desk.steered == []
    assert desk.session.state is State.RUNNING


def test_renaming_and_hiding_change_nothing(desk: Desk) -> None:
    desk.begin()
    for layer in list(desk.viewer.layers):
        layer.name = f"{layer.name}, renamed"
        layer.visible = False
    desk.on_layers(None)
    desk.qtbot.wait(400)

    assert desk.steered == []


def test_what_is_painted_acts_on_the_run(desk: Desk) -> None:
    labels = desk.viewer.add_labels(np.ones((30, 40), np.uint8))
    desk.controls.regions.content_labels.value = labels
    desk.controls.styles.add(desk.viewer.layers["third"])
    desk.begin()
    assert (desk.engine.made[0].more["content_labels"] == 1).all()
    labels.paint((5, 5), 2)
    change = desk.wait_for_steering()

    np.testing.assert_array_equal(change["content_labels"], labels.data)
    assert change["content_labels"] is not labels.data
    assert dict(change["region_styles"]) == {1: 0, 2: 1}


def test_refreshing_a_layer_is_no_update(desk: Desk) -> None:
    labels = desk.viewer.add_labels(np.ones((30, 40), np.uint8))
    desk.controls.regions.content_labels.value = labels
    desk.begin()
    labels.refresh()
    desk.qtbot.wait(800)

    assert desk.steered == []


def test_another_plane_is_not_painted_into_the_run(desk: Desk) -> None:
    stack = desk.viewer.add_image(np.random.default_rng(0).random((3, 30, 40)), name="stack")
    labels = desk.viewer.add_labels(np.ones((3, 30, 40), np.uint8))
    desk.controls.content.value = stack
    desk.controls.regions.content_labels.value = labels
    desk.begin()
    desk.viewer.dims.set_current_step(0, 2)
    first = int(desk.session.job.content.index[0])
    labels.paint((first, 5, 5), 3)
    change = desk.wait_for_steering()

    np.testing.assert_array_equal(change["content_labels"], labels.data[first])


def test_regions_can_be_removed(desk: Desk) -> None:
    desk.controls.regions.content_labels.value = desk.viewer.add_labels(np.ones((30, 40), int))
    desk.begin()
    desk.controls.regions.content_labels.value = None
    change = desk.wait_for_steering()

    assert change["content_labels"] is None
    assert change["style_labels"] is None


def test_a_label_of_a_style_acts_on_the_run(desk: Desk) -> None:
    labels = desk.viewer.add_labels(np.ones((30, 40), np.uint8))
    of_style = desk.viewer.add_labels(np.ones((30, 40), np.uint8))
    desk.controls.regions.content_labels.value = labels
    desk.controls.regions.style_labels[0].value = of_style
    desk.begin()
    of_style.data_setitem((np.arange(9), np.arange(9)), 0)
    change = desk.wait_for_steering()

    np.testing.assert_array_equal(change["style_labels"][0], of_style.data)


def test_a_setting_that_cannot_change_is_reported(desk: Desk) -> None:
    desk.begin()
    desk.controls.size.value = 640
    desk.qtbot.waitUntil(lambda: bool(desk.remarks), timeout=5000)

    assert desk.remarks == ["Size (px): this affects the next run, not the current one."]
    assert desk.steered == []


def test_a_refused_update_is_reported_and_the_run_continues(desk: Desk) -> None:
    desk.begin()
    desk.engine.refused = 10.0
    desk.controls.strength.value = 100
    desk.qtbot.waitUntil(lambda: bool(desk.remarks), timeout=5000)

    assert desk.remarks == ["The style weight is refused."]
    assert desk.session.state is State.RUNNING


def test_an_invalid_value_is_reported_and_no_update(desk: Desk) -> None:
    desk.begin()
    desk.controls.fields["tv_weight"].widget.value = "a lot"
    desk.qtbot.waitUntil(lambda: bool(desk.remarks), timeout=5000)

    assert desk.remarks[0].startswith("tv_weight is 'a lot'")
    assert desk.steered == []


def test_updates_of_a_paused_run_apply_when_it_resumes(desk: Desk) -> None:
    desk.begin()
    desk.session.pause()
    desk.controls.strength.value = 0
    desk.qtbot.wait(400)
    assert desk.steered == []
    desk.session.resume()

    assert desk.wait_for_steering() == {"style_weight": pytest.approx(0.1)}


def test_changes_without_a_run_are_no_updates(desk: Desk) -> None:
    desk.controls.strength.value = 100
    desk.qtbot.wait(300)
    desk.begin()

    assert desk.engine.made[0].settings.style_weight == 10
    assert desk.steered == []
