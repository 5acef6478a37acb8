"""How a restyled stack came to be: what was asked for, and what became of each plane."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_nst.record import (
    InputRecord,
    OutOfMemoryEvent,
    Resolved,
    RunRecord,
    ScaleRecord,
    SteeringRecord,
    versions,
)
from napari_nst.settings import StyleTransferSettings

__all__ = ["PlaneRecord", "StackContent", "StackRecord"]


class PlaneRecord(BaseModel):
    """A plane that is done.

    Attributes
    ----------
    plane : int
        Which, from 0.
    content : InputRecord
        The plane that went in.
    init_image : InputRecord or None
        The picture it started from, if that was the plane before.
    content_labels : InputRecord or None
        The labels of its regions.
    scales : tuple of ScaleRecord
        The sizes it grew through.
    steering : tuple of SteeringRecord
        What was changed while it was at work; it held for the planes after it, too.
    out_of_memory_events : tuple of OutOfMemoryEvent
        When its run ran out of memory.
    iterations : int
        Evaluations done.
    losses : dict of str to float
        The last ones: "content", "style", "tv" and "total".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plane: int
    content: InputRecord
    init_image: InputRecord | None = None
    content_labels: InputRecord | None = None
    scales: tuple[ScaleRecord, ...]
    steering: tuple[SteeringRecord, ...] = ()
    out_of_memory_events: tuple[OutOfMemoryEvent, ...] = ()
    iterations: int
    losses: dict[str, float]

    @classmethod
    def of(cls, plane: int, run: RunRecord) -> PlaneRecord:
        """Return what of a plane's run is the plane's own."""
        return cls(
            plane=plane,
            content=run.content,
            init_image=run.init_image,
            content_labels=run.content_labels,
            scales=run.resolved.scales,
            steering=run.steering,
            out_of_memory_events=run.out_of_memory_events,
            iterations=run.iterations,
            losses=run.losses,
        )


class StackContent(BaseModel):
    """The stack that went in; the hashes are those of its planes.

    Attributes
    ----------
    name : str
        The layer's or file's name, or the argument's.
    shape : tuple of int
        The number of planes, then a plane's shape.
    dtype : str
        As given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    shape: tuple[int, ...]
    dtype: str


class StackRecord(BaseModel):
    """A stack, from what was asked for to the planes that are done.

    Restyled pixels are not measurements: this record says what they are instead.

    Attributes
    ----------
    settings : StyleTransferSettings
        As asked for; `settings_of` says what that comes to for each plane.
    start_from : {"previous", "content"}
        What a plane starts from.
    resolved : Resolved
        As carried out; the sizes are those of the plane that was at work last.
    content : StackContent
        The stack.
    styles : tuple of InputRecord
        The style images that the run began with, and so for the labels.
    style_labels : tuple of InputRecord or None, or None
        The labels of each style's.
    finished : tuple of PlaneRecord
        The planes that are done and whose record is known, in their order.
    versions : dict of str to str
        Of napari-nst, torch, numpy and Python.
    status : {"finished", "stopped", "failed", "running"}
        How.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    settings: StyleTransferSettings
    start_from: Literal["previous", "content"]
    resolved: Resolved
    content: StackContent
    styles: tuple[InputRecord, ...]
    style_labels: tuple[InputRecord | None, ...] | None = None
    finished: tuple[PlaneRecord, ...] = ()
    versions: dict[str, str] = Field(default_factory=lambda: versions())
    status: Literal["finished", "stopped", "failed", "running"] = "running"

    def to_json(self) -> str:
        """Return the record as JSON."""
        return self.model_dump_json(indent=2)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain dictionaries, lists, strings and numbers."""
        return self.model_dump(mode="json")
