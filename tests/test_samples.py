"""Sample data: well formed, rich, and without a network."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from napari_nst import samples
from napari_nst.errors import InputError

styles = pytest.mark.parametrize("style", samples.STYLES)
keys = pytest.mark.parametrize("key", list(samples.SAMPLES))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a sample asked for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@styles
def test_style_image_is_a_colour_picture_of_its_own(style, no_network):
    image = samples.style_image(style)
    assert image.shape == (512, 640, 3)
    assert image.dtype == np.uint8
    image[:] = 0  # writable, and nobody else's array
    assert samples.style_image(style).any()


@styles
def test_style_has_contrast_and_a_palette(style):
    image = samples.style_image(style)
    light = image.mean(axis=2)
    assert np.percentile(light, 98) - np.percentile(light, 2) > 140
    # colours on a lattice of 8 x 8 x 8 that cover at least a thousandth of the picture
    _, counts = np.unique((image // 32).reshape(-1, 3), axis=0, return_counts=True)
    assert (counts > image[..., 0].size / 1000).sum() >= 12


@styles
def test_style_has_structure_from_strokes_to_shapes(style):
    light = samples.style_image(style).mean(axis=2)
    # standard deviation, in grey levels, that blocks of pixels add to blocks twice as large
    for size in (1, 2, 4, 8, 16, 32, 64):
        height, width = (side // (2 * size) * 2 * size for side in light.shape)
        fine = light[:height, :width].reshape(height // size, size, width // size, size)
        fine = fine.mean(axis=(1, 3))
        coarse = fine.reshape(height // size // 2, 2, width // size // 2, 2).mean(axis=(1, 3))
        detail = fine - coarse.repeat(2, axis=0).repeat(2, axis=1)
        assert detail.std() > 4, f"nothing at {size} pixels"


@keys
def test_sample_is_two_layers_that_napari_takes(key, no_network):
    from napari.layers import Image, Layer

    sample = samples.SAMPLES[key]
    content, style = getattr(samples, key)()
    expected_images = (sample.content(), samples.style_image(sample.style_name))
    for data, expected in zip((content, style), expected_images, strict=True):
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


def test_samples_use_every_style_and_one_is_grey():
    assert len(samples.SAMPLES) >= 3
    assert all(key == sample.key for key, sample in samples.SAMPLES.items())
    assert len({sample.title for sample in samples.SAMPLES.values()}) == len(samples.SAMPLES)
    assert {sample.style_name for sample in samples.SAMPLES.values()} == set(samples.STYLES)
    assert {sample.content().ndim for sample in samples.SAMPLES.values()} == {2, 3}


def test_unknown_style_is_named_with_the_choices():
    with pytest.raises(InputError) as caught:
        samples.style_image("cubism")
    message = str(caught.value)
    assert "'cubism'" in message
    assert all(style in message for style in samples.STYLES)
