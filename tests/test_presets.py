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
    settings = presets.preset(key).replace(iterations=3, size=48)
    result = stylize(content, style, settings)

    assert result.image.shape == content.shape
    assert np.isfinite(result.image).all()


def test_unknown_preset_error_lists_the_presets() -> None:
    with pytest.raises(InputError) as caught:
        presets.preset("best")
    assert str(caught.value) == f"There is no preset 'best'; there are {', '.join(KEYS)}."
