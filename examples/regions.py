"""Let labels choose the style of each region.

The table gets one style, the saucer another.  The cup has the label 0 and keeps its pixels.
Writes a PNG with the labels, as colours, above the result.
"""

from __future__ import annotations

import argparse

import numpy as np
from skimage.color import label2rgb
from skimage.data import coffee
from skimage.draw import ellipse

import napari_nst
from napari_nst.files import write_image

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("output", nargs="?", default="regions.png")
parser.add_argument("--size", type=int, default=256, help="longest side of the run, in pixels")
parser.add_argument("--iterations", type=int, default=60)
options = parser.parse_args()

content = coffee()
labels = np.ones(content.shape[:2], np.uint8)  # the table
labels[ellipse(237, 277, 148, 198)] = 2  # the saucer
labels[ellipse(146, 289, 129, 124)] = 0  # the cup

styles = ["impasto", "stained-glass"]
result = napari_nst.stylize(
    content,
    [napari_nst.samples.style_image(name) for name in styles],
    content_labels=labels,
    region_styles={1: 0, 2: 1},  # label: index of its style
    size=options.size,
    iterations=options.iterations,
)
picture = np.concatenate([label2rgb(labels, content, bg_label=0, saturation=1), result.image])
write_image(options.output, picture)
for region in result.record.regions:
    print(f"label {region.labels[0]}: {region.sources[0]}, {region.share:.0%} of the picture")
