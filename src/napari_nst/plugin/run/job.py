"""What a run is to do, what it says of itself while it goes on, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_nst.plugin.layers.arrays import Plane
    from napari_nst.plugin.layers.labels import LabelsPlane
    from napari_nst.settings import StyleTransferSettings
    from napari_nst.stacks import StartFrom

__all__ = ["Evaluation", "Job", "Machine", "Notice", "Outcome", "Progress", "Stack", "Wish"]


@dataclass(frozen=True)
class Stack:
    """That not one plane of the content is to be done, but every plane along an axis.

    Attributes
    ----------
    axis : int
        Of the content's data.
    start_from : {"previous", "content"}
        What a plane starts from.
    on_disk : bool
        Whether the planes are to be kept on the disk, even if they have room in memory.
    """

    axis: int
    start_from: StartFrom = "previous"
    on_disk: bool = False


@dataclass(frozen=True)
class Job:
    """What to do: everything is taken from the layers before the run begins.

    Attributes
    ----------
    content, styles : Plane
        The images.
    settings : StyleTransferSettings
        Every choice.
    init_image : Plane or None
        The image to go on from, with ``init="image"``.
    content_labels, style_labels : LabelsPlane or None
        The regions, of the content and of each style.
    stack : Stack or None
        The planes, where they are several.
    """

    content: Plane
    styles: tuple[Plane, ...]
    settings: StyleTransferSettings
    init_image: Plane | None = None
    content_labels: LabelsPlane | None = None
    style_labels: tuple[LabelsPlane | None, ...] | None = None
    stack: Stack | None = None

    @property
    def title(self) -> str:
        """The name of the result: "content x style"."""
        return f"{self.content.name} x {' + '.join(style.name for style in self.styles)}"


@dataclass(frozen=True)
class Wish:
    """What is to change in the run that goes on, as `StyleTransfer.steer` takes it.

    Attributes
    ----------
    styles : tuple of Plane or None
        All styles anew.
    content_labels, style_labels
        As in a `Job`; None: as they were.
    without_labels : bool
        Whether there are to be no regions any more.
    choices : mapping of str to object
        Settings and their new values.
    """

    styles: tuple[Plane, ...] | None = None
    content_labels: LabelsPlane | None = None
    style_labels: tuple[LabelsPlane | None, ...] | None = None
    without_labels: bool = False
    choices: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is wished."""
        images = (self.styles, self.content_labels, self.style_labels)
        return bool(self.choices or self.without_labels) or any(
            image is not None for image in images
        )


@dataclass(frozen=True)
class Machine:
    """Where and how a run computes.

    Attributes
    ----------
    device : str
        For example "cpu" or "cuda:0".
    name : str
        The processor or the card.
    precision, network : str
        As resolved.
    memory : int
        Bytes in use now: by the process, or on the card.
    """

    device: str
    name: str
    precision: str
    network: str
    memory: int


@dataclass(frozen=True)
class Notice:
    """Something to know about the run, in a sentence.

    Attributes
    ----------
    message : str
        The sentence.
    problem : bool
        Whether it is about something that the run could not do as it was wished.
    """

    message: str
    problem: bool = True


class Evaluation(NamedTuple):
    """The losses of one evaluation, for the curves.

    Attributes
    ----------
    iteration : int
        Which it was, from 1.
    scale : int
        The scale it was at, from 1.
    plane : int
        The plane it was of, from 1.
    losses : mapping of str to float
        "content", "style" and "total".
    """

    iteration: int
    scale: int
    plane: int
    losses: Mapping[str, float]


@dataclass(frozen=True)
class Progress:
    """How far a run is, and now and then the picture.

    Attributes
    ----------
    iteration, iterations, scale, scales : int
        As in a `Snapshot`.
    shape : tuple of int
        Height and width worked at.
    elapsed : float
        Seconds of work: pauses are not counted.
    remaining : float or None
        Seconds; None while it is too early to say.
    evaluations : sequence of Evaluation
        Those since the last report, this one's among them.
    machine : Machine
        Where it runs.
    picture : ndarray or None
        Data for the result layer, which nobody else holds; of a stack the one array that is
        filled plane by plane, each time.
    plane, planes : int
        The plane at work, from 1, and how many there are; iterations are counted over all.
    """

    iteration: int
    iterations: int
    scale: int
    scales: int
    shape: tuple[int, int]
    elapsed: float
    remaining: float | None
    evaluations: Sequence[Evaluation]
    machine: Machine
    picture: NDArray[Any] | None
    plane: int = 1
    planes: int = 1


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    status : {"finished", "stopped", "discarded", "failed"}
        How.
    picture : ndarray or None
        Data for the result layer: the last picture, however the run ended.
    record : dict
        For the layer's metadata.
    message : str
        What went wrong, in one sentence; empty if nothing did.
    elapsed : float
        Seconds of work: pauses are not counted.
    operations : float
        Floating-point operations of a stack's planes that were done in that time.
    """

    status: str
    picture: NDArray[Any] | None
    record: dict[str, Any]
    message: str
    elapsed: float
    operations: float = 0.0
