"""A stand-in for the engine, with the speed and the errors that a test needs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from napari_nst.engine.images.arguments import as_list
from napari_nst.engine.images.pictures import input_record
from napari_nst.engine.optim.schedule import Scale
from napari_nst.engine.run.control import Control, Stopped
from napari_nst.engine.run.snapshots import Snapshot, StyleTransferResult
from napari_nst.engine.run.updates import SettingsUpdate
from napari_nst.errors import InputError
from napari_nst.record import Resolved, RunRecord, ScaleRecord, SteeringRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_nst.engine.losses.values import Losses
    from napari_nst.settings import StyleTransferSettings


@dataclass
class FakeEngine:
    """Creates runs that brighten the content by the finished share of the iterations.

    Attributes
    ----------
    step : callable or None
        Called in the worker's thread with the iteration, from 1, before each tile; may wait or
        raise.
    tiles : int
        Number of tiles per iteration; a run can pause and stop between them.
    refused : float or None
        Style weight that a run rejects.
    made : list of FakeRun
        All runs that were created.
    """

    step: Callable[[int], object] | None = None
    tiles: int = 1
    refused: float | None = None
    made: list[FakeRun] = field(default_factory=list)

    def __call__(
        self, content: Any, styles: Any, settings: StyleTransferSettings, **options: Any
    ) -> FakeRun:
        run = FakeRun(self, content, styles, settings, **options)
        self.made.append(run)
        return run


@dataclass(frozen=True)
class FakeLosses:
    """Losses that fall with the iterations."""

    content: float
    style: float
    total: float
    temporal: float = 0.0


class FakeRun:
    """Run of a `FakeEngine`, with the interface of `engine.run.protocol.Run`."""

    def __init__(
        self,
        engine: FakeEngine,
        content: Any,
        styles: Any,
        settings: StyleTransferSettings,
        *,
        names: Any = None,
        control: Control | None = None,
        **more: Any,
    ) -> None:
        self.engine, self.settings, self.more = engine, settings, more
        self.content: NDArray[Any] = np.asarray(content)
        self.styles = as_list(styles)
        self.names = list(names or ["content", *("style" for _ in self.styles)])
        self.output_shape: tuple[int, int] = (self.content.shape[0], self.content.shape[1])
        self.history: list[FakeLosses] = []
        self.steered: list[dict[str, Any]] = []
        self.control = control or Control()
        self._status: Any = "running"
        self._steering: list[SteeringRecord] = []
        self._labels = [more.get("content_labels"), *(more.get("style_labels") or ())]
        self._snapshots = self._iterate()

    @property
    def scales(self) -> tuple[Scale, ...]:
        return (Scale(*self.output_shape, iterations=self.settings.iterations),)

    @property
    def record(self) -> RunRecord:
        resolved = Resolved(
            device="cpu",
            device_name="test CPU",
            precision="float32",
            threads=1,
            weights="none",
            weights_sha256="0",
            scales=tuple(ScaleRecord(**vars(scale)) for scale in self.scales),
        )
        return RunRecord(
            settings=self.settings,
            resolved=resolved,
            content=input_record(self.content, self.names[0]),
            styles=tuple(
                input_record(np.asarray(style), name)
                for style, name in zip(self.styles, self.names[1:], strict=True)
            ),
            **{
                name: input_record(np.asarray(self.more[name]), name)
                for name in ("init_image", "init_reliability")
                if name in self.more
            },
            steering=tuple(self._steering),
            iterations=len(self.history),
            losses={"total": self.history[-1].total} if self.history else {},
            status=self._status,
        )

    @property
    def paused_seconds(self) -> float:
        return self.control.paused_seconds

    def stop(self) -> None:
        self.control.stop()

    def stop_if(self, predicate: Callable[[], bool], /) -> None:
        self.control.stop_if(predicate)

    def pause(self) -> None:
        self.control.pause()

    def resume(self) -> None:
        self.control.resume()

    def steer(self, **changes: Any) -> None:
        images = {
            name: changes.pop(name)
            for name in ("styles", "names", "content_labels", "style_labels")
            if name in changes
        }
        update = SettingsUpdate(changes, **images)
        update.settings(self.settings)
        self.control.steer(update)

    def _apply(self, update: SettingsUpdate) -> None:
        if update.choices.get("style_weight", "") == self.engine.refused:
            raise InputError("The style weight is refused.")
        images = update.images
        if "content_labels" in images or "style_labels" in images:
            labels = [images.get("content_labels"), *(images.get("style_labels") or ())]
            if not update.choices and "styles" not in images and _same_arrays(labels, self._labels):
                return
            self._labels = labels
        self.steered.append({**update.choices, **images})
        choices = dict(update.choices)
        self._steering.append(SteeringRecord(iteration=len(self.history), choices=choices))

    def picture(self) -> NDArray[np.float32]:
        share = len(self.history) / self.settings.iterations
        return np.full(self.content.shape, share, np.float32)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Snapshot:
        try:
            return next(self._snapshots)
        except StopIteration:
            raise
        except BaseException:
            self._status = "failed"
            raise

    def _iterate(self) -> Iterator[Snapshot]:
        began = time.perf_counter()
        iterations = self.settings.iterations
        for iteration in range(1, iterations + 1):
            try:
                self.control.wait_if_paused()
                self.control.apply_updates(self._apply)
                for _ in range(self.engine.tiles):
                    self.control.wait_if_paused()
                    if self.engine.step is not None:
                        self.engine.step(iteration)
            except Stopped:
                self._status = "stopped"
                return
            losses = FakeLosses(0.4 / iteration, 0.6 / iteration, 1 / iteration)
            self.history.append(losses)
            picture: Any = self.picture()  # a numpy array instead of a tensor
            yield Snapshot(
                iteration=iteration,
                iterations=iterations,
                scale=1,
                scales=1,
                shape=self.output_shape,
                losses=cast("Losses", losses),
                elapsed=time.perf_counter() - began - self.paused_seconds,
                progress=iteration / iterations,
                _image=picture,
                _to_array=lambda image, shape: cast("Any", image),
                warnings=self.control.take_warnings(),
            )
        self._status = "finished"

    def result(self) -> StyleTransferResult:
        history = cast("tuple[Losses, ...]", tuple(self.history))
        return StyleTransferResult(self.picture(), self.settings, self.record, history)


def _same_arrays(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        a is b or (a is not None and b is not None and np.array_equal(a, b))
        for a, b in zip(first, second, strict=True)
    )
