"""Sample pictures: pairs of a content and a style that need no network.

The contents are photographs and micrographs inside scikit-image's wheel; the styles are painted
here, from a seed, so that they belong to nobody and any number of them can be had.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_nst.errors import InputError
from napari_nst.samples._canvas import Floats, to_uint8
from napari_nst.samples._impasto import impasto
from napari_nst.samples._pointillism import pointillism
from napari_nst.samples._stained_glass import stained_glass
from napari_nst.samples._woodcut import woodcut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "SAMPLES",
    "STYLES",
    "LayerData",
    "Sample",
    "astronaut_woodcut",
    "camera_woodcut",
    "chelsea_pointillism",
    "coffee_impasto",
    "ihc_stained_glass",
    "paint",
]

LayerData: TypeAlias = tuple[NDArray[np.uint8], dict[str, Any], str]

_PAINTERS: Mapping[str, Callable[[np.random.Generator, int, int], Floats]] = {
    "impasto": impasto,
    "stained-glass": stained_glass,
    "woodcut": woodcut,
    "pointillism": pointillism,
}
STYLES = tuple(_PAINTERS)
_GAP = 24  # pixels between a content and its style in the viewer
_LEAST = 64  # pixels; below that a sun is smaller than a stroke


def paint(style: str, *, height: int = 512, width: int = 640, seed: int = 0) -> NDArray[np.uint8]:
    """Paint a picture whose style is worth copying.

    Strokes, dots and carved lines have the same size in pixels whatever the picture's size;
    what is painted fills the picture.

    Parameters
    ----------
    style
        One of `STYLES`.
    height, width
        In pixels, at least 64.
    seed
        Another seed gives another picture, the same seed the same.

    Returns
    -------
    NDArray[np.uint8]
        The picture, (height, width, 3).

    Raises
    ------
    InputError
        If there is no such style, or the picture cannot have that size or seed.
    """
    if style not in _PAINTERS:
        raise InputError(f"style is {style!r}, but must be one of {', '.join(STYLES)}.")
    if min(height, width) < _LEAST:
        raise InputError(
            f"The size is {height} by {width} pixels, but must be at least {_LEAST} by {_LEAST}."
        )
    if seed < 0:
        raise InputError(f"seed is {seed}, but must not be negative.")
    return to_uint8(_PAINTERS[style](np.random.default_rng(seed), height, width))


@dataclass(frozen=True)
class Sample:
    """A content and a style that go well together.

    Attributes
    ----------
    key
        Its name in `SAMPLES`, and of the function that gives its layers.
    title
        What the menu calls it.
    picture
        The content's name in `skimage.data`.
    manner
        The style's name in `STYLES`.
    """

    key: str
    title: str
    picture: str
    manner: str

    def content(self) -> NDArray[np.uint8]:
        """Return the content, (H, W, 3), or (H, W) where it is grey."""
        import skimage.data

        image: NDArray[np.uint8] = getattr(skimage.data, self.picture)()
        return image

    def style(self, seed: int = 0) -> NDArray[np.uint8]:
        """Return the style, (512, 640, 3)."""
        return paint(self.manner, seed=seed)

    def layers(self) -> list[LayerData]:
        """Return both as napari takes them, the content first, the style to the right of it."""
        content = self.content()
        beside = {"translate": (0, content.shape[1] + _GAP)}
        return [
            (content, {"name": self.picture, "rgb": content.ndim == 3}, "image"),
            (self.style(), {"name": self.manner.replace("-", " "), "rgb": True} | beside, "image"),
        ]


SAMPLES: Mapping[str, Sample] = MappingProxyType(
    {
        sample.key: sample
        for sample in (
            Sample("coffee_impasto", "Coffee, in impasto swirls", "coffee", "impasto"),
            Sample("chelsea_pointillism", "Cat, in pointillist dots", "chelsea", "pointillism"),
            Sample("astronaut_woodcut", "Astronaut, as a woodcut print", "astronaut", "woodcut"),
            Sample(
                "ihc_stained_glass",
                "Stained tissue, in stained glass",
                "immunohistochemistry",
                "stained-glass",
            ),
            Sample("camera_woodcut", "Cameraman, as a grey woodcut", "camera", "woodcut"),
        )
    }
)


def coffee_impasto() -> list[LayerData]:
    """Return the layers of a cup of coffee and of impasto swirls."""
    return SAMPLES["coffee_impasto"].layers()


def chelsea_pointillism() -> list[LayerData]:
    """Return the layers of a cat and of pointillist dots."""
    return SAMPLES["chelsea_pointillism"].layers()


def astronaut_woodcut() -> list[LayerData]:
    """Return the layers of an astronaut and of a woodcut print."""
    return SAMPLES["astronaut_woodcut"].layers()


def ihc_stained_glass() -> list[LayerData]:
    """Return the layers of a stained tissue section and of a stained glass window."""
    return SAMPLES["ihc_stained_glass"].layers()


def camera_woodcut() -> list[LayerData]:
    """Return the layers of a grey photograph of a cameraman and of a woodcut print."""
    return SAMPLES["camera_woodcut"].layers()
