"""Ctrl-C during runs."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import FrameType

    from napari_nst.engine.run.transfer import StyleTransfer

__all__ = ["INTERRUPTED", "StopOnCtrlC"]

INTERRUPTED = 130  # exit status by convention: 128 and the number of the signal


class StopOnCtrlC:
    """Stop the current run at the first Ctrl-C, and raise KeyboardInterrupt at the second.

    Attributes
    ----------
    pressed : bool
        Whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._run: StyleTransfer | None = None

    def __enter__(self) -> Self:
        """Handle SIGINT."""
        self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the previous handler."""
        signal.signal(signal.SIGINT, self._before)

    def watch(self, run: StyleTransfer) -> None:
        """Set the current run."""
        self._run = run
        if self.pressed:
            run.stop()

    def _press(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self._before)
        self.pressed = True
        if self._run is not None:
            self._run.stop()
