"""Whole stacks, plane by plane, so that neighbouring planes agree.

`StackTransfer` iterates the engine's one loop for every plane; `PlaneStore` keeps what is done on
disk.  Importing this loads no torch.
"""

from __future__ import annotations

from napari_nst.stacks.agreement import StartFrom, cost, settings_of
from napari_nst.stacks.record import PlaneRecord, StackContent, StackRecord
from napari_nst.stacks.store import PlaneStore
from napari_nst.stacks.transfer import StackTransfer

__all__ = [
    "PlaneRecord",
    "PlaneStore",
    "StackContent",
    "StackRecord",
    "StackTransfer",
    "StartFrom",
    "cost",
    "settings_of",
]
