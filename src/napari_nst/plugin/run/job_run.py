"""Create and read out the run of a job, in the worker's thread.  No Qt here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from napari_nst.engine.resources import costs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_nst.engine.run.control import Control
    from napari_nst.engine.run.protocol import Run
    from napari_nst.engine.run.snapshots import Snapshot
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.plugin.run.job import Job

__all__ = ["JobResult", "JobRun", "PictureRun", "load_styles"]


@dataclass(frozen=True)
class JobResult:
    """Data of the result layer, record, and operations so far; no data before any result."""

    picture: NDArray[Any] | None = None
    record: dict[str, Any] = field(default_factory=dict)
    operations: float = 0.0


class JobRun(Protocol):
    """Run of a job, and its result as the layer shows it."""

    @property
    def run(self) -> Run:
        """The engine's run."""
        ...

    @property
    def message(self) -> str:
        """What the user should know before the first iteration; or empty."""
        ...

    def preview(self, snapshot: Snapshot) -> NDArray[Any]:
        """Return the data of the result layer at a snapshot."""
        ...

    def end(self, *, discard: bool) -> JobResult:
        """Return the result after the last iteration, or delete it."""
        ...


class PictureRun:
    """Run of a job of one plane.

    Parameters
    ----------
    job : Job
        The job; its images are read here.
    engine : callable, optional
        Creates the run; by default `StyleTransfer`, which imports torch.
    control : Control, optional
        Stops, pauses and steers the run.

    Raises
    ------
    StyleTransferError
        If the job is invalid or cannot run on this machine.
    """

    def __init__(
        self,
        job: Job,
        engine: Callable[..., StyleTransfer] | None = None,
        control: Control | None = None,
    ) -> None:
        if engine is None:
            from napari_nst.engine.run.transfer import StyleTransfer

            engine = StyleTransfer
        self._job = job
        content, inputs = job.content.load(), load_styles(job)
        planes = zip((job.content, *job.styles), (content, *inputs["styles"]), strict=True)
        self.message = "  ".join(filter(None, (plane.warning(pixels) for plane, pixels in planes)))
        if job.init_image is not None:
            inputs["init_image"] = job.init_image.load()
        if job.content_labels is not None:
            inputs["content_labels"] = job.content_labels.load()
        self.run = engine(
            content,
            inputs.pop("styles"),
            job.settings,
            names=job.names,
            control=control,
            **inputs,
        )

    def preview(self, snapshot: Snapshot) -> NDArray[Any]:
        """Return the current image as data of the result layer."""
        return self._job.content.restore(snapshot.image(self.run.output_shape))

    def end(self, *, discard: bool = False) -> JobResult:
        """Return the image and its record, if there was an iteration."""
        if discard or not self.run.history:
            return JobResult()
        job, result = self._job, self.run.result()
        device = result.record.resolved.device.partition(":")[0]
        cost = costs.estimate(job.settings, *job.content.shape, device)
        picture = job.content.restore(result.image)
        return JobResult(picture, result.record.to_dict(), cost.operations)


def load_styles(job: Job) -> dict[str, Any]:
    """Read the styles of a job and their labels, as arguments of a run."""
    inputs: dict[str, Any] = {"styles": [style.load() for style in job.styles]}
    if job.style_labels is not None:
        inputs["style_labels"] = [labels and labels.load() for labels in job.style_labels]
    return inputs
