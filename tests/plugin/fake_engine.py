"""An engine that paints nothing, as fast or as slowly as a test wants it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.engine.optim.schedule import Scale
from napari_nst.engine.run.control import Control, Stopped
from napari_nst.engine.run.snapshots import Snapshot
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class FakeEngine:
    """Makes runs that brighten the content by the share of the iterations done.

    Attributes
    ----------
    step : callable or None
        Called in the worker's thread with each iteration's number, before it and each of its tiles:
        it may wait or raise.
    tiles : int
        Of an iteration: between them a run is paused and stopped.
    refused : float or None
        A style weight that a run cannot be steered to.
    made : list of FakeRun
        The runs so far.
    """

    step: Callable[[int], object] | None = None
    tiles: int = 1
    refused: float | None = None

    def __post_init__(self) -> None:
        self.made: list[FakeRun] = []

    def __call__(
        self, content: Any, styles: Any, settings: Any, *, names: Any, **more: Any
    ) -> FakeRun:
        run = FakeRun(self, np.asarray(content), styles, settings, list(names), more)
        self.made.append(run)
        return run


class FakeRun:
    """What a session needs of a `StyleTransfer`."""

    def __init__(
        self,
        engine: FakeEngine,
        content: Any,
        styles: Any,
        settings: Any,
        names: Any,
        more: dict[str, Any],
    ):
        self.engine, self.content, self.styles = engine, content, styles
        self.settings, self.names, self.more = settings, names, more
        self.output_shape = content.shape[:2]
        self.scales = (Scale(*self.output_shape, settings.iterations),)
        self.history: list[float] = []
        self.steered: list[dict[str, Any]] = []
        self.control: Control[Any] = more.pop("control", None) or Control()

    def stop(self) -> None:
        self.control.stop()

    def stop_if(self, abandoned: Callable[[], bool]) -> None:
        self.control.stop_if(abandoned)

    def pause(self) -> None:
        self.control.pause()

    def resume(self) -> None:
        self.control.resume()

    @property
    def paused_seconds(self) -> float:
        return self.control.paused_seconds

    def steer(self, **choices: Any) -> None:
        if choices.get("style_weight", "") == self.engine.refused:
            raise InputError("It cannot be.")
        self.steered.append(choices)

    @property
    def record(self) -> Any:
        resolved = {"device": "cpu", "device_name": "abacus", "precision": "float32"}
        record = {
            "resolved": resolved,
            "settings": self.settings.model_dump(mode="json"),
            "iterations": len(self.history),
            "content": {"name": self.names[0]},
            "styles": [{"name": name} for name in self.names[1:]],
            "steering": [],
        }
        return SimpleNamespace(resolved=SimpleNamespace(**resolved), to_dict=lambda: record)

    def picture(self) -> np.ndarray:
        share = len(self.history) / self.settings.iterations
        return np.full(self.content.shape, share, np.float32)

    def __iter__(self) -> Iterator[Any]:
        for iteration in range(1, self.settings.iterations + 1):
            try:
                for _ in range(self.engine.tiles):
                    self.control.wait_if_paused()
                    if self.engine.step is not None:
                        self.engine.step(iteration)
            except Stopped:
                return
            self.history.append(1 / iteration)
            picture: Any = self.picture()
            losses: Any = SimpleNamespace(
                content=0.4 / iteration, style=0.6 / iteration, total=1 / iteration
            )
            yield Snapshot(
                iteration=iteration,
                iterations=self.settings.iterations,
                scale=1,
                scales=1,
                shape=self.output_shape,
                losses=losses,
                elapsed=0.1 * iteration,
                progress=iteration / self.settings.iterations,
                _image=picture,
                _deliver=lambda image, shape: image,
            )

    def result(self) -> Any:
        return SimpleNamespace(image=self.picture(), record=self.record)
