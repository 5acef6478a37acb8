"""What the features of a network take in memory, reckoned without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_nst.networks import Layer

__all__ = ["HALVED_ABOVE", "forward", "kept", "target", "values"]

HALVED_ABOVE = 256 * 2**20
"""Bytes of a content layer's features above which those put together of tiles are float16."""

_FLOAT32, _INDEX = 4, 8  # bytes of a number and of where the pooling found it


def values(layer: Layer) -> float:
    """Return the activations of a layer for each pixel of the image."""
    return layer.channels / layer.stride**2


def kept(layer: Layer, item_size: int) -> float:
    """Return the bytes that a layer keeps for the way back, for each pixel of the image."""
    if layer.kind == "relu":
        return 0
    return values(layer) * (item_size + (_INDEX if layer.kind == "pool" else 0))


def target(count: float, item_size: int, alone: bool) -> float:
    """Return the bytes of a content layer's features, put together of tiles or as computed."""
    halved = not alone and item_size == _FLOAT32 and count * item_size > HALVED_ABOVE
    return count * (2 if halved else item_size)


def forward(plan: Sequence[Layer], layers: Sequence[str], item_size: int) -> float:
    """Return the bytes at the peak of a forward pass, for each pixel of the image.

    That is the features in use so far, what goes into a layer and what comes out.
    """
    peak = in_use = before = 0.0
    for layer in plan:
        here = values(layer) * item_size
        peak = max(peak, in_use + before + kept(layer, item_size))
        if layer.name in layers:
            in_use, before = in_use + here, 0.0
        elif layer.kind != "relu":
            before = here
    return peak
