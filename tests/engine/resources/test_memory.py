"""Tile and history sizes: chosen before a run, and reduced when memory runs out."""

from __future__ import annotations

import gc
import weakref
from functools import cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import torch
from engine_helpers import quick_settings, totals

from napari_nst import StyleTransfer, stylize
from napari_nst.engine.network.vgg import FeatureExtractor, ForwardTape
from napari_nst.engine.resources.peak_memory import Workload
from napari_nst.errors import OutOfMemoryError, StyleTransferError, StyleTransferWarning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_nst import StyleTransferResult
    from napari_nst.engine.optim.schedule import Scale

    Image = NDArray[np.float32]

GIB = 2**30
SHARE = 0.8  # of the free memory that a run plans to use

ERRORS = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    "cpu": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"
    ),
}
each_error = pytest.mark.parametrize("kind", ERRORS)

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")

quick = partial(quick_settings, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def big(photo: Callable[[int, int], Image]) -> Image:
    return photo(96, 264)


@pytest.fixture(scope="module")
def whole_run(big: Image, style: Image) -> Callable[[str], StyleTransferResult]:
    """Return a function that runs an optimizer from noise without tiles, once."""
    return cache(lambda optimizer: stylize(big, style, quick(optimizer=optimizer, init="noise")))


def tile_sizes(run: StyleTransfer) -> list[int | None]:
    return [scale.tile for scale in run.record.resolved.scales]


def workload_of(run: StyleTransfer, scale: Scale, style_shape: tuple[int, ...]) -> Workload:
    fast = run.record.resolved.convolutions != "direct"
    shapes: Any = (style_shape,)
    return Workload(run.settings, scale, shapes, fast_convolutions=fast)


def needed(run: StyleTransfer, style: Image, tile: int | None) -> int:
    workload = workload_of(run, run.scales[-1], style.shape[:2])
    return workload.bytes_needed(tile)


# Tile sizes chosen before the run


def test_auto_chooses_the_largest_tile_that_fits(
    photo: Callable[[int, int], Image], style: Image
) -> None:
    content = photo(200, 264)
    plain = StyleTransfer(content, style, quick())
    assert tile_sizes(plain) == [None]
    steps = [None, *range(260, 63, -2)]
    memory = {step: needed(plain, style, step) for step in steps}
    assert memory[64] < memory[100] < memory[None]
    for budget in (memory[100], memory[140], memory[132], memory[64] + 1, memory[None] - 1):
        run = StyleTransfer(content, style, quick(memory_limit=budget / SHARE / GIB * (1 + 1e-9)))
        (side,) = tile_sizes(run)
        assert side is not None
        found = needed(run, style, side)
        assert found <= budget
        # No other size uses more of the budget.
        assert found == max(bytes_ for bytes_ in memory.values() if bytes_ <= budget)
    whole = StyleTransfer(content, style, quick(memory_limit=(memory[None] + 1) / SHARE / GIB))
    assert tile_sizes(whole) == [None]


def test_each_scale_has_its_own_tile(big: Image, style: Image) -> None:
    plain = StyleTransfer(big, style, quick(scales=3))
    last, first = plain.scales[-1], plain.scales[0]
    needed = workload_of(plain, first, (44, 36)).bytes_needed()
    limit = needed / SHARE / GIB * (1 + 1e-9)
    run = StyleTransfer(big, style, quick(scales=3, memory_limit=limit))
    assert tile_sizes(run)[0] is None
    assert tile_sizes(run)[-1] is not None
    assert (last.height, last.width) == (96, 264)
    assert len(list(run)) == 4


def test_a_run_that_cannot_fit_raises_before_it_starts(big: Image, style: Image) -> None:
    plain = StyleTransfer(big, style, quick())
    smallest = needed(plain, style, 64)
    for limit, fits in ((smallest * 1.001, True), (smallest * 0.999, False)):
        settings = quick(memory_limit=limit / GIB)
        if fits:
            assert tile_sizes(StyleTransfer(big, style, settings)) == [64]
            continue
        with pytest.raises(OutOfMemoryError) as caught:
            StyleTransfer(big, style, settings)
        about = f"Working at 264 x 96 pixels needs about {smallest / GIB:.1f} GiB"
        assert str(caught.value).startswith(about)
        assert f"memory_limit is {limit / GIB:g} GiB" in str(caught.value)


def test_requested_tiles_are_not_changed(
    monkeypatch: pytest.MonkeyPatch, big: Image, style: Image
) -> None:
    assert tile_sizes(StyleTransfer(big, style, quick(tile=96))) == [96]
    assert tile_sizes(StyleTransfer(big, style, quick(tile="off"))) == [None]
    plain = StyleTransfer(big, style, quick())
    enough_for_tiles = needed(plain, style, 64) + 2**20
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: SimpleNamespace(available=enough_for_tiles)
    )
    assert tile_sizes(StyleTransfer(big, style, quick())) == [64]
    assert tile_sizes(StyleTransfer(big, style, quick(tile=64))) == [64]
    for tile in ("off", 256):
        with pytest.raises(OutOfMemoryError, match="are free; choose a smaller size"):
            StyleTransfer(big, style, quick(tile=tile))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_tiles_do_not_change_the_result(
    optimizer: str,
    big: Image,
    style: Image,
    whole_run: Callable[[str], StyleTransferResult],
) -> None:
    whole = whole_run(optimizer)
    tiled = stylize(big, style, whole.settings.replace(tile=64))
    check_similar(tiled.image, whole.image)
    assert totals(tiled) == pytest.approx(totals(whole), rel=1e-4)
    again = stylize(big, style, record=tiled.record)
    assert again.image.tobytes() == tiled.image.tobytes()


# Tiles halved during the run


def fail_above(
    monkeypatch: pytest.MonkeyPatch, pixels: int, error: Callable[[], Exception], after: int = 0
) -> tuple[list[int], list[Any]]:
    """Raise for windows of more pixels; return the sizes of all windows, and failed tensors."""
    windows: list[int] = []
    failed: list[Any] = []

    def limited(original: Callable[..., Any]) -> Callable[..., Any]:
        def limit(self: FeatureExtractor, image: torch.Tensor) -> Any:
            # The tensors of the failed attempt are freed before the retry.
            assert [ref for ref in failed if ref() is not None] == []
            found = original(self, image)
            windows.append(image.shape[-2] * image.shape[-1])
            if windows[-1] > pixels and len(windows) > after:
                features = found.features if isinstance(found, ForwardTape) else found
                failed.extend(weakref.ref(value) for value in (image, *features.values()))
                raise error()
            return found

        return limit

    for name in ("__call__", "record_tape"):
        original = getattr(FeatureExtractor, name)
        monkeypatch.setattr(FeatureExtractor, name, limited(original))
    return windows, failed


def check_similar(one: Image, other: Image) -> None:
    """Compare images of runs that round differently, so that a few ReLUs differ."""
    difference = np.abs(one - other)
    assert difference.mean() < 1e-4
    assert difference.max() < 0.02


@pytest.mark.parametrize(
    ("kind", "at", "optimizer"),
    [
        ("cuda", "targets", "adam"),
        ("cpu", "first evaluation", "lbfgs"),
        ("cpu", "third evaluation", "adam"),
        ("cuda", "third evaluation", "lbfgs"),
    ],
)
def test_out_of_memory_halves_the_tile_and_continues(
    kind: str,
    at: str,
    optimizer: str,
    monkeypatch: pytest.MonkeyPatch,
    big: Image,
    style: Image,
    whole_run: Callable[[str], StyleTransferResult],
) -> None:
    plain = whole_run(optimizer)
    # calls: content, style, then one for each evaluation
    after = {"targets": 0, "first evaluation": 2, "third evaluation": 4}[at]
    _, failed = fail_above(monkeypatch, 150 * 150, ERRORS[kind], after)
    run = StyleTransfer(big, style, plain.settings)
    iterations = []
    for snapshot in run:
        iterations.append(snapshot.iteration)
        gc.collect()
        assert [ref() for ref in failed if ref() is not None] == []
    assert iterations == [1, 2, 3, 4]  # none is lost or repeated
    assert len(failed) > 0
    assert tile_sizes(run) == [132]
    assert run.record.status == "finished"
    check_similar(run.result().image, plain.image)
    assert totals(run) == pytest.approx(totals(plain), rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("at", [0, 2, 4, 5, 7, 9])
def test_a_run_that_ran_out_of_memory_is_replayed_up_to_rounding(
    at: int, optimizer: str, monkeypatch: pytest.MonkeyPatch, big: Image, style: Image
) -> None:
    """The network is called for content and style, then for the evaluations of each scale."""
    settings = quick(optimizer=optimizer, scales=2, iterations=6, init="noise", kept_structure=0)
    with monkeypatch.context() as patch:
        fail_above(patch, 75 * 75, ERRORS["cpu"], after=at)
        run = StyleTransfer(big, style, settings)
        list(run)
    out_of_memory_events = run.record.out_of_memory_events
    assert out_of_memory_events
    assert out_of_memory_events[0].tile is None
    again = StyleTransfer(big, style, run.settings, replay=run.record)
    list(again)
    check_similar(again.result().image, run.result().image)
    assert totals(again) == pytest.approx(totals(run), rel=1e-3)
    assert again.record.resolved == run.record.resolved  # with the smaller tiles from the start
    assert again.record.out_of_memory_events == ()


def test_a_run_that_ran_out_of_memory_continues_to_the_same_bytes_after_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, big: Image, style: Image
) -> None:
    settings = quick(scales=2, iterations=8, init="noise")
    with monkeypatch.context() as patch:
        fail_above(patch, 150 * 150, ERRORS["cpu"], after=8)
        run = StyleTransfer(big, style, settings)
        for _ in range(5):
            next(run)
    (event,) = run.record.out_of_memory_events
    assert (event.tile, tile_sizes(run)[-1]) == (None, 132)
    run.save(tmp_path / "run")
    loaded = StyleTransfer.load(tmp_path / "run")
    for one in (run, loaded):
        list(one)
    assert loaded.result().image.tobytes() == run.result().image.tobytes()
    assert loaded.record == run.record


def test_the_tile_is_halved_repeatedly(
    monkeypatch: pytest.MonkeyPatch, big: Image, style: Image
) -> None:
    windows, _ = fail_above(monkeypatch, 110 * 110, ERRORS["cpu"])
    run = StyleTransfer(big, style, quick())
    assert len(list(run)) == 4
    assert tile_sizes(run) == [66]
    assert sum(window > 110 * 110 for window in windows) == 2  # the whole, and tiles of 132


def test_out_of_memory_at_the_smallest_tile_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, big: Image, style: Image
) -> None:
    windows, failed = fail_above(monkeypatch, 10, ERRORS["cpu"], after=3)
    run = StyleTransfer(big, style, quick())
    next(run)
    with pytest.raises(OutOfMemoryError, match="264 x 96 pixels; choose a smaller size"):
        next(run)
    assert [ref() for ref in failed if ref() is not None] == []
    assert len(windows) - 3 == 3  # the whole, 132 and 66
    assert (run.record.status, run.record.iterations) == ("failed", 1)
    assert np.isfinite(run.result().image).all()


@each_error
def test_out_of_memory_without_tiles_ends_the_run(
    kind: str, monkeypatch: pytest.MonkeyPatch, big: Image, style: Image
) -> None:
    windows, _ = fail_above(monkeypatch, 150 * 150, ERRORS[kind], after=2)
    run = StyleTransfer(big, style, quick(tile="off"))
    with pytest.raises(OutOfMemoryError):
        next(run)
    assert len(windows) == 3
    assert tile_sizes(run) == [None]


def test_other_errors_are_not_retried(
    monkeypatch: pytest.MonkeyPatch, big: Image, style: Image
) -> None:
    windows, _ = fail_above(monkeypatch, 150 * 150, lambda: RuntimeError("a bug"), after=2)
    with pytest.raises(StyleTransferError, match="a bug"):
        next(StyleTransfer(big, style, quick()))
    assert len(windows) == 3


def test_out_of_memory_after_steering_halves_the_tile(
    monkeypatch: pytest.MonkeyPatch, big: Image, style: Image
) -> None:
    run = StyleTransfer(big, style, quick())
    next(run)
    fail_above(monkeypatch, 150 * 150, ERRORS["cpu"])
    labels = np.zeros((96, 264), int)
    labels[:, 130:] = 1
    run.steer(content_labels=labels)
    assert len(list(run)) == 3
    assert tile_sizes(run) == [132]
    np.testing.assert_array_equal(run.result().image[labels == 0], big[labels == 0])


# The history of L-BFGS


def test_lbfgs_has_a_shorter_history_if_the_default_does_not_fit(big: Image, style: Image) -> None:
    settings = quick(optimizer="lbfgs", tile="off", init="noise")
    plain = StyleTransfer(big, style, settings)
    assert plain.record.resolved.lbfgs_history == 10
    assert StyleTransfer(big, style, quick()).record.resolved.lbfgs_history is None
    workload = workload_of(plain, plain.scales[-1], (36, 44))
    four = workload.bytes_needed(history=4)
    limited = settings.replace(memory_limit=four / SHARE / GIB * 1.0001)
    with pytest.warns(StyleTransferWarning, match="remembers 4 steps instead of 10 at 264 x 96"):
        run = StyleTransfer(big, style, limited)
    list(run)
    assert run.record.resolved.lbfgs_history == 4
    # A replay uses the recorded history without a warning.
    again = StyleTransfer(big, style, settings, replay=run.record)
    list(again)
    assert again.record.resolved.lbfgs_history == 4
    assert again.result().image.tobytes() == run.result().image.tobytes()


def test_out_of_memory_without_tiles_shortens_the_history(
    monkeypatch: pytest.MonkeyPatch, big: Image, style: Image
) -> None:
    run = StyleTransfer(big, style, quick(optimizer="lbfgs", tile="off", iterations=10))
    for _ in range(8):  # rejected steps do not enter the history
        next(run)
    original, calls = FeatureExtractor.record_tape, []

    def fail_once(self: FeatureExtractor, image: torch.Tensor) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ERRORS["cpu"]()
        return original(self, image)

    monkeypatch.setattr(FeatureExtractor, "record_tape", fail_once)
    with pytest.warns(StyleTransferWarning, match="Memory ran out: L-BFGS remembers 3 steps"):
        next(run)
    assert len(list(run)) == 1
    assert run.record.resolved.lbfgs_history == 3
    (event,) = run.record.out_of_memory_events
    assert (event.iteration, event.lbfgs_history) == (8, 10)
    # A replay has a history of three from the start.
    again = StyleTransfer(big, style, run.settings, replay=run.record)
    assert len(list(again)) == 10
    assert again.record.resolved == run.record.resolved
    assert again.record.out_of_memory_events == ()
