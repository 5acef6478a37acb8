"""What a run will cost, reckoned without torch: for the estimate before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_nst.engine.schedule import Scale, fit, plan
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_nst.settings import StyleTransferSettings

__all__ = [
    "Cost",
    "automatic_size",
    "bytes_needed",
    "cost",
    "fit_style",
    "layers_in_use",
    "scales_for",
]


@dataclass(frozen=True)
class Cost:
    """What a run takes.

    Attributes
    ----------
    operations : float
        Floating-point operations of all evaluations, forward and backward.
    memory : int
        Bytes at the peak.
    """

    operations: float
    memory: int


def cost(settings: StyleTransferSettings, height: int, width: int, device: str) -> Cost:
    """Return what a run on a content image of this size takes.

    Parameters
    ----------
    settings : StyleTransferSettings
        Every choice.
    height, width : int
        Of the content.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"mps"``; it decides the size where that is "auto".
    """
    scales = scales_for(settings, height, width, device)
    layers = layers_in_use(settings)
    per_pixel = _operations_per_pixel(settings.network, layers)
    pixels = sum(scale.height * scale.width * scale.iterations for scale in scales)
    last = scales[-1]
    return Cost(per_pixel * pixels, bytes_needed(settings.network, layers, last.height, last.width))


def scales_for(
    settings: StyleTransferSettings, height: int, width: int, device: str
) -> tuple[Scale, ...]:
    """Return the sizes that a run on a content image of this size goes through."""
    shortest = _shortest(settings)
    longest = settings.size
    if longest == "auto":
        longest = min(max(height, width), automatic_size(device))
    elif longest is None:
        longest = max(height, width)
    height, width = fit(height, width, longest, shortest)
    return plan(height, width, settings.iterations, settings.scales, shortest)


def automatic_size(device: str) -> int:
    """Return the longest side that a kind of device takes minutes for, not hours."""
    return 512 if device.startswith("cpu") else 1024


def layers_in_use(settings: StyleTransferSettings) -> tuple[str, ...]:
    """Return the layers that have a weight."""
    return (*settings.content_layers.active, *settings.style_layers.active)


def fit_style(
    settings: StyleTransferSettings, style: tuple[int, int], scale: Scale
) -> tuple[int, int]:
    """Return the height and width of a style image at a scale."""
    longest = max(scale.height, scale.width) * settings.style_scale
    return fit(*style, longest, _shortest(settings))


def bytes_needed(
    network: str, layers: Iterable[str], height: int, width: int, item_size: int = 4
) -> int:
    """Return about how much memory one evaluation of loss and gradient takes.

    Parameters
    ----------
    network : str
        Whose layers.
    layers : iterable of str
        Those in use.
    height, width : int
        Of the image.
    item_size : int
        Bytes of one activation.

    Notes
    -----
    Between forward and backward each convolution keeps its output (the ReLU works in place),
    and each max pooling keeps its output and its indices of 8 bytes.  On top come the gradients
    on their way back and the workspace of the largest layer.
    """
    kept = 0.0
    largest = 0.0
    for layer in NETWORKS[network].upto(layers):
        values = layer.channels / layer.stride**2
        if layer.kind == "conv":
            kept += values * item_size
            largest = max(largest, values * item_size)
        elif layer.kind == "pool":
            kept += values * (item_size + 8)
    return int((kept + 3 * largest) * height * width)


def _operations_per_pixel(network: str, layers: Iterable[str]) -> float:
    """Return the operations of one evaluation for each pixel of the image.

    A multiplication and an addition for each weight, once forward and once back.
    """
    return sum(
        2 * 2 * 9 * layer.inputs * layer.channels / layer.stride**2
        for layer in NETWORKS[network].upto(layers)
        if layer.kind == "conv"
    )


def _shortest(settings: StyleTransferSettings) -> int:
    """Return what a short side has at least: two positions of the deepest layer in use."""
    return 2 * NETWORKS[settings.network].upto(layers_in_use(settings))[-1].stride
