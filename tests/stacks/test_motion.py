"""Optical flow: known motions, occlusions, missing values; images carried along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_nst.stacks import motion
from napari_nst.stacks.motion import carry, motion_between

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Grey = NDArray[np.float32]

METHODS = pytest.mark.parametrize("method", ["dis", "tvl1"])
INSIDE = np.s_[12:-12, 12:-12]


def texture(height: int = 80, width: int = 96, seed: int = 0) -> Grey:
    """Return a random texture with coarse and fine detail, in [0, 1]."""
    rng = np.random.default_rng(seed)
    smooth = sum(
        sigma * ndimage.gaussian_filter(rng.random((height, width)), sigma, mode="wrap")
        for sigma in (1.5, 4, 8)
    )
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def moved(image: Grey, rows: float, columns: float) -> Grey:
    """Return an image moved down and to the right, periodically."""
    return np.asarray(ndimage.shift(image, (rows, columns), order=5, mode="grid-wrap"), np.float32)


@METHODS
@pytest.mark.parametrize("shift", [(0, 0), (2, -3), (0.5, 1.25), (-6, 9)])
def test_a_shift_is_found(method: motion.FlowMethod, shift: tuple[float, float]) -> None:
    earlier = texture()
    found = motion_between(earlier, moved(earlier, *shift), method)
    errors = np.linalg.norm(found.flow + shift, axis=-1)[INSIDE]
    assert errors.mean() < 0.1
    assert np.percentile(errors, 99) < 0.5
    assert found.flow.dtype == found.reliability.dtype == np.float32
    assert found.reliability[INSIDE].mean() > 0.9


@METHODS
def test_pixels_from_outside_and_behind_are_not_visible(method: motion.FlowMethod) -> None:
    ground, disc = texture(seed=1), texture(seed=2)
    rows, columns = np.indices(ground.shape)

    def picture(column: int) -> tuple[Grey, NDArray[np.bool_]]:
        inside = (rows - 40) ** 2 + (columns - column) ** 2 < 14**2
        return np.where(inside, np.roll(disc, column, axis=1), ground), inside

    (before, was), (after, now) = picture(36), picture(42)
    found = motion_between(before, after, method)
    uncovered = ndimage.binary_erosion(was & ~now)
    still = ~ndimage.binary_dilation(was | now, iterations=8)
    assert found.visible[uncovered].mean() < 0.25
    assert found.visible[still].mean() > 0.97
    assert found.reliability[ndimage.binary_erosion(now, iterations=6)].mean() > 0.9
    assert not found.reliability[~found.visible].any()
    shifted = motion_between(ground, moved(ground, 0, 8), method)
    assert shifted.visible[:, :6].mean() < 0.2  # they come from the left of the image


@METHODS
def test_missing_values_are_not_visible(method: motion.FlowMethod) -> None:
    earlier, later = texture(), texture()
    earlier[20:30, 20:30] = np.nan
    later[50:60, 50:60] = np.nan
    found = motion_between(earlier, later, method)
    assert not found.visible[20:30, 20:30].any()
    assert not found.visible[50:60, 50:60].any()
    assert found.visible[:15].mean() > 0.9
    assert np.isfinite(found.flow).all()
    nothing = motion_between(np.full_like(earlier, np.nan), later, method)
    assert not nothing.visible.any()


@METHODS
def test_the_range_of_the_values_does_not_matter(method: motion.FlowMethod) -> None:
    earlier = texture()
    later = moved(earlier, 1, 2)
    plain = motion_between(earlier, later, method)
    dim = motion_between(earlier / 1024 + 0.25, later / 1024 + 0.25, method)
    np.testing.assert_allclose(dim.flow, plain.flow, atol=0.05)


@METHODS
@pytest.mark.parametrize("shape", [(8, 8), (8, 60), (11, 9), (40, 8)])
def test_small_and_flat_images_have_no_motion(
    method: motion.FlowMethod, shape: tuple[int, int]
) -> None:
    for image in (np.full(shape, 0.5, np.float32), texture(*shape)):
        found = motion_between(image, image, method)
        np.testing.assert_allclose(found.flow, 0, atol=1e-3)
        assert found.reliability.mean() == 1


def test_without_opencv_the_motion_is_that_of_tvl1(monkeypatch: pytest.MonkeyPatch) -> None:
    assert motion.flow_method() == "dis"
    monkeypatch.setattr(motion, "find_spec", lambda name: None)
    assert motion.flow_method() == "tvl1"
    earlier = texture()
    found, expected = (
        motion_between(earlier, moved(earlier, 1, 2), each) for each in (None, "tvl1")
    )
    np.testing.assert_array_equal(found.flow, expected.flow)


@settings(max_examples=25)
@given(st.integers(-5, 5), st.integers(-5, 5), st.booleans())
def test_whole_pixels_are_carried_exactly(rows: int, columns: int, colour: bool) -> None:
    image = texture(20, 24)
    if colour:
        image = np.stack([image, image**2, 1 - image], axis=-1)
    flow = np.full((20, 24, 2), (rows, columns), np.float32)
    found = carry(image, flow)
    indices = np.ix_(np.clip(np.arange(20) + rows, 0, 19), np.clip(np.arange(24) + columns, 0, 23))
    np.testing.assert_allclose(found, image[indices], atol=1e-5)
    assert found.dtype == image.dtype


def test_carrying_back_and_forth_keeps_the_sharpness() -> None:
    image = texture()
    there, back = (np.full((80, 96, 2), sign * 0.5, np.float32) for sign in (1, -1))
    found = image
    for _ in range(4):
        found = carry(carry(found, there), back)
    assert np.abs(found - image)[INSIDE].max() < 0.02
