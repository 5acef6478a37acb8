"""Provenance of a stylized stack."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from napari_nst.record import (
    InputRecord,
    OutOfMemoryEvent,
    Record,
    RunRecord,
    ScaleRecord,
    SteeringRecord,
)

__all__ = ["PlaneRecord", "StackContent", "StackRecord"]


class PlaneRecord(BaseModel):
    """A finished plane.

    Attributes
    ----------
    plane : int
        Index of the plane.
    content : InputRecord
        The plane of the content.
    init_image : InputRecord or None
        Its initial image, if that came from the plane before.
    init_reliability : InputRecord or None
        Where the initial image was the target of the temporal loss.
    content_labels : InputRecord or None
        Labels of its regions.
    scales : tuple of ScaleRecord
        Scales of its run.
    steering : tuple of SteeringRecord
        Changes during its run; they hold for later planes, too.
    out_of_memory_events : tuple of OutOfMemoryEvent
        When its run ran out of memory.
    iterations : int
        Evaluations.
    losses : dict of str to float
        Last losses: "content", "style", "tv", "temporal" and "total".
    share : float
        Share of this run in the plane: less than 1 if the plane is cross-faded from two runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plane: int
    content: InputRecord
    init_image: InputRecord | None = None
    init_reliability: InputRecord | None = None
    content_labels: InputRecord | None = None
    scales: tuple[ScaleRecord, ...]
    steering: tuple[SteeringRecord, ...] = ()
    out_of_memory_events: tuple[OutOfMemoryEvent, ...] = ()
    iterations: int
    losses: dict[str, float]
    share: float = 1.0

    @classmethod
    def from_run(cls, plane: int, run: RunRecord) -> PlaneRecord:
        """Return the part of a run's record that is about its plane."""
        return cls(
            plane=plane,
            content=run.content,
            init_image=run.init_image,
            init_reliability=run.init_reliability,
            content_labels=run.content_labels,
            scales=run.resolved.scales,
            steering=run.steering,
            out_of_memory_events=run.out_of_memory_events,
            iterations=run.iterations,
            losses=run.losses,
        )


class StackContent(BaseModel):
    """The content; each `PlaneRecord` has the hash of its plane.

    Attributes
    ----------
    name : str
        Name of the layer, the file or the argument.
    shape : tuple of int
        Number of planes, then the shape of a plane.
    dtype : str
        Data type of the planes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    shape: tuple[int, ...]
    dtype: str


class StackRecord(Record):
    """Provenance of a stylized stack.

    The scales of `resolved` are those of the last plane; `plane_settings` derives the settings of
    each plane.

    Attributes
    ----------
    start_from : {"warped", "previous", "content"}
        What the planes start from.
    long_term : bool
        Whether results were also carried from two and four planes back.
    flow_method : {"dis", "tvl1"} or None
        How the motion was estimated; see `motion_between`.
    content : StackContent
        The stack.
    finished : tuple of PlaneRecord
        Finished planes whose record is known, in order; a plane that is cross-faded is there twice.
    """

    start_from: Literal["warped", "previous", "content"]
    long_term: bool = False
    flow_method: Literal["dis", "tvl1"] | None = None
    content: StackContent
    finished: tuple[PlaneRecord, ...] = ()
