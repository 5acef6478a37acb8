from __future__ import annotations

import itertools
import math
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from engine_helpers import quick
from numpy.typing import NDArray
from on_device import DEVICE

import napari_nst
from napari_nst import StyleTransfer, StyleTransferSettings, stylize
from napari_nst.engine.images.color import luminance, match_colors
from napari_nst.engine.images.pictures import resize
from napari_nst.engine.losses.objective import Objective
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.engine.resources.device import Device
from napari_nst.errors import InputError, OutOfMemoryError, StyleTransferError, WeightsError

Image = NDArray[np.float32]
Maker = Callable[[int, int], Image]

# Two shallow layers at the content's own size: a few milliseconds an evaluation.


def picture(result: Any, shape: tuple[int, ...]) -> Image:
    """Return a result's image, which must be a picture."""
    image: Image = result.image
    assert image.shape == shape
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert 0 <= image.min() <= image.max() <= 1
    return image


pytestmark = pytest.mark.usefixtures("one_thread")


def planes(image: Image) -> torch.Tensor:
    return torch.from_numpy(np.atleast_3d(image).transpose(2, 0, 1).copy())[None]


def one_line(error: BaseException) -> str:
    message = str(error)
    assert message and "\n" not in message
    return message


# The way through the scales


@pytest.mark.parametrize("init", ["content", "style", "image"])
def test_what_a_run_starts_from_comes_back_line_by_line_as_it_grows(
    init: Any, content: Image, style: Image
) -> None:
    # With steps that move nothing the picture is the start itself: small, then grown.
    start = content[::-1].copy() if init == "image" else None
    settings = quick(init=init, scales=2, iterations=2, learning_rate=1e-7)
    run = StyleTransfer(content, style, settings, init_image=start)
    list(run)
    whole = StyleTransfer(content, style, settings.replace(scales=1), init_image=start)
    next(iter(whole))
    np.testing.assert_allclose(run.result().image, whole.result().image, atol=1e-5)


@pytest.mark.parametrize("scales", [1, 2])
def test_steps_become_shorter_in_the_last_scale_and_only_there(
    scales: int, content: Image, style: Image
) -> None:
    # Steps so small that the gradient stays as it is go the same way, further or less far.
    settings = quick(scales=scales, iterations=16, learning_rate=1e-4)
    first = [s.image() for s in StyleTransfer(content, style, settings) if s.scale == 1]
    moved = [
        float(np.median(np.abs(after - before))) for before, after in itertools.pairwise(first)
    ]
    half = [(1 + math.cos(math.pi * step / 16)) / 2 for step in range(1, len(first))]
    expected = [0.3 + 0.7 * part if scales == 1 else 1 for part in half]
    assert [one / moved[0] for one in moved] == pytest.approx(
        [one / expected[0] for one in expected], rel=0.05
    )
    assert moved[0] == pytest.approx(1e-4, rel=0.5)


@pytest.mark.parametrize("scales", [1, 2])
def test_content_weighs_three_times_as_much_at_the_sizes_before_the_last(
    scales: int, content: Image, style: Image
) -> None:
    run = StyleTransfer(content, style, quick(scales=scales, iterations=12, content_weight=0.2))
    for snapshot in run:
        losses, weight = snapshot.losses, 0.2 if snapshot.iteration <= 2 else 0.5
        if snapshot.scale < scales:
            weight *= 3
        (layer,) = losses.content_layers.values()
        assert losses.content == pytest.approx(weight * layer)
        if snapshot.iteration == 2:
            run.steer(content_weight=0.5)
    assert run.settings.content_weight == 0.2


# The iterator


def test_a_run_is_one_snapshot_for_each_evaluation(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(iterations=7, scales=2))
    assert [(scale.height, scale.width) for scale in run.scales] == [(20, 24), (40, 48)]
    snapshots = list(run)
    assert [snapshot.iteration for snapshot in snapshots] == [1, 2, 3, 4, 5, 6, 7]
    assert {(s.iterations, s.scales) for s in snapshots} == {(7, 2)}
    assert [s.scale for s in snapshots].count(1) == run.scales[0].iterations
    assert [s.scale for s in snapshots] == sorted(s.scale for s in snapshots)
    for snapshot in snapshots:
        assert snapshot.shape == ((20, 24), (40, 48))[snapshot.scale - 1]
        assert snapshot.image().shape == (*snapshot.shape, 3)
        assert snapshot.image((20, 24)).shape == (20, 24, 3)
    elapsed = [snapshot.elapsed for snapshot in snapshots]
    assert 0 < elapsed[0] and elapsed == sorted(elapsed)
    pixels = np.cumsum([height * width for height, width in (s.shape for s in snapshots)])
    assert [s.progress for s in snapshots] == pytest.approx(list(pixels / pixels[-1]))
    assert {(s.plane, s.planes) for s in snapshots} == {(1, 1)}
    assert run.history == tuple(snapshot.losses for snapshot in snapshots)
    assert run.result().history == run.history
    assert next(run, None) is None


def test_a_loop_that_was_left_can_be_entered_again(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick())
    for snapshot in run:
        if snapshot.iteration == 2:
            break
    assert run.record.status == "running"
    assert [snapshot.iteration for snapshot in run] == [3, 4]
    assert run.record.status == "finished"
    whole = stylize(content, style, quick())
    assert np.array_equal(run.result().image, whole.image)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_snapshot_stays_what_it_was(content: Image, style: Image, optimizer: Any) -> None:
    run = StyleTransfer(content, style, quick(optimizer=optimizer))
    snapshot = next(run)
    first = snapshot.image()
    kept = first.copy()
    later = [later.image() for later in run]
    assert not np.array_equal(later[-1], kept)
    assert np.array_equal(first, kept)
    assert np.array_equal(snapshot.image(), kept)
    first[:] = 0  # an array of the caller's own
    assert np.array_equal(snapshot.image(), kept)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_loss_goes_down(content: Image, style: Image, optimizer: Any, normalize: bool) -> None:
    weights = {} if normalize else {"content_weight": 1e-6, "style_weight": 1.0, "tv_weight": 0}
    result = stylize(
        content,
        style,
        quick(optimizer=optimizer, normalize_gradients=normalize, iterations=15, **weights),
    )
    totals = [losses.total for losses in result.history]
    assert totals[-1] < 0.9 * totals[0]
    assert result.record.iterations == len(totals) == 15


def test_a_callback_sees_every_snapshot_and_may_end_the_run(content: Image, style: Image) -> None:
    seen = []

    def callback(snapshot: Any) -> None:
        seen.append(snapshot.iteration)
        if len(seen) == 3:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        stylize(content, style, quick(), callback=callback)
    assert seen == [1, 2, 3]


def test_choices_change_the_settings(content: Image, style: Image) -> None:
    settings = quick(iterations=9)
    result = stylize(content, style, settings, iterations=2)
    assert result.settings == settings.replace(iterations=2)
    assert len(result.history) == 2
    assert (
        len(stylize(content, style, **quick(iterations=1).model_dump(exclude_unset=True)).history)
        == 1
    )
    with pytest.raises(InputError, match="'iterations'"):
        stylize(content, style, settings, iteratons=2)


# Stopping, and results at any time


def test_stop_ends_the_run_before_its_next_evaluation(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick())
    iterations = []
    for snapshot in run:
        iterations.append(snapshot.iteration)
        if snapshot.iteration == 2:
            thread = threading.Thread(target=run.stop)
            thread.start()
            thread.join()
    assert iterations == [1, 2]
    result = run.result()
    assert (result.record.status, result.record.iterations) == ("stopped", 2)
    picture(result, content.shape)
    assert next(run, None) is None


def test_a_run_stopped_before_it_began_is_its_first_image(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick())
    run.stop()
    assert list(run) == []
    assert np.array_equal(picture(run.result(), content.shape), content)
    assert (run.record.status, run.record.iterations, run.record.losses) == ("stopped", 0, {})


def test_there_is_a_result_before_the_first_evaluation(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick())
    assert np.array_equal(picture(run.result(), content.shape), content)
    assert (run.record.status, run.history) == ("running", ())
    assert len(list(run)) == 4  # looking did not disturb it


def test_there_is_a_result_during_a_run(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick())
    next(run)
    first = picture(run.result(), content.shape).copy()
    assert not np.array_equal(first, content)
    assert (run.record.status, run.record.iterations) == ("running", 1)
    list(run)
    assert not np.array_equal(run.result().image, first)


def test_adams_result_is_the_average_of_the_last_tenth_of_its_iterates(
    content: Image, style: Image
) -> None:
    run = StyleTransfer(content, style, quick(iterations=30))
    images = [snapshot.image() for snapshot in run]
    weights = (2 / 3) ** np.arange(29, -1, -1)  # a window of three: the decay is 1 - 1 / 3
    expected = np.tensordot(weights / weights.sum(), images, axes=1)
    np.testing.assert_allclose(run.result().image, expected, atol=1e-5)
    assert np.abs(expected - images[-1]).max() > 1e-3


def test_lbfgs_result_is_the_best_image_it_has_seen(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(iterations=12, optimizer="lbfgs", scales=1))
    # What is evaluated is the start, and then what each snapshot shows.
    images = [content, *(snapshot.image() for snapshot in run)]
    best = int(np.argmin([losses.total for losses in run.history]))
    assert best > 0
    assert np.array_equal(run.result().image, images[best])


def fail_at(monkeypatch: pytest.MonkeyPatch, evaluation: int, error: BaseException) -> None:
    """Let an evaluation fail."""
    original, count = Objective.loss_and_gradient, 0

    def failing(self: Objective, *args: Any) -> Any:
        nonlocal count
        count += 1
        if count == evaluation:
            raise error
        return original(self, *args)

    monkeypatch.setattr(Objective, "loss_and_gradient", failing)


def test_a_failure_of_torch_becomes_ours_and_keeps_the_picture(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    fail_at(monkeypatch, 3, RuntimeError("CUDA error: unspecified launch failure"))
    run = StyleTransfer(content, style, quick())
    images = [next(run).image() for _ in range(2)]
    with pytest.raises(StyleTransferError) as caught:
        next(run)
    assert not isinstance(caught.value, RuntimeError)  # superqt would swallow it
    assert not isinstance(caught.value, OutOfMemoryError)
    assert "unspecified launch failure" in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert next(run, None) is None
    result = run.result()
    assert (result.record.status, result.record.iterations) == ("failed", 2)
    assert np.array_equal(picture(result, content.shape), images[-1])


def test_a_failure_at_the_first_evaluation_leaves_the_first_image(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    fail_at(monkeypatch, 1, RuntimeError("no"))
    run = StyleTransfer(content, style, quick())
    with pytest.raises(StyleTransferError):
        list(run)
    assert run.record.status == "failed"
    assert np.array_equal(run.result().image, content)


@pytest.mark.parametrize("bug", [IndexError("a bug"), KeyboardInterrupt()])
def test_a_bug_and_an_interruption_are_shown_as_they_are(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image, bug: BaseException
) -> None:
    fail_at(monkeypatch, 2, bug)
    run = StyleTransfer(content, style, quick())
    with pytest.raises(type(bug)) as caught:
        list(run)
    assert caught.value is bug
    assert (run.record.status, run.record.iterations) == ("failed", 1)
    picture(run.result(), content.shape)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate"),
    ],
    ids=["cuda", "cpu"],
)
def test_running_out_of_memory_lets_go_of_the_tensors(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image, error: RuntimeError
) -> None:
    original = FeatureExtractor.record_tape
    alive: list[weakref.ref[torch.Tensor]] = []

    def exhausted(self: FeatureExtractor, image: torch.Tensor) -> Any:
        features = original(self, image).features
        alive.extend(weakref.ref(value) for value in (image, *features.values()))
        assert all(ref() is not None for ref in alive)
        raise error

    monkeypatch.setattr(FeatureExtractor, "record_tape", exhausted)
    run = StyleTransfer(content, style, quick())
    with pytest.raises(OutOfMemoryError) as caught:
        next(run)
    # The error is still held here, and with it its traceback.
    assert len(alive) == 3
    assert [ref() for ref in alive] == [None] * 3
    assert "48 x 40 pixels" in one_line(caught.value)
    assert not isinstance(caught.value, RuntimeError)
    picture(run.result(), content.shape)


def test_too_little_memory_is_reported_before_the_run(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    monkeypatch.setattr(Device, "free_bytes", 2**20)
    with pytest.raises(OutOfMemoryError) as caught:
        StyleTransfer(content, style, quick())
    message = one_line(caught.value)
    assert "48 x 40 pixels" in message and "smaller size" in message


# The same again


@pytest.mark.parametrize("init", ["content", "noise"])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_same_run_again_gives_the_same_bytes(
    content: Image, style: Image, init: Any, optimizer: Any
) -> None:
    settings = quick(init=init, optimizer=optimizer, seed=3, scales=2)
    one, other = (stylize(content, style, settings) for _ in range(2))
    assert one.image.tobytes() == other.image.tobytes()
    assert one.record == other.record


def test_noise_is_the_seeds_alone(content: Image, style: Image) -> None:
    starts = [
        StyleTransfer(content, style, quick(init="noise", seed=seed)).result().image
        for seed in (0, 0, 1, 2**63 - 1)
    ]
    assert np.array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
    assert not np.array_equal(starts[2], starts[3])
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    StyleTransfer(content, style, quick(init="noise", seed=0)).result()
    assert torch.equal(torch.random.get_rng_state(), before)  # nobody else's numbers change
    noise = starts[0]
    assert abs(noise.mean() - 0.5) < 0.02 and abs(noise.std() - 12**-0.5) < 0.02


# What goes in and what comes out


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("kind", ["grey", "rgb", "rgba"])
@pytest.mark.parametrize("of_style", ["grey", "rgb", "rgba"])
def test_the_result_has_the_contents_channels(
    content: Image, style: Image, kind: str, of_style: str, dtype: str
) -> None:
    def given(image: Image, kind: str) -> NDArray[Any]:
        if kind == "grey":
            image = image[..., 0]
        elif kind == "rgba":
            image = np.concatenate([image, image[::-1, :, :1]], axis=2)
        if dtype.startswith("uint"):
            return np.round(image * np.iinfo(dtype).max).astype(dtype)
        return image.astype(dtype)

    image = given(content, kind)
    result = stylize(image, given(style, of_style), quick(iterations=2))
    found = picture(result, image.shape)
    before = image / (np.iinfo(dtype).max if dtype.startswith("uint") else 1)
    assert not np.allclose(found[..., :3], before[..., :3], atol=1e-3)
    if kind == "rgba":
        np.testing.assert_allclose(found[..., 3], before[..., 3], atol=1e-6)


def test_a_grey_content_makes_everything_grey(content: Image, style: Image) -> None:
    grey_style = luminance(planes(style))[0, 0].numpy()
    found = stylize(content[..., 1], style, quick())
    expected = stylize(content[..., 1], grey_style, quick())
    assert np.array_equal(found.image, expected.image)


@pytest.mark.parametrize(("size", "worked_at"), [(24, (20, 24)), (96, (80, 96)), (None, (40, 48))])
def test_the_size_worked_at_and_the_size_of_the_result(
    content: Image, style: Image, size: int | None, worked_at: tuple[int, int]
) -> None:
    for output_size, expected in (("content", (40, 48)), ("working", worked_at)):
        run = StyleTransfer(content, style, quick(size=size, output_size=output_size, iterations=1))
        assert run.output_shape == expected
        assert next(run).shape == worked_at
        picture(run.result(), (*expected, 3))


def test_the_first_image_is_what_init_says(content: Image, style: Image) -> None:
    def first(**choices: Any) -> Image:
        start = choices.pop("init_image", None)
        return StyleTransfer(content, style, quick(**choices), init_image=start).result().image

    assert np.array_equal(first(init="content"), content)
    resized = resize(planes(style).to(DEVICE), 40, 48)[0].permute(1, 2, 0).cpu().numpy()
    assert np.array_equal(first(init="style"), resized)
    start = content[::-1]
    assert np.array_equal(first(init="image", init_image=start), start)
    grey = np.full((40, 48), 51, np.uint8)
    np.testing.assert_allclose(first(init="image", init_image=grey), np.full((40, 48, 3), 0.2))


def test_a_grey_run_starts_from_the_brightness_of_a_colour_image(
    content: Image, style: Image
) -> None:
    run = StyleTransfer(content[..., 0], style, quick(init="image"), init_image=content)
    expected = luminance(planes(content))[0, 0].numpy()
    np.testing.assert_allclose(run.result().image, expected, atol=1e-6)


def test_init_image_requires_init_to_be_image(content: Image, style: Image) -> None:
    with pytest.raises(InputError, match=r"^init is 'image' and init_image is missing; "):
        StyleTransfer(content, style, quick(init="image"))
    with pytest.raises(InputError, match=r"^init is 'content' and init_image is given; "):
        StyleTransfer(content, style, quick(), init_image=content)
    with pytest.raises(InputError, match=r"^init_image has shape \(3,\); "):
        StyleTransfer(content, style, quick(init="image"), init_image=[1, 2, 3])


def test_luminance_mode_keeps_the_contents_colours(photo: Maker, style: Image) -> None:
    content = 0.25 + 0.5 * photo(40, 48)
    found = picture(stylize(content, style, quick(color="luminance")), content.shape)
    inside = ((found > 0) & (found < 1)).all(axis=2)
    assert inside.mean() > 0.9
    moved = (found - content)[inside]  # the same in every channel: brightness alone
    np.testing.assert_allclose(moved - moved[:, :1], np.zeros_like(moved), atol=1e-6)
    assert np.abs(moved).max() > 0.01


def test_match_mode_is_a_run_with_the_style_recoloured(content: Image, style: Image) -> None:
    there = (planes(image).to(DEVICE) for image in (style, content))
    recoloured = match_colors(*there)[0].permute(1, 2, 0).cpu().numpy()
    found = stylize(content, style, quick(color="match"))
    assert np.array_equal(found.image, stylize(content, recoloured, quick()).image)


def test_missing_values_come_back_where_they_were(content: Image, style: Image) -> None:
    holes = content.copy()
    holes[5:9, 7:20, 1] = np.nan
    found = stylize(holes, style, quick(nan="keep")).image
    expected = np.zeros(content.shape, bool)
    expected[5:9, 7:20] = True
    assert np.array_equal(np.isnan(found), expected)
    with pytest.raises(InputError, match=r"^content has 52 values that are not finite"):
        StyleTransfer(holes, style, quick())
    with pytest.raises(InputError, match=r"^style has 52 values that are not finite"):
        StyleTransfer(content, holes, quick(nan="keep"))


def test_several_styles_are_blended_by_their_shares(content: Image, style: Image) -> None:
    other = 1 - style[:30]
    one = stylize(content, style, quick())
    assert not np.array_equal(stylize(content, [style, other], quick()).image, one.image)
    alone = stylize(content, [style, other], quick(style_weights=(2, 0)))
    np.testing.assert_allclose(alone.image, one.image, atol=1e-3)
    assert len(alone.record.styles) == 2
    for shares in ((1,), (1, 1, 1)):
        with pytest.raises(InputError) as caught:
            StyleTransfer(content, [style, other], quick(style_weights=shares))
        assert one_line(caught.value) == (
            f"style_weights has {len(shares)} shares for 2 styles; give one for each."
        )


@pytest.mark.parametrize("shape", [(20, 24), (60, 50), (9, 200), (40, 48)])
@pytest.mark.parametrize("style_scale", [0.5, 1, 1.7])
def test_the_style_may_have_any_size(
    content: Image, stripes: Maker, shape: tuple[int, int], style_scale: float
) -> None:
    settings = quick(style_scale=style_scale, iterations=2)
    picture(stylize(content, stripes(*shape), settings), content.shape)


@pytest.mark.parametrize("shape", [(8, 8), (15, 17), (1200, 20), (20, 300)])
def test_the_default_layers_work_on_the_smallest_and_the_narrowest(
    photo: Maker, stripes: Maker, shape: tuple[int, int]
) -> None:
    settings = StyleTransferSettings(iterations=1, device=DEVICE)
    result = stylize(photo(*shape), stripes(*shape), settings)
    picture(result, (*shape, 3))
    (scale,) = result.record.resolved.scales
    assert min(scale.height, scale.width) == 32  # two positions of relu5_1


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("color", ["style", "luminance", "match"])
@pytest.mark.parametrize("normalize", [True, False])
def test_pictures_of_nothing_give_a_picture(optimizer: Any, color: Any, normalize: bool) -> None:
    flat, black = np.full((16, 20, 3), 0.5), np.zeros((16, 16), np.uint8)
    settings = quick(optimizer=optimizer, color=color, normalize_gradients=normalize, iterations=3)
    for content, style in ((flat, flat), (flat, black), (black, flat), (black, black)):
        result = stylize(content, style, settings)
        picture(result, content.shape)
        assert all(np.isfinite(losses.total) for losses in result.history)


@pytest.mark.parametrize(
    ("which", "image", "said"),
    [
        ("content", np.zeros((1, 1), np.uint8), "content is 1 x 1 pixels; it must be at least"),
        ("style", np.zeros((1, 1, 3)), "style is 1 x 1 pixels; it must be at least"),
        ("content", np.zeros((9, 9), bool), "content has dtype bool; it must be uint8"),
        ("style", np.full((9, 9), 3.0), "style has values from 3 to 3; floats must lie"),
        ("content", None, "content has shape (); it must be (height, width)"),
    ],
)
def test_an_image_that_is_none_is_named(
    content: Image, style: Image, which: str, image: Any, said: str
) -> None:
    images = {"content": content, "style": style, which: image}
    with pytest.raises(InputError) as caught:
        StyleTransfer(images["content"], images["style"], quick())
    assert one_line(caught.value).startswith(said)


def test_one_of_several_styles_is_named_by_its_number_or_its_name(
    content: Image, style: Image
) -> None:
    bad = np.zeros((9, 9), bool)
    with pytest.raises(InputError, match=r"^style 2 has dtype bool"):
        StyleTransfer(content, [style, bad], quick())
    with pytest.raises(InputError, match=r"^night has dtype bool"):
        StyleTransfer(content, [style, bad], quick(), names=["photo", "day", "night"])


@pytest.mark.parametrize("names", [["photo"], ["photo", "day"], ["photo", "day", "night", "x"]])
def test_there_is_a_name_for_each_image(content: Image, style: Image, names: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        StyleTransfer(content, [style, style], quick(), names=names)
    assert one_line(caught.value) == (
        f"names has {len(names)} entries for a content and 2 styles; give one for each."
    )


def test_a_large_style_needs_memory_too(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    monkeypatch.setattr(Device, "free_bytes", 2**28)
    StyleTransfer(content, style, quick())
    with pytest.raises(OutOfMemoryError):
        StyleTransfer(content, style, quick(style_scale=30, tile="off"))


def test_no_style_at_all_is_an_error(content: Image) -> None:
    with pytest.raises(InputError, match=r"^There is no style image; give at least one\.$"):
        StyleTransfer(content, [], quick())


def test_a_device_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=r"^device is 'cuda', but torch .* sees 0 CUDA devices"):
        StyleTransfer(content, style, quick(device="cuda"))


def test_weights_that_are_not_there(content: Image, style: Image) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        StyleTransfer(content, style, quick(weights="nowhere.pth"))


# The record


def test_the_record_says_what_went_in_and_how_it_was_done(content: Image, style: Image) -> None:
    settings = quick(seed=5)
    run = StyleTransfer(content, [style, style[:20]], settings, names=["a", "b", "c"])
    list(run)
    record = run.result().record
    assert record.settings == settings
    assert [image.name for image in (record.content, *record.styles)] == ["a", "b", "c"]
    assert [image.shape for image in record.styles] == [(44, 36, 3), (20, 36, 3)]
    assert record.init_image is None
    assert record.resolved.device == DEVICE
    precision = Device.from_settings(settings).precision  # the machine's choice
    assert record.resolved.precision == precision
    assert record.resolved.threads == torch.get_num_threads()
    assert record.resolved.weights == "vgg16_features.safetensors"
    assert record.resolved.weights_sha256.startswith("55151668")
    assert sum(scale.iterations for scale in record.resolved.scales) == 4
    last = run.history[-1]
    assert record.losses == {
        "content": last.content,
        "style": last.style,
        "tv": last.tv,
        "total": last.total,
    }
    assert (record.iterations, record.status) == (4, "finished")


def test_the_record_says_what_the_run_started_from(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(init="image"), init_image=style)
    assert run.record.init_image is not None
    assert run.record.init_image.name == "init_image"
    assert run.record.init_image.sha256 == run.record.styles[0].sha256


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_is_that_of_the_convolutions_alone(
    content: Image, style: Image, precision: Any
) -> None:
    exact = stylize(content, style, quick(precision="float32"))
    found = stylize(content, style, quick(precision=precision))
    assert found.record.resolved.precision == precision
    totals = [[losses.total for losses in run.history] for run in (found, exact)]
    assert totals[0] == pytest.approx(totals[1], rel=0 if precision == "float32" else 0.05)
    assert (found.image.tobytes() == exact.image.tobytes()) == (precision == "float32")


def test_the_public_names_are_these() -> None:
    assert napari_nst.StyleTransfer is StyleTransfer
    assert napari_nst.stylize is stylize
    with pytest.raises(AttributeError, match="no attribute 'stylise'"):
        _ = napari_nst.stylise


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_gpu_paints_the_same_picture(content: Image, style: Image) -> None:
    of_gpu, of_cpu = (stylize(content, style, quick(device=name)) for name in ("cuda", "cpu"))
    assert of_gpu.record.resolved.device.startswith("cuda")
    totals = [[losses.total for losses in run.history] for run in (of_gpu, of_cpu)]
    assert totals[0] == pytest.approx(totals[1], rel=0.01)
    picture(of_gpu, content.shape)
