"""Image files in and out: what a file holds becomes plain sRGB pixels, and back.

Neither torch nor Qt. Pillow reads and writes what has 8 bits; tifffile reads and writes TIFF;
imagecodecs does what neither can: PNG with 16 bits, and colour profiles at any depth.
"""

from __future__ import annotations

from napari_nst.files._labels import read_labels
from napari_nst.files._metadata import read_metadata
from napari_nst.files._read import read_image
from napari_nst.files._write import check_writable, write_image

__all__ = ["check_writable", "read_image", "read_labels", "read_metadata", "write_image"]
