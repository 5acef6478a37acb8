"""Read and write pictures as sRGB pixels, and stacks plane by plane.

Uses neither torch nor Qt. Pillow handles 8 bits, tifffile TIFF, and imagecodecs PNG of 16 bits and
colour profiles at any depth. Stacks are TIFF, Zarr, animations of Pillow, or films, for which PyAV
is needed.
"""

from __future__ import annotations

from napari_nst.files._common import write_atomically
from napari_nst.files._labels import read_labels
from napari_nst.files._metadata import read_metadata
from napari_nst.files._npy import read_npy
from napari_nst.files._planes import write_planes
from napari_nst.files._read import count_frames, read_image
from napari_nst.files._shape import shape_of
from napari_nst.files._stack import Stack, write_stack
from napari_nst.files._stack_open import STACK_SUFFIXES, is_film, is_stack, open_stack
from napari_nst.files._write import check_writable, write_image

__all__ = [
    "STACK_SUFFIXES",
    "Stack",
    "check_writable",
    "count_frames",
    "is_film",
    "is_stack",
    "open_stack",
    "read_image",
    "read_labels",
    "read_metadata",
    "read_npy",
    "shape_of",
    "write_atomically",
    "write_image",
    "write_planes",
    "write_stack",
]
