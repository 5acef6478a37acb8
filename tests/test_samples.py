"""Samples are valid napari layers of varied styles, and need no network connection."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from napari.layers import Image, Layer

from napari_nst import samples
from napari_nst.errors import InputError

each_style = pytest.mark.parametrize("style", samples.STYLES)
each_sample = pytest.mark.parametrize("key", list(samples.SAMPLES))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a sample used the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@each_style
@pytest.mark.usefixtures("no_network")
def test_a_style_image_is_a_new_array_of_colours(style: str) -> None:
    image = samples.style_image(style)
    assert image.shape == (512, 640, 3)
    assert image.dtype == np.uint8
    image[:] = 0  # does not change the next one
    assert samples.style_image(style).any()


@each_style
def test_a_style_has_contrast_and_many_colours(style: str) -> None:
    image = samples.style_image(style)
    light = image.mean(axis=2)
    assert np.percentile(light, 98) - np.percentile(light, 2) > 140
    # Count the bins of an 8 x 8 x 8 histogram that have at least a thousandth of the pixels.
    _, counts = np.unique((image // 32).reshape(-1, 3), axis=0, return_counts=True)
    assert (counts > image[..., 0].size / 1000).sum() >= 12


@each_style
def test_a_style_has_structure_at_every_scale(style: str) -> None:
    light = samples.style_image(style).mean(axis=2)
    # Standard deviation, in grey levels, of blocks within blocks twice as large.
    for size in (1, 2, 4, 8, 16, 32, 64):
        height, width = (side // (2 * size) * 2 * size for side in light.shape)
        fine = light[:height, :width].reshape(height // size, size, width // size, size)
        fine = fine.mean(axis=(1, 3))
        coarse = fine.reshape(height // size // 2, 2, width // size // 2, 2).mean(axis=(1, 3))
        detail = fine - coarse.repeat(2, axis=0).repeat(2, axis=1)
        assert detail.std() > 4, f"nothing at {size} pixels"


@each_sample
@pytest.mark.usefixtures("no_network")
def test_a_sample_is_two_image_layers_for_napari(key: str) -> None:
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


def test_samples_have_every_style_and_both_grey_and_colour() -> None:
    assert len(samples.SAMPLES) >= 3
    assert all(key == sample.key for key, sample in samples.SAMPLES.items())
    assert len({sample.title for sample in samples.SAMPLES.values()}) == len(samples.SAMPLES)
    assert {sample.style_name for sample in samples.SAMPLES.values()} == set(samples.STYLES)
    assert {sample.content().ndim for sample in samples.SAMPLES.values()} == {2, 3}


def test_an_unknown_style_raises_a_message_with_the_choices() -> None:
    with pytest.raises(InputError) as caught:
        samples.style_image("cubism")
    message = str(caught.value)
    assert "'cubism'" in message
    assert all(style in message for style in samples.STYLES)
