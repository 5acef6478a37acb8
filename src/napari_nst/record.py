"""How a picture came to be: what was asked for, what that resolved to, and what was done."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_nst.settings import StyleTransferSettings

__all__ = ["InputRecord", "Resolved", "RunRecord", "ScaleRecord", "SteeringRecord", "versions"]


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
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    sha256: str


class ScaleRecord(_Record):
    """A size the picture grew through, and the evaluations planned there."""

    height: int
    width: int
    iterations: int


class Resolved(_Record):
    """What the settings came to on this machine.

    Attributes
    ----------
    device : str
        For example "cpu" or "cuda:0", with the name of the card in `device_name`.
    device_name : str
        The processor or the card.
    precision : str
        Of the convolutions.
    threads : int
        Of the processor; another number of threads rounds differently.
    weights : str
        The file the network's weights were read from.
    weights_sha256 : str
        Its hash.
    scales : tuple of ScaleRecord
        Coarsest first.
    """

    device: str
    device_name: str
    precision: str
    threads: int
    weights: str
    weights_sha256: str
    scales: tuple[ScaleRecord, ...]


class SteeringRecord(_Record):
    """A change of settings during a run.

    Attributes
    ----------
    iteration : int
        Evaluations done before it.
    choices : dict
        Settings and their new values.
    """

    iteration: int
    choices: dict[str, Any]


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
        The style images.
    start : InputRecord or None
        The image the run started from, with ``init="image"``.
    steering : tuple of SteeringRecord
        What was changed during the run, in order.
    versions : dict of str to str
        Of napari-nst, torch, numpy and Python.
    iterations : int
        Evaluations done.
    losses : dict of str to float
        The last ones: "content", "style", "tv" and "total".
    ended : {"finished", "stopped", "failed", "running"}
        How.
    """

    settings: StyleTransferSettings
    resolved: Resolved
    content: InputRecord
    styles: tuple[InputRecord, ...]
    start: InputRecord | None = None
    steering: tuple[SteeringRecord, ...] = ()
    versions: dict[str, str] = Field(default_factory=lambda: versions())
    iterations: int = 0
    losses: dict[str, float] = Field(default_factory=dict)
    ended: Literal["finished", "stopped", "failed", "running"] = "running"

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
