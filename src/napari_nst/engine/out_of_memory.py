"""Recognise that memory ran out."""

from __future__ import annotations

import torch

__all__ = ["is_out_of_memory"]


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error means that memory ran out."""
    # torch's CPU allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "alloc" in str(error)
