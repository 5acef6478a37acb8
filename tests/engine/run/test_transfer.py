"""Runs of one image: scales, snapshots, stopping, failures, inputs, results and records."""

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
from engine_helpers import quick_settings as quick
from engine_helpers import run_to_end, totals
from numpy.typing import NDArray
from on_device import DEVICE

import napari_nst
from napari_nst import RunRecord, StyleTransfer, StyleTransferSettings, stylize
from napari_nst.engine.images.color import luminance, match_colors
from napari_nst.engine.images.pictures import resize
from napari_nst.engine.losses.objective import Objective
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.engine.resources.device import Device
from napari_nst.errors import InputError, OutOfMemoryError, StyleTransferError, WeightsError

Image = NDArray[np.float32]
Maker = Callable[[int, int], Image]

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")


def valid_image(result: Any, shape: tuple[int, ...]) -> Image:
    """Return the image of a result, after checking shape, dtype and values."""
    image: Image = result.image
    assert image.shape == shape
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert 0 <= image.min() <= image.max() <= 1
    return image


def to_tensor(image: Image) -> torch.Tensor:
    """Return an image with the shape (1, C, H, W)."""
    return torch.from_numpy(np.atleast_3d(image).transpose(2, 0, 1).copy())[None]


def one_line(error: BaseException) -> str:
    message = str(error)
    assert message and "\n" not in message
    return message


# Scales


@pytest.mark.parametrize("init", ["content", "style", "image"])
def test_larger_scales_regain_the_detail_of_the_initial_image(
    init: Any, content: Image, style: Image
) -> None:
    # With a learning rate of almost 0, the result is the initial image: resized to the small scale,
    # and back to the large one.
    start = content[::-1].copy() if init == "image" else None
    settings = quick(init=init, scales=2, iterations=2, learning_rate=1e-7)
    resized = run_to_end(StyleTransfer(content, style, settings, init_image=start))
    expected = StyleTransfer(content, style, settings.replace(scales=1), init_image=start)
    np.testing.assert_allclose(resized.image, expected.result().image, atol=1e-5)


@pytest.mark.usefixtures("real_network")
@pytest.mark.parametrize("scales", [1, 2])
def test_the_learning_rate_decays_in_the_last_scale_only(
    scales: int, content: Image, style: Image
) -> None:
    # Small steps hardly change the gradient, so their length is proportional to the learning rate.
    settings = quick(scales=scales, iterations=16, learning_rate=1e-4)
    images = [s.image() for s in StyleTransfer(content, style, settings) if s.scale == 1]
    steps = [
        float(np.median(np.abs(after - before))) for before, after in itertools.pairwise(images)
    ]
    decay = [0.65 + 0.35 * math.cos(math.pi * step / 16) for step in range(1, len(images))]
    expected = decay if scales == 1 else [1.0] * len(decay)
    assert [step / steps[0] for step in steps] == pytest.approx(
        [rate / expected[0] for rate in expected], rel=0.05
    )
    assert steps[0] == pytest.approx(1e-4, rel=0.5)


@pytest.mark.parametrize("scales", [1, 2])
def test_the_content_weight_is_three_times_as_large_before_the_last_scale(
    scales: int, content: Image, style: Image
) -> None:
    weights = {"content_weight": 0.2, "kept_structure": 0}
    run = StyleTransfer(content, style, quick(scales=scales, iterations=12, **weights))
    for snapshot in run:
        losses, weight = snapshot.losses, 0.2 if snapshot.iteration <= 2 else 0.5
        if snapshot.scale < scales:
            weight *= 3
        (layer,) = losses.content_layers.values()
        assert losses.content == pytest.approx(weight * layer)
        if snapshot.iteration == 2:
            run.steer(content_weight=0.5)
    assert run.settings.content_weight == 0.2


# Snapshots


def test_a_run_yields_a_snapshot_for_each_evaluation(content: Image, style: Image) -> None:
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


def test_a_loop_can_be_left_and_continued(content: Image, style: Image) -> None:
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
def test_later_iterations_do_not_change_a_snapshot(
    content: Image, style: Image, optimizer: Any
) -> None:
    run = StyleTransfer(content, style, quick(optimizer=optimizer))
    snapshot = next(run)
    image = snapshot.image()
    expected = image.copy()
    later = [later.image() for later in run]
    assert not np.array_equal(later[-1], expected)
    assert np.array_equal(image, expected)
    assert np.array_equal(snapshot.image(), expected)
    image[:] = 0  # a copy
    assert np.array_equal(snapshot.image(), expected)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_loss_decreases(content: Image, style: Image, optimizer: Any, normalize: bool) -> None:
    weights = {} if normalize else {"content_weight": 1e-6, "style_weight": 1.0, "tv_weight": 0}
    constant = {"kept_structure": 0, "normalize_gradients": normalize, **weights}
    result = stylize(content, style, quick(optimizer=optimizer, iterations=15, **constant))
    losses = totals(result)
    assert losses[-1] < 0.9 * losses[0]
    assert result.record.iterations == len(losses) == 15


def test_a_callback_gets_every_snapshot_and_can_end_the_run(content: Image, style: Image) -> None:
    seen = []

    def callback(snapshot: Any) -> None:
        seen.append(snapshot.iteration)
        if len(seen) == 3:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        stylize(content, style, quick(), callback=callback)
    assert seen == [1, 2, 3]


def test_keyword_arguments_override_the_settings(content: Image, style: Image) -> None:
    settings = quick(iterations=9)
    result = stylize(content, style, settings, iterations=2)
    assert result.settings == settings.replace(iterations=2)
    assert len(result.history) == 2
    choices = quick(iterations=1).model_dump(exclude_unset=True)
    assert len(stylize(content, style, **choices).history) == 1
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
    valid_image(result, content.shape)
    assert next(run, None) is None


def test_the_result_of_a_run_stopped_before_its_start_is_the_initial_image(
    content: Image, style: Image
) -> None:
    run = StyleTransfer(content, style, quick())
    run.stop()
    assert list(run) == []
    assert np.array_equal(valid_image(run.result(), content.shape), content)
    assert (run.record.status, run.record.iterations, run.record.losses) == ("stopped", 0, {})


def test_the_result_before_the_first_evaluation_is_the_initial_image(
    content: Image, style: Image
) -> None:
    run = StyleTransfer(content, style, quick())
    assert np.array_equal(valid_image(run.result(), content.shape), content)
    assert (run.record.status, run.history) == ("running", ())
    assert len(list(run)) == 4  # taking a result did not end the run


def test_there_is_a_result_during_a_run(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick())
    next(run)
    first = valid_image(run.result(), content.shape).copy()
    assert not np.array_equal(first, content)
    assert (run.record.status, run.record.iterations) == ("running", 1)
    list(run)
    assert not np.array_equal(run.result().image, first)


def test_the_result_of_adam_is_the_ema_over_a_tenth_of_the_iterations(
    content: Image, style: Image
) -> None:
    run = StyleTransfer(content, style, quick(iterations=30))
    images = [snapshot.image() for snapshot in run]
    weights = (2 / 3) ** np.arange(29, -1, -1)  # a tenth of 30 is 3: the decay is 1 - 1 / 3
    expected = np.tensordot(weights / weights.sum(), images, axes=1)
    np.testing.assert_allclose(run.result().image, expected, atol=1e-5)
    assert np.abs(expected - images[-1]).max() > 1e-3


def test_the_result_of_lbfgs_is_the_image_with_the_lowest_loss(
    content: Image, style: Image
) -> None:
    run = StyleTransfer(content, style, quick(iterations=12, optimizer="lbfgs", scales=1))
    # The first loss is that of the initial image, the next one that of the first snapshot.
    images = [content, *(snapshot.image() for snapshot in run)]
    best = int(np.argmin([losses.total for losses in run.history]))
    assert best > 0
    assert np.array_equal(run.result().image, images[best])


def fail_at(monkeypatch: pytest.MonkeyPatch, evaluation: int, error: BaseException) -> None:
    """Make an evaluation raise an error."""
    original, count = Objective.loss_and_gradient, 0

    def failing(self: Objective, *args: Any) -> Any:
        nonlocal count
        count += 1
        if count == evaluation:
            raise error
        return original(self, *args)

    monkeypatch.setattr(Objective, "loss_and_gradient", failing)


def test_an_error_of_torch_is_translated_and_the_image_is_kept(
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
    assert np.array_equal(valid_image(result, content.shape), images[-1])


def test_the_result_after_an_error_at_the_first_evaluation_is_the_initial_image(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    fail_at(monkeypatch, 1, RuntimeError("no"))
    run = StyleTransfer(content, style, quick())
    with pytest.raises(StyleTransferError):
        list(run)
    assert run.record.status == "failed"
    assert np.array_equal(run.result().image, content)


@pytest.mark.parametrize("bug", [IndexError("a bug"), KeyboardInterrupt()])
def test_bugs_and_interrupts_are_raised_unchanged(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image, bug: BaseException
) -> None:
    fail_at(monkeypatch, 2, bug)
    run = StyleTransfer(content, style, quick())
    with pytest.raises(type(bug)) as caught:
        list(run)
    assert caught.value is bug
    assert (run.record.status, run.record.iterations) == ("failed", 1)
    valid_image(run.result(), content.shape)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate"),
    ],
    ids=["cuda", "cpu"],
)
def test_running_out_of_memory_frees_the_tensors(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image, error: RuntimeError
) -> None:
    original = FeatureExtractor.record_tape
    references: list[weakref.ref[torch.Tensor]] = []

    def exhausted(self: FeatureExtractor, image: torch.Tensor) -> Any:
        features = original(self, image).features
        references.extend(weakref.ref(value) for value in (image, *features.values()))
        assert all(ref() is not None for ref in references)
        raise error

    monkeypatch.setattr(FeatureExtractor, "record_tape", exhausted)
    run = StyleTransfer(content, style, quick())
    with pytest.raises(OutOfMemoryError) as caught:
        next(run)
    # `caught` still refers to the error, and so to its traceback.
    assert len(references) == 3
    assert [ref() for ref in references] == [None] * 3
    assert "48 x 40 pixels" in one_line(caught.value)
    assert not isinstance(caught.value, RuntimeError)
    valid_image(run.result(), content.shape)


def test_too_little_memory_is_reported_before_the_run(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    monkeypatch.setattr(Device, "free_bytes", 2**20)
    with pytest.raises(OutOfMemoryError) as caught:
        StyleTransfer(content, style, quick())
    message = one_line(caught.value)
    assert "48 x 40 pixels" in message and "smaller size" in message


# Reproducibility


@pytest.mark.parametrize("init", ["content", "noise"])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_same_run_again_gives_the_same_bytes(
    content: Image, style: Image, init: Any, optimizer: Any
) -> None:
    settings = quick(init=init, optimizer=optimizer, seed=3, scales=2)
    one, other = (stylize(content, style, settings) for _ in range(2))
    assert one.image.tobytes() == other.image.tobytes()
    assert one.record == other.record


def test_noise_depends_on_the_seed_only(content: Image, style: Image) -> None:
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
    assert torch.equal(torch.random.get_rng_state(), before)  # the global generator is not used
    noise = starts[0]
    assert abs(noise.mean() - 0.5) < 0.02 and abs(noise.std() - 12**-0.5) < 0.02


# Inputs and results


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("channels", ["grey", "rgb", "rgba"])
@pytest.mark.parametrize("style_channels", ["grey", "rgb", "rgba"])
def test_the_result_has_the_channels_of_the_content(
    content: Image, style: Image, channels: str, style_channels: str, dtype: str
) -> None:
    def convert(image: Image, channels: str) -> NDArray[Any]:
        if channels == "grey":
            image = image[..., 0]
        elif channels == "rgba":
            image = np.concatenate([image, image[::-1, :, :1]], axis=2)
        if dtype.startswith("uint"):
            return np.round(image * np.iinfo(dtype).max).astype(dtype)
        return image.astype(dtype)

    image = convert(content, channels)
    result = stylize(image, convert(style, style_channels), quick(iterations=2))
    found = valid_image(result, image.shape)
    before = image / (np.iinfo(dtype).max if dtype.startswith("uint") else 1)
    assert not np.allclose(found[..., :3], before[..., :3], atol=1e-3)
    if channels == "rgba":
        np.testing.assert_allclose(found[..., 3], before[..., 3], atol=1e-6)


def test_a_grey_content_uses_the_luminance_of_the_style(content: Image, style: Image) -> None:
    grey_style = luminance(to_tensor(style))[0, 0].numpy()
    found = stylize(content[..., 1], style, quick())
    expected = stylize(content[..., 1], grey_style, quick())
    assert np.array_equal(found.image, expected.image)


@pytest.mark.parametrize(("size", "working"), [(24, (20, 24)), (96, (80, 96)), (None, (40, 48))])
def test_the_result_has_the_size_of_the_content_or_the_working_size(
    content: Image, style: Image, size: int | None, working: tuple[int, int]
) -> None:
    for output_size, expected in (("content", (40, 48)), ("working", working)):
        run = StyleTransfer(content, style, quick(size=size, output_size=output_size, iterations=1))
        assert run.output_shape == expected
        assert next(run).shape == working
        valid_image(run.result(), (*expected, 3))


def test_init_chooses_the_initial_image(content: Image, style: Image) -> None:
    def first(init: Any, init_image: Any = None) -> Image:
        return StyleTransfer(content, style, quick(init=init), init_image=init_image).result().image

    assert np.array_equal(first("content"), content)
    resized = resize(to_tensor(style).to(DEVICE), 40, 48)[0].permute(1, 2, 0).cpu().numpy()
    assert np.array_equal(first("style"), resized)
    assert np.array_equal(first("image", content[::-1]), content[::-1])
    grey = np.full((40, 48), 51, np.uint8)
    np.testing.assert_allclose(first("image", grey), np.full((40, 48, 3), 0.2))


def test_a_grey_run_starts_from_the_luminance_of_a_colour_image(
    content: Image, style: Image
) -> None:
    run = StyleTransfer(content[..., 0], style, quick(init="image"), init_image=content)
    expected = luminance(to_tensor(content))[0, 0].numpy()
    np.testing.assert_allclose(run.result().image, expected, atol=1e-6)


def test_init_image_requires_init_to_be_image(content: Image, style: Image) -> None:
    with pytest.raises(InputError, match=r"^init is 'image' and init_image is missing; "):
        StyleTransfer(content, style, quick(init="image"))
    with pytest.raises(InputError, match=r"^init is 'content' and init_image is given; "):
        StyleTransfer(content, style, quick(), init_image=content)
    with pytest.raises(InputError, match=r"^init_image has shape \(3,\); "):
        StyleTransfer(content, style, quick(init="image"), init_image=[1, 2, 3])


def test_luminance_mode_keeps_the_chroma_of_the_content(photo: Maker, style: Image) -> None:
    content = 0.25 + 0.5 * photo(40, 48)
    found = valid_image(stylize(content, style, quick(color="luminance")), content.shape)
    unclipped = ((found > 0) & (found < 1)).all(axis=2)
    assert unclipped.mean() > 0.9
    change = (found - content)[unclipped]  # equal in all channels: of the luminance only
    np.testing.assert_allclose(change - change[:, :1], np.zeros_like(change), atol=1e-6)
    assert np.abs(change).max() > 0.01


def test_match_mode_equals_a_run_with_a_recoloured_style(content: Image, style: Image) -> None:
    tensors = (to_tensor(image).to(DEVICE) for image in (style, content))
    recoloured = match_colors(*tensors)[0].permute(1, 2, 0).cpu().numpy()
    found = stylize(content, style, quick(color="match"))
    assert np.array_equal(found.image, stylize(content, recoloured, quick()).image)


def test_missing_values_of_the_content_are_missing_in_the_result(
    content: Image, style: Image
) -> None:
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
def test_a_style_can_have_any_size(
    content: Image, stripes: Maker, shape: tuple[int, int], style_scale: float
) -> None:
    settings = quick(style_scale=style_scale, iterations=2)
    valid_image(stylize(content, stripes(*shape), settings), content.shape)


def test_strokes_in_pixels_are_recorded_and_replayed(content: Image, style: Image) -> None:
    settings = quick(scales="auto", strokes_relative_to="pixels")
    result = stylize(content, style, settings)
    valid_image(result, content.shape)
    scales = result.record.resolved.scales
    assert [scale.style_side for scale in scales] == [256, 512]
    assert [scale.height for scale in scales] == [content.shape[0] // 2, content.shape[0]]
    record = RunRecord.model_validate_json(result.record.to_json())
    assert record == result.record
    again = run_to_end(StyleTransfer(content, style, record.settings, replay=record))
    assert again.image.tobytes() == result.image.tobytes()
    other = stylize(content, style, settings.replace(strokes_relative_to="picture"))
    assert not np.array_equal(other.image, result.image)


def test_strokes_in_pixels_are_those_of_a_style_of_512_pixels(content: Image, style: Image) -> None:
    settings = quick(size=64, iterations=2)
    pixels = stylize(content, style, settings.replace(strokes_relative_to="pixels"))
    picture = stylize(content, style, settings.replace(style_scale=512 / 64))
    assert pixels.image.tobytes() == picture.image.tobytes()


@pytest.mark.parametrize("shape", [(8, 8), (15, 17), (1200, 20), (20, 300)])
def test_small_and_narrow_images_are_enlarged_for_the_default_layers(
    photo: Maker, stripes: Maker, shape: tuple[int, int]
) -> None:
    settings = StyleTransferSettings(iterations=1, device=DEVICE)
    result = stylize(photo(*shape), stripes(*shape), settings)
    valid_image(result, (*shape, 3))
    (scale,) = result.record.resolved.scales
    assert min(scale.height, scale.width) == 32  # two positions of relu5_1


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("color", ["style", "palette", "luminance", "match"])
@pytest.mark.parametrize("normalize", [True, False])
def test_flat_images_give_a_valid_result(optimizer: Any, color: Any, normalize: bool) -> None:
    flat, black = np.full((16, 20, 3), 0.5), np.zeros((16, 16), np.uint8)
    settings = quick(optimizer=optimizer, color=color, normalize_gradients=normalize, iterations=3)
    for content, style in ((flat, flat), (flat, black), (black, flat), (black, black)):
        result = stylize(content, style, settings)
        valid_image(result, content.shape)
        assert np.isfinite(totals(result)).all()


@pytest.mark.parametrize(
    ("name", "image", "message"),
    [
        ("content", np.zeros((1, 1), np.uint8), "content is 1 x 1 pixels; it must be at least"),
        ("style", np.zeros((1, 1, 3)), "style is 1 x 1 pixels; it must be at least"),
        ("content", np.zeros((9, 9), bool), "content has dtype bool; it must be uint8"),
        ("style", np.full((9, 9), 3.0), "style has values from 3 to 3; floats must lie"),
        ("content", None, "content has shape (); it must be (height, width)"),
    ],
)
def test_an_invalid_image_raises_with_its_name(
    content: Image, style: Image, name: str, image: Any, message: str
) -> None:
    images = {"content": content, "style": style, name: image}
    with pytest.raises(InputError) as caught:
        StyleTransfer(images["content"], images["style"], quick())
    assert one_line(caught.value).startswith(message)


def test_an_invalid_style_raises_with_its_number_or_its_name(content: Image, style: Image) -> None:
    bad = np.zeros((9, 9), bool)
    with pytest.raises(InputError, match=r"^style 2 has dtype bool"):
        StyleTransfer(content, [style, bad], quick())
    with pytest.raises(InputError, match=r"^night has dtype bool"):
        StyleTransfer(content, [style, bad], quick(), names=["photo", "day", "night"])


@pytest.mark.parametrize("names", [["photo"], ["photo", "day"], ["photo", "day", "night", "x"]])
def test_a_wrong_number_of_names_raises(content: Image, style: Image, names: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        StyleTransfer(content, [style, style], quick(), names=names)
    assert one_line(caught.value) == (
        f"names has {len(names)} entries for a content and 2 styles; give one for each."
    )


def test_a_style_that_does_not_fit_into_memory_raises(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    monkeypatch.setattr(Device, "free_bytes", 2**28)
    StyleTransfer(content, style, quick())
    with pytest.raises(OutOfMemoryError):
        StyleTransfer(content, style, quick(style_scale=30, tile="off"))


def test_an_empty_list_of_styles_raises(content: Image) -> None:
    with pytest.raises(InputError, match=r"^There is no style image; give at least one\.$"):
        StyleTransfer(content, [], quick())


def test_a_missing_device_raises(
    monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=r"^device is 'cuda', but torch .* sees 0 CUDA devices"):
        StyleTransfer(content, style, quick(device="cuda"))


@pytest.mark.usefixtures("real_network")
def test_a_missing_weights_file_raises(content: Image, style: Image) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        StyleTransfer(content, style, quick(weights="nowhere.pth"))


# The record


@pytest.mark.usefixtures("real_network")
def test_the_record_has_settings_inputs_device_and_losses(content: Image, style: Image) -> None:
    settings = quick(seed=5)
    run = StyleTransfer(content, [style, style[:20]], settings, names=["a", "b", "c"])
    list(run)
    record = run.result().record
    assert record.settings == settings
    assert [image.name for image in (record.content, *record.styles)] == ["a", "b", "c"]
    assert [image.shape for image in record.styles] == [(44, 36, 3), (20, 36, 3)]
    assert record.init_image is None
    assert record.resolved.device == DEVICE
    precision = Device.from_settings(settings).precision  # measured on this machine
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
        "temporal": 0.0,
        "total": last.total,
    }
    assert (record.iterations, record.status) == (4, "finished")


def test_the_record_has_the_initial_image(content: Image, style: Image) -> None:
    run = StyleTransfer(content, style, quick(init="image"), init_image=style)
    assert run.record.init_image is not None
    assert run.record.init_image.name == "init_image"
    assert run.record.init_image.sha256 == run.record.styles[0].sha256


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bfloat16_changes_the_losses_by_rounding_only(
    content: Image, style: Image, precision: Any
) -> None:
    exact = stylize(content, style, quick(precision="float32"))
    found = stylize(content, style, quick(precision=precision))
    assert found.record.resolved.precision == precision
    tolerance = 0 if precision == "float32" else 0.05
    assert totals(found) == pytest.approx(totals(exact), rel=tolerance)
    assert (found.image.tobytes() == exact.image.tobytes()) == (precision == "float32")


def test_the_package_exports_the_engine_lazily() -> None:
    assert napari_nst.StyleTransfer is StyleTransfer
    assert napari_nst.stylize is stylize
    with pytest.raises(AttributeError, match="no attribute 'stylise'"):
        _ = napari_nst.stylise


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_gpu_has_the_losses_of_the_cpu(content: Image, style: Image) -> None:
    of_gpu, of_cpu = (stylize(content, style, quick(device=name)) for name in ("cuda", "cpu"))
    assert of_gpu.record.resolved.device.startswith("cuda")
    assert totals(of_gpu) == pytest.approx(totals(of_cpu), rel=0.01)
    valid_image(of_gpu, content.shape)
