"""The one loop: evaluate, step, show; and between two evaluations do what was wished."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from napari_nst.engine.images.pictures import resize
from napari_nst.engine.losses.objective import Objective
from napari_nst.engine.optim.lbfgs import LBFGS
from napari_nst.engine.optim.schedule import weighted
from napari_nst.engine.run.control import Control, Stopped
from napari_nst.engine.run.snapshots import Snapshot
from napari_nst.record import OutOfMemoryEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from napari_nst.engine.images.assignment import Source
    from napari_nst.engine.images.inputs import Inputs
    from napari_nst.engine.losses.objective import Losses
    from napari_nst.engine.losses.statistics import Statistics
    from napari_nst.engine.network.vgg import FeatureExtractor
    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.engine.resources.device import Device
    from napari_nst.engine.resources.memory import MemoryPlan
    from napari_nst.engine.run.course import Course
    from napari_nst.engine.run.replay import Replay
    from napari_nst.engine.run.shared import Shared
    from napari_nst.record import SteeringRecord
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Loop", "Wish"]

# Settings that change the losses' weights and nothing else; the others make new targets.
_WEIGHTS = frozenset({"content_weight", "style_weight", "style_weights", "tv_weight"})


@dataclass(frozen=True)
class Wish:
    """A change that waits for the next evaluation: what it is, and the inputs after it."""

    record: SteeringRecord
    inputs: Inputs


class Loop:
    """What a `StyleTransfer` does when it is iterated.

    Parameters
    ----------
    settings : StyleTransferSettings
        As asked for.
    inputs : Inputs
        The pictures as they are now.
    course : Course
        How far the run is.
    device : Device
        Where it is computed.
    scales : sequence of Scale
        The sizes the picture grows through.
    memory_plan : MemoryPlan
        The tiles of each.
    replay : Replay or None
        The run that is done again.
    shared : Shared
        What runs have in common.

    Attributes
    ----------
    control : Control
        Through which others reach in.
    """

    def __init__(
        self,
        settings: StyleTransferSettings,
        inputs: Inputs,
        course: Course,
        device: Device,
        scales: Sequence[Scale],
        memory_plan: MemoryPlan,
        replay: Replay | None,
        shared: Shared,
    ) -> None:
        self.settings, self.inputs, self.course = settings, inputs, course
        self.device, self.scales, self.memory_plan = device, scales, memory_plan
        self.control: Control[Wish] = Control()
        self._replay, self._shared = replay, shared
        self._sums: dict[Source, Mapping[str, Statistics]] = {}
        self._frozen: Tensor | None = None  # where the content's pixels are kept
        self._content: Tensor | None = None  # at the scale at work
        self._network: FeatureExtractor | None = None
        self._objective: Objective | None = None  # None: to be made anew
        self._side: int | None = None  # of the tiles it was made in

    def run(self) -> Iterator[Snapshot]:
        """Do what is left of the run."""
        course = self.course
        self._network = self._shared.network(self.settings, self.device)
        ample = self.memory_plan.ample_memory
        try:
            with self.device.keep_freed_memory() if ample else nullcontext():
                while course.scale < len(self.scales):
                    yield from self._at(course.scale)
                    course.scale, course.done = course.scale + 1, 0
        except Stopped:
            course.ended = "stopped"
        else:
            course.ended = "finished"
        finally:
            self._objective = None
            self.device.empty_cache()

    def first_image(self) -> Tensor:
        """Return what the run starts from, at its first scale."""
        scale = self.scales[0]
        shape = (scale.height, scale.width)
        return self.inputs.first_image(self.course.now, shape, self.device.torch_device)

    def _detail(self, scale: Scale, image: Tensor) -> Tensor | None:
        """Return what the run's start has at a scale and lacked at the size of an image.

        As if the run had begun there: otherwise the content's finest lines would have to be drawn
        anew at every scale.  Noise is another at every size.
        """
        now, place = self.course.now, self.device.torch_device
        if now.init == "noise":
            return None
        coarse, start = (
            self.inputs.first_image(now, shape, place)
            for shape in ((image.shape[-2], image.shape[-1]), (scale.height, scale.width))
        )
        return start - resize(coarse, scale.height, scale.width)

    def _at(self, index: int) -> Iterator[Snapshot]:
        """Do what is left of the iterations at a scale."""
        course, scale = self.course, self.scales[index]
        held = self.control.held
        began = time.perf_counter() - course.elapsed
        self._objective = None
        self._sums.clear()  # of styles at another size
        last = index == len(self.scales) - 1
        if course.image is None:
            course.image = self.first_image()
            course.optimizer = course.make_optimizer(scale.iterations, last=last)
        elif course.done == 0:
            course.grow(scale, self._detail(scale, course.image), last=last)
        while course.done < scale.iterations:
            self.control.check()
            for wish in self._wishes():
                self._obey(wish, index)
            if self._replay is not None and self._replay.over(len(course.history)):
                raise Stopped
            resources = self._current_resources(index)
            losses, gradient = self._evaluate(index)
            image, optimizer = course.image, course.optimizer
            assert optimizer is not None
            if self._frozen is not None:
                gradient.masked_fill_(self._frozen, 0)
            # Only L-BFGS reads the loss: Adam never waits for the device.
            loss = losses.total if isinstance(optimizer, LBFGS) else 0.0
            image = self._with_kept(optimizer.step(image, loss, gradient))
            course.image = image
            del gradient  # while the picture is shown: at large sizes every image counts
            if resources != self._current_resources(index):
                course.out_of_memory_events.append(resources)
            course.history.append(losses)
            course.done += 1
            course.elapsed = time.perf_counter() - began - (self.control.held - held)
            yield Snapshot(
                len(course.history),
                self.settings.iterations,
                index + 1,
                len(self.scales),
                (scale.height, scale.width),
                losses,
                course.elapsed,
                image,
                partial(self.inputs.to_array, course.now.color),
            )

    def _evaluate(self, index: int) -> tuple[Losses, Tensor]:
        check, course = self.control.check, self.course
        optimizer = course.optimizer
        assert optimizer is not None

        def evaluate(tile: int | None) -> tuple[Losses, Tensor]:
            objective = self._against(index, tile)
            assert course.image is not None
            return objective.loss_and_gradient(course.image, tile, check, optimizer.damping)

        return self.memory_plan.run_with_oom_retry(index, evaluate, optimizer.spare)

    def _current_resources(self, index: int) -> OutOfMemoryEvent:
        """Return the tile size and the L-BFGS history of the next evaluation."""
        course = self.course
        return OutOfMemoryEvent(
            iteration=len(course.history),
            tile=self.memory_plan.tile_sizes[index],
            lbfgs_history=course.lbfgs_history,
        )

    def _wishes(self) -> Iterator[Wish]:
        """Take what is to change now: the steering that is replayed, and the user's."""
        if self._replay is not None:
            for change in self._replay.changes(len(self.course.history)):
                settings = self.course.now.replace(**change.choices)
                images = self._replay.images(change)
                yield Wish(change, self.inputs.replaced(settings, **images))
        while (wish := self.control.take_wish()) is not None:
            yield wish

    def _obey(self, wish: Wish, index: int) -> None:
        """Carry out a wish."""
        course, record = self.course, wish.record
        before, self.inputs = course.now, wish.inputs
        course.now = before.replace(**record.choices)
        course.steering.append(record.model_copy(update={"iteration": len(course.history)}))
        assert course.image is not None
        assert course.optimizer is not None
        recolored = course.now.color != before.color
        if recolored:
            course.image = self.inputs.recolored(course.image, before.color, course.now.color)
            left = self.scales[index].iterations - course.done
            course.optimizer = course.make_optimizer(left, last=index == len(self.scales) - 1)
        course.optimizer.steered()
        pictures = (record.styles, record.content_labels, record.style_labels)
        if set(record.choices) <= _WEIGHTS and pictures == (None, None, None):
            if self._objective is not None:
                self._objective.steer(self._weighted(index))
        else:
            # Painting on the content leaves what is known of the styles as it is.
            guided = course.now.region_guidance != before.region_guidance
            if recolored or guided or record.styles or record.style_labels:
                self._sums.clear()
            self._objective = None

    def _against(self, index: int, tile: int | None) -> Objective:
        """Return what the image is compared with; put the content's pixels where they are kept.

        The targets are made in tiles of the side that the image is evaluated in.  So what an
        evaluation comes to depends on its own tiles alone, and neither on when memory ran out nor
        on whether the run was saved and loaded since.
        """
        if self._objective is not None and self._side == tile:
            return self._objective
        if self._side != tile:
            self._sums.clear()
        self._objective, self._side = None, tile
        course, scale, place = self.course, self.scales[index], self.device.torch_device
        now = course.now
        content, styles = self.inputs.at_scale(now, scale, place)
        regions = self.inputs.regions(now, scale, place)
        kept = self.inputs.kept((scale.height, scale.width))
        self._frozen = None if kept is None else kept.to(place)
        self._content = content
        assert course.image is not None
        course.image = self._with_kept(course.image)
        objective = Objective(
            content,
            styles,
            self._weighted(index),
            self._network,
            regions=regions,
            tile=tile,
            # Sums of labels are of this run's painting; those of whole styles are anyone's.
            known=self._sums
            if self.inputs.assignment
            else self._shared.sums(styles, tile, [style.visible for style in self.inputs.styles]),
            between=self.control.check,
        )
        if regions is None or self.inputs.assignment is None:
            course.regions = ()
        else:
            course.note_regions(scale, regions, objective.dropped)
        self._objective = objective
        return objective

    def _weighted(self, index: int) -> StyleTransferSettings:
        """Return the settings as they are now, with the weights that hold at a scale."""
        return weighted(self.course.now, last=index == len(self.scales) - 1)

    def _with_kept(self, image: Tensor) -> Tensor:
        """Return an image with the content's pixels where they are kept.

        Adam moves them even without a gradient: its moments come from a coarser scale, or from
        before the labels were changed.
        """
        if self._frozen is None or self._content is None:
            return image
        return torch.where(self._frozen, self._content, image)
