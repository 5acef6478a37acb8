"""A simulated GPU: whole runs on fake tensors, which have a device but no values."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from napari_nst.engine.network import weights
from napari_nst.engine.resources import decompositions, precision

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

# Operators that launch no kernel: views, and uninitialised memory.
_WITHOUT_KERNELS = frozenset(
    {
        *("alias", "as_strided", "detach", "diagonal", "expand", "permute", "select", "slice"),
        *("split", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view", "_unsafe_view"),
        *("_reshape_alias", "lift_fresh", "movedim", "unfold"),
        *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
        *("device", "promote_types", "is_same_size", "sym_size", "sym_stride"),
    }
)
# Methods of tensors that need values, and so synchronise with a GPU.
_WAITS = ("__bool__", "__float__", "__int__", "__index__", "item", "tolist", "numpy", "cpu")


class SimulatedGpu(TorchFunctionMode):
    """Answer methods that need values, and count kernels and synchronisations.

    Attributes
    ----------
    float64 : bool
        Whether the device supports float64.
    kernels : Counter
        Operators on tensors of the device that launch a kernel, by name.
    waits : Counter
        Methods of tensors of the device that synchronise with it, by name.
    """

    def __init__(self, float64: bool) -> None:
        super().__init__()
        self.float64 = float64
        self.kernels: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def restart(self) -> None:
        """Count from 0."""
        self.kernels.clear()
        self.waits.clear()

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name == "cudnn_convolution_relu":  # one kernel, without a fake implementation
            return torch.nn.functional.conv2d(*args)
        tensor = next((each for each in args if isinstance(each, torch.Tensor)), None)
        if tensor is None or name not in (*_WAITS, "to", "nonzero"):
            return function(*args, **kwargs)
        on_gpu = tensor.device.type == "cuda"
        if name == "nonzero":  # its size depends on values: select every position
            self.waits[name] += on_gpu
            return tensor.new_zeros((tensor.numel(), tensor.dim()), dtype=torch.int64)
        if name in ("to", "cpu"):
            found = _moved(tensor, "cpu" if name == "cpu" else None, *args[1:], **kwargs)
            self.waits[name] += on_gpu and found.device.type != "cuda"
            return found
        self.waits[name] += on_gpu
        values = np.ones(tuple(tensor.shape), _dtype(tensor))
        if name == "numpy":
            return values
        if name == "tolist":
            return values.tolist()
        scalar = values.reshape(-1)[0].item()
        return {"__bool__": bool, "__float__": float, "item": lambda x: x}.get(name, int)(scalar)


class _Operators(TorchDispatchMode):
    """Count operators, and raise on float64 as a GPU without it would."""

    def __init__(self, gpu: SimulatedGpu) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        name = function._schema.name.partition("::")[2]
        first = found[0] if isinstance(found, tuple | list) and found else found
        if isinstance(first, torch.Tensor) and first.device.type == "cuda":
            if not self._gpu.float64 and (first.dtype == torch.float64 or "linalg_eigh" in name):
                raise NotImplementedError(f"{name} in {first.dtype} on this GPU")
            if name not in _WITHOUT_KERNELS:
                self._gpu.kernels[name] += 1
        return found


def _moved(tensor: torch.Tensor, device: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Return the result of `Tensor.to`, which would initialise CUDA's driver first."""
    dtype, device = kwargs.get("dtype"), kwargs.get("device", device)
    for each in args:
        if isinstance(each, torch.dtype):
            dtype = each
        elif isinstance(each, torch.Tensor):
            dtype, device = each.dtype, each.device
        elif each is not None:
            device = each
    device = tensor.device if device is None else torch.device(device)
    dtype = tensor.dtype if dtype is None else dtype
    layout = kwargs.get("memory_format", torch.preserve_format)
    if (device.type, dtype, layout) == (tensor.device.type, tensor.dtype, torch.preserve_format):
        return tensor
    found: torch.Tensor = torch.ops.aten._to_copy(
        tensor, device=device, dtype=dtype, memory_format=layout
    )
    return found


def _dtype(tensor: torch.Tensor) -> Any:
    return np.dtype(str(tensor.dtype).removeprefix("torch.").replace("bfloat16", "float32"))


@contextlib.contextmanager
def simulated_gpu(
    monkeypatch: pytest.MonkeyPatch, *, float64: bool = True
) -> Iterator[SimulatedGpu]:
    """Return a context in which "cuda" is a device whose tensors have no values.

    Parameters
    ----------
    monkeypatch : pytest.MonkeyPatch
        For patches of torch and of the engine.
    float64 : bool
        False: float64 and decompositions raise, as on Apple's GPUs.
    """
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a simulated GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 9))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (2**34, 2**34))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    decomposing = torch.device("cuda" if float64 else "cpu")
    monkeypatch.setattr(decompositions, "fastest_device", lambda device: decomposing)
    if not float64:
        monkeypatch.setattr(precision, "_WITHOUT_FLOAT64", {"cuda"})
    loaded = weights.load("vgg16")  # files cannot be read in fake tensor mode
    monkeypatch.setattr(weights, "load", lambda *_: loaded)
    gpu = SimulatedGpu(float64)
    with FakeTensorMode(allow_non_fake_inputs=True), _Operators(gpu), gpu:
        yield gpu
