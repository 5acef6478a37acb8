"""The one loop: panel, command line and tests all iterate it."""

from __future__ import annotations

import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch

from napari_nst.engine import compute, costs, weights
from napari_nst.engine.control import Control
from napari_nst.engine.inputs import Inputs
from napari_nst.engine.objective import Losses, Objective, extractor_for
from napari_nst.engine.optimizers import LBFGS, Adam, Optimizer
from napari_nst.engine.pictures import resize
from napari_nst.engine.snapshots import Snapshot, StyleTransferResult
from napari_nst.errors import InputError, OutOfMemoryError
from napari_nst.record import Resolved, RunRecord, ScaleRecord, SteeringRecord
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from napari_nst.engine.schedule import Scale
    from napari_nst.engine.vgg import FeatureExtractor

__all__ = ["StyleTransfer", "stylize"]

_STEERABLE = frozenset({"content_weight", "style_weight", "tv_weight", "style_weights", "color"})


class StyleTransfer:
    """A run: an iterator of `Snapshot`, one for each evaluation of loss and gradient.

    Parameters
    ----------
    content : array_like
        Shape (H, W), (H, W, 3) or (H, W, 4); uint8, uint16, or floats in [0, 1].
    styles : array_like or sequence of array_like
        One or several such images, of any size.
    settings : StyleTransferSettings, optional
        Every choice.
    start : array_like, optional
        The image to start from, with ``init="image"``.
    names : sequence of str, optional
        What messages and the record call the content and the styles.
    replay : RunRecord, optional
        A run to do again, with its steering and, if it was stopped, its end; `settings` should
        be the record's.

    Raises
    ------
    InputError
        If an image or the device cannot be used, or the images are not those of `replay`.
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
        start: Any = None,
        names: Sequence[str] | None = None,
        replay: RunRecord | None = None,
    ) -> None:
        self.settings = settings or StyleTransferSettings()
        self._inputs = Inputs(content, styles, start, names, self.settings)
        self._device = compute.Device.resolve(self.settings.device, self.settings.precision)
        self._scales = costs.scales_for(self.settings, *self._inputs.shape, self._device.place.type)
        self._check_memory()
        self._replay = replay
        if replay is not None:
            self._inputs.check_replay(replay)
        self._now = self.settings  # what holds now, all steering included
        self._wished = self.settings  # what will hold when every wish is taken
        self._steering: list[SteeringRecord] = []
        self._control = Control()
        self._history: list[Losses] = []
        self._image: Tensor | None = None
        self._optimizer: Optimizer | None = None
        self._ended = "running"
        self._loop = self._run()
        self._resolved = self._resolve()

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The sizes the picture grows through, coarsest first."""
        return self._scales

    @property
    def output_shape(self) -> tuple[int, int]:
        """Height and width of the result."""
        if self.settings.output_size == "content":
            return self._inputs.shape
        return self._scales[-1].height, self._scales[-1].width

    def __iter__(self) -> Self:
        """Return the run itself: a loop that was left can be entered again."""
        return self

    def __next__(self) -> Snapshot:
        """Do one evaluation and one step, and return the snapshot after it.

        Raises
        ------
        OutOfMemoryError
            If the device runs out of memory.
        StyleTransferError
            If torch fails in any other way.
        """
        try:
            return next(self._loop)
        except StopIteration:
            raise
        except RuntimeError as error:
            self._ended = "failed"
            # The frames of the failed evaluation hold its tensors: let go of them.
            traceback.clear_frames(error.__traceback__)
            failure = compute.translate(error, self._scales[-1])
        except BaseException:
            self._ended = "failed"
            raise
        raise failure

    def stop(self) -> None:
        """End the run before its next evaluation; any thread may ask."""
        self._control.stop()

    def pause(self) -> None:
        """Wait before the next evaluation; any thread may ask."""
        self._control.pause()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._control.resume()

    def steer(self, **choices: Any) -> None:
        """Change settings while the run goes on, from its next evaluation; any thread may ask.

        Parameters
        ----------
        **choices
            Any of ``content_weight``, ``style_weight``, ``tv_weight``, ``style_weights`` and
            ``color``.

        Raises
        ------
        InputError
            If a setting cannot be changed during a run, or to that value; then none is.
        """
        fixed = sorted(set(choices) - _STEERABLE)
        if fixed:
            raise InputError(
                f"{fixed[0]} cannot be changed during a run; {', '.join(sorted(_STEERABLE))} can."
            )
        wished = self._wished.replace(**choices)
        self._inputs.check_blend(wished)
        self._wished = wished
        self._control.steer(choices)

    def result(self) -> StyleTransferResult:
        """Return the picture as it is now, whatever ended the run or if it goes on."""
        image = self._image
        if image is None:
            image = self._first_image(self._scales[0])
        elif self._optimizer is not None:
            image = self._optimizer.best(image)
        picture = self._inputs.deliver(self._now.color, image, self.output_shape)
        return StyleTransferResult(picture, self.settings, self.record, self.history)

    @property
    def history(self) -> tuple[Losses, ...]:
        """The losses of each evaluation so far."""
        return tuple(self._history)

    @property
    def record(self) -> RunRecord:
        """How the picture came to be, up to now."""
        last = self._history[-1] if self._history else None
        terms = ("content", "style", "tv", "total")
        return RunRecord.model_validate(
            {
                "settings": self.settings,
                "resolved": self._resolved,
                **self._inputs.records,
                "steering": tuple(self._steering),
                "iterations": len(self._history),
                "losses": {term: getattr(last, term) for term in terms} if last else {},
                "ended": self._ended,
            }
        )

    def _run(self) -> Iterator[Snapshot]:
        began = time.perf_counter()
        network = extractor_for(self.settings, self._device.place, self._device.dtype)
        for index, scale in enumerate(self._scales, start=1):
            self._enter(scale)
            objective = self._objective(scale, network)
            for _ in range(scale.iterations):
                self._control.wait()
                if self._control.stopped or self._replayed:
                    self._ended = "stopped"
                    return
                objective = self._obey(scale, objective, network)
                image, optimizer = self._image, self._optimizer
                assert image is not None
                assert optimizer is not None
                losses, gradient = objective.loss_and_gradient(image)
                # Only L-BFGS reads the loss: Adam never waits for the device.
                loss = losses.total if isinstance(optimizer, LBFGS) else 0.0
                self._image = image = optimizer.step(image, loss, gradient)
                self._history.append(losses)
                yield Snapshot(
                    len(self._history),
                    self.settings.iterations,
                    index,
                    len(self._scales),
                    (scale.height, scale.width),
                    losses,
                    time.perf_counter() - began,
                    image,
                    partial(self._inputs.deliver, self._now.color),
                )
        self._ended = "finished"

    def _obey(self, scale: Scale, objective: Objective, network: FeatureExtractor) -> Objective:
        """Carry out what was wished since the last evaluation; return the objective after it."""
        for choices in self._wishes():
            before, self._now = self._now, self._now.replace(**choices)
            self._steering.append(
                SteeringRecord(iteration=len(self._history), choices=dict(choices))
            )
            if self._now.color != before.color:
                assert self._image is not None
                self._image = self._inputs.recolored(self._image, before.color, self._now.color)
                self._optimizer = self._make_optimizer(scale)
                objective = self._objective(scale, network)
            elif self._optimizer is not None:
                objective.steer(self._now)
                self._optimizer.steered()
        return objective

    def _wishes(self) -> Iterator[Mapping[str, Any]]:
        """Take what is to change now: the steering that is replayed, and the user's."""
        for change in self._replay.steering if self._replay else ():
            if change.iteration == len(self._history):
                yield change.choices
        while (wish := self._control.take_wish()) is not None:
            yield wish

    def _objective(self, scale: Scale, network: FeatureExtractor) -> Objective:
        content, styles = self._inputs.prepared(self._now.color, self._device.place)
        return Objective(
            resize(content, scale.height, scale.width),
            [self._resize_style(style, scale) for style in styles],
            self._now,
            network,
        )

    @property
    def _replayed(self) -> bool:
        """Whether a run that was stopped has been replayed as far as it went."""
        record = self._replay
        return (
            record is not None
            and record.ended != "finished"
            and len(self._history) >= record.iterations
        )

    def _enter(self, scale: Scale) -> None:
        """Make image and optimizer ready for a scale."""
        if self._image is None or self._optimizer is None:
            self._optimizer = self._make_optimizer(scale)
            self._image = self._first_image(scale)
        else:
            image = self._optimizer.best(self._image)
            self._image = resize(image, scale.height, scale.width)
            self._optimizer.resize(scale.height, scale.width, scale.iterations)

    def _first_image(self, scale: Scale) -> Tensor:
        shape = (scale.height, scale.width)
        return self._inputs.first_image(self._now, shape, self._device.place)

    def _make_optimizer(self, scale: Scale) -> Optimizer:
        rate = self.settings.learning_rate
        if self.settings.optimizer == "lbfgs":
            return LBFGS(rate or 1.0)
        return Adam(rate or 0.02, iterations=scale.iterations)

    def _resize_style(self, style: Tensor, scale: Scale) -> Tensor:
        shape = (style.shape[-2], style.shape[-1])
        return resize(style, *costs.fit_style(self.settings, shape, scale))

    def _resolve(self) -> Resolved:
        loaded = weights.load(self.settings.network, self.settings.weights)
        return Resolved(
            device=str(self._device.place),
            device_name=self._device.name,
            precision=self._device.precision,
            threads=torch.get_num_threads(),
            weights=loaded.source,
            weights_sha256=loaded.sha256,
            scales=tuple(ScaleRecord(**vars(scale)) for scale in self._scales),
        )

    def _check_memory(self) -> None:
        last = self._scales[-1]
        needed = costs.bytes_needed(
            self.settings, last, self._inputs.style_shapes, self._device.dtype.itemsize
        )
        free = self._device.free_bytes
        if needed > free:
            raise OutOfMemoryError(
                f"Working at {last.width} x {last.height} pixels needs about "
                f"{needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free; "
                "choose a smaller size."
            )


def stylize(
    content: Any,
    style: Any,
    settings: StyleTransferSettings | None = None,
    *,
    start: Any = None,
    record: RunRecord | None = None,
    callback: Callable[[Snapshot], object] | None = None,
    **choices: Any,
) -> StyleTransferResult:
    """Give the content image the style of another.

    Parameters
    ----------
    content : array_like
        Shape (H, W), (H, W, 3) or (H, W, 4); uint8, uint16, or floats in [0, 1].
    style : array_like or sequence of array_like
        One or several such images, of any size.
    settings : StyleTransferSettings, optional
        Every choice; `choices` change single ones.
    start : array_like, optional
        The image to start from, with ``init="image"``.
    record : RunRecord, optional
        A run to do again, its steering included, instead of `settings`: on the same machine,
        with the same versions, to the same bytes.
    callback : callable, optional
        Called with each `Snapshot`.  An exception it raises ends the run.
    **choices
        Settings by name, for example ``size=512, style_weight=2``.

    Returns
    -------
    StyleTransferResult
        With ``image``, float32 in [0, 1].

    Raises
    ------
    InputError, WeightsError, OutOfMemoryError, StyleTransferError
        As `StyleTransfer` does.

    Examples
    --------
    >>> import napari_nst
    >>> from skimage.data import astronaut
    >>> wood = napari_nst.samples.paint("woodcut")
    >>> picture = napari_nst.stylize(astronaut(), wood, size=128, iterations=20).image
    """
    if record is not None:
        if settings is not None or choices:
            raise InputError("A record has its own settings; give either a record or settings.")
        settings = record.settings
    if choices:
        settings = (settings or StyleTransferSettings()).replace(**choices)
    run = StyleTransfer(content, style, settings, start=start, replay=record)
    for snapshot in run:
        if callback is not None:
            callback(snapshot)
    return run.result()
