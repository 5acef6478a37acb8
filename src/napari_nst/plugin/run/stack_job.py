"""A job on every plane of a stack, as the worker's thread does it.  No Qt here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from napari_nst import stacks
from napari_nst.cache import cache_directory
from napari_nst.engine.optim.sizes import scales_for
from napari_nst.engine.resources import costs
from napari_nst.plugin.layers.stack_planes import LabelsAlong, PlanesAlong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.engine.run.control import Control
    from napari_nst.engine.run.snapshots import Snapshot, StyleTransferResult
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.plugin.layers.labels import LabelsPlane
    from napari_nst.plugin.run.job import Job, Stack
    from napari_nst.stacks import PlaneStore, StackRecord

__all__ = ["StackRun", "in_all", "operations", "result_bytes", "stays_in_memory"]

_MOST_OF_FREE = 0.5  # of the memory, for a result to be kept in it
_FOLDER = "stacks"  # of the cache directory


class StackRun:
    """A `StackTransfer` into an array that a layer shows, to be handled like a `StyleTransfer`.

    The worker's thread alone writes to the array; the viewer's draws it anew when it is told.
    Planes that are not done are zero.

    Parameters
    ----------
    job : Job
        With a stack.
    engine : callable or None
        What makes the run of a plane; None: the real one.
    styles : sequence of ndarray
        As they were read.
    style_labels : sequence of ndarray or None, optional
        Likewise.
    control : Control, optional
        Stops and pauses the run.

    Attributes
    ----------
    array : ndarray
        The result.
    store : PlaneStore or None
        Where it is on the disk.
    found : int
        How many planes were done in an earlier run.

    Raises
    ------
    StyleTransferError
        If the job cannot be done, or the planes cannot be kept.
    """

    def __init__(
        self,
        job: Job,
        engine: Callable[..., StyleTransfer] | None,
        styles: Sequence[Any],
        style_labels: Sequence[Any] | None = None,
        control: Control[Any] | None = None,
    ) -> None:
        assert job.stack is not None
        self._job, self._stack = job, job.stack
        self._content = job.content
        self._planes = planes = PlanesAlong(job.content, self._stack.axis)
        labels = None if job.content_labels is None else self.labels_along(job.content_labels)
        device = _device(job)
        shape, dtype = _result(job, device)
        self.store: PlaneStore | None = None
        if stays_in_memory(job, device):
            self.array: NDArray[Any] = np.zeros(shape, dtype)
        else:
            said = _identity(job, planes, styles, labels, style_labels)
            self.store = _unfinished(shape, dtype, self._stack.axis, said)
            self.array = self.store.array
        notes: Mapping[int, Any] = {} if self.store is None else self.store.notes
        self.found, self._done = len(notes), 0
        self._at: int | None = None  # the plane at work, if its picture was shown
        self._transfer = stacks.StackTransfer(
            planes,
            list(styles),
            job.settings,
            start_from=self._stack.start_from,
            on_plane_done=self._put,
            names=[plane.name for plane in (job.content, *job.styles)],
            finished=dict(notes),
            load_previous=self._previous,
            content_labels=labels,
            style_labels=style_labels,
            engine=engine,
            control=control,
        )
        self._transfer.begin()

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The sizes of all planes that are to be done, one after another."""
        return self._transfer.scales

    @property
    def record(self) -> StackRecord:
        """How the stack came to be, up to now."""
        return self._transfer.record

    @property
    def done(self) -> int:
        """How many planes are done, those of earlier runs included."""
        return self.found + self._done

    def steer(self, **changes: Any) -> None:
        """Change the run from now on, as `StackTransfer.steer` does."""
        self._transfer.steer(**changes)

    def labels_along(self, labels: LabelsPlane) -> LabelsAlong:
        """Return the labels that lie over each plane.

        Raises
        ------
        InputError
            If the first or the last plane has no label, and 0 has no style: the run would end
            there.
        """
        along = LabelsAlong(labels, self._content, self._stack.axis)
        styles = self._job.settings.region_styles
        if styles is None or styles.get(0) is None:
            along.check_ends()
        return along

    def __iter__(self) -> Iterator[Snapshot]:
        """Process the unfinished planes."""
        return self._transfer

    def show(self, snapshot: Snapshot) -> NDArray[Any]:
        """Put the picture of the plane at work into the array, and return that."""
        self._at = snapshot.plane - 1
        shape = tuple(np.delete(self.array.shape, self._stack.axis))
        size = [n for n, i in zip(self.array.shape, self._content.index, strict=True)
                if isinstance(i, slice)][:2]  # fmt: skip
        height, width = reversed(size) if self._content.transposed else size
        picture = self._planes.plane(self._at).restore(snapshot.image((height, width)))
        self.array[self._place(self._at)] = picture.reshape(shape)
        return self.array

    def close(self) -> None:
        """Have planes that are not done be zero, whatever was shown of them."""
        if self._at is not None and self._at not in self._transfer.finished:
            self.array[self._place(self._at)] = 0

    def _put(self, k: int, result: StyleTransferResult) -> None:
        picture = self._planes.plane(k).restore(result.image)
        plane = picture.reshape(tuple(np.delete(self.array.shape, self._stack.axis)))
        if self.store is None:
            self.array[self._place(k)] = plane
        else:
            record = next(one for one in self.record.finished if one.plane == k)
            self.store.put(k, plane, record.model_dump(mode="json"))
        self._done += 1

    def _previous(self, k: int) -> NDArray[Any]:
        """Return a finished plane as the engine takes it."""
        axis = self._stack.axis
        index = tuple(
            place if isinstance(place, slice) and place == slice(None) else
            slice(None) if isinstance(place, slice) else k if a == axis else 0
            for a, place in enumerate(self._content.index)
        )  # fmt: skip
        return replace(self._planes.plane(k), data=self.array, index=index).load()

    def _place(self, k: int) -> tuple[slice | int, ...]:
        return (*(slice(None),) * self._stack.axis, k)


def result_bytes(job: Job, device: str) -> int:
    """Return how many bytes the result of a stack takes, with a kind of device."""
    shape, dtype = _result(job, device)
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def stays_in_memory(job: Job, device: str) -> bool:
    """Return whether the result of a stack is kept in memory, and not on the disk."""
    if job.stack is None or job.stack.on_disk:
        return False
    return bool(result_bytes(job, device) <= _MOST_OF_FREE * psutil.virtual_memory().available)


def in_all(job: Job, device: str, stack: Stack) -> costs.Cost:
    """Return what a run over all planes takes."""
    return stacks.cost(
        job.settings,
        *job.content.shape,
        device,
        [style.shape for style in job.styles],
        planes=int(job.content.data.shape[stack.axis]),
        start_from=stack.start_from,
    )


def operations(job: Job, device: str, *, first: bool, planes: int) -> float:
    """Return the operations of so many planes of a stack, the first plane among them or not."""
    assert job.stack is not None
    reckon = stacks.cost(
        job.settings,
        *job.content.shape,
        device,
        planes=planes + (not first),
        start_from=job.stack.start_from,
    )
    alone = costs.estimate(job.settings, *job.content.shape, device)
    return reckon.operations - (0 if first else alone.operations)


def _result(job: Job, device: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of the data of the result."""
    assert job.stack is not None
    content, size = job.content, job.content.shape
    if job.settings.output_size == "working":
        last = scales_for(job.settings, *size, device)[-1]
        size = (last.height, last.width)
    colors = (content.data.shape[-1],) if content.rgb else ()
    # Its range would be read from the layer, and changes neither shape nor type.
    pixel = replace(content, range_source=None).restore(np.zeros((1, 1, *colors), np.float32))
    shape = list(pixel.shape)
    shown = [a for a, place in enumerate(content.index) if isinstance(place, slice)][:2]
    for axis, length in zip(shown, reversed(size) if content.transposed else size, strict=True):
        shape[axis] = length
    shape[job.stack.axis] = content.data.shape[job.stack.axis]
    return tuple(int(length) for length in shape), pixel.dtype


def _device(job: Job) -> str:
    from napari_nst.engine.resources.device import Device

    return str(Device.from_settings(job.settings).torch_device.type)


def _identity(
    job: Job,
    planes: PlanesAlong,
    styles: Sequence[Any],
    labels: LabelsAlong | None,
    style_labels: Sequence[Any] | None,
) -> dict[str, Any]:
    """Return what a store is of: whatever decides its bytes, the planes between aside.

    Their hashes are in the notes of those that are done.
    """
    assert job.stack is not None
    content = job.content
    return {
        "content": content.name,
        "shape": list(content.data.shape),
        "index": [str(p) for a, p in enumerate(content.index) if a != job.stack.axis],
        "range": list(content.limits),
        "planes": [_hash(planes[0]), _hash(planes[len(planes) - 1])],
        "styles": [_hash(style) for style in styles],
        "labels": None if labels is None else [_hash(labels[0]), _hash(labels[len(labels) - 1])],
        "style_labels": [one is not None and _hash(one) for one in style_labels or ()],
        "settings": job.settings.model_dump(mode="json"),
        "start_from": job.stack.start_from,
    }


def _hash(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _unfinished(
    shape: tuple[int, ...], dtype: np.dtype[Any], axis: int, identity: dict[str, Any]
) -> PlaneStore:
    """Return the store of this very job that was begun and not finished, or else a new one."""
    text = json.dumps([identity, shape, dtype.str, axis], sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    number = 1
    while True:
        folder: Path = cache_directory() / _FOLDER / (name if number == 1 else f"{name}-{number}")
        store = stacks.PlaneStore(folder, shape, dtype, axis, identity)
        if not store.complete:
            return store
        number += 1  # a layer may show the one that is complete
