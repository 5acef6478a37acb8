"""Eigenvectors of symmetric matrices, computed where that is fastest."""

from __future__ import annotations

import time
from functools import cache

import torch

from napari_nst.cache import read_json, write_json

__all__ = ["eigh", "fastest_device"]

_FILE = "decompositions.json"
_SIDE = 512  # channels of VGG's deepest layers
_ROUNDS = 3


def eigh(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the eigenvalues, in ascending order, and the eigenvectors of a symmetric matrix.

    They are computed in float64, on the matrix's device or on the CPU: consumer GPUs compute in
    float64 at a 64th of their speed, and Apple's not at all.

    Parameters
    ----------
    matrix : Tensor
        Shape (N, N).

    Returns
    -------
    Tensor
        Shape (N,), in the matrix's dtype and on its device.
    Tensor
        Shape (N, N), likewise, with the vectors as columns.
    """
    device = fastest_device(matrix.device)
    values, vectors = torch.linalg.eigh(matrix.to(device, torch.float64))
    return values.to(matrix), vectors.to(matrix)


def fastest_device(device: torch.device) -> torch.device:
    """Return the device for decompositions of a device's matrices: itself, or the CPU.

    For a CUDA device this is measured once for each card and version of torch, and stored in the
    cache directory.
    """
    cpu = torch.device("cpu")
    if device.type != "cuda":
        return cpu
    key = f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return device if _card_is_faster(device, key) else cpu


@cache
def _card_is_faster(device: torch.device, key: str) -> bool:
    measured = read_json(_FILE)
    if not isinstance(measured.get(key), bool):
        measured[key] = _seconds(device, device) <= _seconds(device, torch.device("cpu"))
        write_json(_FILE, measured)
    return bool(measured[key])


def _seconds(home: torch.device, device: torch.device) -> float:
    """Return the seconds to decompose a matrix of one device on another: the best of three."""
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn((_SIDE, _SIDE), generator=generator, dtype=torch.float64).to(home)
    matrix = factor @ factor.mT
    seconds = []
    for _ in range(_ROUNDS + 1):  # the first one loads the library
        torch.cuda.synchronize(home)
        start = time.perf_counter()
        _, vectors = torch.linalg.eigh(matrix.to(device))
        vectors.to(home)
        torch.cuda.synchronize(home)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
