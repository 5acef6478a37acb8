"""Jobs, and what a worker reports about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_nst.engine.run.snapshots import Snapshot
    from napari_nst.plugin.layers.arrays import Plane
    from napari_nst.plugin.layers.labels import LabelsPlane
    from napari_nst.settings import StyleTransferSettings
    from napari_nst.stacks import StartFrom

__all__ = ["Evaluation", "Job", "Machine", "Notice", "Outcome", "Report", "StackOptions"]


@dataclass(frozen=True)
class StackOptions:
    """Options for processing every plane along an axis.

    Attributes
    ----------
    axis : int
        Axis of the content's data.
    start_from : {"warped", "previous", "content"}
        Image that each plane starts from; as for `StackTransfer`.
    long_term : bool
        Whether "warped" also uses the results two and four planes back.
    on_disk : bool
        Whether to keep the planes on disk even if they fit into memory.
    """

    axis: int
    start_from: StartFrom = "previous"
    long_term: bool = False
    on_disk: bool = False


@dataclass(frozen=True)
class Job:
    """Images and settings of a run, taken from the layers before it begins.

    Attributes
    ----------
    content, styles : Plane
        The images.
    settings : StyleTransferSettings
        All settings.
    init_image : Plane or None
        Initial image, with ``init="image"``.
    content_labels, style_labels : LabelsPlane or None
        Regions of the content and of each style.
    stack : StackOptions or None
        Options for a stack; None for a single plane.
    """

    content: Plane
    styles: tuple[Plane, ...]
    settings: StyleTransferSettings
    init_image: Plane | None = None
    content_labels: LabelsPlane | None = None
    style_labels: tuple[LabelsPlane | None, ...] | None = None
    stack: StackOptions | None = None

    @property
    def title(self) -> str:
        """Name of the result: "content x style"."""
        return f"{self.content.name} x {' + '.join(style.name for style in self.styles)}"

    @property
    def names(self) -> list[str]:
        """Names of the content and the styles."""
        return [plane.name for plane in (self.content, *self.styles)]


@dataclass(frozen=True)
class Machine:
    """Device of a run, and its memory.

    Attributes
    ----------
    device : str
        For example "cpu" or "cuda:0".
    name : str
        Name of the processor or the GPU.
    precision, network : str
        Precision of the convolutions, and the network.
    memory : int
        Bytes in use by the process, or on the GPU.
    """

    device: str
    name: str
    precision: str
    network: str
    memory: int


@dataclass(frozen=True)
class Notice:
    """A sentence about the run.

    Attributes
    ----------
    message : str
        The sentence.
    is_warning : bool
        Whether the run could not apply something that the user chose.
    """

    message: str
    is_warning: bool = True


class Evaluation(NamedTuple):
    """Losses of one evaluation, for the curves.

    Attributes
    ----------
    iteration, scale, plane : int
        Iteration, scale and plane, from 1.
    losses : mapping of str to float
        "content", "style", "temporal" and "total".
    """

    iteration: int
    scale: int
    plane: int
    losses: Mapping[str, float]


@dataclass(frozen=True)
class Report:
    """Progress of a run, and sometimes its image.

    Attributes
    ----------
    snapshot : Snapshot
        The latest snapshot, without its image.
    remaining : float or None
        Estimated seconds; None while it is too early to estimate.
    evaluations : sequence of Evaluation
        Evaluations since the last report.
    machine : Machine
        Device of the run.
    picture : ndarray or None
        Data for the result layer, not shared with the run; of a stack always the one array that
        is filled plane by plane.
    """

    snapshot: Snapshot
    remaining: float | None
    evaluations: Sequence[Evaluation]
    machine: Machine
    picture: NDArray[Any] | None


@dataclass(frozen=True)
class Outcome:
    """End of a run.

    Attributes
    ----------
    status : {"finished", "stopped", "discarded", "failed"}
        Status of the run.
    picture : ndarray or None
        Last data for the result layer.
    record : dict
        Record for the layer's metadata.
    message : str
        What failed, in a sentence; or empty.
    elapsed : float
        Seconds without pauses, from the start of the worker.
    operations : float
        Floating-point operations of the run.
    """

    status: str
    picture: NDArray[Any] | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    elapsed: float = 0.0
    operations: float = 0.0
