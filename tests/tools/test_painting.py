"""The painters of the sample styles: reproducible, and complete at every size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_nst import samples
from painting import PAINTERS, paint

each_style = pytest.mark.parametrize("style", list(PAINTERS))


@each_style
def test_the_packaged_style_is_the_painted_one(style: str) -> None:
    painted = paint(style)
    packaged = samples.style_image(style)
    assert painted.shape == packaged.shape
    # JPEG is lossy, and versions of numpy and libjpeg round differently.
    buffer = io.BytesIO()
    Image.fromarray(painted).save(buffer, "JPEG", quality=95, subsampling=0)
    expected = np.asarray(Image.open(buffer), float)
    assert np.mean(np.abs(expected - packaged)) < 0.5


def test_every_style_is_packaged() -> None:
    assert set(PAINTERS) == set(samples.STYLES)


@each_style
def test_pictures_differ_only_with_the_seed(style: str) -> None:
    first, again, other = (paint(style, height=100, width=130, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.mean(np.abs(first.astype(float) - other) > 20) > 0.1


@each_style
def test_numpys_global_random_state_is_unchanged(style: str) -> None:
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    paint(style, height=64, width=64)
    assert np.random.random() == expected


@given(
    style=st.sampled_from(list(PAINTERS)),
    height=st.integers(64, 160),
    width=st.integers(64, 260),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=16, deadline=None)
def test_a_picture_of_any_size_is_painted_to_its_edges(
    style: str, height: int, width: int, seed: int
) -> None:
    image = paint(style, height=height, width=width, seed=seed)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    for edge in (image[:12], image[-12:], image[:, :12], image[:, -12:]):
        assert len(np.unique(edge)) > 24  # not bare canvas


@each_style
@pytest.mark.parametrize("shape", [(64, 400), (400, 64)])
def test_narrow_pictures_are_painted(style: str, shape: tuple[int, int]) -> None:
    height, width = shape
    assert paint(style, height=height, width=width).shape == (height, width, 3)
