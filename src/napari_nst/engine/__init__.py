"""Style transfer itself: torch only, no viewer, and never a print."""

from napari_nst.engine.transfer import Snapshot, StyleTransfer, StyleTransferResult, stylize

__all__ = ["Snapshot", "StyleTransfer", "StyleTransferResult", "stylize"]
