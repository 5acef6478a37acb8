"""Estimate memory and time of a stack.  No Qt here, and no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from napari_nst import stacks
from napari_nst.engine.optim.sizes import scales_for
from napari_nst.engine.resources import costs

if TYPE_CHECKING:
    from napari_nst.plugin.run.job import Job

__all__ = ["operations", "result_bytes", "result_shape", "stack_cost", "stays_in_memory"]

_SHARE_OF_FREE_MEMORY = 0.5  # that a result may take


def result_shape(job: Job, device: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and data type of the result of a stack, on a kind of device."""
    assert job.stack is not None
    content, size = job.content, job.content.shape
    if job.settings.output_size == "working":
        last = scales_for(job.settings, *size, device)[-1]
        size = (last.height, last.width)
    colors = (content.data.shape[-1],) if content.rgb else ()
    # The range would be read from the layer, and changes neither shape nor type.
    pixel = replace(content, range_source=None).restore(np.zeros((1, 1, *colors), np.float32))
    shape = list(pixel.shape)
    shown = [a for a, place in enumerate(content.index) if isinstance(place, slice)][:2]
    for axis, length in zip(shown, reversed(size) if content.transposed else size, strict=True):
        shape[axis] = length
    shape[job.stack.axis] = content.data.shape[job.stack.axis]
    return tuple(int(length) for length in shape), pixel.dtype


def result_bytes(job: Job, device: str) -> int:
    """Return the size of the result of a stack in bytes."""
    shape, dtype = result_shape(job, device)
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def stays_in_memory(job: Job, device: str) -> bool:
    """Return whether the result of a stack is kept in memory and not on disk."""
    if job.stack is None or job.stack.on_disk:
        return False
    available = psutil.virtual_memory().available
    return bool(result_bytes(job, device) <= _SHARE_OF_FREE_MEMORY * available)


def stack_cost(job: Job, device: str) -> costs.Cost:
    """Estimate time and memory of all planes of a stack."""
    assert job.stack is not None
    return stacks.cost(
        job.settings,
        *job.content.shape,
        device,
        [style.shape for style in job.styles],
        planes=int(job.content.data.shape[job.stack.axis]),
        start_from=job.stack.start_from,
    )


def operations(job: Job, device: str, *, first: bool, planes: int) -> float:
    """Return the operations of a number of planes, with or without the first plane."""
    assert job.stack is not None
    cost = stacks.cost(
        job.settings,
        *job.content.shape,
        device,
        planes=planes + (not first),
        start_from=job.stack.start_from,
    )
    alone = costs.estimate(job.settings, *job.content.shape, device)
    return cost.operations - (0 if first else alone.operations)
