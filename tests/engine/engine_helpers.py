"""Settings of short runs, and numerical gradients, for the tests of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from on_device import DEVICE
from torch.nn import functional

from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["finite_differences", "quick", "shallow", "total_variation"]


def quick(**choices: Any) -> StyleTransferSettings:
    """Return settings of a run of one scale, four iterations and two blocks of the network."""
    defaults: dict[str, Any] = {
        "content_layers": ("relu2_1",),
        "style_layers": ("relu1_1", "relu2_1"),
        "size": None,
        "scales": 1,
        "iterations": 4,
        "device": DEVICE,
    }
    return StyleTransferSettings(**(defaults | choices))


def shallow(**choices: Any) -> StyleTransferSettings:
    """Return settings with relu1_2 as the only layer in use, at one scale of 50 iterations."""
    defaults: dict[str, Any] = {
        "content_layers": (),
        "style_layers": ("relu1_2",),
        "scales": 1,
        "size": None,
        "iterations": 50,
    }
    return StyleTransferSettings(**(defaults | choices))


def total_variation(image: Tensor) -> Tensor:
    """Return the total variation over nine points as a mean, from its definition."""
    padded = functional.pad(image, (0, 1, 0, 1), mode="replicate")
    corner, right = padded[..., :-1, :-1], padded[..., :-1, 1:]
    below, opposite = padded[..., 1:, :-1], padded[..., 1:, 1:]
    straight = (right - corner).square().mean() + (below - corner).square().mean()
    diagonal = (opposite - corner).square().mean() + (right - below).square().mean()
    return 2 * (straight / 3 + diagonal / 12)


def finite_differences(function: Callable[[Any], float], at: Any, step: float) -> Any:
    """Return the gradient at an array, by central differences of fourth order per entry."""
    found = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        values = []
        for shift in (-2, -1, 1, 2):
            moved = at.copy()
            moved[index] += shift * step
            values.append(function(moved))
        found[index] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    return found
