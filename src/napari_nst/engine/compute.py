"""Which device, how precisely, how large, and what it will cost."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import torch

from napari_nst.errors import InputError
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Device", "automatic_size", "bytes_needed"]


@dataclass(frozen=True)
class Device:
    """A device and the precision of the network's convolutions on it.

    Attributes
    ----------
    place : torch.device
        The device.
    dtype : torch.dtype
        Of the convolutions.
    """

    place: torch.device
    dtype: torch.dtype

    @classmethod
    def resolve(cls, device: str, precision: str) -> Device:
        """Return the device that the settings come to on this machine.

        Raises
        ------
        InputError
            If a device is asked for that is not there.
        """
        found = torch.device(_automatic() if device == "auto" else device)
        if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
            raise InputError(
                f"device is {device!r}, but torch {torch.__version__} sees "
                f"{torch.cuda.device_count()} CUDA devices; choose 'auto' or 'cpu', or see "
                "'napari-nst info'."
            )
        if found.type == "mps" and not torch.backends.mps.is_available():
            raise InputError("device is 'mps', but there is none here; choose 'auto' or 'cpu'.")
        return cls(found, torch.bfloat16 if precision == "bfloat16" else torch.float32)

    @property
    def name(self) -> str:
        """The name of the card or the processor."""
        if self.place.type == "cuda":
            return torch.cuda.get_device_name(self.place)
        return platform.processor() or platform.machine()

    @property
    def precision(self) -> str:
        """The dtype's name."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def free_bytes(self) -> int:
        """Memory that a run can have now."""
        if self.place.type == "cuda":
            return int(torch.cuda.mem_get_info(self.place)[0])
        return int(psutil.virtual_memory().available)


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
    and each max pooling keeps its output and its indices of 8 bytes.  On top come the gradient
    and the workspace of the largest layer.
    """
    kept = 0.0
    largest = 0.0
    for layer in NETWORKS[network].upto(layers):
        pixels = layer.channels / layer.stride**2
        if layer.kind == "conv":
            kept += pixels * item_size
            largest = max(largest, pixels * item_size)
        elif layer.kind == "pool":
            kept += pixels * (item_size + 8)
    return int((kept + 3 * largest) * height * width)


def _automatic() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def automatic_size(device: str) -> int:
    """Return the longest side that a run on a kind of device takes minutes for, not hours."""
    return 512 if device == "cpu" else 1024
