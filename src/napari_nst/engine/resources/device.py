"""Choose the device and its precision, and translate its errors."""

from __future__ import annotations

import platform
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import psutil
import torch

from napari_nst.engine.out_of_memory import is_out_of_memory
from napari_nst.engine.resources import allocator, precision
from napari_nst.errors import InputError, OutOfMemoryError, StyleTransferError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Device", "translate"]


@dataclass(frozen=True)
class Device:
    """A device and the precision of the network's convolutions on it.

    Attributes
    ----------
    torch_device : torch.device
        The device.
    dtype : torch.dtype
        Precision of the convolutions.
    """

    torch_device: torch.device
    dtype: torch.dtype

    @classmethod
    def from_settings(cls, settings: StyleTransferSettings) -> Device:
        """Return the device and the precision that settings select on this machine.

        "auto" selects bfloat16 if the device is faster with it and the settings tolerate it.

        Raises
        ------
        InputError
            If this machine has no such device.
        """
        found = cls.from_name(settings.device, settings.precision)
        if settings.allowed_precision != "auto":
            return found
        faster = precision.bfloat16_is_faster(found.torch_device, found.name)
        return cls(found.torch_device, torch.bfloat16 if faster else torch.float32)

    @classmethod
    def from_name(cls, device: str, precision: str = "float32") -> Device:
        """Return a device by its name.

        Parameters
        ----------
        device : str
            A value of the setting `device`.
        precision : str
            "bfloat16"; anything else means float32.

        Raises
        ------
        InputError
            If this machine has no such device.
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
        """The name of the GPU or the processor."""
        if self.torch_device.type == "cuda":
            return torch.cuda.get_device_name(self.torch_device)
        return _processor()

    @property
    def precision(self) -> str:
        """The name of the dtype; "tf32" if a GPU multiplies float32 in TF32.

        TF32 has the 10-bit mantissa of half precision and accumulates in float32.  By default
        torch's convolutions use it on GPUs of compute capability 8 and later.
        """
        if (
            self.dtype == torch.float32
            and self.torch_device.type == "cuda"
            and torch.backends.cudnn.allow_tf32
            and torch.cuda.get_device_capability(self.torch_device) >= (8, 0)
        ):
            return "tf32"
        return str(self.dtype).removeprefix("torch.")

    @property
    def has_fast_convolutions(self) -> bool:
        """Whether convolutions have faster ways than the direct one: in float32 on a processor."""
        return self.torch_device.type == "cpu" and self.dtype == torch.float32

    def empty_cache(self) -> None:
        """Return unused memory to the system."""
        if self.torch_device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.torch_device.type == "mps":
            torch.mps.empty_cache()
        else:
            allocator.release_freed_memory()

    def keep_freed_memory(self) -> AbstractContextManager[None]:
        """Return a context in which the process reuses freed memory; on a GPU torch does it."""
        return allocator.keep_freed_memory() if self.torch_device.type == "cpu" else nullcontext()

    @property
    def free_bytes(self) -> int:
        """Free memory in bytes."""
        if self.torch_device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.torch_device)[0])
        return int(psutil.virtual_memory().available)


@cache
def _processor() -> str:
    """Return the name of the processor; on Linux Python only knows its architecture."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def _automatic() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def translate(error: RuntimeError, scale: Scale) -> StyleTransferError:
    """Return the `StyleTransferError` for an error of torch."""
    if is_out_of_memory(error):
        failure: StyleTransferError = OutOfMemoryError(
            f"There was not enough memory to work at {scale.width} x {scale.height} pixels; "
            "choose a smaller size."
        )
    else:
        failure = StyleTransferError(f"The transfer failed: {error}")
    failure.__cause__ = error
    return failure
