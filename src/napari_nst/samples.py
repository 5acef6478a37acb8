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
        Name of the style image: the name of a file in ``data/styles``.
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
            Sample("coffee_impasto", "Coffee and impasto", "coffee", "impasto"),
            Sample("chelsea_pointillism", "Cat and pointillism", "chelsea", "pointillism"),
            Sample("astronaut_woodcut", "Astronaut and woodcut", "astronaut", "woodcut"),
            Sample(
                "ihc_stained_glass",
                "Stained tissue and stained glass",
                "immunohistochemistry",
                "stained-glass",
            ),
            Sample("camera_woodcut", "Cameraman and woodcut", "camera", "woodcut"),
        )
    }
)


STYLES = tuple(dict.fromkeys(sample.style_name for sample in SAMPLES.values()))

# The functions that napari.yaml names.
coffee_impasto = SAMPLES["coffee_impasto"].layers
chelsea_pointillism = SAMPLES["chelsea_pointillism"].layers
astronaut_woodcut = SAMPLES["astronaut_woodcut"].layers
ihc_stained_glass = SAMPLES["ihc_stained_glass"].layers
camera_woodcut = SAMPLES["camera_woodcut"].layers
