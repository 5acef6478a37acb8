from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_nst.engine.images.guided_filter import guided_coefficients, resampled_rows

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 11, 14


def windowed(values: Any, radius: int) -> Any:
    """Return the sums over the square windows around every pixel."""
    padded = np.pad(values, radius)
    side = 2 * radius + 1
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side)).sum(axis=(-2, -1))


def guided_by_definition(guide: Any, image: Any, weight: Any, radius: int, epsilon: float) -> Any:
    """Return slope and offset by He et al., equations 5, 6 and 8, with weighted means."""

    def mean(values: Any) -> Any:
        total = windowed(weight, radius)
        return np.divide(
            windowed(weight * values, radius), total, out=np.zeros_like(total), where=total > 0
        )

    covariance = mean(guide * image) - mean(guide) * mean(image)
    slope = covariance / (mean(guide**2) - mean(guide) ** 2 + epsilon)
    return mean(slope), mean(mean(image) - slope * mean(guide))


def tensor(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values))[None, None]


@pytest.mark.parametrize("weights", ["all", "some", "holes"])
@pytest.mark.parametrize("radius", [1, 3])
def test_the_coefficients_are_those_of_the_guided_filter(weights: str, radius: int) -> None:
    guide, *images = RNG.random((3, HEIGHT, WIDTH))
    weight = np.ones((HEIGHT, WIDTH)) if weights == "all" else RNG.random((HEIGHT, WIDTH))
    if weights == "holes":
        weight[:, 5:] = 0
    given = torch.cat([tensor(image) for image in images], dim=1)
    found = guided_coefficients(tensor(guide), given, tensor(weight), radius, 0.01)
    expected = [guided_by_definition(guide, image, weight, radius, 0.01) for image in images]
    slopes, offsets = zip(*expected, strict=True)
    np.testing.assert_allclose(found[0], [*slopes, *offsets], atol=1e-12)


def test_a_linear_function_of_the_guide_is_not_smoothed() -> None:
    guide = tensor(RNG.random((HEIGHT, WIDTH)))
    slope, offset = guided_coefficients(
        guide, 0.3 * guide - 0.1, torch.ones_like(guide), 2, 1e-12
    ).chunk(2, dim=1)
    torch.testing.assert_close(slope * guide + offset, 0.3 * guide - 0.1, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(5, 7), (11, 14), (40, 33), (24, 70)])
@pytest.mark.parametrize("rows", [(0, 3), (2, 5)])
def test_rows_are_those_of_the_interpolated_image(
    shape: tuple[int, int], rows: tuple[int, int]
) -> None:
    image = torch.from_numpy(RNG.random((1, 3, HEIGHT, WIDTH)))
    whole = functional.interpolate(image, shape, mode="bilinear")
    found = resampled_rows(image, shape, slice(*rows))
    torch.testing.assert_close(found, whole[..., slice(*rows), :], rtol=0, atol=1e-12)
