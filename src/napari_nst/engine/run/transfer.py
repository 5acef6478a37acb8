"""Public interface to a run: iterate, steer, pause, stop, save, result."""

from __future__ import annotations

import math
import threading
import traceback
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import torch

from napari_nst.engine.images.arguments import UNCHANGED
from napari_nst.engine.images.inputs import Inputs
from napari_nst.engine.network import weights
from napari_nst.engine.network.convolutions import fastest_method
from napari_nst.engine.optim.schedule import LBFGS_HISTORY
from napari_nst.engine.optim.sizes import scales_for
from napari_nst.engine.resources import device as compute
from napari_nst.engine.resources.memory import MemoryPlan
from napari_nst.engine.resources.peak_memory import Workload
from napari_nst.engine.run import checkpoint
from napari_nst.engine.run.control import Control, Controlled
from napari_nst.engine.run.loop import Loop
from napari_nst.engine.run.replay import Replay
from napari_nst.engine.run.snapshots import Snapshot, StyleTransferResult
from napari_nst.engine.run.state import RunState
from napari_nst.engine.run.style_cache import StyleCache
from napari_nst.engine.run.updates import SettingsUpdate
from napari_nst.errors import InputError
from napari_nst.record import Resolved, RunRecord, ScaleRecord
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

    from napari_nst.engine.losses.values import Losses
    from napari_nst.engine.optim.schedule import Scale

__all__ = ["StyleTransfer"]


class StyleTransfer(Controlled):
    """Run of one image: an iterator of `Snapshot`, one per evaluation of loss and gradient.

    Parameters
    ----------
    content : array_like or RangedImage
        Shape (H, W), (H, W, 3) or (H, W, 4); uint8, uint16, or floats in [0, 1].  The range of
        uint16 is that of the bits its largest value needs: 8, 10, 12, 14 or 16.  A `RangedImage`
        can have any numbers.
    styles : array_like or sequence of array_like
        One or several such images, of any size.
    settings : StyleTransferSettings, optional
        All settings.
    init_image : array_like, optional
        Initial image, with ``init="image"``; its values have the range of the content.
    init_reliability : array_like, optional
        Shape (H, W) of `init_image`, values in [0, 1]: weight of each pixel in the temporal loss,
        the difference to `init_image`.
    names : sequence of str, optional
        Names of the content and the styles, for messages and the record.
    content_labels : array_like, optional
        Regions of the content: integers of 0 or more, of its height and width.
    style_labels : sequence of array_like or None, optional
        Regions of each style, or None.  `assignment.assign_styles` says which label takes its
        style from where.
    replay : RunRecord, optional
        Run to repeat, with its steering and, if it was stopped, its end; `settings` should be
        those of the record.
    replacements : sequence of array_like, optional
        With `replay`, the styles and labels that replaced others during the run, in any order.
    style_cache : StyleCache, optional
        Network and style statistics of an earlier run, to reuse.
    control : Control, optional
        Stops, pauses and steers the run; by default its own.
    saved : Checkpoint, optional
        Saved run to continue, as `load` does; its images replace `content` and `styles`.

    Raises
    ------
    InputError
        If an image, its labels or the device cannot be used, or the images are not those of
        `replay`.
    WeightsError
        If the network's weights are missing or damaged.
    OutOfMemoryError
        If the run would need more memory than there is.
    """

    def __init__(
        self,
        content: Any,
        styles: Any,
        settings: StyleTransferSettings | None = None,
        *,
        init_image: Any = None,
        init_reliability: Any = None,
        names: Sequence[str] | None = None,
        content_labels: Any = None,
        style_labels: Any = None,
        replay: RunRecord | None = None,
        replacements: Sequence[Any] = (),
        style_cache: StyleCache | None = None,
        control: Control | None = None,
        saved: checkpoint.Checkpoint | None = None,
    ) -> None:
        super().__init__(control or Control())
        self.settings = settings = settings or StyleTransferSettings()
        tile_sizes: Sequence[int | None] | None = None
        self._replay: Replay | None = None
        if saved is not None:
            self._first_inputs, inputs, state = saved.first_inputs, saved.inputs, saved.state
            tile_sizes = saved.tiles
        else:
            self._first_inputs = inputs = Inputs(
                content,
                styles,
                settings,
                init_image=init_image,
                init_reliability=init_reliability,
                names=names,
                content_labels=content_labels,
                style_labels=style_labels,
                record=replay,
            )
            state = RunState(settings)
        device = compute.Device.from_settings(settings)
        scales: Sequence[Scale] = scales_for(settings, *inputs.shape, device.torch_device.type)
        if saved is not None:
            scales = saved.scales
        if replay is not None:
            self._replay = Replay(replay, inputs, replacements)
            if settings.optimizer == "lbfgs":  # older records have no history size
                state.history_size = replay.resolved.lbfgs_history or LBFGS_HISTORY
            if self._replay.has_sizes(scales):
                tile_sizes = self._replay.tile_sizes
        if saved is not None:
            convolutions = saved.convolutions
        elif replay is not None:
            convolutions = replay.resolved.convolutions
        else:
            fast = device.has_fast_convolutions
            convolutions = fastest_method(device.name) if fast else "direct"
        workload = Workload(
            settings,
            scales[-1],
            tuple(inputs.style_shapes),
            item_size=device.dtype.itemsize,
            fast_convolutions=convolutions != "direct",
            regions=inputs.guides,
            temporal=inputs.init_reliability is not None,
        )
        memory_plan = MemoryPlan(workload, scales, device, tile_sizes, state.history_size)
        state.history_size = memory_plan.history_size
        state.move_to(device.torch_device)
        self._weights = weights.load(settings.network, settings.weights, settings.weights_format)
        self._loop = Loop(
            settings=settings,
            inputs=inputs,
            state=state,
            device=device,
            scales=scales,
            memory_plan=memory_plan,
            replay=self._replay,
            style_cache=style_cache or StyleCache(),
            convolutions=convolutions,
            control=self._control,
        )
        self._snapshots = self._loop.run()
        self._steering_lock = threading.Lock()
        # Settings and inputs after all pending updates; inputs are None after an update whose
        # images are not loaded.
        self._expected: tuple[StyleTransferSettings, Inputs | None] = state.settings, inputs
        for update in saved.pending if saved is not None else ():
            self._queue(update)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> StyleTransfer:
        """Return a run that `save` wrote, ready to continue.

        On the same machine, with the same versions and number of threads, it ends with the same
        bytes as an uninterrupted run.

        Parameters
        ----------
        path : PathLike
            A file written by `save`.

        Raises
        ------
        InputError
            If it is not such a file.
        """
        saved = checkpoint.load(path)
        first = saved.first_inputs
        return cls(first.content, first.styles, saved.settings, saved=saved)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the run to one file, with its images; `load` continues it.

        Call it between two iterations, in the thread that iterates.

        Parameters
        ----------
        path : PathLike
            The file; it is replaced only when the new one is complete.

        Raises
        ------
        InputError
            If the file cannot be written, or the run replays a record.
        """
        if self._replay is not None:
            raise InputError("A run that replays a record cannot be saved: save its record.")
        loop = self._loop
        saved = checkpoint.Checkpoint(
            self.settings,
            self._first_inputs,
            loop.inputs,
            loop.state,
            loop.scales,
            loop.memory_plan.tile_sizes,
            self._control.pending,
            loop.convolutions,
        )
        checkpoint.save(path, saved)

    @property
    def scales(self) -> tuple[Scale, ...]:
        """Scales of the run, coarsest first."""
        return tuple(self._loop.scales)

    @property
    def output_shape(self) -> tuple[int, int]:
        """Height and width of the result."""
        if self.settings.output_size == "content":
            return self._first_inputs.shape
        return self.scales[-1].height, self.scales[-1].width

    def __iter__(self) -> Self:
        """Return the run itself, so that a loop can continue it."""
        return self

    def __next__(self) -> Snapshot:
        """Run one iteration, and return the snapshot after it.

        Raises
        ------
        OutOfMemoryError
            If the device runs out of memory.
        StyleTransferError
            If torch fails in any other way.
        """
        try:
            return next(self._snapshots)
        except StopIteration:
            raise
        except RuntimeError as error:
            self._loop.state.status = "failed"
            # Free the tensors that the frames of the failed evaluation hold.
            traceback.clear_frames(error.__traceback__)
            failure = compute.translate(error, self.scales[-1])
        except BaseException:
            self._loop.state.status = "failed"
            raise
        raise failure

    def steer(
        self,
        *,
        styles: Any = UNCHANGED,
        names: Sequence[str] | None = None,
        content_labels: Any = UNCHANGED,
        style_labels: Any = UNCHANGED,
        **choices: Any,
    ) -> None:
        """Change settings, styles or labels before the next evaluation; any thread may call this.

        Parameters
        ----------
        styles, names
            New style images, all of them, and their names.
        content_labels, style_labels
            New labels; None removes them.
        **choices
            Any of the settings in `updates.STEERABLE`.

        Raises
        ------
        InputError
            If a change is invalid; then nothing changes.  If an image is given as a function (see
            `SettingsUpdate`), images are checked later, and `Snapshot.warnings` has the reason.
        """
        update = SettingsUpdate(choices, styles, names, content_labels, style_labels)
        if self._replay is not None:
            raise InputError("A run that replays a record cannot be steered: its record does that.")
        self._queue(update)

    def _queue(self, update: SettingsUpdate) -> None:
        """Check an update against those before it, and queue it."""
        with self._steering_lock:
            settings, inputs = self._expected
            settings = update.settings(settings)
            if inputs is not None:
                loaded = update.is_loaded
                inputs = inputs.replaced(settings, **update.images) if loaded else None
            self._expected = settings, inputs
            self._control.steer(update)

    def result(self) -> StyleTransferResult:
        """Return the current image and its record; the run may continue."""
        state = self._loop.state
        image = state.image
        if image is None:
            image = self._loop.first_image()
        elif state.optimizer is not None:
            image = state.optimizer.output_image(image)
        picture = self._loop.inputs.to_array(state.settings, image, self.output_shape)
        return StyleTransferResult(picture, self.settings, self.record, self.history)

    @property
    def history(self) -> tuple[Losses, ...]:
        """Losses of each evaluation so far."""
        return tuple(self._loop.state.history)

    @property
    def record(self) -> RunRecord:
        """Provenance of the current image."""
        state, assignment = self._loop.state, self._loop.inputs.assignment
        last = state.history[-1] if state.history else None
        terms = ("content", "style", "tv", "temporal", "total")
        return RunRecord.model_validate(
            {
                "settings": self.settings,
                "resolved": self._resolve(),
                **self._first_inputs.records,
                "regions": state.regions,
                "kept_labels": assignment.kept if assignment else (),
                "steering": tuple(state.steering),
                "out_of_memory_events": tuple(state.out_of_memory_events),
                "iterations": len(state.history),
                "losses": {term: getattr(last, term) for term in terms} if last else {},
                "status": state.status,
            }
        )

    def _scale_records(self) -> Iterator[ScaleRecord]:
        history = iter(self.history)
        loop = self._loop
        for scale, side in zip(loop.scales, loop.memory_plan.tile_sizes, strict=True):
            here = [*islice(history, scale.iterations)]
            kept = (losses.kept_structure for losses in reversed(here))
            yield ScaleRecord(
                **vars(scale),
                tile=side,
                kept_structure=next((value for value in kept if not math.isnan(value)), None),
                content_factor=here[-1].content_factor if here else None,
            )

    def _resolve(self) -> Resolved:
        loop = self._loop
        return Resolved(
            device=str(loop.device.torch_device),
            device_name=loop.device.name,
            precision=loop.device.precision,
            threads=torch.get_num_threads(),
            weights=self._weights.source,
            weights_sha256=self._weights.sha256,
            weights_format=self._weights.format,
            scales=tuple(self._scale_records()),
            lbfgs_history=loop.state.lbfgs_history,
            convolutions=loop.convolutions,
        )
