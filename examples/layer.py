"""Stylize a napari layer without a viewer.

The content is a grey image of 12 bits with a pixel size.  The result is a layer with the same
dtype, range of values, scale and units; the script writes its data as TIFF.  In a viewer,
``viewer.add_layer(result)`` shows it exactly over the content.
"""

from __future__ import annotations

import argparse

import numpy as np
import tifffile
from napari.layers import Image
from skimage.data import coins

import napari_nst

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("output", nargs="?", default="layer.tif")
parser.add_argument("--size", type=int, default=256, help="longest side of the run, in pixels")
parser.add_argument("--iterations", type=int, default=60)
options = parser.parse_args()

content = Image(
    coins().astype(np.uint16) * 16,
    name="coins",
    contrast_limits=(0, 4095),  # black and white of the run
    scale=(0.2, 0.2),
    units=("mm", "mm"),
)
style = Image(napari_nst.samples.style_image("woodcut"), name="woodcut")
result = napari_nst.stylize_layer(content, style, size=options.size, iterations=options.iterations)
tifffile.imwrite(options.output, result.data)
print(f"{options.output}: {result.name}, {result.data.dtype}, {result.data.shape}")
print(f"pixel size {result.scale[0]:g} {result.units[0]}")
print(f"made by napari-nst {result.metadata['napari_nst']['versions']['napari-nst']}")
