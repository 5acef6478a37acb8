"""Change, pause and stop a run from a script.

A run is an iterator.  After a quarter of the iterations this one gets more style; after a half it
gets another style and pauses for half a second; after three quarters it stops.  Writes a PNG with
the picture at these three points, side by side, and prints the changes from the record.
"""

from __future__ import annotations

import argparse
import threading

import numpy as np
from skimage.data import astronaut

import napari_nst
from napari_nst.files import write_image

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("output", nargs="?", default="steering.png")
parser.add_argument("--size", type=int, default=192, help="longest side of the run, in pixels")
parser.add_argument("--iterations", type=int, default=80)
options = parser.parse_args()

woodcut, glass = map(napari_nst.samples.style_image, ("woodcut", "stained-glass"))
settings = napari_nst.StyleTransferSettings(size=options.size, iterations=options.iterations)
run = napari_nst.StyleTransfer(astronaut(), woodcut, settings, names=["astronaut", "woodcut"])
quarter = max(options.iterations // 4, 1)
pictures = []
for snapshot in run:
    if snapshot.iteration % quarter == 0:
        pictures.append(snapshot.image(run.output_shape))
    if snapshot.iteration == quarter:
        run.steer(style_weight=5)
    elif snapshot.iteration == 2 * quarter:
        run.steer(styles=[glass], names=["stained glass"])
        run.pause()  # the next iteration waits until another thread calls resume
        threading.Timer(0.5, run.resume).start()
    elif snapshot.iteration == 3 * quarter:
        run.stop()
write_image(options.output, np.concatenate(pictures, axis=1))
record = run.record
print(f"{record.status} after {record.iterations} of {options.iterations} iterations")
print(f"paused for {run.paused_seconds:.1f} s")
for change in record.steering:
    names = [style.name for style in change.styles or ()]
    print(f"iteration {change.iteration}: {change.choices or names}")
