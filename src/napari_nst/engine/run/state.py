"""State of a run: everything that changes during it, and that a checkpoint needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from napari_nst.engine.images.pictures import resize
from napari_nst.engine.optim.adam import Adam, Optimizer, OptimizerState
from napari_nst.engine.optim.content_factor import ContentFactor
from napari_nst.engine.optim.lbfgs import LBFGS
from napari_nst.engine.optim.schedule import LBFGS_HISTORY, LEARNING_RATE
from napari_nst.record import RegionRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from napari_nst.engine.images.regions import Regions
    from napari_nst.engine.losses.values import Losses
    from napari_nst.engine.optim.schedule import Scale, ScaleRole
    from napari_nst.record import OutOfMemoryEvent, SteeringRecord
    from napari_nst.settings import StyleTransferSettings

__all__ = ["RunState"]


@dataclass
class RunState:
    """State of a run.

    Attributes
    ----------
    settings : StyleTransferSettings
        Current settings, with all updates.
    scale, done : int
        Current scale, from 0, and the evaluations at it.
    image : Tensor or None
        Image of the next evaluation; None before the first.
    optimizer : Optimizer or None
        The optimizer and its state.
    steering : list of SteeringRecord
        Changes so far.
    out_of_memory_events : list of OutOfMemoryEvent
        When the run ran out of memory.
    history : list of Losses
        Losses of each evaluation.
    regions : tuple of RegionRecord
        Current regions.
    content_factor : ContentFactor
        Factor of the content weight.
    elapsed : float
        Seconds of work, without pauses.
    history_size : int or None
        History size of a new L-BFGS; None for the default.
    status : {"running", "finished", "stopped", "failed"}
        Status of the run.
    """

    settings: StyleTransferSettings
    scale: int = 0
    done: int = 0
    image: Tensor | None = None
    optimizer: Optimizer | None = None
    steering: list[SteeringRecord] = field(default_factory=list)
    out_of_memory_events: list[OutOfMemoryEvent] = field(default_factory=list)
    history: list[Losses] = field(default_factory=list)
    regions: tuple[RegionRecord, ...] = ()
    content_factor: ContentFactor = field(default_factory=ContentFactor)
    elapsed: float = 0.0
    history_size: int | None = None
    status: Literal["running", "finished", "stopped", "failed"] = "running"

    @property
    def lbfgs_history(self) -> int | None:
        """Current history size of L-BFGS, smaller where memory ran out; None for Adam."""
        return self.optimizer.history if isinstance(self.optimizer, LBFGS) else self.history_size

    def make_optimizer(self, iterations: int, role: ScaleRole = "composition") -> Optimizer:
        """Return a new optimizer for a number of iterations at a scale with a role."""
        rate = self.settings.learning_rate
        if self.settings.optimizer == "lbfgs":
            return LBFGS(rate or 1.0, self.lbfgs_history or LBFGS_HISTORY)
        return Adam(rate or LEARNING_RATE, iterations=iterations, role=role)

    def grow(self, scale: Scale, detail: Tensor | None) -> None:
        """Resize the optimizer's output image and its state to the next scale.

        Parameters
        ----------
        scale : Scale
            The next scale.
        detail : Tensor or None
            Detail that smaller images lack; added to the image.
        """
        assert self.image is not None
        assert self.optimizer is not None
        self.image = resize(self.optimizer.output_image(self.image), scale.height, scale.width)
        if detail is not None:
            self.image = (self.image + detail).clamp_(0, 1)
        self.optimizer.resize(scale.height, scale.width, scale.iterations, scale.role)

    def move_to(self, device: torch.device) -> None:
        """Move image, optimizer and factor of the content weight to a device."""
        self.content_factor.move_to(device)
        if self.image is not None and self.optimizer is not None:
            self.image = self.image.to(device)
            state = self.optimizer.state_dict()
            moved = {name: tensor.to(device) for name, tensor in state.tensors.items()}
            self.optimizer.load_state_dict(OptimizerState(moved, state.numbers))

    def record_regions(
        self, scale: Scale, regions: Regions, dropped: Sequence[Sequence[str]]
    ) -> None:
        """Record the regions, and the layers without any position in them at a scale."""
        assert regions.content is not None
        before = {region.labels: region for region in self.regions}
        records = []
        layer = self.settings.style_layers.active[0] if self.settings.style_layers.active else None
        for index, region in enumerate(regions.regions):
            old = before.get(region.labels)
            by_size = dict(old.dropped) if old else {}
            size = f"{scale.height} x {scale.width}"
            by_size.pop(size, None)
            if dropped[index]:
                by_size[size] = tuple(dropped[index])
            share = float(regions.content.share(layer)[index]) if layer else 0.0
            sources = tuple(map(str, region.sources))
            records.append(
                RegionRecord(labels=region.labels, sources=sources, share=share, dropped=by_size)
            )
        self.regions = tuple(records)
