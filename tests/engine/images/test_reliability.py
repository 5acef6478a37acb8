"""Reliability of an initial image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_nst import StyleTransfer, StyleTransferSettings
from napari_nst.engine.images.reliability import Reliability
from napari_nst.errors import InputError

IMAGE = np.full((12, 10, 3), 0.5, np.float32)


@pytest.mark.parametrize("dtype", [bool, np.float32, np.float64])
def test_it_is_float32_with_the_values_given(dtype: Any) -> None:
    given = (np.arange(120).reshape(12, 10) % 2).astype(dtype)
    found = Reliability.from_array(given, (12, 10))
    assert found.values.dtype == torch.float32
    np.testing.assert_array_equal(found.values[0].numpy(), given)
    assert found.record.name == "init_reliability"
    assert found.record.dtype == given.dtype.name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((12, 11)), r"has shape \(12, 11\); it must be that of the initial image"),
        (np.ones((12, 10, 1)), r"has shape \(12, 10, 1\)"),
        (np.full((12, 10), 1.5), "must have numbers from 0 to 1"),
        (np.full((12, 10), np.nan), "must have numbers from 0 to 1"),
        (np.ones((12, 10), np.uint8), "must have numbers from 0 to 1"),
    ],
)
def test_invalid_reliability_raises(given: Any, message: str) -> None:
    settings = StyleTransferSettings(init="image")
    with pytest.raises(InputError, match=message):
        StyleTransfer(IMAGE, IMAGE, settings, init_image=IMAGE, init_reliability=given)


def test_reliability_without_an_initial_image_raises() -> None:
    with pytest.raises(InputError, match="init_reliability is given without init_image"):
        StyleTransfer(IMAGE, IMAGE, init_reliability=np.ones((12, 10)))
