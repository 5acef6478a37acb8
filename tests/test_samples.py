"""The sample pictures: painted from a seed, well formed, rich, and without a network."""

from __future__ import annotations

import socket
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst import samples
from napari_nst.errors import InputError

paint = samples.paint  # a test puts another in its place
styles = pytest.mark.parametrize("style", samples.STYLES)
keys = pytest.mark.parametrize("key", list(samples.SAMPLES))


@cache
def painting(style):
    """Return the style at its full size."""
    image = paint(style)
    image.flags.writeable = False
    return image


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a sample asked for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@styles
def test_the_same_seed_gives_the_same_picture_and_another_another(style):
    first, again, other = (
        samples.paint(style, height=100, width=130, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert np.mean(np.abs(first.astype(float) - other) > 20) > 0.1


@styles
def test_a_seed_does_not_touch_numpys_global_state(style):
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    samples.paint(style, height=64, width=64)
    assert np.random.random() == expected


@given(
    style=st.sampled_from(samples.STYLES),
    height=st.integers(64, 160),
    width=st.integers(64, 260),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=16, deadline=None)
def test_any_size_is_painted_to_the_edge(style, height, width, seed):
    image = samples.paint(style, height=height, width=width, seed=seed)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    for edge in (image[:12], image[-12:], image[:, :12], image[:, -12:]):
        assert len(np.unique(edge)) > 24  # painted, not left bare


@styles
@pytest.mark.parametrize("shape", [(64, 400), (400, 64)])
def test_banners_are_painted_too(style, shape):
    height, width = shape
    assert samples.paint(style, height=height, width=width).shape == (height, width, 3)


@styles
def test_a_style_has_contrast_and_a_palette(style):
    image = painting(style)
    light = image.mean(axis=2)
    assert np.percentile(light, 98) - np.percentile(light, 2) > 140
    # colours on a lattice of 8 x 8 x 8, those that cover a thousandth of the picture
    _, counts = np.unique((image // 32).reshape(-1, 3), axis=0, return_counts=True)
    assert (counts > image[..., 0].size / 1000).sum() >= 12


@styles
def test_a_style_has_structure_from_strokes_to_shapes(style):
    light = painting(style).mean(axis=2)
    # what a block of pixels adds to the block twice as large, in grey levels
    for size in (1, 2, 4, 8, 16, 32, 64):
        height, width = (side // (2 * size) * 2 * size for side in light.shape)
        fine = light[:height, :width].reshape(height // size, size, width // size, size)
        fine = fine.mean(axis=(1, 3))
        coarse = fine.reshape(height // size // 2, 2, width // size // 2, 2).mean(axis=(1, 3))
        detail = fine - coarse.repeat(2, axis=0).repeat(2, axis=1)
        assert detail.std() > 4, f"nothing at {size} pixels"


@styles
def test_painting_needs_no_network(style, no_network):
    samples.paint(style, height=64, width=64)


@keys
def test_a_sample_is_two_layers_that_napari_takes(key, no_network, monkeypatch):
    from napari.layers import Image, Layer

    monkeypatch.setattr(samples, "paint", lambda style, *, seed: painting(style))
    sample = samples.SAMPLES[key]
    content, style = getattr(samples, key)()
    for data, expected in ((content, sample.content()), (style, painting(sample.manner))):
        image, options, kind = data
        np.testing.assert_array_equal(image, expected)
        assert image.dtype == np.uint8
        assert min(image.shape[:2]) >= 300
        assert kind == "image"
        assert options["rgb"] is (image.ndim == 3)
        layer = Layer.create(*data)
        assert isinstance(layer, Image)
        assert layer.ndim == 2
        assert layer.name == options["name"]


def test_the_samples_are_many_and_one_is_grey():
    assert len(samples.SAMPLES) >= 3
    assert all(key == sample.key for key, sample in samples.SAMPLES.items())
    assert len({sample.title for sample in samples.SAMPLES.values()}) == len(samples.SAMPLES)
    assert {sample.manner for sample in samples.SAMPLES.values()} == set(samples.STYLES)
    assert {sample.content().ndim for sample in samples.SAMPLES.values()} == {2, 3}


def test_a_sample_style_takes_a_seed(monkeypatch):
    monkeypatch.setattr(samples, "paint", lambda style, *, seed: (style, seed))
    assert samples.SAMPLES["astronaut_woodcut"].style(seed=5) == ("woodcut", 5)


def test_an_unknown_style_is_named_with_the_choices():
    with pytest.raises(InputError) as caught:
        samples.paint("cubism")
    message = str(caught.value)
    assert "'cubism'" in message
    assert all(style in message for style in samples.STYLES)


@pytest.mark.parametrize(
    ("choices", "named"),
    [({"height": 63}, "63 by 640"), ({"width": 0}, "512 by 0"), ({"seed": -1}, "-1")],
)
def test_an_impossible_size_or_seed_is_named(choices, named):
    with pytest.raises(InputError, match=named):
        samples.paint("woodcut", **choices)
