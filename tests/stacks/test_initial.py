"""Initial images of planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_nst.stacks.initial import warm_start

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
