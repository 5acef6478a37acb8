"""Import the engine while the viewer goes on answering."""

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

_MILLISECONDS_BETWEEN_LOOKS = 100

# In the order of what needs what; the first brings in the libraries of the graphics card.
_LIBRARIES = ("libtorch_global_deps.so", "libtorch_cpu.so", "libtorch_cuda.so")


class WarmUp(QObject):
    """Imports the engine in a thread of its own: a viewer can be closed meanwhile.

    Parameters
    ----------
    parent : QObject
        With its end, nothing is emitted any more.

    Attributes
    ----------
    done : Signal
        Emitted with the kind of device that the engine would take.
    """

    done = Signal(str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._device = ""
        # Not a daemon: torch aborts the process if that ends while its libraries are being loaded.
        # Python waits for this thread, once the viewer is gone; for Qt's it would not.
        self._thread = threading.Thread(target=self._import, name="import torch", daemon=False)
        self._timer = QTimer(self)
        self._timer.setInterval(_MILLISECONDS_BETWEEN_LOOKS)
        self._timer.timeout.connect(self._look)

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._timer.start()

    def _import(self) -> None:
        try:
            self._device = import_engine()
        except Exception:  # the first run will say what is wrong with it
            if threading.main_thread().is_alive():  # or else Python is on its way out
                logger.exception("The engine could not be imported.")

    def _look(self) -> None:
        if not self._thread.is_alive():
            self._timer.stop()
            if self._device:
                self.done.emit(self._device)


def import_engine() -> str:
    """Import the engine, and return the kind of device it would take; for a thread of its own."""
    if sys.platform == "linux" and "torch" not in sys.modules:
        _load_libraries()
    importlib.import_module("napari_nst.engine.run.transfer")
    from napari_nst.engine.resources.device import Device

    return Device.from_name("auto").torch_device.type


def _load_libraries() -> None:
    """Load torch's large libraries without holding up every other thread.

    Python loads an extension module, and all it needs, under its global lock: the viewer stands
    still for half a second.  A function called through ctypes gives the lock up, so the dynamic
    linker is asked for them directly; the import then finds them there.  Where this fails,
    nothing is lost but that half second.
    """
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        return
    load = ctypes.CDLL(None).dlopen
    load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    for name in _LIBRARIES:
        file = Path(torch.origin).parent / "lib" / name
        # torch itself loads the first for all to see, and the others for their own sake.
        visibility = os.RTLD_GLOBAL if name == _LIBRARIES[0] else os.RTLD_LOCAL
        if file.exists():
            load(os.fsencode(file), os.RTLD_NOW | visibility)
