"""Pairs of a content and a style for the benchmarks of quality."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import skimage.data

from napari_nst.files import read_image
from napari_nst.samples import STYLES, style_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FOLDER_HELP", "PAIRS", "SIX", "Pair", "with_images"]

FOLDER_HELP = (
    "folder with the pictures that neither this package nor scikit-image has: tubingen.jpg, "
    "starry_night.jpg and shipwreck.jpg (public domain or CC BY 3.0, on Wikimedia Commons), "
    "china.jpg and flower.jpg (in scikit-learn); without it their pairs are left out"
)


@dataclass(frozen=True)
class Pair:
    """A content and a style by name: of a sample style, of scikit-image, or of a file."""

    content_name: str
    style_name: str
    kind: str

    @property
    def name(self) -> str:
        """Name of files and rows."""
        return f"{self.content_name}_{self.style_name}"

    def images(self, folder: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        """Return content and style; None if they are files and there is no folder."""
        found = [_image(name, folder) for name in (self.content_name, self.style_name)]
        content, style = found
        return None if content is None or style is None else (content, style)


def with_images(
    pairs: Iterable[Pair], folder: Path | None
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield name, content and style of each pair; say which pairs are left out."""
    for pair in pairs:
        images = pair.images(folder)
        if images is None:
            print(f"{pair.name} is left out: it needs --folder.", file=sys.stderr)
        else:
            yield pair.name, *images


def _image(name: str, folder: Path | None) -> NDArray[np.uint8] | None:
    if name in STYLES:
        return style_image(name)
    if hasattr(skimage.data, name):
        return np.asarray(getattr(skimage.data, name)())
    return None if folder is None else read_image(folder / f"{name}.jpg")


PAIRS = (
    Pair("coffee", "impasto", "painting"),
    Pair("tubingen", "starry_night", "painting"),
    Pair("china", "shipwreck", "painting"),
    Pair("chelsea", "pointillism", "painting"),
    Pair("astronaut", "woodcut", "drawing"),
    Pair("immunohistochemistry", "stained-glass", "ornament"),
    Pair("china", "flower", "photograph"),
    Pair("astronaut", "coffee", "photograph"),
    Pair("chelsea", "grass", "texture"),
    Pair("coffee", "brick", "texture"),
    Pair("astronaut", "immunohistochemistry", "micrograph"),
    Pair("camera", "cell", "micrograph"),
)
"""Twelve pairs: paintings, drawings, photographs, textures and micrographs as styles."""

SIX = tuple(PAIRS[index] for index in (0, 1, 4, 6, 8, 10))
"""Half of them: one of each kind, and the photograph of the Gatys papers with its painting."""
