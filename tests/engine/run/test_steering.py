"""Settings that change during a run, pauses, and replays of steered runs."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import numpy as np
import pytest
from engine_helpers import quick_settings, run_to_end, steer_after, totals
from numpy.typing import NDArray
from on_device import DEVICE

from napari_nst import RunRecord, StyleTransfer, StyleTransferSettings, stylize
from napari_nst.errors import InputError

Image = NDArray[np.float32]

quick = partial(quick_settings, iterations=12)

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_weights_change_at_the_next_evaluation(
    content: Image, style: Image, optimizer: str
) -> None:
    settings = quick(optimizer=optimizer, kept_structure=0)
    unsteered = stylize(content, style, settings)
    run = StyleTransfer(content, style, settings)
    steer_after(run, 5, tv_weight=0.0, content_weight=0.5)

    assert totals(run)[:5] == totals(unsteered)[:5]
    sixth = run.history[5]
    assert sixth.tv == 0
    assert sixth.content == pytest.approx(0.5 * sixth.content_layers["relu2_1"])
    # The image of this evaluation is still that of the unsteered run.
    assert sixth.style == pytest.approx(unsteered.history[5].style, rel=1e-6)


@pytest.mark.usefixtures("real_network")
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("factor", [0.001, 1000.0])
def test_the_loss_keeps_falling_after_weights_change(
    content: Image, style: Image, optimizer: str, factor: float
) -> None:
    settings = quick(optimizer=optimizer, iterations=40, kept_structure=0)
    run = StyleTransfer(content, style, settings)
    steer_after(run, 20, style_weight=factor, content_weight=0.1 * factor)

    losses = totals(run)
    assert min(losses[35:]) < losses[20]
    # Steps stay about as long as the learning rate, not a hundred times longer.
    assert max(losses[20:]) < 1.5 * losses[20]


def test_lower_weights_do_not_slow_adam_down(content: Image, style: Image) -> None:
    def distance(**choices: float) -> float:
        """Return how far pixels move in ten iterations after a change of weights."""
        run = StyleTransfer(content, style, quick(iterations=30, tv_weight=0.0))
        images = []
        for snapshot in run:
            images.append(snapshot.image())
            if snapshot.iteration == 20:
                run.steer(**choices)
        return float(np.abs(images[-1] - images[20]).mean())

    # A loss that is a thousand times smaller has the same minimum and the same path to it.
    assert distance(style_weight=1e-3, content_weight=1e-4) == pytest.approx(
        distance(style_weight=1.0, content_weight=0.1), rel=0.05
    )


def test_the_shares_of_styles_can_change(content: Image, style: Image) -> None:
    styles, settings = [style, style[::-1, :, ::-1].copy()], quick(style_weights=(1, 0))
    unsteered = stylize(content, styles, settings)
    run = StyleTransfer(content, styles, settings)
    steer_after(run, 4, style_weights=(0, 1))

    assert run.history[4].style_layers != unsteered.history[4].style_layers
    assert run.record.steering[0].choices == {"style_weights": (0, 1)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("style", "luminance"),
        ("luminance", "match"),
        ("palette", "luminance"),
        ("match", "palette"),
    ],
)
def test_the_colour_mode_can_change(content: Image, style: Image, before: str, after: str) -> None:
    run = StyleTransfer(content, style, quick(color=before))
    for snapshot in run:
        if snapshot.iteration == 4:
            early, early_image = snapshot, snapshot.image()
            run.steer(color=after)
    result = run.result()

    assert result.image.shape == content.shape
    np.testing.assert_array_equal(early.image(), early_image)  # of the mode at that time
    if after == "luminance":
        luminance = np.array([0.299, 0.587, 0.114], np.float32)[:, None]
        chroma, expected = (image - image @ luminance for image in (result.image, content))
        unclipped = ((result.image > 0) & (result.image < 1)).all(axis=2)
        np.testing.assert_allclose(chroma[unclipped], expected[unclipped], atol=1e-5)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"size": 64}, "size cannot be changed during a run; "),
        ({"style_weight": -1}, "style_weight is -1; "),
        ({"style_weights": (1, 2, 3)}, "style_weights has 3 shares for 1 styles; "),
        ({"sytle_weight": 1}, "sytle_weight cannot be changed"),
    ],
)
def test_an_invalid_setting_raises_and_changes_nothing(
    content: Image, style: Image, choices: dict[str, Any], message: str
) -> None:
    run = StyleTransfer(content, style, quick(iterations=4))
    next(run)
    with pytest.raises(InputError) as caught:
        run.steer(**choices)
    assert str(caught.value).startswith(message)
    unsteered = stylize(content, style, quick(iterations=4))
    np.testing.assert_array_equal(run_to_end(run).image, unsteered.image)


def test_a_run_can_be_stopped_while_it_is_paused(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(iterations=1000))
    next(run)
    run.pause()
    snapshots: list[Any] = []
    thread = threading.Thread(target=lambda: snapshots.extend(run))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert len(run.history) == 1
    run.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert snapshots == []
    assert run.record.status == "stopped"


def test_a_pause_does_not_change_the_result(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(iterations=4))
    next(run)
    run.pause()
    run.resume()
    expected = stylize(content, style, quick(iterations=4)).image
    np.testing.assert_array_equal(run_to_end(run).image, expected)


# Replays


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_steered_run_is_replayed_to_the_same_bytes(
    content: Image, style: Image, optimizer: str
) -> None:
    run = StyleTransfer(content, style, quick(optimizer=optimizer, init="noise", seed=3))
    for snapshot in run:
        if snapshot.iteration == 3:
            run.steer(style_weight=3.0)
            run.steer(tv_weight=0.1)
        if snapshot.iteration == 7:
            run.steer(color="match", content_weight=0.3)
    record = RunRecord.model_validate_json(run.record.to_json())
    again = stylize(content, style, record=record)

    np.testing.assert_array_equal(again.image, run.result().image)
    assert again.record.steering == record.steering
    assert [change.iteration for change in record.steering] == [3, 3, 7]


def test_a_stopped_run_is_replayed_to_where_it_stopped(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick())
    for snapshot in run:
        if snapshot.iteration == 5:
            run.stop()
    again = stylize(content, style, record=run.record)

    np.testing.assert_array_equal(again.image, run.result().image)
    assert (again.record.iterations, again.record.status) == (5, "stopped")


def test_a_replay_requires_the_images_and_settings_of_its_record(
    content: Image, style: Image
) -> None:
    record = stylize(content, style, quick(iterations=1)).record
    with pytest.raises(InputError, match=r"^style is not the image of the record: its sha256"):
        stylize(content, content, record=record)
    with pytest.raises(InputError, match=r"^The record is of 1 styles, and 2 are given\.$"):
        stylize(content, [style, style], record=record)
    with pytest.raises(InputError, match=r"^A record has its own settings"):
        stylize(content, style, record=record, size=64)


@pytest.mark.usefixtures("real_network")
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_replay_with_other_rounding_ends_with_a_similar_loss(
    content: Image, style: Image, optimizer: str
) -> None:
    # Tiles sum in another order, as another machine does.  Rounding errors grow with each step, so
    # after some iterations the two runs differ.
    settings = StyleTransferSettings(
        content_layers=("relu3_1",),
        style_layers=("relu1_1", "relu2_1", "relu3_1"),
        size=96,
        iterations=16,
        optimizer=optimizer,
        device=DEVICE,
    )
    run = StyleTransfer(content, style, settings)
    steer_after(run, 8, style_weight=2.0)
    record = run.record.model_dump(mode="json")
    for scale in record["resolved"]["scales"]:
        scale["tile"] = 64
    again = stylize(content, style, record=RunRecord.model_validate(record))

    assert again.image.tobytes() != run.result().image.tobytes()
    found, expected = totals(again), totals(run)
    assert len(found) == len(expected)
    assert found[:8] == pytest.approx(expected[:8], rel=0.01)
    assert found[-1] == pytest.approx(expected[-1], rel=0.05)
