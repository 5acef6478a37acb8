"""Run of a stack into a store; a run that was interrupted continues from the stored planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from napari_nst.stacks.record import StackRecord
from napari_nst.stacks.transfer import StackTransfer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_nst.engine.run.snapshots import StyleTransferResult
    from napari_nst.settings import StyleTransferSettings
    from napari_nst.stacks.motion import FlowMethod
    from napari_nst.stacks.planes import Planes
    from napari_nst.stacks.store import PlaneArray

__all__ = ["PlaneConversion", "ResumableStack", "StackResult", "put_plane", "stored_record"]


class PlaneConversion(Protocol):
    """Converts between images of the engine and planes of a store."""

    def from_engine(self, k: int, image: NDArray[Any], /) -> NDArray[Any]:
        """Return plane `k` as the store keeps it, given float32 in [0, 1]."""
        ...

    def to_engine(self, k: int, plane: NDArray[Any], /) -> Any:
        """Return a stored plane `k` as an image."""
        ...


@dataclass(frozen=True)
class StackResult:
    """Result of a stack.

    Attributes
    ----------
    image : ndarray
        The store's array; unfinished planes are zero.
    record : StackRecord
        Provenance of the finished planes.
    """

    image: NDArray[Any]
    record: StackRecord


class ResumableStack(StackTransfer):
    """Run of a stack that writes finished planes to a store, and skips those already there.

    Parameters
    ----------
    planes, styles, settings
        As for `StackTransfer`.
    store : PlaneArray
        Where the planes go; a `PlaneStore` is on disk.
    conversion : PlaneConversion
        Converts the planes.
    flow_method : {"dis", "tvl1"}, optional
        As for `StackTransfer`; planes that are stored decide about those that follow them.
    **options
        Other arguments of `StackTransfer`.
    """

    def __init__(
        self,
        planes: Planes,
        styles: Any,
        settings: StyleTransferSettings | None = None,
        *,
        store: PlaneArray,
        conversion: PlaneConversion,
        flow_method: FlowMethod | None = None,
        **options: Any,
    ) -> None:
        self.store, self._conversion = store, conversion
        super().__init__(
            planes,
            styles,
            settings,
            on_plane_done=self._put,
            flow_method=(store.header or {}).get("flow_method") or flow_method,
            finished=dict(store.notes),
            load_previous=lambda k: conversion.to_engine(k, store.plane(k)),
            **options,
        )

    def _put(self, k: int, result: StyleTransferResult) -> None:
        put_plane(self.store, k, self._conversion.from_engine(k, result.image), self.record)

    def result(self) -> StackResult:
        """Return the finished planes and their record; the run may continue."""
        return StackResult(self.store.array, self.record)


def put_plane(store: PlaneArray, k: int, plane: NDArray[Any], record: StackRecord) -> None:
    """Write a finished plane to a store, with its record.

    Parameters
    ----------
    store : PlaneArray
        The store.
    k : int
        Index of the plane.
    plane : ndarray
        Its converted values.
    record : StackRecord
        Record of a run that includes the plane.
    """
    (own,) = (known for known in record.finished if known.plane == k)
    header = record.model_copy(update={"finished": ()}).to_dict()
    store.put(k, plane, own.model_dump(mode="json"), header)


def stored_record(store: PlaneArray) -> StackRecord:
    """Return the record of all planes of a complete store."""
    planes = [note for _, note in sorted(store.notes.items())]
    return StackRecord.model_validate({**store.header, "finished": planes, "status": "finished"})
