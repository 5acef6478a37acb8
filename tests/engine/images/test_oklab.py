from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_nst.engine.images.oklab import from_oklab, to_oklab

# CSS Color Module Level 4 publishes these colours, with five digits.
PUBLISHED = {
    (1, 1, 1): (1, 0, 0),
    (0, 0, 0): (0, 0, 0),
    (1, 0, 0): (0.62796, 0.22486, 0.12585),
    (0, 1, 0): (0.86644, -0.23389, 0.17950),
    (0, 0, 1): (0.45201, -0.03246, -0.31153),
    (0, 128 / 255, 0): (0.51975, -0.1403, 0.10768),
}


def as_image(colours: Any) -> torch.Tensor:
    """Return colours (N, 3) as an image with one row."""
    return torch.tensor(np.asarray(colours), dtype=torch.float64).T[None, :, None]


def as_colours(image: torch.Tensor) -> Any:
    return image[0, :, 0].T.numpy()


def test_oklab_has_the_published_values() -> None:
    found = as_colours(to_oklab(as_image(list(PUBLISHED))))
    np.testing.assert_allclose(found, list(PUBLISHED.values()), atol=2e-5)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-12), (torch.float32, 3e-5)])
def test_srgb_colours_survive_a_round_trip(dtype: torch.dtype, error: float) -> None:
    steps = torch.linspace(0, 1, 18, dtype=dtype)
    image = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij")).reshape(1, 3, 54, 108)
    torch.testing.assert_close(from_oklab(to_oklab(image)), image, rtol=0, atol=error)


def test_grey_has_no_chroma() -> None:
    grey = torch.linspace(0, 1, 256, dtype=torch.float64).expand(1, 3, 1, 256)
    assert to_oklab(grey)[:, 1:].abs().max() < 1e-7


def test_a_colour_that_srgb_lacks_keeps_its_lightness_and_hue() -> None:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    lightness = np.linspace(0.05, 0.95, 40)
    given = np.stack([lightness, 0.4 * np.cos(angles), 0.4 * np.sin(angles)], axis=1)
    image = from_oklab(as_image(given))
    assert 0 <= float(image.min()) and float(image.max()) <= 1
    found = as_colours(to_oklab(image))
    np.testing.assert_allclose(found[:, 0], lightness, atol=3e-3)
    chroma = np.hypot(found[:, 1], found[:, 2])
    assert chroma.min() > 0.01
    shift = np.angle(np.exp(1j * (np.arctan2(found[:, 2], found[:, 1]) - angles)))
    np.testing.assert_allclose(shift * chroma, 0, atol=3e-3)
    # It is the largest chroma: one of the channels is at the border of the gamut.
    nearest = torch.minimum(image.amin(dim=1), (1 - image).amin(dim=1))
    assert float(nearest.max()) < 0.02


def test_other_pixels_do_not_change_beside_a_colour_that_srgb_lacks() -> None:
    inside = to_oklab(as_image([(0.2, 0.5, 0.7), (0.9, 0.1, 0.3)]))
    outside = as_image([(0.5, 0.4, 0.4)])
    found = from_oklab(torch.cat([inside[..., :1], outside, inside[..., 1:]], dim=-1))
    torch.testing.assert_close(found[..., ::2], from_oklab(inside), rtol=0, atol=1e-12)


@pytest.mark.parametrize("lightness", [0.0, 1.0])
def test_black_and_white_have_no_colour(lightness: float) -> None:
    found = as_colours(from_oklab(as_image([(lightness, 0.1, -0.2)])))
    np.testing.assert_allclose(found, lightness, atol=2e-3)
