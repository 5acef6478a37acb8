"""Stylize a stack plane by plane, so that neighbouring planes agree.

The content has four planes of grey blobs in 12 bits.  Each plane starts from the result of the
plane before it.  Writes a TIFF with four planes in the intensities of the content.
"""

from __future__ import annotations

import argparse

import numpy as np
import tifffile
from skimage.data import binary_blobs
from skimage.filters import gaussian

import napari_nst
from napari_nst.presets import preset
from napari_nst.stacks import StackTransfer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("output", nargs="?", default="stack.tif")
parser.add_argument("--size", type=int, default=128, help="longest side of the run, in pixels")
parser.add_argument("--iterations", type=int, default=50, help="of each plane")
options = parser.parse_args()

volume = gaussian(binary_blobs(128, n_dim=3, volume_fraction=0.3, rng=0), 3)
planes = np.rint(volume[:8:2] * 4095).astype(np.uint16)
results = np.zeros_like(planes)


def keep(plane: int, result: napari_nst.StyleTransferResult) -> None:
    """Store a finished plane; 65535 is white for all uint16, whatever their bits."""
    results[plane] = np.rint(result.image * 65535)


run = StackTransfer(
    planes,
    napari_nst.samples.style_image("woodcut"),
    preset("grey-microscopy").replace(size=options.size, iterations=options.iterations),
    on_plane_done=keep,
)
for snapshot in run:
    print(f"\rplane {snapshot.plane} of {snapshot.planes}", end="", flush=True)
tifffile.imwrite(options.output, results)
print(f"\r{options.output}: {len(run.finished)} planes, {results.min()} to {results.max()}")
