"""The loop of a run: evaluate, step, yield a snapshot; apply updates between evaluations."""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch

from napari_nst.engine.images.color import optimized_mode
from napari_nst.engine.images.pictures import resize
from napari_nst.engine.losses.objective import Objective
from napari_nst.engine.optim.content_factor import MEASURE_EVERY, smallest_agreement
from napari_nst.engine.optim.lbfgs import LBFGS
from napari_nst.engine.optim.schedule import COARSE_CONTENT_WEIGHT
from napari_nst.engine.run.control import Stopped
from napari_nst.engine.run.snapshots import Snapshot
from napari_nst.engine.run.updates import SettingsUpdate
from napari_nst.record import OutOfMemoryEvent, SteeringRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from napari_nst.engine.images.assignment import Source
    from napari_nst.engine.images.inputs import Inputs
    from napari_nst.engine.losses.values import Losses
    from napari_nst.engine.network.statistics import Statistics
    from napari_nst.engine.network.vgg import FeatureExtractor
    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.engine.resources.device import Device
    from napari_nst.engine.resources.memory import MemoryPlan
    from napari_nst.engine.run.control import Control
    from napari_nst.engine.run.replay import Replay
    from napari_nst.engine.run.state import RunState
    from napari_nst.engine.run.style_cache import StyleCache
    from napari_nst.networks import ConvolutionMethod
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Loop"]

# Settings that change the weights of the losses only; others need new targets.
_WEIGHTS = frozenset(
    {
        "content_weight",
        "kept_structure",
        "style_weight",
        "style_weights",
        "temporal_weight",
        "tv_weight",
    }
)


class Loop:
    """Iterations of a `StyleTransfer`.

    Parameters
    ----------
    settings : StyleTransferSettings
        Requested settings.
    inputs : Inputs
        Current images and labels.
    state : RunState
        Progress of the run.
    device : Device
        Device of the computation.
    scales : sequence of Scale
        Scales of the run.
    memory_plan : MemoryPlan
        Tile size at each scale.
    replay : Replay or None
        Run to repeat.
    style_cache : StyleCache
        Network and style statistics, shared between runs.
    convolutions : {"direct", "nnpack", "winograd"}
        How convolutions are computed.
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
        convolutions: ConvolutionMethod,
        control: Control,
    ) -> None:
        self.settings, self.inputs, self.state = settings, inputs, state
        self.device, self.scales, self.memory_plan = device, scales, memory_plan
        self.control, self.convolutions = control, convolutions
        self._replay, self._style_cache = replay, style_cache
        self._style_statistics: dict[Source, Mapping[str, Statistics]] = {}
        self._keep_mask: Tensor | None = None  # pixels that stay the content's
        self._content: Tensor | None = None  # at the current scale
        self._network: FeatureExtractor | None = None
        self._objective: Objective | None = None  # None: make a new one
        self._tile: int | None = None  # tile size that the objective was made with

    def run(self) -> Iterator[Snapshot]:
        """Run the remaining iterations of all scales."""
        state = self.state
        self._network = self._style_cache.network(self.settings, self.device, self.convolutions)
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
        """Return the initial image at the first scale."""
        scale = self.scales[0]
        shape = (scale.height, scale.width)
        return self.inputs.first_image(self.state.settings, shape, self.device.torch_device)

    def _detail(self, scale: Scale, image: Tensor) -> Tensor | None:
        """Return the detail that the initial image has at a scale and lacks at an image's size.

        Adding it continues as if the run had started at this scale; otherwise the finest lines of
        the content would have to be drawn again.  None for noise, which differs at every size.
        """
        settings, device = self.state.settings, self.device.torch_device
        if settings.init == "noise":
            return None
        coarse, fine = (
            self.inputs.first_image(settings, shape, device)
            for shape in ((image.shape[-2], image.shape[-1]), (scale.height, scale.width))
        )
        return fine - resize(coarse, scale.height, scale.width)

    def _run_scale(self, index: int) -> Iterator[Snapshot]:
        """Run the remaining iterations of a scale."""
        state, scale = self.state, self.scales[index]
        paused = self.control.paused_seconds
        began = time.perf_counter() - state.elapsed
        self._objective = None
        self._style_statistics.clear()  # of styles at another size
        assert self._network is not None
        if index and self._network.fast_convolutions is not None:
            self._network.fast_convolutions.clear()
        if state.image is None:
            state.image = self.first_image()
            state.optimizer = state.make_optimizer(scale.iterations, scale.role)
        elif state.done == 0:
            state.grow(scale, self._detail(scale, state.image))
        while state.done < scale.iterations:
            self.control.wait_if_paused()
            self._replay_updates(index)
            self.control.apply_updates(lambda update: self._apply_update(update, index))
            if self._replay is not None and self._replay.is_over(len(state.history)):
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
            del gradient  # before the image is shown: large images need much memory
            if resources != self._current_resources(index):
                state.out_of_memory_events.append(resources)
            state.history.append(losses)
            state.done += 1
            state.elapsed = time.perf_counter() - began - (self.control.paused_seconds - paused)
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
                partial(self.inputs.to_array, state.settings),
                warnings=self.control.take_warnings(),
            )

    def _progress(self) -> float:
        """Return the finished share of the pixels of all iterations."""
        pixels = [scale.height * scale.width * scale.iterations for scale in self.scales]
        current = self.scales[self.state.scale]
        done = sum(pixels[: self.state.scale]) + current.height * current.width * self.state.done
        return done / sum(pixels)

    def _evaluate(self, index: int) -> tuple[Losses, Tensor]:
        check, state = self.control.wait_if_paused, self.state
        optimizer = state.optimizer
        assert optimizer is not None
        keeps = state.settings.keeps_structure
        composes = self.scales[index].role == "composition"
        lowest = float(COARSE_CONTENT_WEIGHT) if composes else 1.0
        factor = state.content_factor.factor
        if not keeps:  # filled on the device: copying a number to it would wait
            factor = torch.full((), lowest, device=self.device.torch_device)
        measure = keeps and state.done % MEASURE_EVERY == 0

        def evaluate(tile: int | None) -> tuple[Losses, Tensor]:
            objective = self._get_objective(index, tile)
            assert state.image is not None
            return objective.loss_and_gradient(
                state.image, tile, check, optimizer.damping, factor, measure
            )

        found = self.memory_plan.run_with_oom_retry(index, evaluate, optimizer.release_memory)
        if measure:
            target = smallest_agreement(state.settings)
            state.content_factor.update(found[0].agreement, target, lowest)
        return found

    def _current_resources(self, index: int) -> OutOfMemoryEvent:
        """Return the tile size and the L-BFGS history of the next evaluation."""
        state = self.state
        return OutOfMemoryEvent(
            iteration=len(state.history),
            tile=self.memory_plan.tile_sizes[index],
            lbfgs_history=state.lbfgs_history,
        )

    def _replay_updates(self, index: int) -> None:
        """Apply the recorded changes that came before the next evaluation."""
        if self._replay is not None:
            for change in self._replay.changes(len(self.state.history)):
                update = SettingsUpdate(change.choices, **self._replay.images(change))
                self._apply_update(update, index)

    def _apply_update(self, update: SettingsUpdate, index: int) -> None:
        """Apply an update, unless it only has images that are in use already.

        Raises
        ------
        InputError
            If it is invalid; then nothing changes.
        """
        state, before, images = self.state, self.state.settings, update.images
        settings = update.settings(before)
        inputs = self.inputs.replaced(settings, **images)
        if not update.choices and inputs.records == self.inputs.records:
            return  # napari reports many changes of a layer that leave its pixels unchanged
        self.inputs, state.settings = inputs, settings
        state.steering.append(self._steering_record(update))
        assert state.image is not None
        assert state.optimizer is not None
        recolored = optimized_mode(settings.color) != optimized_mode(before.color)
        changed = {name for name in update.choices if name != "color" or recolored}
        if not changed and not images:
            return  # only what is shown of the image changes
        if recolored:
            state.image = inputs.recolored(state.image, before.color, settings.color)
            scale = self.scales[index]
            state.optimizer = state.make_optimizer(scale.iterations - state.done, scale.role)
        state.optimizer.on_objective_changed()
        if changed <= _WEIGHTS and not images:
            if self._objective is not None:
                self._objective.set_weights(settings)
        else:
            # Other labels of the content do not change the statistics of the styles.
            guided = settings.region_guidance != before.region_guidance
            if recolored or guided or not images.keys().isdisjoint(("styles", "style_labels")):
                self._style_statistics.clear()
            self._objective = None

    def _steering_record(self, update: SettingsUpdate) -> SteeringRecord:
        records = {
            name: self.inputs.records[name] or "removed"
            for name in update.images
            if name != "names"
        }
        iteration = len(self.state.history)
        return SteeringRecord(iteration=iteration, choices=dict(update.choices), **records)

    def _get_objective(self, index: int, tile: int | None) -> Objective:
        """Return the objective for a tile size, a new one if needed; reset kept pixels.

        Targets use the same tiles as the image, so that an evaluation depends only on its own
        tile size: not on when memory ran out, nor on whether the run was saved and loaded.
        """
        if self._objective is not None and self._tile == tile:
            return self._objective
        if self._tile != tile:
            self._style_statistics.clear()
        self._objective, self._tile = None, tile
        state, scale, device = self.state, self.scales[index], self.device.torch_device
        content, styles = self.inputs.at_scale(state.settings, scale, device)
        regions = self.inputs.regions(state.settings, scale, device)
        kept = self.inputs.kept((scale.height, scale.width))
        self._keep_mask = None if kept is None else kept.to(device)
        self._content = content
        assert state.image is not None
        state.image = self._with_kept(state.image)
        if self.inputs.assignment:  # statistics of regions are not shared
            style_statistics = self._style_statistics
        else:
            visible = [style.visible for style in self.inputs.styles]
            style_statistics = self._style_cache.style_statistics(styles, tile, visible)
        objective = Objective(
            content,
            styles,
            state.settings,
            self._network,
            regions=regions,
            temporal=self.inputs.temporal_target(
                state.settings, (scale.height, scale.width), device
            ),
            kept=self._keep_mask,
            tile=tile,
            style_statistics=style_statistics,
            on_tile=self.control.wait_if_paused,
        )
        if regions is None or self.inputs.assignment is None:
            state.regions = ()
        else:
            state.record_regions(scale, regions, objective.dropped)
        self._objective = objective
        return objective

    def _with_kept(self, image: Tensor) -> Tensor:
        """Return an image whose kept pixels are the content's.

        Adam moves them even without a gradient, by moments from a coarser scale or from before the
        labels changed.
        """
        if self._keep_mask is None or self._content is None:
            return image
        return torch.where(self._keep_mask, self._content, image)
