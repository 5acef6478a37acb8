"""Validation, messages and JSON of the settings."""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_nst.errors import InputError, StyleTransferError, abridged
from napari_nst.networks import NETWORKS
from napari_nst.settings import LayerWeights, StyleTransferSettings


def error_of(**choices: Any) -> str:
    with pytest.raises(InputError) as caught:
        StyleTransferSettings(**choices)
    message = str(caught.value)
    assert "\n" not in message
    assert message[-1] in ".?"
    return message


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("network", "vgg11", "'vgg16' or 'vgg19'"),
        ("weights", 3, "valid string"),
        ("content_layers", 5, "name layers"),
        ("style_layers", None, "name layers"),
        ("style_layers", {"relu1_1": -1}, "the weight of 'relu1_1' is -1, and must be 0 or more"),
        ("style_layers", {"relu1_1": math.nan}, "the weight of 'relu1_1' is nan, and must be"),
        ("style_layers", {"relu1_1": math.inf}, "the weight of 'relu1_1' is inf, and must be"),
        ("style_layers", {"relu1_1": "much"}, "'much'"),
        ("normalize_gradients", "maybe", "valid boolean"),
        ("content_weight", -1.0, "greater than or equal to 0"),
        ("style_weight", math.inf, "finite"),
        ("tv_weight", math.nan, "finite"),
        ("style_weight", None, "valid number"),
        ("style_weights", 1.0, "valid tuple"),
        ("style_scale", 0.0, "a number above 0"),
        ("style_scale", (1.0, -1.0), "a list with one for each style"),
        ("style_scale", (), "a list with one for each style"),
        ("region_styles", [1], "give labels their styles"),
        ("region_styles", {1: -1}, "a style's index is -1"),
        ("region_styles", {"sky": 0}, "a label is 'sky'"),
        ("region_guidance", "some", "'all' or 'inside'"),
        ("region_softness", 2.0, "less than or equal to 1"),
        ("tile", 32, "greater than or equal to 64"),
        ("tile", "small", "'auto', 'off' or a whole number"),
        ("memory_limit", 0.0, "greater than 0"),
        ("style_scale", "a\nb", "a number above 0"),
        ("pooling", "min", "'max' or 'average'"),
        ("padding", "reflect", "'replicate' or 'zero'"),
        ("init", "photo", "'content', 'noise', 'style' or 'image'"),
        ("size", 0, "greater than or equal to 1"),
        ("size", "big", "'auto', 'none' or a whole number"),
        ("size", 2.5, "integer"),
        ("output_size", "large", "'content' or 'working'"),
        ("scales", 0, "greater than or equal to 1"),
        ("scales", "many", "'auto' or a whole number"),
        ("scales", None, "integer"),
        ("iterations", 0, "greater than or equal to 1"),
        ("iterations", 2.5, "integer"),
        ("optimizer", "sgd", "'adam' or 'lbfgs'"),
        ("learning_rate", 0.0, "greater than 0"),
        ("color", "red", "'style', 'palette', 'luminance' or 'match'"),
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**63, "less than 9223372036854775808"),
        ("nan", "drop", "'error' or 'keep'"),
        ("device", "gpu", "'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'"),
        ("device", "cuda:", "'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'"),
        ("device", "cpu\n", "'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'"),
        ("precision", "float16", "'auto', 'float32' or 'bfloat16'"),
    ],
)
def test_an_invalid_setting_raises_one_sentence_with_name_value_and_advice(
    name: str, value: Any, advice: str
) -> None:
    message = error_of(**{name: value})
    assert message.startswith(f"{name} is {value!r}; ")
    assert advice in message


def test_an_invalid_item_of_a_list_is_shown_without_the_others() -> None:
    assert error_of(style_weights=(1, -0.5)).startswith("style_weights is -0.5; it must be")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            {"style_layers": ("relu5_4",)},
            "vgg16 has no layer 'relu5_4'; its layers are conv1_1, relu1_1, ... relu5_3.",
        ),
        (
            {"network": "vgg19", "content_layers": {"relu6_1": 1}},
            "vgg19 has no layer 'relu6_1'; its layers are conv1_1, relu1_1, ... relu5_4.",
        ),
        (
            {"content_layers": (), "style_layers": ()},
            "content_layers and style_layers are both empty; name one layer.",
        ),
        (
            {"content_layers": {"relu4_2": 0}, "style_layers": {"relu1_1": 0}},
            "content_layers and style_layers are both empty; name one layer.",
        ),
        (
            {"style_weights": (0, 0)},
            "style_weights are all zero; give at least one style a share.",
        ),
        ({"Size": 3}, "There is no setting 'Size'; did you mean 'size'?"),
        ({"stlye_weight": 1}, "There is no setting 'stlye_weight'; did you mean 'style_weight'?"),
        (
            {"zzz": 1},
            "There is no setting 'zzz'; they are listed in StyleTransferSettings.",
        ),
    ],
)
def test_contradictory_settings_and_unknown_names_raise_a_message(
    choices: dict[str, Any], message: str
) -> None:
    assert error_of(**choices) == message


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"relu1_1": None}, "the weight of 'relu1_1' is None, and must be 0 or more"),
        ({"relu1_1": [1]}, "the weight of 'relu1_1' is [1], and must be 0 or more"),
        ({"relu1_1": 10**400}, "the weight of 'relu1_1' is 1000"),
        ([["relu1_1"]], "the name of a layer is ['relu1_1'], and must be a string"),
        ([["relu1_1"]] * 2, "the name of a layer is ['relu1_1'], and must be a string"),
        ([1], "the name of a layer is 1, and must be a string"),
        ({1: 1}, "the name of a layer is 1, and must be a string"),
        ([np.zeros(2), np.ones(2)], "the name of a layer is array([0., 0.]), and must be a str"),
    ],
)
def test_layer_weights_and_names_of_other_types_raise_a_message(value: Any, reason: str) -> None:
    message = error_of(style_layers=value)
    assert message.startswith("style_layers is ")
    assert f"; {reason}" in message


def test_null_in_json_is_not_a_weight() -> None:
    with pytest.raises(InputError, match="the weight of 'relu1_1' is None, and must be 0 or more"):
        StyleTransferSettings.from_json('{"style_layers": {"relu1_1": null}}')


@pytest.mark.parametrize("name", ["iterations", "size", "scales", "weights", "style_layers"])
@pytest.mark.parametrize(
    "value",
    [
        np.zeros((3, 3)),
        np.zeros((90, 90)),
        "x" * 5000,
        [["x" * 5000] * 5000] * 5000,
        {"a\nb" * 5000: -1},
        ["a\nb" * 5000] * 2,
        "1" * 5000,
        -(10**5000),
    ],
    ids=["lines", "array", "text", "lists", "mapping", "names", "digits", "number"],
)
def test_the_message_about_a_long_value_is_short(name: str, value: Any) -> None:
    if name == "weights" and isinstance(value, str):
        value = [value]
    message = error_of(**{name: value})
    assert len(message) < 250


def test_the_message_about_a_long_name_is_short() -> None:
    assert len(error_of(**{"a\nb" * 5000: 1})) < 250
    assert len(error_of(style_layers=["a\nb" * 5000])) < 250


@pytest.mark.parametrize("value", [None, "vgg.pth", 3, 0.5, ["a", {"b": 2}], (1, 2)])
def test_a_short_value_is_shown_in_full(value: Any) -> None:
    assert abridged(value) == repr(value)


@given(st.text() | st.integers() | st.lists(st.text() | st.floats()) | st.binary())
def test_every_value_is_shown_on_one_short_line(value: Any) -> None:
    shown = abridged(value)
    assert len(shown) <= 60 and len(shown.splitlines()) == 1


def test_errors_are_value_errors_but_no_runtime_errors() -> None:
    assert issubclass(InputError, StyleTransferError) and issubclass(InputError, ValueError)
    assert not issubclass(StyleTransferError, RuntimeError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The settings are not valid JSON: "),
        ("{", "The settings are not valid JSON: "),
        ("[1]", "settings is [1]; it must be an object."),
        ("null", "settings is None; it must be an object."),
        ('{"iterations": 0}', "iterations is 0; it must be greater than or equal to 1."),
        ('{"iteration": 9}', "There is no setting 'iteration'; did you mean 'iterations'?"),
        ('{"style_layers": {"relu9_1": 1}}', "vgg16 has no layer 'relu9_1'; "),
    ],
)
def test_invalid_json_raises_a_message_of_one_sentence(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        StyleTransferSettings.from_json(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


weights = st.floats(0, 1e6)
positive = st.floats(1e-6, 1e6)


def layer_choices(network: str) -> st.SearchStrategy[dict[str, float]]:
    names = st.sampled_from([*NETWORKS[network].layers])
    return st.dictionaries(names, st.floats(1e-6, 1e3), min_size=1, max_size=5)


@st.composite
def choices(draw: st.DrawFn) -> dict[str, Any]:
    """Draw valid settings, some of them left at their defaults."""
    network = draw(st.sampled_from(["vgg16", "vgg19"]))
    optional = {
        "weights": st.none() | st.text(max_size=9),
        "content_layers": layer_choices(network),
        "style_layers": layer_choices(network),
        "normalize_gradients": st.booleans(),
        "content_weight": weights,
        "style_weight": weights,
        "tv_weight": weights,
        "style_weights": st.none() | st.lists(positive, min_size=1, max_size=4).map(tuple),
        "style_scale": positive,
        "strokes_relative_to": st.sampled_from(["picture", "pixels"]),
        "pooling": st.sampled_from(["max", "average"]),
        "rescale_pooling": st.booleans(),
        "padding": st.sampled_from(["replicate", "zero"]),
        "init": st.sampled_from(["content", "noise", "style", "image"]),
        "size": st.none() | st.just("auto") | st.integers(1, 10**6),
        "output_size": st.sampled_from(["content", "working"]),
        "scales": st.just("auto") | st.integers(1, 20),
        "iterations": st.integers(1, 10**6),
        "optimizer": st.sampled_from(["adam", "lbfgs"]),
        "learning_rate": st.none() | positive,
        "color": st.sampled_from(["style", "palette", "luminance", "match"]),
        "seed": st.integers(0, 2**63 - 1),
        "nan": st.sampled_from(["error", "keep"]),
        "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:12", "mps"]),
        "precision": st.sampled_from(["auto", "float32", "bfloat16"]),
    }
    return {"network": network, **draw(st.fixed_dictionaries({}, optional=optional))}


@settings(max_examples=40)
@given(choices())
def test_settings_round_trip_through_json(chosen: dict[str, Any]) -> None:
    found = StyleTransferSettings(**chosen)
    for name, value in chosen.items():
        assert getattr(found, name) == value
    again = StyleTransferSettings.from_json(found.to_json())
    assert again == found
    assert hash(again) == hash(found)
    assert list(again.style_layers) == list(found.style_layers)
    assert set(json.loads(found.to_json())) == set(StyleTransferSettings.model_fields)


def test_json_may_omit_settings() -> None:
    assert StyleTransferSettings.from_json("{}") == StyleTransferSettings()
    named = StyleTransferSettings.from_json('{"style_layers": ["relu1_1", "relu2_1"]}')
    assert named.style_layers == {"relu1_1": 0.5, "relu2_1": 0.5}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("size", "256", 256),
        ("size", "none", None),
        ("size", "auto", "auto"),
        ("scales", "3", 3),
        ("iterations", "50", 50),
        ("style_weight", "2.5", 2.5),
        ("normalize_gradients", "false", False),
        ("style_layers", "relu1_1", {"relu1_1": 1.0}),
    ],
)
def test_words_from_the_command_line_are_accepted(name: str, text: str, value: object) -> None:
    assert getattr(StyleTransferSettings(**{name: text}), name) == value


def test_numpy_numbers_are_accepted() -> None:
    found = StyleTransferSettings(
        size=np.int64(64), iterations=np.int32(5), style_weight=np.float32(0.5), seed=np.uint8(3)
    )
    assert found == StyleTransferSettings(size=64, iterations=5, style_weight=0.5, seed=3)
    assert type(found.size) is type(found.iterations) is int


def test_settings_cannot_be_changed() -> None:
    found: Any = StyleTransferSettings(style_weights=(1, 2))
    with pytest.raises(ValidationError, match="frozen"):
        found.size = 3
    with pytest.raises(TypeError):
        found.style_layers["relu1_1"] = 3
    with pytest.raises(TypeError):
        found.style_weights[0] = 3
    given = {"relu1_1": 1.0}
    kept = StyleTransferSettings(style_layers=given)
    given["relu2_1"] = 1.0
    assert kept.style_layers == {"relu1_1": 1.0}


def test_settings_are_equal_by_value_and_can_be_keys() -> None:
    one, same = (StyleTransferSettings(size=64, style_layers=("relu1_1",)) for _ in range(2))
    assert one == same and len({one, same}) == 1
    assert one != StyleTransferSettings(size=65, style_layers=("relu1_1",))


def test_replace_returns_validated_copies() -> None:
    one = StyleTransferSettings(network="vgg19", style_layers={"relu5_4": 2.0})
    other = one.replace(size=64)
    assert (other.size, other.network, other.style_layers) == (64, "vgg19", {"relu5_4": 2.0})
    assert one.size == StyleTransferSettings().size
    assert one.replace() == one
    with pytest.raises(InputError, match="relu5_4"):
        one.replace(network="vgg16")
    with pytest.raises(InputError, match="did you mean 'size'"):
        one.replace(siez=3)


def test_the_defaults_need_no_download_and_no_gpu() -> None:
    defaults = StyleTransferSettings()
    assert (defaults.network, defaults.weights, defaults.device) == ("vgg16", None, "auto")


# LayerWeights


@given(st.lists(st.sampled_from([*NETWORKS["vgg16"].layers]), min_size=1, unique=True))
def test_names_without_weights_sum_to_one(names: list[str]) -> None:
    found = LayerWeights(names)
    assert list(found) == names
    assert set(found.values()) == {1 / len(names)}


def test_a_repeated_layer_raises_a_message() -> None:
    assert error_of(style_layers=("relu1_1", "relu2_1", "relu1_1")) == (
        "style_layers is ('relu1_1', 'relu2_1', 'relu1_1'); it must name 'relu1_1' only once."
    )


def test_all_content_weights_may_be_zero() -> None:
    found = StyleTransferSettings(content_layers={"relu4_2": 0}).content_layers
    assert found == {"relu4_2": 0} and found.active == ()


@pytest.mark.parametrize("path", [Path("there") / "vgg.pth", PurePosixPath("vgg.pth")])
def test_weights_may_be_a_path(path: PurePath) -> None:
    found = StyleTransferSettings(weights=path)
    assert found.weights == str(path)
    assert StyleTransferSettings.from_json(found.to_json()) == found


def test_layer_weights_are_a_mapping_in_the_order_given() -> None:
    found = LayerWeights({"relu3_1": 2, "relu1_1": 0, "relu2_1": "0.5"})
    assert list(found.items()) == [("relu3_1", 2.0), ("relu1_1", 0.0), ("relu2_1", 0.5)]
    assert len(found) == 3 and "relu1_1" in found and "relu5_1" not in found
    assert found.active == ("relu3_1", "relu2_1")
    assert repr(found) == "{'relu3_1': 2.0, 'relu1_1': 0.0, 'relu2_1': 0.5}"
    with pytest.raises(KeyError):
        _ = found["relu5_1"]


def test_layer_weights_are_equal_in_any_order_and_so_are_their_hashes() -> None:
    one = LayerWeights({"relu1_1": 1, "relu2_1": 2})
    other = LayerWeights({"relu2_1": 2.0, "relu1_1": 1.0})
    assert one == other == {"relu1_1": 1, "relu2_1": 2}
    assert hash(one) == hash(other)
    assert one != LayerWeights({"relu1_1": 1, "relu2_1": 3})


def test_layer_weights_can_be_empty() -> None:
    assert dict(LayerWeights(())) == {} and LayerWeights(()).active == ()


def test_layers_of_weight_zero_are_not_in_use() -> None:
    chosen = StyleTransferSettings(
        content_layers={"relu4_2": 1, "relu5_1": 0}, style_layers={"relu1_1": 0, "relu2_1": 0.1}
    )
    assert chosen.layers_in_use == ("relu4_2", "relu2_1")


@pytest.mark.parametrize(
    ("choices", "allowed"),
    [
        ({}, "auto"),
        ({"style_loss": "wasserstein"}, "float32"),
        ({"optimizer": "lbfgs"}, "float32"),
        ({"optimizer": "lbfgs", "precision": "bfloat16"}, "bfloat16"),
        ({"precision": "float32"}, "float32"),
    ],
)
def test_auto_precision_is_float32_for_losses_and_optimizers_that_need_it(
    choices: dict[str, Any], allowed: str
) -> None:
    assert StyleTransferSettings(**choices).allowed_precision == allowed
