"""Run of a job on every plane of a stack, in the worker's thread.  No Qt here."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.cache import cache_directory
from napari_nst.errors import InputError
from napari_nst.plugin.layers.stack_planes import LabelsAlong, PlanesAlong
from napari_nst.plugin.run.job_run import JobResult, load_styles
from napari_nst.plugin.run.stack_costs import operations, result_shape, stays_in_memory
from napari_nst.stacks import PlaneArray, PlaneStore, ResumableStack
from napari_nst.stacks.motion import flow_method

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_nst.engine.run.control import Control
    from napari_nst.engine.run.snapshots import Snapshot
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.plugin.layers.labels import LabelsPlane
    from napari_nst.plugin.run.job import Job

__all__ = ["StackRun", "labels_along"]

_FOLDER = "stacks"  # of the cache directory


class StackRun:
    """Run of a stack into an array that a layer shows.

    Only the worker's thread writes to the array; the viewer's thread redraws it when notified.
    Unfinished planes are zero at the end.

    Parameters
    ----------
    job : Job
        A job with stack options; its styles are read here.
    engine : callable, optional
        Creates the run of a plane; by default `StyleTransfer`.
    control : Control, optional
        Stops, pauses and steers the run.

    Raises
    ------
    StyleTransferError
        If the job is invalid, or the disk is full.
    """

    def __init__(
        self,
        job: Job,
        engine: Callable[..., StyleTransfer] | None = None,
        control: Control | None = None,
    ) -> None:
        assert job.stack is not None
        self._job = job
        self._planes = PlanesAlong(job.content, job.stack.axis)
        inputs = load_styles(job)
        if job.content_labels is not None:
            inputs["content_labels"] = labels_along(job, job.content_labels)
        self._store = _open_store(job, self._planes, inputs)
        self._resumed = len(self._store.finished)
        self._previewed: int | None = None  # plane whose preview is in the array
        self.run = ResumableStack(
            self._planes,
            inputs.pop("styles"),
            job.settings,
            store=self._store,
            conversion=_Conversion(job, self._planes, self._store),
            start_from=job.stack.start_from,
            long_term=job.stack.long_term,
            names=job.names,
            engine=engine,
            control=control,
            **inputs,
        )
        self.run.begin()

    @property
    def message(self) -> str:
        """Where the planes are, if they are on disk."""
        if not isinstance(self._store, PlaneStore):
            return ""
        folder, count = self._store.path, self._resumed
        if not count:
            return f"The planes are kept in {folder}."
        planes = "1 plane" if count == 1 else f"{count} planes"
        return f"Continuing an earlier run: {planes} found in {folder}."

    def preview(self, snapshot: Snapshot) -> NDArray[Any]:
        """Write the image of the current plane to the array, and return the array."""
        k = self._previewed = snapshot.plane - 1
        array, content = self._store.array, self._job.content
        size = [
            length
            for length, place in zip(array.shape, content.index, strict=True)
            if isinstance(place, slice)
        ][:2]
        height, width = reversed(size) if content.transposed else size
        place = self._store.place(k)
        picture = self._planes.plane(k).restore(snapshot.image((height, width)))
        array[place] = picture.reshape(array[place].shape)
        return array

    def end(self, *, discard: bool = False) -> JobResult:
        """Return the array and the record, if any plane is finished."""
        store, job = self._store, self._job
        if self._previewed is not None and self._previewed not in store.finished:
            store.array[store.place(self._previewed)] = 0
        if discard and isinstance(store, PlaneStore):
            shutil.rmtree(store.path, ignore_errors=True)
        if discard or not store.finished:
            return JobResult()
        try:
            result = self.run.result()
        except InputError:  # stopped before its first plane
            return JobResult()
        device = result.record.resolved.device.partition(":")[0]
        made = len(store.finished) - self._resumed
        done = operations(job, device, first=not self._resumed, planes=made)
        return JobResult(result.image, result.record.to_dict(), done)


class _Conversion:
    """Converts between images of the engine and planes of the result layer."""

    def __init__(self, job: Job, planes: PlanesAlong, store: PlaneArray) -> None:
        self._job, self._planes, self._store = job, planes, store

    def from_engine(self, k: int, image: NDArray[Any]) -> NDArray[Any]:
        """Return an image in the layer's values."""
        shape = self._store.array[self._store.place(k)].shape
        return self._planes.plane(k).restore(image).reshape(shape)

    def to_engine(self, k: int, plane: NDArray[Any]) -> NDArray[Any]:
        """Return a finished plane as the engine takes it."""
        assert self._job.stack is not None
        axis = self._job.stack.axis
        # The result is as large as the shown part of the content.
        index: list[Any] = [
            slice(None) if isinstance(place, slice) else 0 for place in self._job.content.index
        ]
        index[axis] = 0
        data = np.expand_dims(plane, axis)
        return replace(self._planes.plane(k), data=data, index=tuple(index)).load()


def labels_along(job: Job, labels: LabelsPlane) -> LabelsAlong:
    """Return the labels over each plane of a stack.

    Raises
    ------
    InputError
        If the first plane, or the last without motion, has no label, and label 0 has no style: the
        run would end there.
    """
    assert job.stack is not None
    along = LabelsAlong(labels, job.content, job.stack.axis)
    styles = job.settings.region_styles
    if styles is None or styles.get(0) is None:
        along.check_ends(carried=job.stack.start_from == "warped")
    return along


def _open_store(job: Job, planes: PlanesAlong, inputs: Mapping[str, Any]) -> PlaneArray:
    """Return an array in memory, or on disk the unfinished store of the same job or a new one."""
    from napari_nst.engine.resources.device import Device

    assert job.stack is not None
    device = str(Device.from_settings(job.settings).torch_device.type)
    shape, dtype = result_shape(job, device)
    axis = job.stack.axis
    if stays_in_memory(job, device):
        return PlaneArray(shape, dtype, axis)
    identity = _identity(job, planes, inputs)
    text = json.dumps([identity, shape, dtype.str, axis], sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    number = 1
    while True:
        folder = cache_directory() / _FOLDER / (name if number == 1 else f"{name}-{number}")
        store = PlaneStore(folder, shape, dtype, axis, identity)
        if not store.complete:
            return store
        number += 1  # a layer may show the complete one


def _identity(job: Job, planes: PlanesAlong, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the bytes of a result, except for the planes between first and last.

    The notes of finished planes have their hashes.
    """
    assert job.stack is not None
    content, labels = job.content, inputs.get("content_labels")
    return {
        "content": content.name,
        "shape": list(content.data.shape),
        "index": [str(p) for a, p in enumerate(content.index) if a != job.stack.axis],
        "range": list(content.limits),
        "planes": [_hash(planes[0]), _hash(planes[len(planes) - 1])],
        "styles": [_hash(style) for style in inputs["styles"]],
        "labels": None if labels is None else [_hash(labels[0]), _hash(labels[len(labels) - 1])],
        "style_labels": [one is not None and _hash(one) for one in inputs.get("style_labels", ())],
        "settings": job.settings.model_dump(mode="json"),
        "start_from": job.stack.start_from,
        "long_term": job.stack.long_term,
        "flow_method": flow_method() if job.stack.start_from == "warped" else None,
    }


def _hash(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
