"""The painters of the sample styles: the same picture from the same seed, at every size."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_nst import samples

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
try:
    from painting import PAINTERS, paint
finally:
    sys.path.remove(str(TOOLS))

styles = pytest.mark.parametrize("style", list(PAINTERS))


@styles
def test_packaged_style_is_what_is_painted(style):
    painted = paint(style)
    packaged = samples.style_image(style)
    assert painted.shape == packaged.shape
    # other versions of numpy or libjpeg may round otherwise, and JPEG itself is lossy
    buffer = io.BytesIO()
    Image.fromarray(painted).save(buffer, "JPEG", quality=95, subsampling=0)
    expected = np.asarray(Image.open(buffer), float)
    assert np.mean(np.abs(expected - packaged)) < 0.5


def test_every_style_is_packaged():
    assert set(PAINTERS) == set(samples.STYLES)


@styles
def test_same_seed_gives_the_same_picture_and_another_seed_another(style):
    first, again, other = (paint(style, height=100, width=130, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.mean(np.abs(first.astype(float) - other) > 20) > 0.1


@styles
def test_painting_leaves_numpys_global_state_alone(style):
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
def test_any_size_is_painted_to_the_edge(style, height, width, seed):
    image = paint(style, height=height, width=width, seed=seed)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    for edge in (image[:12], image[-12:], image[:, :12], image[:, -12:]):
        assert len(np.unique(edge)) > 24  # painted, not left bare


@styles
@pytest.mark.parametrize("shape", [(64, 400), (400, 64)])
def test_banners_are_painted_too(style, shape):
    height, width = shape
    assert paint(style, height=height, width=width).shape == (height, width, 3)
