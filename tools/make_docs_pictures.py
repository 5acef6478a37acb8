"""Make the pictures of docs/controls.md and docs/gallery.md: run the commands in these pages.

The pictures are written to docs/images/controls and docs/images/gallery.  Names make only some::

    python tools/make_docs_pictures.py style-weight.jpg colours.jpg
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from docs_pages import ROOT, commands
from napari_nst import samples
from napari_nst.cli import main as napari_nst_command

__all__ = ["PICTURES"]

IMAGES = ROOT / "docs" / "images"
SIDE = 192  # pixels of the contents and styles in the gallery, as of the results
TEXT = 40  # pixels: a picture is higher, a line of text lower
LINE_GAP = 12  # pixels: less between headings and pictures, more above the headings
MARGIN = 12  # pixels above and below a row of pictures
WIDEST = 1050  # pixels: larger sheets are made smaller

# Picture of each command with an output, and the words of the command.
PICTURES = {
    IMAGES / page / words[words.index("-o") + 1]: words
    for page in ("controls", "gallery")
    for words in commands(ROOT / "docs" / f"{page}.md")
}


def write_samples(folder: Path) -> None:
    """Write the contents and styles of the samples to a folder as PNG."""
    for sample in samples.SAMPLES.values():
        Image.fromarray(sample.content()).save(folder / f"{sample.content_name}.png")
        Image.fromarray(sample.style()).save(folder / f"{sample.style_name}.png")


def row_of_pictures(sheet: Image.Image) -> Image.Image:
    """Return the last row of pictures of a sheet, and its headings.

    The content, the style and the seconds are on every sheet, and the seconds vary by machine.
    """
    sheet = ImageOps.contain(sheet, (min(sheet.width, WIDEST), sheet.height))
    inked = np.flatnonzero((np.asarray(sheet.convert("L")) < 200).any(axis=1))
    blocks = np.split(inked, np.flatnonzero(np.diff(inked) > 1) + 1)
    row = max(number for number, block in enumerate(blocks) if len(block) > TEXT)
    first = row
    while first and blocks[first][0] - blocks[first - 1][-1] < LINE_GAP:
        first -= 1
    found = sheet.crop((0, int(blocks[first][0]), sheet.width, int(blocks[row][-1]) + 1))
    return ImageOps.expand(found, (0, MARGIN, 0, MARGIN), "white")


def main() -> None:
    """Run the commands, and write small copies of the samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="files to make; by default all")
    names = parser.parse_args().names
    for images in {picture.parent for picture in PICTURES}:
        images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_samples(Path())
        for picture, words in PICTURES.items():
            if names and picture.name not in names:
                continue
            if napari_nst_command(words):
                raise SystemExit(f"{picture.name} was not made")
            image: Image.Image = Image.open(picture.name)
            image = row_of_pictures(image) if words[0] == "sweep" else image
            image.save(picture, quality=90)
        for file in sorted(Path().glob("*.png")):
            image = Image.open(file).convert("RGB")
            image.thumbnail((SIDE, SIDE))
            image.save(IMAGES / "gallery" / f"{file.stem}.jpg", quality=85)


if __name__ == "__main__":
    main()
