"""Many images in one go, here or on the machines of a Dask cluster.

Importing this loads no torch.
"""

from __future__ import annotations

from napari_nst.batch.plan import Intensities, Job, StartFrom, make_plan
from napari_nst.batch.records import BatchRecord
from napari_nst.batch.report import BatchReport, Outcome, Step
from napari_nst.batch.run import Batch, batch

__all__ = [
    "Batch",
    "BatchRecord",
    "BatchReport",
    "Intensities",
    "Job",
    "Outcome",
    "StartFrom",
    "Step",
    "batch",
    "make_plan",
]
