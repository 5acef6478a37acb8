"""Runs of stacks whose planes start from results carried along the motion."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_helpers import quick_settings

from napari_nst.stacks import PlaneArray, ResumableStack, StackTransfer, motion
from napari_nst.stacks.motion import carry

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_nst import StyleTransferResult

    Image = NDArray[np.float32]
    Maker = Callable[[int, int], Image]

STEP = (1, 3)  # pixels down and to the right, from plane to plane
PLANES = 5

quick = partial(quick_settings, iterations=20, device="cpu")

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")


@pytest.fixture(scope="module")
def planes(photo: Maker) -> Image:
    """A picture that moves."""
    rng = np.random.default_rng(5)
    large = (0.7 * photo(64, 72) + 0.3 * np.kron(rng.random((16, 18, 3)), np.ones((4, 4, 1)))).clip(
        0, 1
    )
    tops, lefts = (8 - STEP[0] * np.arange(PLANES), 20 - STEP[1] * np.arange(PLANES))
    return np.stack(
        [large[t : t + 40, s : s + 48] for t, s in zip(tops, lefts, strict=True)]
    ).astype(np.float32)


class EightBits:
    """Conversion between float32 and uint8."""

    def from_engine(self, _: int, image: NDArray[Any]) -> NDArray[Any]:
        return np.rint(255 * image).astype(np.uint8)

    def to_engine(self, _: int, plane: NDArray[Any]) -> NDArray[Any]:
        return plane


def stylize_stack(planes: Any, style: Any, settings: Any = None, **options: Any) -> list[Image]:
    """Run a whole stack and return its results."""
    results = list[Any]()

    def add(_: int, result: StyleTransferResult) -> None:
        results.append(result.image)

    options = {"start_from": "warped", "load_previous": results.__getitem__, **options}
    list(StackTransfer(planes, style, settings or quick(), on_plane_done=add, **options))
    return results


def warping_error(results: list[Image]) -> float:
    """Return the mean squared difference along the motion, far from the border."""
    errors = []
    for before, after in itertools.pairwise(results):
        flow = np.full((*before.shape[:2], 2), [-step for step in STEP], np.float32)
        errors.append(np.square(carry(before, flow) - after)[8:-8, 8:-8].mean())
    return float(np.mean(errors))


@pytest.mark.usefixtures("real_network")
def test_results_follow_the_motion_better_than_from_the_previous_plane(
    planes: Image, style: Image
) -> None:
    warped, previous = (
        warping_error(stylize_stack(planes, style, start_from=each))
        for each in ("warped", "previous")
    )
    assert warped < previous / 3


@pytest.mark.usefixtures("real_network")
def test_a_larger_temporal_weight_holds_results_closer(planes: Image, style: Image) -> None:
    errors = [
        warping_error(stylize_stack(planes, style, quick(temporal_weight=weight)))
        for weight in (0, 5, 500)
    ]
    assert errors[0] > 1.2 * errors[1] > 1.5 * errors[2]


def test_results_in_memory_are_kept_as_long_as_planes_start_from_them(
    planes: Image, style: Image
) -> None:
    longer = np.concatenate([planes, planes[::-1]])
    settings = quick(iterations=2)
    kept = stylize_stack(longer, style, settings, long_term=True, load_previous=None)
    loaded = stylize_stack(longer, style, settings, long_term=True)
    assert len(kept) == len(longer)
    for found, expected in zip(kept, loaded, strict=True):
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("long_term", [False, True])
def test_a_run_is_resumed_to_the_same_bytes(planes: Image, style: Image, long_term: bool) -> None:
    def run_into(store: PlaneArray) -> ResumableStack:
        return ResumableStack(
            planes,
            style,
            quick(iterations=3),
            store=store,
            conversion=EightBits(),
            start_from="warped",
            long_term=long_term,
        )

    whole, interrupted = (PlaneArray(planes.shape, np.uint8, 0) for _ in range(2))
    list(run_into(whole))
    run = run_into(interrupted)
    for snapshot in run:
        if snapshot.plane == 4:
            run.stop()
    assert interrupted.finished == {0, 1, 2}
    again = run_into(interrupted)
    list(again)
    assert interrupted.array.tobytes() == whole.array.tobytes()
    record = again.record
    assert (record.start_from, record.long_term) == ("warped", long_term)
    assert record.flow_method == "dis"
    assert {"opencv", "scikit-image", "torch"} <= record.versions.keys()
    assert [plane.init_reliability is None for plane in record.finished] == [True] + [False] * 4
    assert record.finished[-1].losses["temporal"] > 0


def test_the_long_term_shows_what_was_hidden_in_between(photo: Maker, style: Image) -> None:
    planes = np.stack([photo(48, 64)] * 3)
    planes[1, 12:36, 20:44] = (0.1, 0.2, 0.9)  # something passes in one plane
    inside = np.s_[20:28, 28:36]
    settings = quick(temporal_weight=500)
    changes = []
    for long_term in (False, True):
        results = stylize_stack(planes, style, settings, long_term=long_term)
        changes.append(np.square(results[2] - results[0])[inside].mean())
    assert changes[1] < changes[0] / 3


@pytest.mark.parametrize("kind", ["grey", "alpha", "uint16", "nan"])
def test_planes_can_be_of_any_kind(planes: Image, style: Image, kind: str) -> None:
    stack: Any = planes.copy()
    if kind == "grey":
        stack = stack[..., 1]
    elif kind == "alpha":
        stack = np.concatenate([stack, np.ones_like(stack[..., :1])], axis=-1)
        stack[:, :5, :, 3] = 0
    elif kind == "uint16":
        stack = (4095 * stack[..., 1]).astype(np.uint16)
    else:
        stack[1, 3:6, 3:6] = np.nan
    settings = quick(nan="keep", iterations=6)
    results = stylize_stack(stack, style, settings)
    assert [image.shape for image in results] == [plane.shape for plane in stack]
    assert [np.isnan(image).any() for image in results] == [
        kind == "nan" and k == 1 for k in range(PLANES)
    ]
    level = 4095 / 65535 if kind == "uint16" else 1
    assert all(0.3 * level < np.nanmax(image) <= level * (1 + 1e-6) for image in results)


@pytest.mark.parametrize("output_size", ["content", "working"])
def test_the_working_size_can_be_smaller(planes: Image, style: Image, output_size: str) -> None:
    settings = quick(size=24, output_size=output_size, iterations=3)
    results = stylize_stack(planes, style, settings)
    shape = (40, 48, 3) if output_size == "content" else (20, 24, 3)
    assert {image.shape for image in results} == {shape}


def test_the_temporal_weight_can_be_steered(planes: Image, style: Image) -> None:
    run = StackTransfer(planes[:3], style, quick(iterations=4), start_from="warped")
    for snapshot in run:
        if snapshot.plane == 2 and snapshot.losses.temporal == 0:  # its first evaluation
            run.steer(temporal_weight=70)
    (change,) = run.record.finished[1].steering
    assert change.choices == {"temporal_weight": 70}
    assert run.record.finished[2].steering == ()


def test_labels_of_the_first_plane_follow_the_motion(planes: Image, style: Image) -> None:
    labels = np.zeros(planes.shape[:3], np.uint8)
    labels[0, 12:20, 10:20] = 1
    settings = quick(region_styles={0: 0, 1: None}, iterations=6)
    results = stylize_stack(planes, style, settings, content_labels=labels)
    for k, image in enumerate(results):
        top, left = 12 + k * STEP[0], 10 + k * STEP[1]
        kept = np.s_[top + 1 : top + 7, left + 1 : left + 9]
        np.testing.assert_allclose(image[kept], planes[k][kept], atol=1e-6)
        assert np.abs(image - planes[k])[top + 14 :].mean() > 0.01
    without = stylize_stack(planes, style, settings, content_labels=labels, start_from="previous")
    assert np.abs(without[2] - planes[2])[15:20, 18:24].mean() > 0.01


def test_labels_that_are_added_during_a_run_follow_the_motion(planes: Image, style: Image) -> None:
    labels = np.zeros(planes.shape[:3], np.uint8)
    labels[0, 12:20, 10:20] = 1
    results = list[Any]()
    run = StackTransfer(
        planes,
        style,
        quick(iterations=6),
        start_from="warped",
        on_plane_done=lambda _, result: results.append(result.image),
    )
    for snapshot in run:
        if snapshot.plane == 3 and not run.record.finished[2:]:
            run.steer(content_labels=lambda: labels, region_styles={0: 0, 1: None})
    for k in (2, 4):
        top, left = 12 + k * STEP[0], 10 + k * STEP[1]
        kept = np.s_[top + 1 : top + 7, left + 1 : left + 9]
        np.testing.assert_allclose(results[k][kept], planes[k][kept], atol=1e-6)


def test_each_chain_of_planes_has_its_own_motion(planes: Image, style: Image) -> None:
    interleaved = np.empty((4, *planes.shape[1:]), np.float32)
    interleaved[0::2], interleaved[1::2] = planes[:2], 1 - planes[3:1:-1]
    results = stylize_stack(interleaved, style, before=lambda k: k - 2 if k > 1 else None)
    for start, stack in ((0, planes[:2]), (1, 1 - planes[3:1:-1])):
        alone = stylize_stack(stack, style)
        for found, expected in zip(results[start::2], alone, strict=True):
            assert found.tobytes() == expected.tobytes()


def test_without_opencv_runs_work_and_say_so(
    planes: Image, style: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motion, "find_spec", lambda _: None)
    run = StackTransfer(planes[:2], style, quick(iterations=2), start_from="warped")
    list(run)
    assert run.record.flow_method == "tvl1"
    assert "opencv" not in run.record.versions


def test_the_colour_mode_can_be_steered(planes: Image, style: Image) -> None:
    results = list[Any]()
    run = StackTransfer(
        planes[:3],
        style,
        quick(iterations=4),
        start_from="warped",
        on_plane_done=lambda _, result: results.append(result.image),
    )
    for snapshot in run:
        if snapshot.plane == 2 and len(results) == 1:
            run.steer(color="luminance")

    def likeness(k: int) -> float:
        """Return how the difference of red and green goes with that of the content."""
        differences = [(image[..., 0] - image[..., 1]).ravel() for image in (results[k], planes[k])]
        return float(np.corrcoef(differences)[0, 1])

    assert likeness(0) < 0.95
    assert min(likeness(1), likeness(2)) > 0.98
    assert run.record.finished[2].losses["temporal"] > 0
