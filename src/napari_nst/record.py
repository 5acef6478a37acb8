"""How a picture came to be: what was asked for, what that resolved to, and what was done."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from napari_nst.settings import StyleTransferSettings

__all__ = [
    "InputRecord",
    "OutOfMemoryEvent",
    "RegionRecord",
    "Resolved",
    "RunRecord",
    "ScaleRecord",
    "SteeringRecord",
    "versions",
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class InputRecord(_Record):
    """An image that went in.

    Attributes
    ----------
    name : str
        The layer's or file's name, or the argument's.
    shape : tuple of int
        As given.
    dtype : str
        As given.
    sha256 : str
        Of the array's bytes in C order.
    range : tuple of float or None
        The values that were 0 and 1 for the run, and are in the result; None: the whole range of
        the type, 0 to 1 for floats.
    bits : int or None
        Instead of a range, how many of 16 bits the values use: the run's 1 is the largest value of
        so many bits, and the result is a share of all 16.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    sha256: str
    range: tuple[float, float] | None = None
    bits: int | None = None


class ScaleRecord(_Record):
    """A size the picture grew through.

    Attributes
    ----------
    height, width : int
        In pixels.
    iterations : int
        The evaluations planned there.
    tile : int or None
        The side of the tiles it was evaluated in, those of the end where memory ran out on the way;
        None: the whole at once.
    """

    height: int
    width: int
    iterations: int
    tile: int | None = None


class Resolved(_Record):
    """What the settings came to on this machine.

    Attributes
    ----------
    device : str
        For example "cpu" or "cuda:0", with the name of the card in `device_name`.
    device_name : str
        The processor or the card.
    precision : str
        Of the convolutions: "float32", "bfloat16" or, on GPUs that have it, "tf32".
    threads : int
        Of the processor; another number of threads rounds differently.
    weights : str
        The file the network's weights were read from.
    weights_sha256 : str
        Its hash.
    weights_format : {"torchvision", "caffe"}
        Whose conventions it was read by.
    scales : tuple of ScaleRecord
        Coarsest first.
    lbfgs_history : int or None
        The pairs that L-BFGS remembered, in the end; None with Adam, and in records that are
        older than this field, whose L-BFGS remembered 10.
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


class SteeringRecord(_Record):
    """A change during a run.

    Attributes
    ----------
    iteration : int
        Evaluations done before it.
    choices : dict
        Settings and their new values.
    styles : tuple of InputRecord or None
        The new style images, where they were replaced.
    content_labels : InputRecord, "removed" or None
        The new labels of the content, where they were replaced or taken away.
    style_labels : tuple of InputRecord or None, "removed" or None
        The new labels of each style, likewise.
    """

    iteration: int
    choices: dict[str, Any]
    styles: tuple[InputRecord, ...] | None = None
    content_labels: InputRecord | Literal["removed"] | None = None
    style_labels: tuple[InputRecord | None, ...] | Literal["removed"] | None = None

    @field_validator("choices")
    @classmethod
    def _as_settings_have_them(cls, choices: dict[str, Any]) -> dict[str, Any]:
        # JSON has neither tuples nor numbers for keys, and not every caller has plain numbers.
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
    """A region of the content, as it was last.

    Attributes
    ----------
    labels : tuple of int
        Its labels on the content.
    sources : tuple of str
        Where it took its style from: "style 0", or "style 0, label 2".
    share : float
        Of the content's area.
    dropped : dict of str to tuple of str
        For each size worked at ("362 x 512"), the layers that had no position left in the
        region or in its sources; those where none fell out are not named.
    """

    labels: tuple[int, ...]
    sources: tuple[str, ...]
    share: float
    dropped: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class RunRecord(_Record):
    """A run, from what was asked for to how it ended.

    Restyled pixels are not measurements: this record says what they are instead.

    Attributes
    ----------
    settings : StyleTransferSettings
        As asked for.
    resolved : Resolved
        As carried out.
    content : InputRecord
        The content image.
    styles : tuple of InputRecord
        The style images that the run began with, and so for the labels.
    init_image : InputRecord or None
        The image the run started from, with ``init="image"``.
    content_labels : InputRecord or None
        The labels of the content's regions.
    style_labels : tuple of InputRecord or None, or None
        The labels of each style's.
    regions : tuple of RegionRecord
        What the labels came to.
    kept_labels : tuple of int
        The labels where the content's own pixels are.
    steering : tuple of SteeringRecord
        What was changed during the run, in order.
    out_of_memory_events : tuple of OutOfMemoryEvent
        When the run ran out of memory, in order; smaller tiles round sums differently.
    versions : dict of str to str
        Of napari-nst, torch, numpy and Python.
    iterations : int
        Evaluations done.
    losses : dict of str to float
        The last ones: "content", "style", "tv" and "total".
    status : {"finished", "stopped", "failed", "running"}
        How.
    """

    settings: StyleTransferSettings
    resolved: Resolved
    content: InputRecord
    styles: tuple[InputRecord, ...]
    init_image: InputRecord | None = None
    content_labels: InputRecord | None = None
    style_labels: tuple[InputRecord | None, ...] | None = None
    regions: tuple[RegionRecord, ...] = ()
    kept_labels: tuple[int, ...] = ()
    steering: tuple[SteeringRecord, ...] = ()
    out_of_memory_events: tuple[OutOfMemoryEvent, ...] = ()
    versions: dict[str, str] = Field(default_factory=lambda: versions())
    iterations: int = 0
    losses: dict[str, float] = Field(default_factory=dict)
    status: Literal["finished", "stopped", "failed", "running"] = "running"

    def to_json(self) -> str:
        """Return the record as JSON."""
        return self.model_dump_json(indent=2)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain dictionaries, lists, strings and numbers."""
        return self.model_dump(mode="json")


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    names = ("napari-nst", "torch", "numpy")
    found = {name: version(name) for name in names} | {"python": platform.python_version()}
    # The metadata leave out the build (+cpu, +cu130).  Whatever makes a record of a run has
    # loaded torch, which knows it; a record is no reason to load it.
    if "torch" in sys.modules:
        found["torch"] = str(sys.modules["torch"].__version__)
    return found
