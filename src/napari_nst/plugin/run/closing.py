"""Detect that a viewer's window closes; make workers that survive the closing of other viewers."""

from __future__ import annotations

from inspect import isgeneratorfunction
from typing import TYPE_CHECKING, Any

from napari import current_viewer
from napari.qt.threading import FunctionWorker, GeneratorWorker, create_worker
from psygnal import Signal
from qtpy.QtCore import QEvent, QObject

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

__all__ = ["WindowWatch", "make_worker"]


class WindowWatch(QObject):
    """Event filter that emits when the window of a widget closes.

    Python may outlive the window, in a notebook or with a second viewer.  Qt then deletes the
    widgets without notifying the Python objects that use them.

    Parameters
    ----------
    widget : QWidget or None
        The window or a widget in it, also in a floating dock; None: there is no window.

    Attributes
    ----------
    closing : Signal
        Emitted, perhaps twice, before the widgets are deleted.
    """

    closing = Signal()

    def __init__(self, widget: QWidget | None) -> None:
        while widget is not None and (parent := widget.parentWidget()) is not None:
            widget = parent
        super().__init__(widget)
        if widget is not None:
            widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Watch the events of the window without filtering any."""
        if event is not None and _closes(event):
            self.closing.emit()
        return False


def make_worker(work: Callable[[], Any]) -> Any:
    """Return a napari worker, not started, that only quits when the program ends.

    napari assigns a worker to the viewer that is current when it is made, and makes it quit when
    that viewer closes, even if it works for another one.  End workers by a `WindowWatch` instead.

    Parameters
    ----------
    work : callable
        A function or generator function.  napari shows its name when it asks whether to close a
        window.
    """
    kind = _GeneratorWorker if isgeneratorfunction(work) else _FunctionWorker
    worker = create_worker(work, _start_thread=False, _ignore_errors=True, _worker_class=kind)
    if current_viewer() is not None:
        # napari's callback for the task's status takes no error, and PySide6 passes it.
        worker.errored.disconnect()
    del worker.quit  # napari has kept the one that does nothing; restore the real one
    return worker


class _IgnoresQuit:
    """Worker whose `quit` does nothing until it is deleted."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.quit = lambda: None


class _FunctionWorker(_IgnoresQuit, FunctionWorker):  # type: ignore[misc]
    """Worker for a function."""


class _GeneratorWorker(_IgnoresQuit, GeneratorWorker):  # type: ignore[misc]
    """Worker for a generator."""


def _closes(event: Any) -> bool:
    """Return whether an event closes a viewer's window.

    A spontaneous close event comes from the user, whom napari may ask and then stay open; after
    any other, the window closes.
    """
    if event.type() == QEvent.Type.Close:
        return not event.spontaneous()
    return bool(event.type() == QEvent.Type.DeferredDelete)
