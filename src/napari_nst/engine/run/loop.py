"""The loop of a run: evaluate, step, yield a snapshot; apply updates between evaluations."""

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
from napari_nst.engine.optim.schedule import settings_at_scale
from napari_nst.engine.run.control import Control, Stopped
from napari_nst.engine.run.snapshots import Snapshot
from napari_nst.record import OutOfMemoryEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from napari_nst.engine.images.assignment import Source
    from napari_nst.engine.images.inputs import Inputs
    from napari_nst.engine.losses.objective import Losses
    from napari_nst.engine.network.statistics import Statistics
    from napari_nst.engine.network.vgg import FeatureExtractor
    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.engine.resources.device import Device
    from napari_nst.engine.resources.memory import MemoryPlan
    from napari_nst.engine.run.replay import Replay
    from napari_nst.engine.run.state import RunState
    from napari_nst.engine.run.style_cache import StyleCache
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
    state : RunState
        How far the run is.
    device : Device
        Where it is computed.
    scales : sequence of Scale
        The sizes the picture grows through.
    memory_plan : MemoryPlan
        The tiles of each.
    replay : Replay or None
        The run that is done again.
    style_cache : StyleCache
        Network and style statistics, shared between runs.
    control : Control
        Stops, pauses and steers the run.
    """

    def __init__(
        self,
        *,
        settings: StyleTransferSettings,
        inputs: Inputs,
        state: RunState,
        device: Device,
        scales: Sequence[Scale],
        memory_plan: MemoryPlan,
        replay: Replay | None,
        style_cache: StyleCache,
        control: Control[Wish],
    ) -> None:
        self.settings, self.inputs, self.state = settings, inputs, state
        self.device, self.scales, self.memory_plan = device, scales, memory_plan
        self.control = control
        self._replay, self._style_cache = replay, style_cache
        self._style_statistics: dict[Source, Mapping[str, Statistics]] = {}
        self._keep_mask: Tensor | None = None  # where the content's pixels are kept
        self._content: Tensor | None = None  # at the scale at work
        self._network: FeatureExtractor | None = None
        self._objective: Objective | None = None  # None: make a new one
        self._side: int | None = None  # of the tiles it was made in

    def run(self) -> Iterator[Snapshot]:
        """Do what is left of the run."""
        state = self.state
        self._network = self._style_cache.network(self.settings, self.device)
        ample = self.memory_plan.ample_memory
        try:
            with self.device.keep_freed_memory() if ample else nullcontext():
                while state.scale < len(self.scales):
                    yield from self._run_scale(state.scale)
                    state.scale, state.done = state.scale + 1, 0
        except Stopped:
            state.status = "stopped"
        else:
            state.status = "finished"
        finally:
            self._objective = None
            self.device.empty_cache()

    def first_image(self) -> Tensor:
        """Return what the run starts from, at its first scale."""
        scale = self.scales[0]
        shape = (scale.height, scale.width)
        return self.inputs.first_image(self.state.settings, shape, self.device.torch_device)

    def _detail(self, scale: Scale, image: Tensor) -> Tensor | None:
        """Return what the run's start has at a scale and lacked at the size of an image.

        As if the run had begun there: otherwise the content's finest lines would have to be drawn
        anew at every scale.  Noise is another at every size.
        """
        now, place = self.state.settings, self.device.torch_device
        if now.init == "noise":
            return None
        coarse, start = (
            self.inputs.first_image(now, shape, place)
            for shape in ((image.shape[-2], image.shape[-1]), (scale.height, scale.width))
        )
        return start - resize(coarse, scale.height, scale.width)

    def _run_scale(self, index: int) -> Iterator[Snapshot]:
        """Do what is left of the iterations at a scale."""
        state, scale = self.state, self.scales[index]
        held = self.control.paused_seconds
        began = time.perf_counter() - state.elapsed
        self._objective = None
        self._style_statistics.clear()  # of styles at another size
        last = index == len(self.scales) - 1
        if state.image is None:
            state.image = self.first_image()
            state.optimizer = state.make_optimizer(scale.iterations, last=last)
        elif state.done == 0:
            state.grow(scale, self._detail(scale, state.image), last=last)
        while state.done < scale.iterations:
            self.control.wait_if_paused()
            for wish in self._wishes():
                self._apply_update(wish, index)
            if self._replay is not None and self._replay.over(len(state.history)):
                raise Stopped
            resources = self._current_resources(index)
            losses, gradient = self._evaluate(index)
            image, optimizer = state.image, state.optimizer
            assert optimizer is not None
            if self._keep_mask is not None:
                gradient.masked_fill_(self._keep_mask, 0)
            # Only L-BFGS reads the loss: Adam never waits for the device.
            loss = losses.total if isinstance(optimizer, LBFGS) else 0.0
            image = self._with_kept(optimizer.step(image, loss, gradient))
            state.image = image
            del gradient  # while the picture is shown: at large sizes every image counts
            if resources != self._current_resources(index):
                state.out_of_memory_events.append(resources)
            state.history.append(losses)
            state.done += 1
            state.elapsed = time.perf_counter() - began - (self.control.paused_seconds - held)
            yield Snapshot(
                len(state.history),
                self.settings.iterations,
                index + 1,
                len(self.scales),
                (scale.height, scale.width),
                losses,
                state.elapsed,
                self._progress(),
                image,
                partial(self.inputs.to_array, state.settings.color),
            )

    def _progress(self) -> float:
        """Return the share of all pixels of all iterations that are done."""
        pixels = [scale.height * scale.width * scale.iterations for scale in self.scales]
        current = self.scales[self.state.scale]
        done = sum(pixels[: self.state.scale]) + current.height * current.width * self.state.done
        return done / sum(pixels)

    def _evaluate(self, index: int) -> tuple[Losses, Tensor]:
        check, state = self.control.wait_if_paused, self.state
        optimizer = state.optimizer
        assert optimizer is not None

        def evaluate(tile: int | None) -> tuple[Losses, Tensor]:
            objective = self._get_objective(index, tile)
            assert state.image is not None
            return objective.loss_and_gradient(state.image, tile, check, optimizer.damping)

        return self.memory_plan.run_with_oom_retry(index, evaluate, optimizer.release_memory)

    def _current_resources(self, index: int) -> OutOfMemoryEvent:
        """Return the tile size and the L-BFGS history of the next evaluation."""
        state = self.state
        return OutOfMemoryEvent(
            iteration=len(state.history),
            tile=self.memory_plan.tile_sizes[index],
            lbfgs_history=state.lbfgs_history,
        )

    def _wishes(self) -> Iterator[Wish]:
        """Take what is to change now: the steering that is replayed, and the user's."""
        if self._replay is not None:
            for change in self._replay.changes(len(self.state.history)):
                settings = self.state.settings.replace(**change.choices)
                images = self._replay.images(change)
                yield Wish(change, self.inputs.replaced(settings, **images))
        while (wish := self.control.pop_update()) is not None:
            yield wish

    def _apply_update(self, wish: Wish, index: int) -> None:
        """Carry out a wish."""
        state, record = self.state, wish.record
        before, self.inputs = state.settings, wish.inputs
        state.settings = before.replace(**record.choices)
        state.steering.append(record.model_copy(update={"iteration": len(state.history)}))
        assert state.image is not None
        assert state.optimizer is not None
        recolored = state.settings.color != before.color
        if recolored:
            state.image = self.inputs.recolored(state.image, before.color, state.settings.color)
            left = self.scales[index].iterations - state.done
            state.optimizer = state.make_optimizer(left, last=index == len(self.scales) - 1)
        state.optimizer.on_objective_changed()
        pictures = (record.styles, record.content_labels, record.style_labels)
        if set(record.choices) <= _WEIGHTS and pictures == (None, None, None):
            if self._objective is not None:
                self._objective.set_weights(self._settings_at(index))
        else:
            # Painting on the content does not change the statistics of the styles.
            guided = state.settings.region_guidance != before.region_guidance
            if recolored or guided or record.styles or record.style_labels:
                self._style_statistics.clear()
            self._objective = None

    def _get_objective(self, index: int, tile: int | None) -> Objective:
        """Return what the image is compared with; put the content's pixels where they are kept.

        The targets are made in tiles of the side that the image is evaluated in.  So what an
        evaluation comes to depends on its own tiles alone, and neither on when memory ran out nor
        on whether the run was saved and loaded since.
        """
        if self._objective is not None and self._side == tile:
            return self._objective
        if self._side != tile:
            self._style_statistics.clear()
        self._objective, self._side = None, tile
        state, scale, place = self.state, self.scales[index], self.device.torch_device
        now = state.settings
        content, styles = self.inputs.at_scale(now, scale, place)
        regions = self.inputs.regions(now, scale, place)
        kept = self.inputs.kept((scale.height, scale.width))
        self._keep_mask = None if kept is None else kept.to(place)
        self._content = content
        assert state.image is not None
        state.image = self._with_kept(state.image)
        if self.inputs.assignment:  # statistics of painted regions are this run's own
            style_statistics = self._style_statistics
        else:
            visible = [style.visible for style in self.inputs.styles]
            style_statistics = self._style_cache.style_statistics(styles, tile, visible)
        objective = Objective(
            content,
            styles,
            self._settings_at(index),
            self._network,
            regions=regions,
            tile=tile,
            style_statistics=style_statistics,
            on_tile=self.control.wait_if_paused,
        )
        if regions is None or self.inputs.assignment is None:
            state.regions = ()
        else:
            state.note_regions(scale, regions, objective.dropped)
        self._objective = objective
        return objective

    def _settings_at(self, index: int) -> StyleTransferSettings:
        """Return the settings as they are now, with the weights that hold at a scale."""
        return settings_at_scale(self.state.settings, last=index == len(self.scales) - 1)

    def _with_kept(self, image: Tensor) -> Tensor:
        """Return an image with the content's pixels where they are kept.

        Adam moves them even without a gradient: its moments come from a coarser scale, or from
        before the labels were changed.
        """
        if self._keep_mask is None or self._content is None:
            return image
        return torch.where(self._keep_mask, self._content, image)
