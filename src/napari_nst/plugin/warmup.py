"""Import the engine while the viewer goes on answering."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import sys
from pathlib import Path

__all__ = ["import_engine"]

# In the order of what needs what; the first brings in the libraries of the graphics card.
_LIBRARIES = ("libtorch_global_deps.so", "libtorch_cpu.so", "libtorch_cuda.so")


def import_engine() -> str:
    """Import the engine, and return the kind of device it would take; for a thread of its own."""
    if sys.platform == "linux" and "torch" not in sys.modules:
        _load_libraries()
    importlib.import_module("napari_nst.engine.transfer")
    from napari_nst.engine.compute import Device

    return Device.resolve("auto").place.type


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
