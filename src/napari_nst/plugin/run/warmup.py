"""Import the engine without blocking the viewer."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
import os
import sys
import threading
from pathlib import Path

from psygnal import Signal
from qtpy.QtCore import QObject, QTimer

__all__ = ["WarmUp", "import_engine"]

logger = logging.getLogger(__name__)

_POLL_MILLISECONDS = 100

# In the order of their dependencies; the first loads the libraries of CUDA.
_LIBRARIES = ("libtorch_global_deps.so", "libtorch_cpu.so", "libtorch_cuda.so")


class WarmUp(QObject):
    """Imports the engine in a thread; the viewer can be closed meanwhile.

    Parameters
    ----------
    parent : QObject
        Nothing is emitted after it is deleted.

    Attributes
    ----------
    done : Signal
        Emitted with the kind of device that a run would use.
    """

    done = Signal(str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._device = ""
        # Not a daemon: torch aborts a process that ends while its libraries are being loaded.
        # Python waits for this thread at exit; it would not wait for a Qt thread.
        self._thread = threading.Thread(target=self._import, name="import torch", daemon=False)
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL_MILLISECONDS)
        self._timer.timeout.connect(self._poll)

    def start(self) -> None:
        """Start the import."""
        self._thread.start()
        self._timer.start()

    def _import(self) -> None:
        try:
            self._device = import_engine()
        except Exception:  # the first run reports it to the user
            if threading.main_thread().is_alive():  # else Python is exiting
                logger.exception("The engine could not be imported.")

    def _poll(self) -> None:
        if not self._thread.is_alive():
            self._timer.stop()
            if self._device:
                self.done.emit(self._device)


def import_engine() -> str:
    """Import the engine and return the kind of device that a run would use; call it in a thread."""
    if sys.platform == "linux" and "torch" not in sys.modules:
        _load_libraries()
    importlib.import_module("napari_nst.engine.run.transfer")
    from napari_nst.engine.resources.device import Device

    return Device.from_name("auto").torch_device.type


def _load_libraries() -> None:
    """Load torch's large libraries without blocking other threads.

    Python loads an extension module and its dependencies while holding the GIL, which would freeze
    the viewer for half a second.  ctypes releases the GIL, so call dlopen directly; the import then
    finds the libraries loaded.  If this fails, the import loads them as usual.
    """
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        return
    load = ctypes.CDLL(None).dlopen
    load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    for name in _LIBRARIES:
        file = Path(torch.origin).parent / "lib" / name
        # As torch does: only the symbols of the first are global.
        visibility = os.RTLD_GLOBAL if name == _LIBRARIES[0] else os.RTLD_LOCAL
        if file.exists():
            load(os.fsencode(file), os.RTLD_NOW | visibility)
