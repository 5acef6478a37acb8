"""Styles and labels that are replaced during a run, and replays of such runs."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_helpers import label_halves, quick_settings, run_to_end, steer_after, totals
from numpy.typing import NDArray

from napari_nst import RunRecord, StyleTransfer, stylize
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.errors import InputError
from napari_nst.mappings import RegionStyles

if TYPE_CHECKING:
    from collections.abc import Callable

Image = NDArray[np.float32]

quick = partial(quick_settings, iterations=10)

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")


def make_run(content: Image, arguments: dict[str, Any]) -> StyleTransfer:
    """Return a run with these styles, labels, initial image and settings."""
    images = ("styles", "content_labels", "style_labels", "init_image")
    settings = {name: value for name, value in arguments.items() if name not in images}
    given = {name: value for name, value in arguments.items() if name in images}
    return StyleTransfer(content, given.pop("styles"), quick(**settings), **given)


def arguments_and_changes(
    name: str, content: Image, style: Image
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of a run, and changes during it."""
    one, two = {"styles": style}, {"styles": [style, 1 - style]}
    labelled = {**two, "content_labels": label_halves(content, 1, 2)}
    return {
        "another style": (one, {"styles": [1 - style[:30, ::-1]]}),
        "more styles": (
            {**one, "style_weights": (1,)},
            {"styles": [style, 1 - style, style[::-1]], "style_weights": (1, 2, 1)},
        ),
        "shares of styles": ({**two, "style_weights": (1, 0)}, {"style_weights": (0, 1)}),
        "labels of the content": (one, {"content_labels": label_halves(content, 0, 1)}),
        "labels of the styles": (labelled, {"style_labels": [label_halves(style, 1, 2), None]}),
        "styles of the regions": (
            labelled,
            {"region_styles": {1: 1, 2: None}, "region_softness": 0.1},
        ),
    }[name]


@pytest.mark.usefixtures("real_network")
@pytest.mark.parametrize(
    "name",
    [
        "another style",
        "more styles",
        "shares of styles",
        "labels of the content",
        "labels of the styles",
        "styles of the regions",
    ],
)
def test_losses_after_a_change_are_those_of_a_new_run_from_the_same_image(
    name: str, content: Image, style: Image
) -> None:
    arguments, changes = arguments_and_changes(name, content, style)
    arguments["kept_structure"] = 0  # a new run has another factor of the content weight
    run = make_run(content, {**arguments, "iterations": 4})
    image = steer_after(run, 3, **changes)
    start = {"init": "image", "init_image": image}
    new = next(make_run(content, {**arguments, **changes, **start})).losses
    assert run.history[3].total == pytest.approx(new.total, rel=1e-6)
    assert run.history[3].style_layers == pytest.approx(new.style_layers, rel=1e-6)
    unchanged = next(make_run(content, {**arguments, **start})).losses
    assert new.style != pytest.approx(unchanged.style, rel=0.01)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_another_style_takes_effect_at_the_next_evaluation(
    optimizer: str, content: Image, style: Image
) -> None:
    settings = quick(optimizer=optimizer)
    run = StyleTransfer(content, style, settings)
    steer_after(run, 4, styles=[1 - style[:30, ::-1]])
    unsteered = stylize(content, style, settings)
    losses = totals(run)
    assert losses[:4] == totals(unsteered)[:4]
    assert run.history[4].style != pytest.approx(unsteered.history[4].style, rel=0.01)
    assert min(losses[6:]) < losses[4]
    (change,) = run.record.steering
    assert (change.iteration, change.choices) == (4, {})
    assert change.styles is not None and change.styles[0].shape == (30, 36, 3)
    assert change.styles[0].name == "style"
    assert run.record.styles[0].shape == style.shape  # at the start of the run


def test_new_styles_can_have_names(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(iterations=4))
    steer_after(run, 3, styles=[style, 1 - style, style[::-1]], names=["a", "b", "c"])
    (change,) = run.record.steering
    assert change.styles is not None
    assert [record.name for record in change.styles] == ["a", "b", "c"]


def test_labels_can_be_added_and_removed(content: Image, style: Image) -> None:
    labels = label_halves(content, 0, 1)
    run = StyleTransfer(content, style, quick())
    keeps_content = []
    for snapshot in run:
        keeps_content.append(np.array_equal(snapshot.image()[labels == 0], content[labels == 0]))
        if snapshot.iteration == 3:
            run.steer(content_labels=labels)
        if snapshot.iteration == 6:
            assert run.record.kept_labels == (0,)
            run.steer(content_labels=None)
    assert keeps_content == [False] * 3 + [True] * 3 + [False] * 4
    assert run.record.kept_labels == () == run.record.regions
    first, second = run.record.steering
    assert first.content_labels is not None and first.content_labels != "removed"
    assert first.content_labels.dtype == "uint8"
    assert second.content_labels == "removed"


def test_the_record_has_the_current_regions(content: Image, style: Image) -> None:
    styles, labels = [style, 1 - style], label_halves(content, 1, 2)
    run = StyleTransfer(content, styles, quick(iterations=4), content_labels=labels)
    for snapshot in run:
        if snapshot.iteration == 1:
            run.steer(style_labels=[label_halves(style, 1, 2), None])
        if snapshot.iteration == 2:
            sources = [region.sources for region in run.record.regions]
            assert sources == [("style 0, label 1",), ("style 0, label 2",)]
            assert run.record.kept_labels == ()
            run.steer(region_styles={1: 1, 2: None}, style_labels=None)
    assert [region.sources for region in run.record.regions] == [("style 1",)]
    assert run.record.kept_labels == (2,)


@pytest.mark.parametrize("choices", [{"region_styles": RegionStyles({1: 0})}, {"tv_weight": 3}])
def test_changes_survive_the_record_as_json(
    choices: dict[str, Any], content: Image, style: Image
) -> None:
    labels = label_halves(content, 0, 1)
    run = StyleTransfer(content, style, quick(iterations=4), content_labels=labels)
    steer_after(run, 2, **choices)
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
def test_an_invalid_image_raises_and_changes_nothing(
    changes: dict[str, Any], message: str, content: Image, style: Image
) -> None:
    settings = quick(style_weights=(1,), iterations=4)
    run = StyleTransfer(content, style, settings)
    next(run)
    with pytest.raises(InputError, match=message):
        run.steer(**changes)
    unsteered = stylize(content, style, settings)
    np.testing.assert_array_equal(run_to_end(run).image, unsteered.image)
    assert run.record.steering == ()


def test_new_styles_must_fit_the_labels_of_the_styles(content: Image, style: Image) -> None:
    labels: dict[str, Any] = {
        "content_labels": label_halves(content, 1, 2),
        "style_labels": [label_halves(style, 1, 2)],
    }
    run = StyleTransfer(content, style, quick(), **labels)
    with pytest.raises(InputError, match=r"^style_labels of style has shape \(44, 36\), and the"):
        run.steer(styles=[style[:30]])
    with pytest.raises(InputError, match=r"^There are labels for 1 styles, and the number of st"):
        run.steer(styles=[style, style])
    run.steer(styles=[style[:30]], style_labels=[label_halves(style[:30], 1, 2)])
    next(run)
    assert len(run.record.steering) == 1


# Replays


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_run_with_replaced_images_is_replayed_to_the_same_bytes(
    optimizer: str, content: Image, style: Image
) -> None:
    other, labels = 1 - style[:30], label_halves(content, 0, 2)
    run = StyleTransfer(content, style, quick(optimizer=optimizer, scales=2))
    for snapshot in run:
        if snapshot.iteration == 2:
            run.steer(content_labels=labels)
        if snapshot.iteration == 4:
            run.steer(styles=[other, style], style_weights=(1, 2))
            run.steer(region_styles={2: 1}, color="match")
        if snapshot.iteration == 6:
            run.steer(styles=style, style_weights=None, region_styles=None)
            run.steer(style_labels=[label_halves(style, 2, 2)])
        if snapshot.iteration == 8:
            run.steer(content_labels=None, style_labels=None)
    record = RunRecord.model_validate_json(run.record.to_json())
    assert record == run.record
    replacements = [label_halves(style, 2, 2), other, labels, content]  # any order; one too many
    again = stylize(content, style, record=record, replacements=replacements)
    assert again.image.tobytes() == run.result().image.tobytes()
    assert again.record.steering == record.steering
    assert totals(again) == totals(run)


def test_a_missing_replacement_raises_with_its_name(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(iterations=4))
    steer_after(run, 2, styles=[1 - style], names=["the other"])
    digest = run.record.steering[0].styles[0].sha256[:8]  # type: ignore[index]
    with pytest.raises(InputError, match=f"^the other was added during the run .* {digest} as one"):
        stylize(content, style, record=run.record)
    with pytest.raises(InputError, match=r"^the other was added during the run"):
        stylize(content, style, record=run.record, replacements=[style])


def test_one_array_can_be_both_style_and_labels(content: Image) -> None:
    mask = np.ones(content.shape[:2], np.uint8)
    run = StyleTransfer(content, mask, quick(iterations=4))
    steer_after(run, 2, content_labels=mask)
    again = stylize(content, mask, record=run.record, replacements=[mask])
    assert again.image.tobytes() == run.result().image.tobytes()
    run = StyleTransfer(content, content, quick(iterations=4), content_labels=mask)
    steer_after(run, 2, styles=[mask])
    with pytest.raises(InputError, match=r"^style was added during the run and is missing"):
        stylize(content, content, record=run.record, content_labels=mask)


def test_a_run_that_stops_right_after_a_change_is_replayed(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    run = StyleTransfer(content, style, quick())
    for _ in range(3):
        next(run)
    run.steer(color="luminance")
    original = FeatureExtractor.__call__

    def stop_and_extract(self: FeatureExtractor, image: Any) -> Any:
        run.stop()
        return original(self, image)

    with monkeypatch.context() as patch:  # stop while the run computes new targets
        patch.setattr(FeatureExtractor, "__call__", stop_and_extract)
        assert next(run, None) is None
    assert run.record.status == "stopped" and len(run.record.steering) == 1
    again = stylize(content, style, record=run.record)
    assert again.image.tobytes() == run.result().image.tobytes()
    assert again.record == run.record


def test_a_replay_cannot_be_steered(content: Image, style: Image) -> None:
    record = stylize(content, style, quick(iterations=2)).record
    run = StyleTransfer(content, style, record.settings, replay=record)
    with pytest.raises(InputError, match=r"^A run that replays a record cannot be steered"):
        run.steer(style_weight=2)


# Other threads, and tiles


def test_several_threads_can_steer_at_once(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(iterations=3))
    next(run)
    changes: list[dict[str, Any]] = [
        {"styles": [1 - style], "names": ["new"]},
        {"content_labels": label_halves(content, 0, 1)},
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
    assert len(run.record.steering) == 5  # and none undid another:
    assert run.record.kept_labels == (0,)
    current = run._loop.state.settings
    assert (current.tv_weight, current.style_weight, current.region_softness) == (1, 2, 0.1)
    assert run._loop.inputs.styles[0].record.name == "new"


@pytest.fixture(scope="module")
def large(content: Image) -> Image:
    """An image of 160 x 192 pixels: nine tiles of 64."""
    return np.tile(content, (4, 4, 1))


def call_at_tile(
    patch: pytest.MonkeyPatch, number: int, action: Callable[[], object]
) -> list[None]:
    """Call a function before the features of a tile; return a list with an item per tile."""
    original, tiles = FeatureExtractor.__call__, list[None]()

    def count_and_extract(self: FeatureExtractor, image: Any) -> Any:
        tiles.append(None)
        if len(tiles) == number:
            action()
        return original(self, image)

    patch.setattr(FeatureExtractor, "__call__", count_and_extract)
    return tiles


@pytest.mark.parametrize("during", ["targets", "evaluation"])
def test_a_run_stops_before_the_next_tile(
    during: str, monkeypatch: pytest.MonkeyPatch, large: Image, style: Image
) -> None:
    run = StyleTransfer(large, style, quick(tile=64, content_layers=("relu1_1",)))
    if during == "evaluation":
        next(run)
    tiles = call_at_tile(monkeypatch, 4, run.stop)
    assert next(run, None) is None
    assert len(tiles) == 4
    assert run.record.status == "stopped"
    assert run.record.iterations == (during == "evaluation")
    assert np.isfinite(run.result().image).all()


def test_a_run_pauses_before_the_next_tile(
    monkeypatch: pytest.MonkeyPatch, large: Image, style: Image
) -> None:
    settings = quick(tile=64, iterations=2)
    run = StyleTransfer(large, style, settings)
    paused = threading.Event()

    def pause() -> None:
        run.pause()
        paused.set()

    with monkeypatch.context() as patch:
        tiles = call_at_tile(patch, 14, pause)
        thread = threading.Thread(target=run_to_end, args=(run,))
        thread.start()
        assert paused.wait(60)
        thread.join(0.3)
        assert thread.is_alive() and len(tiles) == 14
        run.resume()
        thread.join(60)
        assert not thread.is_alive()
    np.testing.assert_array_equal(run.result().image, stylize(large, style, settings).image)
