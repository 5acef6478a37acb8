"""How far a run is: all that changes while it goes on, and all that a saved run needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from napari_nst.engine.images.pictures import resize
from napari_nst.engine.optim.adam import Adam, Optimizer, OptimizerState
from napari_nst.engine.optim.lbfgs import LBFGS
from napari_nst.engine.optim.schedule import LBFGS_HISTORY, LEARNING_RATE
from napari_nst.record import RegionRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from napari_nst.engine.images.regions import Regions
    from napari_nst.engine.losses.objective import Losses
    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.record import OutOfMemoryEvent, SteeringRecord
    from napari_nst.settings import StyleTransferSettings

__all__ = ["RunState"]


@dataclass
class RunState:
    """Where a run is.

    Attributes
    ----------
    settings : StyleTransferSettings
        What holds now, all steering included.
    scale, done : int
        The scale at work, from 0, and the evaluations done at it.
    image : Tensor or None
        The next to be evaluated; None before the first.
    optimizer : Optimizer or None
        With its state.
    steering : list of SteeringRecord
        The changes so far.
    out_of_memory_events : list of OutOfMemoryEvent
        When memory ran out so far.
    history : list of Losses
        Of each evaluation so far.
    regions : tuple of RegionRecord
        As they are now.
    elapsed : float
        Seconds at work.
    history_size : int or None
        What an L-BFGS that is made remembers; None: as much as it does of itself.
    status : {"running", "finished", "stopped", "failed"}
        How.
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
    elapsed: float = 0.0
    history_size: int | None = None
    status: Literal["running", "finished", "stopped", "failed"] = "running"

    @property
    def lbfgs_history(self) -> int | None:
        """What L-BFGS remembers, which is less where memory ran out; None for Adam."""
        return self.optimizer.history if isinstance(self.optimizer, LBFGS) else self.history_size

    def make_optimizer(self, iterations: int, *, last: bool = False) -> Optimizer:
        """Return an optimizer that has seen nothing yet, for so many iterations at a scale."""
        rate = self.settings.learning_rate
        if self.settings.optimizer == "lbfgs":
            return LBFGS(rate or 1.0, self.lbfgs_history or LBFGS_HISTORY)
        return Adam(rate or LEARNING_RATE, iterations=iterations, last=last)

    def grow(self, scale: Scale, detail: Tensor | None, *, last: bool) -> None:
        """Bring the image, the best there is, and the optimizer to another scale.

        Parameters
        ----------
        scale : Scale
            The size, and the iterations there.
        detail : Tensor or None
            Added to the image: what a smaller one cannot have.
        last : bool
            Whether it is the last.
        """
        assert self.image is not None
        assert self.optimizer is not None
        self.image = resize(self.optimizer.output_image(self.image), scale.height, scale.width)
        if detail is not None:
            self.image = (self.image + detail).clamp_(0, 1)
        self.optimizer.resize(scale.height, scale.width, scale.iterations, last=last)

    def move_to(self, device: torch.device) -> None:
        """Bring image and optimizer to a device."""
        if self.image is not None and self.optimizer is not None:
            self.image = self.image.to(device)
            state = self.optimizer.state_dict()
            moved = {name: tensor.to(device) for name, tensor in state.tensors.items()}
            self.optimizer.load_state_dict(OptimizerState(moved, state.numbers))

    def note_regions(
        self, scale: Scale, regions: Regions, dropped: Sequence[Sequence[str]]
    ) -> None:
        """Record what the regions are, and which layers fell out for them at a scale."""
        assert regions.content is not None
        before = {region.labels: region for region in self.regions}
        noted = []
        layer = self.settings.style_layers.active[0] if self.settings.style_layers.active else None
        for index, region in enumerate(regions.regions):
            old = before.get(region.labels)
            fallen = dict(old.dropped) if old else {}
            size = f"{scale.height} x {scale.width}"
            fallen.pop(size, None)
            if dropped[index]:
                fallen[size] = tuple(dropped[index])
            share = float(regions.content.share(layer)[index]) if layer else 0.0
            sources = tuple(map(str, region.sources))
            noted.append(
                RegionRecord(labels=region.labels, sources=sources, share=share, dropped=fallen)
            )
        self.regions = tuple(noted)
