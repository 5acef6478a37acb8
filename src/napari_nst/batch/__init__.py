"""Restyle many images, in this process or on a Dask cluster.

Importing this package does not import torch.
"""

from __future__ import annotations

from napari_nst.batch.layout import Channels
from napari_nst.batch.plan import BatchJob, make_plan
from napari_nst.batch.records import BatchRecord
from napari_nst.batch.report import BatchReport, JobOutcome, JobProgress
from napari_nst.batch.run import Batch, batch
from napari_nst.ranges import Intensities
from napari_nst.stacks import StartFrom

__all__ = [
    "Batch",
    "BatchJob",
    "BatchRecord",
    "BatchReport",
    "Channels",
    "Intensities",
    "JobOutcome",
    "JobProgress",
    "StartFrom",
    "batch",
    "make_plan",
]
