"""Provenance of a result: inputs, settings, device, and changes during the run."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from napari_nst.networks import ConvolutionMethod
from napari_nst.settings import StyleTransferSettings

__all__ = [
    "InputRecord",
    "OutOfMemoryEvent",
    "Record",
    "RegionRecord",
    "Resolved",
    "RunRecord",
    "ScaleRecord",
    "SteeringRecord",
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class InputRecord(_Record):
    """An input image.

    Attributes
    ----------
    name : str
        Name of the layer, the file or the argument.
    shape : tuple of int
        Shape of the array.
    dtype : str
        Its data type.
    sha256 : str
        Hash of its bytes in C order.
    range : tuple of float or None
        Values that are 0 and 1 in the run and in the result; None: the whole range of the data
        type, 0 to 1 for floats.
    bits : int or None
        Alternative to a range: how many of 16 bits the values use.  The largest value of so many
        bits is 1 in the run; the result is a share of all 16.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    sha256: str
    range: tuple[float, float] | None = None
    bits: int | None = None


class ScaleRecord(_Record):
    """A scale of a run.

    Attributes
    ----------
    height, width : int
        Size in pixels.
    iterations : int
        Planned evaluations.
    style_side : float or None
        Longest side in pixels of a style whose `style_scale` is 1; None: that of the content.
    role : {"composition", "strokes", "detail"}
        What the scale was for (`optim.schedule`).
    tile : int or None
        Side of the tiles at the end, which are smaller where memory ran out; None: no tiles.
    kept_structure : float or None
        How far the image agreed with the content's structure at the latest measurement; None if it
        was not measured (`losses.structure`).
    content_factor : float or None
        Factor of the content weight at the last evaluation (`optim.content_factor`); None before
        the first.
    """

    height: int
    width: int
    iterations: int
    style_side: float | None = None
    role: Literal["composition", "strokes", "detail"] = "strokes"
    tile: int | None = None
    kept_structure: float | None = None
    content_factor: float | None = None


class Resolved(_Record):
    """Device, precision, weights and scales that the settings resolved to.

    Attributes
    ----------
    device : str
        For example "cpu" or "cuda:0".
    device_name : str
        Name of the processor or the GPU.
    precision : str
        Precision of the convolutions: "float32", "bfloat16" or, on GPUs that have it, "tf32".
    threads : int
        Threads of the processor; another number rounds differently.
    weights : str
        File of the network's weights.
    weights_sha256 : str
        Its hash.
    weights_format : {"torchvision", "caffe"}
        Conventions of the weights.
    scales : tuple of ScaleRecord
        Scales, coarsest first.
    lbfgs_history : int or None
        History size of L-BFGS at the end; None with Adam, and in records older than this field,
        whose L-BFGS had 10.
    convolutions : {"direct", "nnpack", "winograd"}
        How convolutions were computed; each way rounds differently.
    """

    device: str
    device_name: str
    precision: str
    threads: int
    weights: str
    weights_sha256: str
    weights_format: Literal["torchvision", "caffe"] = "torchvision"
    scales: tuple[ScaleRecord, ...]
    lbfgs_history: int | None = None
    convolutions: ConvolutionMethod = "direct"


class SteeringRecord(_Record):
    """A change during a run.

    Attributes
    ----------
    iteration : int
        Evaluations before it.
    choices : dict
        Settings and their new values.
    styles : tuple of InputRecord or None
        New style images; None: unchanged.
    content_labels : InputRecord, "removed" or None
        New labels of the content; None: unchanged.
    style_labels : tuple of InputRecord or None, "removed" or None
        New labels of each style; None: unchanged.
    """

    iteration: int
    choices: dict[str, Any]
    styles: tuple[InputRecord, ...] | None = None
    content_labels: InputRecord | Literal["removed"] | None = None
    style_labels: tuple[InputRecord | None, ...] | Literal["removed"] | None = None

    @field_validator("choices")
    @classmethod
    def _normalize(cls, choices: dict[str, Any]) -> dict[str, Any]:
        # JSON has neither tuples nor numbers as keys, and callers may give NumPy numbers.
        return StyleTransferSettings(**choices).model_dump(include=set(choices))


class OutOfMemoryEvent(_Record):
    """Tile size and L-BFGS history before the run ran out of memory and reduced them.

    Attributes
    ----------
    iteration : int
        Evaluations done before.
    tile : int or None
        Side of the tiles before; None: the whole image at once.
    lbfgs_history : int or None
        History size of L-BFGS before; None with Adam.
    """

    iteration: int
    tile: int | None
    lbfgs_history: int | None


class RegionRecord(_Record):
    """A region of the content at the end of the run.

    Attributes
    ----------
    labels : tuple of int
        Its labels on the content.
    sources : tuple of str
        Sources of its style: "style 0", or "style 0, label 2".
    share : float
        Share of the content's area.
    dropped : dict of str to tuple of str
        For each size ("362 x 512"), the layers without any position in the region or its sources.
    """

    labels: tuple[int, ...]
    sources: tuple[str, ...]
    share: float
    dropped: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class Record(_Record):
    """What the records of an image and of a stack have in common.

    Stylized pixels are not measurements; a record says where they come from.

    Attributes
    ----------
    settings : StyleTransferSettings
        Requested settings.
    resolved : Resolved
        What they resolved to.
    styles : tuple of InputRecord
        Style images at the start of the run.
    style_labels : tuple of InputRecord or None, or None
        Labels of each style at the start of the run.
    versions : dict of str to str
        Versions of napari-nst, torch, numpy and Python.
    status : {"finished", "stopped", "failed", "running"}
        Status of the run.
    """

    settings: StyleTransferSettings
    resolved: Resolved
    styles: tuple[InputRecord, ...]
    style_labels: tuple[InputRecord | None, ...] | None = None
    versions: dict[str, str] = Field(default_factory=lambda: versions())
    status: Literal["finished", "stopped", "failed", "running"] = "running"

    def to_json(self) -> str:
        """Return the record as JSON."""
        return self.model_dump_json(indent=2)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as dictionaries, lists, strings and numbers."""
        return self.model_dump(mode="json")


class RunRecord(Record):
    """Provenance of a stylized image; `stylize` can repeat the run.

    Attributes
    ----------
    content : InputRecord
        The content.
    init_image : InputRecord or None
        The initial image, with ``init="image"``.
    init_reliability : InputRecord or None
        Where the initial image was the target of the temporal loss.
    content_labels : InputRecord or None
        Labels of the content at the start of the run.
    regions : tuple of RegionRecord
        Regions at the end of the run.
    kept_labels : tuple of int
        Labels whose pixels are the content's.
    steering : tuple of SteeringRecord
        Changes during the run, in order.
    out_of_memory_events : tuple of OutOfMemoryEvent
        When the run ran out of memory, in order; smaller tiles round sums differently.
    iterations : int
        Evaluations so far.
    losses : dict of str to float
        Last losses: "content", "style", "tv", "temporal" and "total".
    """

    content: InputRecord
    init_image: InputRecord | None = None
    init_reliability: InputRecord | None = None
    content_labels: InputRecord | None = None
    regions: tuple[RegionRecord, ...] = ()
    kept_labels: tuple[int, ...] = ()
    steering: tuple[SteeringRecord, ...] = ()
    out_of_memory_events: tuple[OutOfMemoryEvent, ...] = ()
    iterations: int = 0
    losses: dict[str, float] = Field(default_factory=dict)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    names = ("napari-nst", "torch", "numpy")
    found = {name: version(name) for name in names} | {"python": platform.python_version()}
    # The metadata lack the build (+cpu, +cu130), which torch knows; whatever made a run has
    # imported it, and a record is no reason to import it.
    if "torch" in sys.modules:
        found["torch"] = str(sys.modules["torch"].__version__)
    return found
