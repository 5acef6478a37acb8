"""Styles and labels are replaced while a run goes on, and the run is done again."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import numpy as np
import pytest
from engine_helpers import quick as quick_settings
from numpy.typing import NDArray

from napari_nst import RunRecord, StyleTransfer, stylize
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.errors import InputError
from napari_nst.mappings import RegionStyles

Image = NDArray[np.float32]

quick = partial(quick_settings, iterations=10)

pytestmark = pytest.mark.usefixtures("one_thread")


def halves(image: Image, left: int, right: int) -> NDArray[np.int32]:
    labels = np.full(image.shape[:2], right, np.int32)
    labels[:, : image.shape[1] // 2] = left
    return labels


def steered(run: StyleTransfer, at: int, **changes: Any) -> Image:
    """Carry out a run that is steered after so many iterations; return the image at that time."""
    for snapshot in run:
        if snapshot.iteration == at:
            before = snapshot.image()
            run.steer(**changes)
    return before


def first_losses(image: Image, content: Image, styles: Any, **options: Any) -> Any:
    """Losses of an image against a fresh objective."""
    settings = options.pop("settings", quick()).replace(iterations=1, init="image")
    return stylize(content, styles, settings, init_image=image, **options).history[0]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_another_style_takes_effect_at_the_next_evaluation(
    optimizer: str, content: Image, style: Image
) -> None:
    settings = quick(optimizer=optimizer)
    run = StyleTransfer(content, style, settings)
    other = 1 - style[:30, ::-1]
    before = steered(run, 4, styles=[other])
    plain = stylize(content, style, settings)
    assert [x.total for x in run.history[:4]] == [x.total for x in plain.history[:4]]
    fresh = first_losses(before, content, other)
    if optimizer == "adam":  # L-BFGS may have left [0, 1]
        assert run.history[4].total == pytest.approx(fresh.total, rel=1e-6)
    assert run.history[4].style != pytest.approx(plain.history[4].style, rel=0.01)
    assert min(x.total for x in run.history[6:]) < run.history[4].total
    (change,) = run.record.steering
    assert (change.iteration, change.choices) == (4, {})
    assert change.styles is not None and change.styles[0].shape == (30, 36, 3)
    assert change.styles[0].name == "style"
    assert run.record.styles[0].shape == style.shape  # what it began with


def test_another_number_of_styles_comes_with_its_shares(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(style_weights=(1,)))
    three = [style, 1 - style, style[::-1]]
    before = steered(run, 3, styles=three, style_weights=(1, 2, 1), names=["a", "b", "c"])
    fresh = first_losses(before, content, three, settings=quick(style_weights=(1, 2, 1)))
    assert run.history[3].total == pytest.approx(fresh.total, rel=1e-6)
    (change,) = run.record.steering
    assert change.styles is not None
    assert [record.name for record in change.styles] == ["a", "b", "c"]


def test_labels_come_and_go(content: Image, style: Image) -> None:
    labels = halves(content, 0, 1)
    run = StyleTransfer(content, style, quick())
    kept = []
    for snapshot in run:
        kept.append(np.array_equal(snapshot.image()[labels == 0], content[labels == 0]))
        if snapshot.iteration == 3:
            run.steer(content_labels=labels)
            before = snapshot.image()
        if snapshot.iteration == 6:
            assert run.record.kept_labels == (0,)
            run.steer(content_labels=None)
    assert kept == [False] * 3 + [True] * 3 + [False] * 4
    assert run.record.kept_labels == () == run.record.regions
    first, second = run.record.steering
    assert first.content_labels is not None and first.content_labels != "removed"
    assert first.content_labels.dtype == "int32"
    assert second.content_labels == "removed"
    before[labels == 0] = content[labels == 0]
    fresh = first_losses(before, content, style, content_labels=labels)
    assert run.history[3].total == pytest.approx(fresh.total, rel=1e-6)


def test_labels_of_the_styles_and_their_assignment_can_be_steered(
    content: Image, style: Image
) -> None:
    styles = [style, 1 - style]
    labels = halves(content, 1, 2)
    run = StyleTransfer(content, styles, quick(), content_labels=labels)
    before = steered(run, 3, style_labels=[halves(style, 1, 2), None])
    fresh = first_losses(
        before, content, styles, content_labels=labels, style_labels=[halves(style, 1, 2), None]
    )
    assert run.history[3].total == pytest.approx(fresh.total, rel=1e-6)
    assert [r.sources for r in run.record.regions] == [
        ("style 0, label 1",),
        ("style 0, label 2",),
    ]

    run = StyleTransfer(content, styles, quick(), content_labels=labels)
    before = steered(run, 3, region_styles={1: 1, 2: None}, region_softness=0.1)
    before[labels == 2] = content[labels == 2]
    settings = quick(region_styles={1: 1, 2: None}, region_softness=0.1)
    fresh = first_losses(before, content, styles, settings=settings, content_labels=labels)
    assert run.history[3].total == pytest.approx(fresh.total, rel=1e-6)
    assert run.record.kept_labels == (2,)


@pytest.mark.parametrize("choices", [{"region_styles": RegionStyles({1: 0})}, {"tv_weight": 3}])
def test_what_was_steered_is_plain_in_the_record(
    choices: dict[str, Any], content: Image, style: Image
) -> None:
    run = StyleTransfer(content, style, quick(), content_labels=halves(content, 0, 1))
    steered(run, 2, **choices)
    record = RunRecord.model_validate_json(run.record.to_json())
    assert record == run.record
    assert record.steering[0].choices == choices


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"styles": []}, r"^There is no style image; "),
        ({"styles": [np.zeros((4, 4))]}, r"^style is 4 x 4 pixels; "),
        ({"styles": [np.ones((9, 9)), np.ones((9, 9))]}, r"^style_weights has 1 shares for 2"),
        ({"styles": [np.ones((9, 9))], "names": ["a", "b"]}, r"^names has 2 entries for 1 new"),
        ({"names": ["a"]}, r"^names has 1 entries for 0 new styles"),
        ({"content_labels": np.ones((3, 3), int)}, r"^content_labels has shape \(3, 3\); "),
        ({"content_labels": np.zeros((40, 48), int)}, r"^No label of the content has a style"),
        ({"style_labels": [np.ones((44, 36), int)]}, r"^There are style_labels and no content_l"),
        ({"region_styles": {1: 0}}, r"^region_styles gives labels their styles, and there are"),
        ({"style_weights": (1, 1)}, r"^style_weights has 2 shares for 1 styles"),
        ({"styles": [np.ones((9, 9))], "size": 5}, r"^size cannot be changed during a run; "),
        ({"style_weight": 2, "content_labels": np.ones(3)}, r"^content_labels has dtype float64"),
    ],
)
def test_what_cannot_be_changes_nothing(
    changes: dict[str, Any], message: str, content: Image, style: Image
) -> None:
    settings = quick(style_weights=(1,), iterations=4)
    run = StyleTransfer(content, style, settings)
    next(run)
    with pytest.raises(InputError, match=message):
        run.steer(**changes)
    for _ in run:
        pass
    assert run.record.steering == ()
    np.testing.assert_array_equal(run.result().image, stylize(content, style, settings).image)


def test_labels_of_styles_that_are_replaced_must_fit(content: Image, style: Image) -> None:
    own = {"content_labels": halves(content, 1, 2), "style_labels": [halves(style, 1, 2)]}
    run = StyleTransfer(content, style, quick(), **own)
    with pytest.raises(InputError, match=r"^style_labels of style has shape \(44, 36\), and the"):
        run.steer(styles=[style[:30]])
    with pytest.raises(InputError, match=r"^There are labels for 1 styles, and the number of st"):
        run.steer(styles=[style, style])
    run.steer(styles=[style[:30]], style_labels=[halves(style[:30], 1, 2)])
    next(run)
    assert len(run.record.steering) == 1


# Again


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_run_whose_images_were_replaced_is_replayed_to_the_same_bytes(
    optimizer: str, content: Image, style: Image
) -> None:
    other, labels = 1 - style[:30], halves(content, 0, 2)
    run = StyleTransfer(content, style, quick(optimizer=optimizer, scales=2))
    for snapshot in run:
        if snapshot.iteration == 2:
            run.steer(content_labels=labels)
        if snapshot.iteration == 4:
            run.steer(styles=[other, style], style_weights=(1, 2))
            run.steer(region_styles={2: 1}, color="match")
        if snapshot.iteration == 6:
            run.steer(styles=style, style_weights=None, region_styles=None)
            run.steer(style_labels=[halves(style, 2, 2)])
        if snapshot.iteration == 8:
            run.steer(content_labels=None, style_labels=None)
    record = RunRecord.model_validate_json(run.record.to_json())
    assert record == run.record
    replacements = [halves(style, 2, 2), other, labels, content]  # any order; one too many
    again = stylize(content, style, record=record, replacements=replacements)
    assert again.image.tobytes() == run.result().image.tobytes()
    assert again.record.steering == record.steering
    assert [x.total for x in again.history] == [x.total for x in run.history]


def test_a_replacement_that_is_missing_is_named(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(iterations=4))
    steered(run, 2, styles=[1 - style], names=["the other"])
    digest = run.record.steering[0].styles[0].sha256[:8]  # type: ignore[index]
    with pytest.raises(InputError, match=f"^the other came in during the run .* {digest} as one"):
        stylize(content, style, record=run.record)
    with pytest.raises(InputError, match=r"^the other came in during the run"):
        stylize(content, style, record=run.record, replacements=[style])


def test_a_mask_can_be_a_style_and_labels_too(content: Image) -> None:
    mask = np.ones(content.shape[:2], np.uint8)
    run = StyleTransfer(content, mask, quick(iterations=4))
    steered(run, 2, content_labels=mask)
    again = stylize(content, mask, record=run.record, replacements=[mask])
    assert again.image.tobytes() == run.result().image.tobytes()
    run = StyleTransfer(content, content, quick(iterations=4), content_labels=mask)
    steered(run, 2, styles=[mask])
    with pytest.raises(InputError, match=r"^style came in during the run and is missing"):
        stylize(content, content, record=run.record, content_labels=mask)


def test_a_stop_right_after_a_steer_is_replayed(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick())
    for snapshot in run:
        if snapshot.iteration == 3:
            run.steer(color="luminance")
            break
    stop_at_the_next_target(run)
    assert next(run, None) is None
    assert run.record.status == "stopped" and len(run.record.steering) == 1
    again = stylize(content, style, record=run.record)
    assert again.image.tobytes() == run.result().image.tobytes()
    assert again.record == run.record


def stop_at_the_next_target(run: StyleTransfer) -> None:
    """Ask a run to end while it makes new targets."""
    with pytest.MonkeyPatch.context() as patch:
        original = FeatureExtractor.__call__

        def stopping(self: FeatureExtractor, image: Any) -> Any:
            run.stop()
            return original(self, image)

        patch.setattr(FeatureExtractor, "__call__", stopping)
        assert next(run, None) is None


def test_a_replay_steers_itself(content: Image, style: Image) -> None:
    record = stylize(content, style, quick(iterations=2)).record
    run = StyleTransfer(content, style, record.settings, replay=record)
    with pytest.raises(InputError, match=r"^A run that replays a record cannot be steered"):
        run.steer(style_weight=2)


# From other threads, and within a tile


def test_many_threads_may_steer_at_once(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(iterations=3))
    next(run)
    changes: list[dict[str, Any]] = [
        {"styles": [1 - style], "names": ["new"]},
        {"content_labels": halves(content, 0, 1)},
        {"tv_weight": 1},
        {"style_weight": 2},
        {"region_softness": 0.1},
    ]
    barrier = threading.Barrier(len(changes))

    def steer(change: dict[str, Any]) -> None:
        barrier.wait()
        run.steer(**change)

    threads = [threading.Thread(target=steer, args=(change,)) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    next(run)
    assert len(run.record.steering) == 5
    assert run.record.kept_labels == (0,)  # none has undone another
    now = run._loop.state.settings
    assert (now.tv_weight, now.style_weight, now.region_softness) == (1, 2, 0.1)
    assert run._loop.inputs.styles[0].record.name == "new"


@pytest.mark.parametrize("during", ["targets", "evaluation"])
def test_a_stop_is_honoured_within_a_tile(
    during: str, monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    big = np.tile(content, (4, 4, 1))  # 160 x 192: nine tiles of 64
    run = StyleTransfer(big, style, quick(tile=64, content_layers=("relu1_1",)))
    if during == "evaluation":
        next(run)
    original = FeatureExtractor.__call__
    seen: list[int] = []

    def counting(self: FeatureExtractor, image: Any) -> Any:
        seen.append(1)
        if len(seen) == 4:
            run.stop()
        return original(self, image)

    monkeypatch.setattr(FeatureExtractor, "__call__", counting)
    assert next(run, None) is None
    assert len(seen) == 4
    assert run.record.status == "stopped"
    assert run.record.iterations == (during == "evaluation")
    assert np.isfinite(run.result().image).all()


def test_a_pause_is_honoured_within_a_tile(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    big = np.tile(content, (4, 4, 1))
    settings = quick(tile=64, iterations=2)
    run = StyleTransfer(big, style, settings)
    original = FeatureExtractor.__call__
    seen: list[int] = []
    waits = threading.Event()

    def counting(self: FeatureExtractor, image: Any) -> Any:
        seen.append(1)
        if len(seen) == 14:
            run.pause()
            waits.set()
        return original(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureExtractor, "__call__", counting)
        thread = threading.Thread(target=lambda: list(run))
        thread.start()
        assert waits.wait(60)
        thread.join(0.3)
        assert thread.is_alive() and len(seen) == 14
        run.resume()
        thread.join(60)
        assert not thread.is_alive()
    np.testing.assert_array_equal(run.result().image, stylize(big, style, settings).image)
