"""Many images in one go, here or on the machines of a Dask cluster.

Importing this loads no torch.
"""

from __future__ import annotations

from napari_nst.batch.layout import Channels
from napari_nst.batch.plan import Job, StartFrom, make_plan
from napari_nst.batch.records import BatchRecord
from napari_nst.batch.report import BatchReport, Outcome, Step
from napari_nst.batch.run import Batch, batch
from napari_nst.intensities import Intensities

__all__ = [
    "Batch",
    "BatchRecord",
    "BatchReport",
    "Channels",
    "Intensities",
    "Job",
    "Outcome",
    "StartFrom",
    "Step",
    "batch",
    "make_plan",
]
