"""Mappings of layers to weights and of labels to styles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_nst import StyleTransferSettings
from napari_nst.errors import InputError
from napari_nst.mappings import LayerWeights, RegionStyles


def test_layers_without_weights_get_equal_weights() -> None:
    assert LayerWeights(("relu1_1", "relu2_1")) == {"relu1_1": 0.5, "relu2_1": 0.5}
    assert LayerWeights("relu1_1") == {"relu1_1": 1}
    assert LayerWeights(()) == {}
    assert LayerWeights({"a": 0, "b": 2}).active == ("b",)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (5, "it must name layers"),
        (("a", "b", "a"), "it must name 'a' only once"),
        ((1,), "the name of a layer is 1, and must be a string"),
        ({"a": -1}, "the weight of 'a' is -1, and must be 0 or more"),
        ({"a": float("nan")}, "the weight of 'a' is nan"),
        ({"a": "much"}, "the weight of 'a' is 'much'"),
        ({"a": 10**400}, "the weight of 'a' is 1000"),
    ],
)
def test_invalid_layer_weights_raise(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LayerWeights(weights)


def test_region_styles_convert_labels_and_indices_to_integers() -> None:
    given = {3: 1, "7": None, np.uint8(2): np.int64(0), 0: "4"}
    styles = RegionStyles(given)  # type: ignore[arg-type]
    assert styles == {3: 1, 7: None, 2: 0, 0: 4}
    assert {type(label) for label in styles} == {int}
    assert list(styles) == [3, 7, 2, 0] and len(styles) == 4
    assert styles[7] is None
    with pytest.raises(KeyError):
        styles[1]
    assert repr(styles) == "{3: 1, 7: None, 2: 0, 0: 4}"


def test_mappings_are_immutable_hashable_and_equal_in_any_order() -> None:
    one, other = RegionStyles({1: 0, 2: None}), RegionStyles({2: None, 1: 0})
    assert one == other and hash(one) == hash(other)
    assert one != RegionStyles({1: 0})
    assert hash(LayerWeights({"a": 1, "b": 2})) == hash(LayerWeights({"b": 2, "a": 1}))
    given: dict[int, int | None] = {1: 0}
    styles = RegionStyles(given)
    given[2] = 5
    assert styles == {1: 0}
    with pytest.raises(TypeError):
        styles[1] = 2  # type: ignore[index]


@pytest.mark.parametrize(
    ("styles", "message"),
    [
        ([(1, 0)], "it must give labels their styles, for example"),
        (3, "it must give labels their styles"),
        ({-1: 0}, "a label is -1, and must be a whole number of 0 or more"),
        ({"sky": 0}, "a label is 'sky'"),
        ({1.5: 0}, "a label is 1.5"),
        ({1: -2}, "a style's index is -2"),
        ({1: 0.0}, "a style's index is 0.0"),
        ({1: "first"}, "a style's index is 'first'"),
        ({1: 0, "1": 1}, "it must name label 1 only once"),
    ],
)
def test_invalid_region_styles_raise(styles: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RegionStyles(styles)
    with pytest.raises(InputError, match=f"^region_styles is .*{message}"):
        StyleTransferSettings(region_styles=styles)


@pytest.mark.parametrize("styles", [None, {}, {1: 0, 20: None}])
def test_settings_keep_mappings_through_json(styles: Any) -> None:
    settings = StyleTransferSettings(region_styles=styles)
    again = StyleTransferSettings.from_json(settings.to_json())
    assert again == settings and hash(again) == hash(settings)
    assert again.region_styles == styles
    assert settings.replace(seed=3).region_styles == styles
    assert settings.replace(region_styles=None).region_styles is None
