"""Initial images of planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from skimage import filters

from napari_nst.stacks.initial import Earlier, motion_of, warm_start, warped_start
from napari_nst.stacks.motion import Motion

if TYPE_CHECKING:
    from numpy.typing import NDArray


def noise(seed: int, shape: tuple[int, ...] = (12, 10), dtype: Any = np.float32) -> NDArray[Any]:
    values = np.random.default_rng(seed).random(shape)
    return (values * 255).astype(dtype) if dtype == np.uint8 else values.astype(dtype)


@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 3)])
def test_a_warm_start_is_the_result_plus_the_change_of_the_content(shape: tuple[int, ...]) -> None:
    result, content = noise(1, shape), noise(2, shape)
    following = content.copy()
    following[:3] = 1 - following[:3]
    start = warm_start(result, content, following)
    np.testing.assert_array_equal(start[3:], result[3:])
    change = following[:3] - content[:3]
    np.testing.assert_allclose(start[:3], np.clip(result[:3] + change, 0, 1), atol=1e-6)


def test_a_warm_start_is_float32_in_the_unit_range() -> None:
    shape = (12, 10, 4)
    start = warm_start(noise(1, shape), noise(2, shape, np.uint8), noise(3, shape, np.uint8))
    assert start.dtype == np.float32
    assert start.shape == shape
    assert (start.min(), start.max()) == (0, 1)


@pytest.mark.parametrize("size", [(12, 10), (6, 5)])
def test_hidden_colours_do_not_affect_the_warm_start(size: tuple[int, int]) -> None:
    content, following = noise(2, (12, 10, 4)), noise(3, (12, 10, 4))
    result = noise(1, (*size, 4))
    content[:4, :, 3] = following[2:6, :, 3] = result[: size[0] // 3, :, 3] = 0
    starts = []
    for hidden in (0, 1):
        for image in (content, following, result):
            image[image[..., 3] == 0, :3] = hidden
        starts.append(warm_start(result, content, following))
    np.testing.assert_array_equal(*starts)
    if size == (12, 10):
        np.testing.assert_array_equal(starts[0][:2], following[:2])  # hidden in the previous plane
        np.testing.assert_array_equal(starts[0][..., 3], following[..., 3])


def test_a_warm_start_has_the_size_of_the_result() -> None:
    content = np.full((40, 60), 0.25, np.float32)
    start = warm_start(np.full((20, 30), 0.5, np.float32), content, content + 0.125)
    np.testing.assert_allclose(start, np.full((20, 30), 0.625), atol=1e-6)


def test_missing_values_are_filled_from_the_content() -> None:
    result, content, following = noise(1), noise(2), noise(3)
    result[0, 0] = content[0, 0] = np.nan  # missing in the previous plane
    result[1, 1] = content[1, 1] = following[1, 1] = np.nan  # missing in both
    following[2, 2] = np.nan  # missing in the next plane
    start = warm_start(result, content, following)
    assert np.isfinite(start).all()
    assert start[0, 0] == following[0, 0]


def moving(rows: int, columns: int, shape: tuple[int, int] = (12, 10)) -> Motion:
    """Return the motion of a whole image, down and to the right."""
    flow = np.full((*shape, 2), (-rows, -columns), np.float32)
    places = np.indices(shape) - np.array((rows, columns)).reshape(2, 1, 1)
    visible = ((places >= 0) & (places < np.array(shape).reshape(2, 1, 1))).all(axis=0)
    return Motion(flow, visible, visible.astype(np.float32))


def test_results_are_carried_along_the_motion() -> None:
    result, content = noise(1, (12, 10, 3)), noise(2, (12, 10, 3))
    start = warped_start([Earlier(content, result, moving(2, 3))], noise(3, (12, 10, 3)), (12, 10))
    assert start.image.dtype == np.float32
    np.testing.assert_allclose(start.image[2:, 3:], result[:-2, :-3], atol=1e-5)
    np.testing.assert_array_equal(start.reliability, moving(2, 3).reliability)


@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 3)])
def test_what_was_not_visible_is_the_content_in_the_colours_of_the_result(
    shape: tuple[int, ...],
) -> None:
    before, content = noise(1, shape), noise(2, shape)
    recolored = [0.2 + 0.5 * image[..., ::-1] for image in (before, content)]
    if len(shape) == 2:
        recolored = [0.2 + 0.5 * image for image in (before, content)]
    start = warped_start([Earlier(before, recolored[0], moving(4, 0))], content, (12, 10))
    np.testing.assert_allclose(start.image[:4], recolored[1][:4], atol=1e-4)
    np.testing.assert_allclose(start.image[4:], recolored[0][:-4], atol=1e-5)
    assert not start.reliability[:4].any()


def test_the_nearest_reliable_plane_is_carried_and_then_the_nearest_visible() -> None:
    content = noise(9)
    nearest, farther = moving(0, 0), moving(0, 0)
    nearest.visible[:3] = False
    nearest.reliability[:9] = 0
    farther.reliability[:6] = 0
    results = noise(1), noise(2)
    earlier = [
        Earlier(content, result, motion)
        for result, motion in zip(results, (nearest, farther), strict=True)
    ]
    start = warped_start(earlier, content, (12, 10))
    np.testing.assert_allclose(start.image[:3], results[1][:3], atol=1e-5)  # visible in the farther
    np.testing.assert_allclose(start.image[3:6], results[0][3:6], atol=1e-5)
    np.testing.assert_allclose(start.image[6:9], results[1][6:9], atol=1e-5)  # reliable there only
    np.testing.assert_allclose(start.image[9:], results[0][9:], atol=1e-5)
    np.testing.assert_array_equal(start.reliability[:, 0], [0] * 6 + [1] * 6)


def test_a_warped_start_has_the_size_of_the_motion_and_the_alpha_of_the_plane() -> None:
    before, content, result = (noise(seed, (24, 20, 4)) for seed in (1, 2, 3))
    result[:8, :, :3] = np.nan
    result[:8, :, 3] = 0
    start = warped_start([Earlier(before, result, moving(0, 0))], content, (12, 10))
    assert start.image.shape == (12, 10, 4)
    assert np.isfinite(start.image).all()
    assert 0 <= start.image.min() <= start.image.max() <= 1
    assert not start.reliability[:3].any()
    opaque = np.full((24, 20, 1), 0.25, np.float32)
    content = np.concatenate([content[..., :3], opaque], axis=-1)
    start = warped_start([Earlier(before, result, moving(0, 0))], content, (12, 10))
    np.testing.assert_allclose(start.image[..., 3], 0.25, atol=1e-6)


def test_motion_between_planes_of_other_sizes_and_kinds_is_that_of_their_luminance() -> None:
    large = filters.gaussian(noise(1, (80, 96)), 4, mode="wrap")
    earlier, later = large[:, 8:], large[:, :-8]
    grey = motion_of(earlier, later, (40, 44), None)
    assert grey.flow.shape == (40, 44, 2)
    np.testing.assert_allclose(np.median(grey.flow, axis=(0, 1)), (0, -4), atol=0.1)
    colour = [
        np.rint(255 * np.stack([image] * 3, axis=-1)).astype(np.uint8) for image in (earlier, later)
    ]
    assert np.abs(motion_of(*colour, (40, 44), None).flow - grey.flow).mean() < 0.02
