"""Stop, pause and steer a run from other threads; it checks before every tile."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_nst.engine.run.updates import SettingsUpdate

__all__ = ["Control", "Controlled", "Stopped"]

_POLL_SECONDS = 0.05


class Stopped(Exception):
    """A run was asked to end."""


class Control:
    """Stop, pause and steer a run from any thread, without waiting for it.

    It can exist before its run, and may be shared by the runs of the planes of a stack.

    Attributes
    ----------
    at_plane : callable or None
        Returns a `SettingsUpdate` of a stack, whose labels are those of all planes, for the current
        plane.
    on_applied : callable or None
        Called with each `SettingsUpdate` that was applied, by the thread that iterates.
    """

    def __init__(self) -> None:
        self.at_plane: Callable[[SettingsUpdate], SettingsUpdate] | None = None
        self.on_applied: Callable[[SettingsUpdate], object] | None = None
        self._stop = threading.Event()
        self._resume = threading.Event()
        self._resume.set()
        self._updates: deque[SettingsUpdate] = deque()
        self._warnings: list[str] = []
        self._predicate: Callable[[], bool] | None = None
        self._paused_seconds = 0.0

    def stop(self) -> None:
        """End the run before its next tile, also while it is paused."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether the run was asked to end, or the predicate of `stop_if` holds."""
        if self._predicate is not None and self._predicate():
            self._stop.set()
        return self._stop.is_set()

    def stop_if(self, predicate: Callable[[], bool]) -> None:
        """End the run when a predicate becomes true; a paused run checks it, too."""
        self._predicate = predicate

    def pause(self) -> None:
        """Pause the run before its next tile."""
        self._resume.clear()

    def resume(self) -> None:
        """Continue a paused run."""
        self._resume.set()

    @property
    def paused(self) -> bool:
        """Whether the run was asked to pause."""
        return not self._resume.is_set()

    @property
    def paused_seconds(self) -> float:
        """Seconds that the run has been paused in all."""
        return self._paused_seconds

    def wait_if_paused(self) -> None:
        """Block while the run is paused.

        Raises
        ------
        Stopped
            If the run was stopped.
        """
        began = time.perf_counter()
        while self.paused and not self.stopped:
            self._resume.wait(_POLL_SECONDS)
            now = time.perf_counter()
            self._paused_seconds += now - began
            began = now
        if self.stopped:
            raise Stopped

    def steer(self, update: SettingsUpdate) -> None:
        """Queue a change for the next evaluation."""
        self._updates.append(update)

    @property
    def pending(self) -> tuple[SettingsUpdate, ...]:
        """Updates that wait for the next evaluation, oldest first."""
        return tuple(self._updates)

    def apply_updates(self, apply: Callable[[SettingsUpdate], object]) -> None:
        """Load and apply the pending updates; one that is refused becomes a warning.

        Parameters
        ----------
        apply : callable
            Applies an update whose images are loaded; raises `InputError` to refuse it.
        """
        while self._updates:
            update = self._updates.popleft()
            try:
                update = update.loaded()
                apply(update if self.at_plane is None else self.at_plane(update))
            except InputError as error:
                self._warnings.append(str(error))
                continue
            if self.on_applied is not None:
                self.on_applied(update)

    def take_warnings(self) -> tuple[str, ...]:
        """Return why updates were refused since the last call."""
        warnings = tuple(self._warnings)
        self._warnings.clear()
        return warnings


class Controlled:
    """A run that its `Control` stops and pauses.

    Parameters
    ----------
    control : Control
        The control, which other runs may share.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    def stop(self) -> None:
        """End the run before its next tile or evaluation; any thread may call this."""
        self._control.stop()

    def stop_if(self, predicate: Callable[[], bool]) -> None:
        """End the run as `stop` does when a predicate becomes true.

        Parameters
        ----------
        predicate : callable
            Called by the thread that iterates, before every tile and while the run is paused.
        """
        self._control.stop_if(predicate)

    def pause(self) -> None:
        """Wait before the next tile or evaluation; any thread may call this."""
        self._control.pause()

    def resume(self) -> None:
        """Continue after `pause`."""
        self._control.resume()

    @property
    def paused_seconds(self) -> float:
        """Seconds spent paused."""
        return self._control.paused_seconds
