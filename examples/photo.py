"""Give a photograph the style of a painting, in one call.

Writes a PNG of the photograph's size, 600 x 400 pixels; a larger ``--size`` makes it sharper.  The
file contains the record of the run, so ``napari-nst replay`` can make the picture again.
"""

from __future__ import annotations

import argparse

from skimage.data import coffee

import napari_nst
from napari_nst.files import write_image

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("output", nargs="?", default="photo.png")
parser.add_argument("--size", type=int, default=256, help="longest side of the run, in pixels")
parser.add_argument("--iterations", type=int, default=60)
options = parser.parse_args()


def show_progress(snapshot: napari_nst.Snapshot) -> None:
    """Show how much of the run is done."""
    print(f"\r{snapshot.progress:4.0%}", end="", flush=True)


result = napari_nst.stylize(
    coffee(),
    napari_nst.samples.style_image("impasto"),
    size=options.size,
    iterations=options.iterations,
    callback=show_progress,
)
write_image(options.output, result.image, metadata=result.record.to_json())
height, width, _ = result.image.shape
print(f"\r{options.output}: {width} x {height} pixels")
