"""Estimate the memory of a network's features, in bytes per pixel, without importing torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_nst.networks import NetworkLayer, NetworkStep

__all__ = [
    "HALVED_ABOVE",
    "content_target_bytes",
    "evaluation_bytes",
    "forward_bytes",
    "values_per_pixel",
]

HALVED_ABOVE = 256 * 2**20
"""Bytes of a content layer's features above which a target assembled from tiles is float16."""

_FLOAT32, _INDEX = 4, 2  # bytes of a value and of a pooling index


def values_per_pixel(layer: NetworkLayer) -> float:
    """Return the activations of a layer per pixel of the image."""
    return layer.out_channels / layer.stride**2


def content_target_bytes(count: float, item_size: int, *, whole: bool) -> float:
    """Return the bytes of a content layer's features: of the whole image, or from tiles."""
    halved = not whole and item_size == _FLOAT32 and count * item_size > HALVED_ABOVE
    return count * (2 if halved else item_size)


def forward_bytes(steps: Sequence[NetworkStep], item_size: int) -> float:
    """Return the peak bytes per pixel of a forward pass without a backward pass.

    Features in use are kept until the end; of the others only a step's input and output exist at
    the same time.
    """
    held = peak = 0.0
    before = float(item_size * 3)
    for step in steps:
        if not step.in_place:
            after = item_size * values_per_pixel(step.layer)
            peak, before = max(peak, held + before + after + _index_bytes(step)), after
        if step.used:
            held, before = held + before, 0
    return peak


def evaluation_bytes(steps: Sequence[NetworkStep], item_size: int, regions: bool = False) -> float:
    """Return the peak bytes per pixel of a forward and backward pass.

    Parameters
    ----------
    steps : sequence of NetworkStep
        The steps of the network.
    item_size : int
        Bytes of an activation.
    regions : bool
        Whether the statistics are those of regions: the features at the positions of each are
        copied, weighted in float32, and their gradient is added to the others'.

    Notes
    -----
    The forward pass keeps the output of each ReLU, the 2-byte indices of each max pooling, and
    nothing of a convolution, as the weights are frozen.  The backward pass frees them step by
    step.  There a layer in use has its own gradient beside the one from deeper layers, and a step
    has a gradient of its output and one of its input.
    """
    held = peak = 0.0
    before = float(item_size * 3)
    kept = []
    for step in steps:
        output = item_size * values_per_pixel(step.layer)
        if not step.in_place:
            peak, before = max(peak, held + before + output + _index_bytes(step)), output
        if step.used or step.kind == "relu":
            kept.append(_index_bytes(step) + before)
            before = 0
        else:
            kept.append(_index_bytes(step))
        held += kept[-1]
    gradient = 0.0
    for step in reversed(steps):
        values = values_per_pixel(step.layer)
        output, inputs = item_size * values, item_size * _input_values_per_pixel(step)
        if step.used:
            own = output + (2 * _FLOAT32 * values + output if regions else 0)
            gradient = output
            peak = max(peak, held + gradient + own)
        if step.kind != "relu":
            peak = max(peak, held + gradient + inputs)
            gradient = inputs
        held -= kept.pop()
    return peak


def _index_bytes(step: NetworkStep) -> float:
    return _INDEX * values_per_pixel(step.layer) if step.kind == "pool" else 0


def _input_values_per_pixel(step: NetworkStep) -> float:
    stride = step.layer.stride / 2 if step.kind == "pool" else step.layer.stride
    return step.layer.in_channels / stride**2
