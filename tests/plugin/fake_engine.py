"""An engine that paints nothing, as fast or as slowly as a test wants it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.engine.schedule import Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class FakeEngine:
    """Makes runs that brighten the content by the share of the iterations done.

    Attributes
    ----------
    step : callable or None
        Called in the worker's thread with each iteration's number, before it: it may wait or raise.
    made : list of FakeRun
        The runs so far.
    """

    step: Callable[[int], object] | None = None

    def __post_init__(self) -> None:
        self.made: list[FakeRun] = []

    def __call__(self, content: Any, styles: Any, settings: Any, *, names: Any) -> FakeRun:
        run = FakeRun(self, np.asarray(content), styles, settings, list(names))
        self.made.append(run)
        return run


class FakeRun:
    """What a session needs of a `StyleTransfer`."""

    def __init__(self, engine: FakeEngine, content: Any, styles: Any, settings: Any, names: Any):
        self.engine, self.content, self.styles = engine, content, styles
        self.settings, self.names = settings, names
        self.output_shape = content.shape[:2]
        self.scales = (Scale(*self.output_shape, settings.iterations),)
        self.history: list[float] = []
        self.steered: list[dict[str, Any]] = []
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def steer(self, **choices: Any) -> None:
        self.steered.append(choices)

    def picture(self) -> np.ndarray:
        share = len(self.history) / self.settings.iterations
        return np.full(self.content.shape, share, np.float32)

    def __iter__(self) -> Iterator[Any]:
        for iteration in range(1, self.settings.iterations + 1):
            if self._stopped.is_set():
                return
            if self.engine.step is not None:
                self.engine.step(iteration)
            self.history.append(1 / iteration)
            picture = self.picture()
            yield SimpleNamespace(
                iteration=iteration,
                iterations=self.settings.iterations,
                scale=1,
                scales=1,
                elapsed=0.1 * iteration,
                losses=SimpleNamespace(total=1 / iteration),
                image=lambda shape, picture=picture: picture,
            )

    def result(self) -> Any:
        record = {"resolved": {"device": "cpu"}, "iterations": len(self.history)}
        return SimpleNamespace(image=self.picture(), record=SimpleNamespace(to_dict=lambda: record))
