"""A run is paused, steered and done again."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from engine_helpers import quick as quick_settings
from numpy.typing import NDArray
from on_device import DEVICE

from napari_nst import RunRecord, StyleTransfer, StyleTransferSettings, stylize
from napari_nst.errors import InputError

Image = NDArray[np.float32]

quick = partial(quick_settings, iterations=12)


pytestmark = pytest.mark.usefixtures("one_thread")


def steered(run: StyleTransfer, at: int, **choices: Any) -> list[float]:
    """Carry out a run that is steered after so many iterations; return its total losses."""
    for snapshot in run:
        if snapshot.iteration == at:
            run.steer(**choices)
    return [losses.total for losses in run.history]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_steering_takes_effect_at_the_next_evaluation(
    content: Image, style: Image, optimizer: str
) -> None:
    settings = quick(optimizer=optimizer)
    plain = [losses.total for losses in stylize(content, style, settings).history]
    run = StyleTransfer(content, style, settings)
    losses = steered(run, 5, tv_weight=0.0, content_weight=0.5)

    assert losses[:5] == plain[:5]
    sixth = run.history[5]
    assert sixth.tv == 0
    assert sixth.content == pytest.approx(0.5 * sixth.content_layers["relu2_1"])
    # The picture that is evaluated is the same: only what it is compared by has changed.
    unsteered = stylize(content, style, settings).history[5]
    assert sixth.style == pytest.approx(unsteered.style, rel=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("factor", [0.001, 1000.0])
def test_the_loss_keeps_falling_after_steering(
    content: Image, style: Image, optimizer: str, factor: float
) -> None:
    run = StyleTransfer(content, style, quick(optimizer=optimizer, iterations=40))
    losses = steered(run, 20, style_weight=factor, content_weight=0.1 * factor)

    assert min(losses[35:]) < losses[20]
    # No leap: a step moves a pixel by about the learning rate, not by a hundred times that.
    assert max(losses[20:]) < 1.5 * losses[20]


def test_a_lowered_weight_does_not_stall_adam(content: Image, style: Image) -> None:
    def moved(**choices: float) -> float:
        run = StyleTransfer(content, style, quick(iterations=30, tv_weight=0.0))
        pictures = []
        for snapshot in run:
            pictures.append(snapshot.image())
            if snapshot.iteration == 20:
                run.steer(**choices)
        return float(np.abs(pictures[-1] - pictures[20]).mean())

    # The whole loss a thousand times smaller is the same problem, and takes the same way.
    assert moved(style_weight=1e-3, content_weight=1e-4) == pytest.approx(
        moved(style_weight=1.0, content_weight=0.1), rel=0.05
    )


def test_the_blend_of_styles_can_be_steered(content: Image, style: Image) -> None:
    other = style[::-1, :, ::-1].copy()
    both = quick(style_weights=(1, 0))
    run = StyleTransfer(content, [style, other], both)
    steered(run, 4, style_weights=(0, 1))
    swapped = StyleTransfer(content, [style, other], quick(style_weights=(0, 1)))
    next(iter(swapped))

    targets_now = run.history[-1].style_layers
    assert targets_now != stylize(content, [style, other], both).history[-1].style_layers
    assert run.record.steering[0].choices == {"style_weights": (0, 1)}


@pytest.mark.parametrize(("before", "after"), [("style", "luminance"), ("luminance", "match")])
def test_the_colours_can_be_steered(content: Image, style: Image, before: str, after: str) -> None:
    run = StyleTransfer(content, style, quick(color=before))
    early = []
    for snapshot in run:
        if snapshot.iteration == 4:
            early.append((snapshot, snapshot.image()))
            run.steer(color=after)
    result = run.result()

    assert result.image.shape == content.shape
    snapshot, image = early[0]
    np.testing.assert_array_equal(snapshot.image(), image)  # an old picture keeps its colours
    if after == "luminance":
        chroma = result.image - result.image @ np.array([0.299, 0.587, 0.114], np.float32)[:, None]
        expected = content - content @ np.array([0.299, 0.587, 0.114], np.float32)[:, None]
        inside = ((result.image > 0) & (result.image < 1)).all(axis=2)
        np.testing.assert_allclose(chroma[inside], expected[inside], atol=1e-5)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"size": 64}, "size cannot be changed during a run; "),
        ({"style_weight": -1}, "style_weight is -1; "),
        ({"style_weights": (1, 2, 3)}, "style_weights has 3 shares for 1 styles; "),
        ({"sytle_weight": 1}, "sytle_weight cannot be changed"),
    ],
)
def test_what_cannot_be_steered_is_refused_at_once(
    content: Image, style: Image, choices: dict[str, Any], message: str
) -> None:
    run = StyleTransfer(content, style, quick())
    plain = stylize(content, style, quick())
    next(run)
    with pytest.raises(InputError) as caught:
        run.steer(**choices)
    assert str(caught.value).startswith(message)
    for _ in run:
        pass
    np.testing.assert_array_equal(run.result().image, plain.image)


def test_a_paused_run_waits_and_a_stop_ends_it(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(iterations=1000))
    next(run)
    run.pause()
    rest: list[Any] = []
    thread = threading.Thread(target=lambda: rest.extend(run))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert len(run.history) == 1
    run.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert rest == []
    assert run.record.status == "stopped"


def test_a_resumed_run_is_as_if_it_had_not_been_paused(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick())
    next(run)
    run.pause()
    run.resume()
    for _ in run:
        pass
    np.testing.assert_array_equal(run.result().image, stylize(content, style, quick()).image)


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


def test_a_stopped_run_is_replayed_as_far_as_it_went(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick())
    for snapshot in run:
        if snapshot.iteration == 5:
            run.stop()
    again = stylize(content, style, record=run.record)

    np.testing.assert_array_equal(again.image, run.result().image)
    assert (again.record.iterations, again.record.status) == (5, "stopped")


def test_a_record_is_of_its_own_pictures_and_settings(content: Image, style: Image) -> None:
    record = stylize(content, style, quick(iterations=1)).record
    with pytest.raises(InputError, match=r"^style is not the image of the record: its sha256"):
        stylize(content, content, record=record)
    with pytest.raises(InputError, match=r"^The record is of 1 styles, and 2 are given\.$"):
        stylize(content, [style, style], record=record)
    with pytest.raises(InputError, match=r"^A record has its own settings"):
        stylize(content, style, record=record, size=64)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_where_sums_round_otherwise_a_replay_begins_alike_and_ends_as_good(
    content: Image, style: Image, optimizer: str
) -> None:
    # Another machine adds in another order; here tiles do, and more threads.  Long steps let
    # what is rounded grow, so that two runs part after a while.
    settings = StyleTransferSettings(size=170, iterations=25, optimizer=optimizer, device=DEVICE)
    run = StyleTransfer(content, style, settings)
    for snapshot in run:
        if snapshot.iteration == 12:
            run.steer(style_weight=2.0)
    record = run.record.model_dump(mode="json")
    for scale in record["resolved"]["scales"]:
        scale["tile"] = 96
    torch.set_num_threads(2)
    again = stylize(content, style, record=RunRecord.model_validate(record))

    assert again.image.tobytes() != run.result().image.tobytes()  # it was another order
    assert len(again.history) == len(run.history)
    for here, there in zip(run.history[:8], again.history, strict=False):
        assert there.total == pytest.approx(here.total, rel=0.01)
    assert again.history[-1].total == pytest.approx(run.history[-1].total, rel=0.05)
