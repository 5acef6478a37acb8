"""What the features of a network take in memory, reckoned without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_nst.networks import Layer, Step

__all__ = ["HALVED_ABOVE", "evaluation", "forward", "target", "values"]

HALVED_ABOVE = 256 * 2**20
"""Bytes of a content layer's features above which those put together of tiles are float16."""

_FLOAT32, _PLACE = 4, 2  # bytes of a number and of where the pooling found it


def values(layer: Layer) -> float:
    """Return the activations of a layer for each pixel of the image."""
    return layer.out_channels / layer.stride**2


def target(count: float, item_size: int, *, whole: bool) -> float:
    """Return the bytes of a content layer's features, put together of tiles or as computed."""
    halved = not whole and item_size == _FLOAT32 and count * item_size > HALVED_ABOVE
    return count * (2 if halved else item_size)


def forward(steps: Sequence[Step], item_size: int) -> float:
    """Return the bytes at the peak of a way forward alone, for each pixel of the image.

    Features in use stay until its end; of the others what goes into a step is there beside what
    comes out.
    """
    held = peak = 0.0
    before = float(item_size * 3)
    for step in steps:
        if not step.in_place:
            after = item_size * values(step.layer)
            places = _PLACE * values(step.layer) if step.kind == "pool" else 0
            peak, before = max(peak, held + before + after + places), after
        if step.used:
            held, before = held + before, 0
    return peak


def evaluation(steps: Sequence[Step], item_size: int, regions: bool = False) -> float:
    """Return the bytes at the peak of a way forward and back, for each pixel of the image.

    Parameters
    ----------
    steps : sequence of Step
        Of the network.
    item_size : int
        Bytes of an activation.
    regions : bool
        Whether the sums are those of regions: the positions of each are picked out of the
        features, weighted in float32, and its gradient is made beside the others'.

    Notes
    -----
    Forward a ReLU keeps what comes out of it, a pooling the places of 2 bytes of its maxima, and
    a convolution nothing, as the weights are frozen.  All of that is there at the end of the way
    forward, and is given up step by step on the way back.  There a layer in use has a gradient of
    its own beside the one from deeper layers, and a step what goes in beside what comes out.
    """
    held = peak = 0.0
    before = float(item_size * 3)
    kept = []
    for step in steps:
        here = item_size * values(step.layer)
        places = _PLACE * values(step.layer) if step.kind == "pool" else 0
        if not step.in_place:
            peak, before = max(peak, held + before + here + places), here
        if step.used or step.kind == "relu":
            kept.append(places + before)
            before = 0
        else:
            kept.append(places)
        held += kept[-1]
    gradient = 0.0
    for step in reversed(steps):
        here, inputs = (item_size * count for count in (values(step.layer), _inputs(step)))
        if step.used:
            own = here + (2 * _FLOAT32 * values(step.layer) + here if regions else 0)
            gradient = here
            peak = max(peak, held + gradient + own)
        if step.kind != "relu":
            peak = max(peak, held + gradient + inputs)
            gradient = inputs
        held -= kept.pop()
    return peak


def _inputs(step: Step) -> float:
    """Return the activations that go into a step, for each pixel of the image."""
    before = step.layer.stride / 2 if step.kind == "pool" else step.layer.stride
    return step.layer.in_channels / before**2
