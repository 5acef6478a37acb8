"""Notice that a viewer's window closes, and keep workers from ending with another's."""

from __future__ import annotations

from inspect import isgeneratorfunction
from typing import TYPE_CHECKING, Any

from napari.qt.threading import FunctionWorker, GeneratorWorker, create_worker
from psygnal import Signal
from qtpy.QtCore import QEvent, QObject

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

__all__ = ["WindowWatch", "make_worker"]


class WindowWatch(QObject):
    """Event filter that tells when the window of a widget closes.

    Python may live on when the window is gone: in a notebook, or beside a second viewer.  Qt
    deletes the widgets then and says nothing to the Python objects that use them.

    Parameters
    ----------
    widget : QWidget or None
        The window, or a widget in it, be it in a floating dock; None: nothing closes.

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
        """Look at the events of the window, and let them pass."""
        if event is not None and _closes(event):
            self.closing.emit()
        return False


def make_worker(work: Callable[[], Any]) -> Any:
    """Return a napari worker, not started, that only the end of the program makes quit.

    napari counts a worker among the tasks of the viewer that is current when the worker is made,
    and has it quit when that viewer closes, be it not the one that the work is for.  Who makes a
    worker here ends it by a `WindowWatch`.

    Parameters
    ----------
    work : callable
        A function, or a function that makes a generator.  Its name is part of napari's question
        whether to close a window.
    """
    kind = _GeneratorWorker if isgeneratorfunction(work) else _FunctionWorker
    worker = create_worker(work, _start_thread=False, _ignore_errors=True, _worker_class=kind)
    del worker.quit  # napari has it: from here on the real one is called
    return worker


class _QuitByNobody:
    """Worker whose `quit`, as napari's tasks take it, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.quit = lambda: None


class _FunctionWorker(_QuitByNobody, FunctionWorker):  # type: ignore[misc]
    """Worker for a function."""


class _GeneratorWorker(_QuitByNobody, GeneratorWorker):  # type: ignore[misc]
    """Worker for a generator."""


def _closes(event: Any) -> bool:
    """Return whether an event closes a viewer's window.

    napari may ask the user about a click on the window's cross, which is spontaneous, and stay
    open; it stays open for no other reason.
    """
    if event.type() == QEvent.Type.Close:
        return not event.spontaneous()
    return bool(event.type() == QEvent.Type.DeferredDelete)
