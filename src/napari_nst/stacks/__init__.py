"""Stacks, plane by plane, so that neighbouring planes agree.

`StackTransfer` iterates one run per plane; `ResumableStack` also writes finished planes to a
`PlaneArray` in memory or a `PlaneStore` on disk.  Importing this package does not import torch.
"""

from __future__ import annotations

from napari_nst.stacks.agreement import StartFrom, cost, plane_settings
from napari_nst.stacks.record import PlaneRecord, StackContent, StackRecord
from napari_nst.stacks.resumable import ResumableStack, StackResult, put_plane, stored_record
from napari_nst.stacks.store import PlaneArray, PlaneStore
from napari_nst.stacks.transfer import StackTransfer

__all__ = [
    "PlaneArray",
    "PlaneRecord",
    "PlaneStore",
    "ResumableStack",
    "StackContent",
    "StackRecord",
    "StackResult",
    "StackTransfer",
    "StartFrom",
    "cost",
    "plane_settings",
    "put_plane",
    "stored_record",
]
