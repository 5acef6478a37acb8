"""The one loop: panel, command line and tests all iterate it."""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any, Self

import torch

from napari_nst.engine import color, compute, costs, weights
from napari_nst.engine.control import Control
from napari_nst.engine.objective import Losses, Objective, extractor_for
from napari_nst.engine.optimizers import LBFGS, Adam, Optimizer
from napari_nst.engine.pictures import Picture, resize
from napari_nst.engine.snapshots import Snapshot, StyleTransferResult
from napari_nst.errors import InputError, OutOfMemoryError, StyleTransferError
from napari_nst.record import Resolved, RunRecord, ScaleRecord
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_nst.engine.schedule import Scale

__all__ = ["StyleTransfer", "stylize"]


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

    Raises
    ------
    InputError
        If an image or the device cannot be used.
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
    ) -> None:
        self.settings = settings or StyleTransferSettings()
        images = _as_list(styles)
        names = names or ["content", *_style_names(len(images))]
        self._content = Picture.of(content, names[0], self.settings.nan)
        self._styles = [
            Picture.of(image, name) for image, name in zip(images, names[1:], strict=True)
        ]
        self._start = self._check_start(start)
        self._check_blend()
        self._device = compute.Device.resolve(self.settings.device, self.settings.precision)
        self._scales = costs.scales_for(
            self.settings, *self._content.shape, self._device.place.type
        )
        self._check_memory()
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
            return self._content.shape
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
            failure = _translate(error, self._scales[-1])
        except BaseException:
            self._ended = "failed"
            raise
        raise failure

    def stop(self) -> None:
        """End the run before its next evaluation; any thread may ask."""
        self._control.stop()

    def result(self) -> StyleTransferResult:
        """Return the picture as it is now, whatever ended the run or if it goes on."""
        image = self._image
        if image is None:
            image = self._first_image(self._scales[0])
        elif self._optimizer is not None:
            image = self._optimizer.best(image)
        return StyleTransferResult(
            self._deliver(image, self.output_shape), self.settings, self.record, self.history
        )

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
                "content": self._content.record,
                "styles": tuple(style.record for style in self._styles),
                "start": self._start and self._start.record,
                "iterations": len(self._history),
                "losses": {term: getattr(last, term) for term in terms} if last else {},
                "ended": self._ended,
            }
        )

    def _run(self) -> Iterator[Snapshot]:
        began = time.perf_counter()
        network = extractor_for(self.settings, self._device.place, self._device.dtype)
        content, styles = self._prepared()
        for index, scale in enumerate(self._scales, start=1):
            height, width = scale.height, scale.width
            image = self._enter(scale)
            objective = Objective(
                resize(content, height, width),
                [self._resize_style(style, scale) for style in styles],
                self.settings,
                network,
            )
            optimizer = self._optimizer
            assert optimizer is not None
            for _ in range(scale.iterations):
                if self._control.stopped:
                    self._ended = "stopped"
                    return
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
                    (height, width),
                    losses,
                    time.perf_counter() - began,
                    image,
                    self._deliver,
                )
        self._ended = "finished"

    def _enter(self, scale: Scale) -> Tensor:
        """Return the image a scale starts from, the optimizer made ready for it."""
        if self._image is None or self._optimizer is None:
            self._optimizer = self._make_optimizer(scale)
            self._image = self._first_image(scale)
        else:
            image = self._optimizer.best(self._image)
            self._image = resize(image, scale.height, scale.width)
            self._optimizer.resize(scale.height, scale.width, scale.iterations)
        return self._image

    def _make_optimizer(self, scale: Scale) -> Optimizer:
        rate = self.settings.learning_rate
        if self.settings.optimizer == "lbfgs":
            return LBFGS(rate or 1.0)
        return Adam(rate or 0.02, iterations=scale.iterations)

    def _first_image(self, scale: Scale) -> Tensor:
        content, styles = self._prepared()
        size = scale.height, scale.width
        if self.settings.init == "noise":
            generator = torch.Generator().manual_seed(self.settings.seed)
            noise = torch.rand((1, content.shape[1], *size), generator=generator)
            return noise.to(self._device.place)
        if self.settings.init == "style":
            return resize(styles[0], *size)
        if self._start is not None:
            start = self._start.pixels.to(self._device.place)
            grey = content.shape[1] == 1
            return resize(color.luminance(start) if grey else start.expand(-1, 3, -1, -1), *size)
        return resize(content, *size).clone()

    def _prepared(self) -> tuple[Tensor, list[Tensor]]:
        device = self._device.place
        return color.prepare(
            self._content.pixels.to(device),
            [style.pixels.to(device) for style in self._styles],
            self.settings.color,
        )

    def _resize_style(self, style: Tensor, scale: Scale) -> Tensor:
        shape = (style.shape[-2], style.shape[-1])
        return resize(style, *costs.fit_style(self.settings, shape, scale))

    def _deliver(self, image: Tensor, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Return an image of the run as an array: resampled, coloured, alpha put back."""
        content = resize(self._content.pixels.to(image.device), *shape)
        image = color.finish(resize(image.clamp(0, 1), *shape), content, self.settings.color)
        return self._content.assemble(image)

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

    def _check_start(self, start: Any) -> Picture | None:
        if (start is None) == (self.settings.init == "image"):
            raise InputError(
                f"init is {self.settings.init!r} and start is "
                f"{'missing' if start is None else 'given'}; they go together: a start image is "
                "for init='image'."
            )
        return None if start is None else Picture.of(start, "start")

    def _check_blend(self) -> None:
        shares = self.settings.style_weights
        if shares is not None and len(shares) != len(self._styles):
            raise InputError(
                f"style_weights has {len(shares)} shares for {len(self._styles)} styles; give one "
                "for each."
            )

    def _check_memory(self) -> None:
        layers = costs.layers_in_use(self.settings)
        last = self._scales[-1]
        needed = costs.bytes_needed(
            self.settings.network, layers, last.height, last.width, self._device.dtype.itemsize
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
    if choices:
        settings = (settings or StyleTransferSettings()).replace(**choices)
    run = StyleTransfer(content, style, settings, start=start)
    for snapshot in run:
        if callback is not None:
            callback(snapshot)
    return run.result()


def _as_list(styles: Any) -> list[Any]:
    images = list(styles) if isinstance(styles, (list, tuple)) else [styles]
    if not images:
        raise InputError("There is no style image; give at least one.")
    return images


def _style_names(count: int) -> list[str]:
    return ["style"] if count == 1 else [f"style {index}" for index in range(1, count + 1)]


def _translate(error: RuntimeError, scale: Scale) -> StyleTransferError:
    """Return one of our errors for one of torch's."""
    # The allocator of the processor raises a plain RuntimeError.
    if isinstance(error, torch.OutOfMemoryError) or "alloc" in str(error):
        failure: StyleTransferError = OutOfMemoryError(
            f"There was not enough memory to work at {scale.width} x {scale.height} pixels; "
            "choose a smaller size."
        )
    else:
        failure = StyleTransferError(f"The transfer failed: {error}")
    failure.__cause__ = error
    return failure
