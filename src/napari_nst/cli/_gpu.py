"""Explain why torch cannot use a GPU of this machine, and how to fix it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import torch

__all__ = ["unused_gpu"]


def unused_gpu() -> str | None:
    """Return a sentence about a GPU that torch cannot use, or None."""
    if sys.platform == "darwin":
        return _unused_metal()
    if shutil.which("nvidia-smi") is None and not Path("/proc/driver/nvidia").exists():
        return None
    problem = _cuda_problem()
    return problem and f"This machine {_nvidia_gpus()}, but {problem}"


def _unused_metal() -> str | None:
    if torch.backends.mps.is_available():
        return None
    if not torch.backends.mps.is_built():
        return (
            f"This Mac's GPU goes unused, for torch {torch.__version__} is built without MPS: "
            "install Python and torch for arm64."
        )
    return (
        "This Mac's GPU goes unused, for MPS is not available: update macOS. It also needs a GPU "
        "that supports Metal."
    )


def _cuda_problem() -> str | None:
    build = f"torch {torch.__version__}"
    if torch.version.cuda is None:
        return (
            f"{build} is built without CUDA: install torch again with the command that PyTorch's "
            "page 'Get started' gives for CUDA."
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns about the same problems
            torch.cuda.init()  # type: ignore[no-untyped-call]
            return _architecture_problem(build)
    except RuntimeError as error:
        reason = str(error).split(". ")[0].rstrip(".")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and "No CUDA GPUs" in reason:
        return f"CUDA_VISIBLE_DEVICES={hidden} hides it: unset that variable."
    return (
        f"{build}, built for CUDA {torch.version.cuda}, cannot use it ({reason}): update the "
        "NVIDIA driver, or install torch built for an older CUDA."
    )


def _architecture_problem(build: str) -> str | None:
    """Return a sentence if torch is not compiled for any of the GPUs."""
    compiled = torch.cuda.get_arch_list()
    gpus = [torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())]
    if any(_runs(architecture, gpu) for architecture in compiled for gpu in gpus):
        return None
    listed = ", ".join(f"sm_{major}{minor}" for major, minor in gpus)
    return (
        f"{build} is compiled for {', '.join(compiled)} and not for {listed}: install a version "
        "of torch that is."
    )


def _runs(architecture: str, gpu: tuple[int, int]) -> bool:
    """Return whether code for an architecture ("sm_86", "compute_120") runs on a GPU."""
    kind, _, digits = architecture.partition("_")
    digits = digits.rstrip("abcdefgh")  # "sm_90a": variants of the same generation
    major, minor = int(digits[:-1]), int(digits[-1])
    # machine code only runs on its own generation; "compute" is compiled for any later one
    return (major, minor) <= gpu if kind == "compute" else major == gpu[0] and minor <= gpu[1]


def _nvidia_gpus() -> str:
    """Return a phrase with the GPUs listed by the driver, which may not answer."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "seems to have an NVIDIA GPU"
    return f"has an NVIDIA GPU ({', '.join(answer.stdout.splitlines())})"
