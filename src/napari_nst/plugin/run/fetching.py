"""Download VGG-19's weights from the viewer: ask, show progress, cancel."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from napari.utils import progress as activity
from psygnal import Signal
from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtWidgets import QMessageBox, QProgressDialog

from napari_nst.cache import cache_directory
from napari_nst.errors import StyleTransferError
from napari_nst.plugin.run.closing import WindowWatch, make_worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.qt.threading import FunctionWorker
    from qtpy.QtWidgets import QWidget

__all__ = ["INSTALLED", "Fetch", "agreed", "ask_and_fetch"]

logger = logging.getLogger(__name__)

INSTALLED = "VGG-19 is installed and can be chosen as the network."

_MEGABYTE = 10**6
_MEGABYTES = 548  # of torchvision's file; 40 are kept
_POLL_MILLISECONDS = 200


class Fetch(QObject):
    """Download of VGG-19's weights in a worker.

    Parameters
    ----------
    fetch : callable, optional
        By default `engine.network.download.fetch_vgg19`; takes ``on_progress`` and ``cancelled``.
    parent : QObject, optional
        The download ends when it is deleted.

    Attributes
    ----------
    progressed : Signal
        Emitted with the megabytes downloaded, and in total or 0 if unknown.
    ended : Signal
        Emitted once, with what failed in a sentence; empty after success or cancelling.
    file : Path or None
        The weights; None unless the download succeeded.
    """

    progressed = Signal(int, int)
    ended = Signal(str)

    def __init__(
        self, fetch: Callable[..., Path] | None = None, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.file: Path | None = None
        self._fetch = fetch
        self._cancel = cancel = threading.Event()
        self._amount = (0, 0)  # written by the worker's thread, read by the timer
        self._problem = ""
        self._activity: Any = None
        self._worker: FunctionWorker | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL_MILLISECONDS)
        self._timer.timeout.connect(self._poll)
        self.destroyed.connect(lambda: cancel.set())

    @property
    def running(self) -> bool:
        """Whether the download is running."""
        return self._worker is not None

    def start(self) -> None:
        """Start the download, or continue one that was interrupted."""
        if self.running:
            return
        self.file, self._problem = None, ""
        self._cancel.clear()

        def download_vgg19() -> Path | None:  # napari shows the name on closing
            fetch = self._fetch or _default_fetch()
            return fetch(on_progress=self._note, cancelled=self._cancelled)

        worker = make_worker(download_vgg19)
        worker.returned.connect(self._on_returned)
        worker.errored.connect(self._on_errored)
        worker.finished.connect(self._on_finished)
        self._worker = worker
        self._activity = activity(total=_MEGABYTES, desc="VGG-19's weights")
        self._timer.start()
        worker.start()

    def cancel(self) -> None:
        """Stop the download; the next one continues it."""
        self._cancel.set()

    def close(self) -> None:
        """Cancel the download and its progress bar, because the window closes."""
        self.cancel()
        self._end_activity()

    def _end_activity(self) -> None:
        self._timer.stop()
        if self._activity is not None:
            self._activity.close()
            self._activity = None

    def _note(self, done: int, total: int | None) -> None:
        self._amount = (done // _MEGABYTE, (total or 0) // _MEGABYTE)

    def _cancelled(self) -> bool:
        # napari asks its workers to abort when the program ends.
        return self._cancel.is_set() or (self._worker is not None and self._worker.abort_requested)

    def _poll(self) -> None:
        done, total = self._amount
        if self._activity is not None:
            self._activity.update(min(done, _MEGABYTES) - self._activity.n)
        self.progressed.emit(done, total)

    def _on_returned(self, file: Path | None) -> None:
        self.file = file

    def _on_errored(self, error: Exception) -> None:
        if self._cancelled():
            return
        if isinstance(error, StyleTransferError):
            self._problem = str(error)
        else:
            logger.error("The download failed.", exc_info=error)
            self._problem = f"The download failed: {error or type(error).__name__}."

    def _on_finished(self) -> None:
        self._poll()
        self._end_activity()
        self._worker = None
        self.ended.emit(self._problem)


def agreed(parent: QWidget | None = None) -> bool:
    """Ask whether to download, with size and folder."""
    answer = QMessageBox.question(
        parent,
        "Download VGG-19?",
        f"The weights of VGG-19 are a download of {_MEGABYTES} MB from torchvision's server; "
        f"40 MB of it are kept, in {cache_directory()}.  VGG-16's came with the plugin and need "
        "no download.\n\nDownload them now?",
    )
    return bool(answer == QMessageBox.StandardButton.Yes)


def ask_and_fetch(
    parent: QWidget | None = None, fetch: Callable[..., Path] | None = None
) -> Fetch | None:
    """Ask, and start the download with a progress dialog that can cancel it.

    Parameters
    ----------
    parent : QWidget, optional
        Parent of the dialogs.
    fetch : callable, optional
        As for `Fetch`.

    Returns
    -------
    Fetch or None
        The running download; None if the user declines.
    """
    if not agreed(parent):
        return None
    fetching = Fetch(fetch, parent)
    dialog = QProgressDialog("Connecting ...", "Cancel", 0, 0, parent)
    dialog.setWindowTitle("VGG-19's weights")
    dialog.setWindowModality(Qt.WindowModality.NonModal)
    dialog.setAutoClose(False)
    dialog.setAutoReset(False)
    dialog.setMinimumDuration(0)

    def show(done: int, total: int) -> None:
        if total:
            dialog.setMaximum(total)
            dialog.setValue(done)
            dialog.setLabelText(f"{done} of {total} MB downloaded.")

    def close(_: str) -> None:
        fetching.progressed.disconnect(show)
        fetching.ended.disconnect(close)
        dialog.canceled.disconnect()
        dialog.close()
        dialog.deleteLater()

    dialog.canceled.connect(fetching.cancel)
    fetching.progressed.connect(show)
    fetching.ended.connect(close)
    WindowWatch(parent).closing.connect(fetching.close)
    fetching.start()
    dialog.show()
    return fetching


def _default_fetch() -> Callable[..., Path]:
    """Import the engine, and torch with it, in the worker's thread."""
    from napari_nst.engine.network.download import fetch_vgg19

    return fetch_vgg19
