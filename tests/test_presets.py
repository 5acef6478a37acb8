"""Presets of the package: valid, described and runnable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_nst import StyleTransferSettings, presets, stylize
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEYS = (
    "balanced",
    "draft",
    "gatys-2015",
    "grey-microscopy",
    "high-quality",
    "keep-colours",
    "texture-only",
)


def test_presets_start_with_the_default() -> None:
    assert tuple(presets.presets()) == KEYS
    assert presets.preset("balanced") == StyleTransferSettings()


@pytest.mark.parametrize("key", KEYS)
def test_preset_has_a_purpose_and_differs_from_the_others(key: str) -> None:
    found = presets.presets()[key]
    assert found.name.lower().replace(" ", "-") == key
    assert found.purpose.endswith(".")
    others = [other for name, other in presets.presets().items() if name != key]
    assert found.resolve() not in [other.resolve() for other in others]
    assert presets.preset(found.name) == presets.preset(key.upper()) == found.resolve()


@pytest.mark.parametrize("key", KEYS)
def test_preset_runs(key: str, content: NDArray[np.float32], style: NDArray[np.float32]) -> None:
    # VGG-19's weights do not come with the package; the paper's preset works with VGG-16 too.
    settings = presets.preset(key).replace(network="vgg16", iterations=3, size=48)
    result = stylize(content, style, settings)

    assert result.image.shape == content.shape
    assert np.isfinite(result.image).all()


def test_weight_ratio_of_gatys_2015_is_one_to_a_thousand() -> None:
    paper = presets.preset("gatys-2015")
    scale = 255 * 0.226  # from a network fed 0-255 to one fed by deviations of ImageNet
    ratio = paper.content_weight / paper.style_weight
    assert ratio == pytest.approx(1e-3 / scale**2, rel=1e-3)
    assert set(paper.style_layers.values()) == {0.2}


def test_unknown_preset_error_lists_the_presets() -> None:
    with pytest.raises(InputError) as caught:
        presets.preset("best")
    assert str(caught.value) == f"There is no preset 'best'; there are {', '.join(KEYS)}."
