"""Sample data: pairs of a content and a style image that need no network.

The contents are in scikit-image's wheel. The styles are in ``data/styles``, painted by
``tools/paint_styles.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    "style_image",
]

LayerData: TypeAlias = tuple[NDArray[np.uint8], dict[str, Any], str]

STYLES = ("impasto", "stained-glass", "woodcut", "pointillism")
_GAP = 24  # pixels between content and style in the viewer


def style_image(name: str) -> NDArray[np.uint8]:
    """Return a style image, (512, 640, 3).

    Parameters
    ----------
    name
        One of `STYLES`.

    Raises
    ------
    InputError
        If there is no such style.
    """
    if name not in STYLES:
        raise InputError(f"The style is {name!r}, but must be one of {', '.join(STYLES)}.")
    from PIL import Image

    with (files("napari_nst") / "data" / "styles" / f"{name}.jpg").open("rb") as file:
        return np.array(Image.open(file).convert("RGB"))


@dataclass(frozen=True)
class Sample:
    """A content image and a style image that go well together.

    Attributes
    ----------
    key
        Key in `SAMPLES`, and name of the function that napari calls for the layers.
    title
        Entry in napari's menu.
    content_name
        Name of the content image in `skimage.data`.
    style_name
        Name of the style image in `STYLES`.
    """

    key: str
    title: str
    content_name: str
    style_name: str

    def content(self) -> NDArray[np.uint8]:
        """Return the content image, (H, W, 3), or (H, W) if it is grey."""
        import skimage.data

        image: NDArray[np.uint8] = getattr(skimage.data, self.content_name)()
        return image

    def style(self) -> NDArray[np.uint8]:
        """Return the style image, (512, 640, 3)."""
        return style_image(self.style_name)

    def layers(self) -> list[LayerData]:
        """Return both as napari's layer data: the content, and the style to the right of it."""
        content = self.content()
        style_options = {
            "name": self.style_name.replace("-", " "),
            "rgb": True,
            "translate": (0, content.shape[1] + _GAP),
        }
        return [
            (content, {"name": self.content_name, "rgb": content.ndim == 3}, "image"),
            (self.style(), style_options, "image"),
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
    """Return layers of a cup of coffee and of impasto swirls."""
    return SAMPLES["coffee_impasto"].layers()


def chelsea_pointillism() -> list[LayerData]:
    """Return layers of a cat and of pointillist dots."""
    return SAMPLES["chelsea_pointillism"].layers()


def astronaut_woodcut() -> list[LayerData]:
    """Return layers of an astronaut and of a woodcut print."""
    return SAMPLES["astronaut_woodcut"].layers()


def ihc_stained_glass() -> list[LayerData]:
    """Return layers of a stained tissue section and of a stained glass window."""
    return SAMPLES["ihc_stained_glass"].layers()


def camera_woodcut() -> list[LayerData]:
    """Return layers of a grey photograph of a cameraman and of a woodcut print."""
    return SAMPLES["camera_woodcut"].layers()
