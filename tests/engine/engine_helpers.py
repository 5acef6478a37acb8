"""Helpers of the engine's tests: settings of short runs, whole runs, numerical gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from on_device import DEVICE
from torch.nn import functional

from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_nst import StyleTransfer, StyleTransferResult

__all__ = [
    "finite_differences",
    "label_halves",
    "quick_settings",
    "run_to_end",
    "shallow_settings",
    "steer_after",
    "total_variation",
    "totals",
]


def quick_settings(**choices: Any) -> StyleTransferSettings:
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


def shallow_settings(**choices: Any) -> StyleTransferSettings:
    """Return settings with relu1_2 as the only layer in use, at one scale of 50 iterations."""
    defaults: dict[str, Any] = {
        "content_layers": (),
        "style_layers": ("relu1_2",),
        "scales": 1,
        "size": None,
        "iterations": 50,
    }
    return StyleTransferSettings(**(defaults | choices))


def run_to_end(run: StyleTransfer) -> StyleTransferResult:
    """Run the remaining iterations and return the result."""
    for _ in run:
        pass
    return run.result()


def steer_after(run: StyleTransfer, iterations: int, **changes: Any) -> NDArray[np.float32]:
    """Run to the end, with changes after some iterations; return the image before the changes."""
    for snapshot in run:
        if snapshot.iteration == iterations:
            before = snapshot.image()
            run.steer(**changes)
    return before


def totals(run: StyleTransfer | StyleTransferResult) -> list[float]:
    """Return the total loss of each evaluation."""
    return [losses.total for losses in run.history]


def label_halves(image: NDArray[Any], left: int, right: int) -> NDArray[np.uint8]:
    """Return labels of an image: one for its left half, another for its right half."""
    labels = np.full(image.shape[:2], right, np.uint8)
    labels[:, : image.shape[1] // 2] = left
    return labels


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
