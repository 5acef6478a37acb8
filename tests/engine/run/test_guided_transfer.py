"""Whole runs with labels: pixels that are kept, and regions with their own styles."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from engine_helpers import label_halves, quick_settings
from numpy.typing import NDArray

from napari_nst import RunRecord, StyleTransfer, stylize
from napari_nst.errors import InputError

Image = NDArray[np.float32]
Maker = Callable[[int, int], Image]

# In float32: bfloat16 would hide small differences.
quick = partial(quick_settings, iterations=5, precision="float32")
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")


def grainy(height: int, width: int, *color: float) -> Image:
    """Return a colour with a little noise, so that it has a texture."""
    grain = np.random.default_rng(0).normal(0, 0.03, (height, width, 1))
    return (np.array(color) + grain).clip(0, 1).astype(np.float32)


def red(height: int, width: int) -> Image:
    return grainy(height, width, 0.8, 0.15, 0.1)


def blue(height: int, width: int) -> Image:
    return grainy(height, width, 0.1, 0.2, 0.85)


# Kept pixels


FORMS: dict[str, Callable[[Image], Any]] = {
    "uint8": lambda x: (x * 255).astype(np.uint8),
    "uint16": lambda x: (x * 65535).astype(np.uint16),
    "float32": lambda x: x,
    "float64": lambda x: x.astype(float),
    "grey": lambda x: x @ LUMINANCE,
    "grey uint16": lambda x: ((x @ LUMINANCE) * 65535).astype(np.uint16),
    "rgba": lambda x: np.dstack([x, np.linspace(0, 1, x[:, :, 0].size).reshape(x.shape[:2])]),
}


def to_unit(image: Any) -> Any:
    """Return an image as float32 in [0, 1]."""
    white = {"uint8": 255, "uint16": 65535}.get(image.dtype.name, 1)
    return image.astype(np.float32) / np.float32(white)


@pytest.mark.parametrize(
    ("form", "choices"),
    [
        *((form, {}) for form in FORMS),
        ("float32", {"color": "palette"}),
        ("float32", {"color": "luminance"}),
        ("float32", {"color": "match"}),
        ("float32", {"init": "noise"}),
        ("float32", {"init": "style"}),
        ("float32", {"optimizer": "lbfgs"}),
        ("float32", {"optimizer": "lbfgs", "init": "noise", "color": "luminance"}),
        ("float32", {"size": 32}),
        ("float32", {"size": 96}),
        ("float32", {"size": 64, "scales": 2}),
        ("float32", {"region_guidance": "inside"}),
        ("float32", {"region_softness": 0.5}),
        ("float32", {"style_loss": "wasserstein", "style_layers": ("relu1_1",)}),
    ],
    ids=str,
)
def test_pixels_whose_label_has_no_style_are_kept(
    form: str, choices: dict[str, Any], content: Image, style: Image
) -> None:
    image = FORMS[form](content)
    labels = label_halves(image, 0, 3)
    result = stylize(image, style, quick(**choices), content_labels=labels)
    kept, expected = labels == 0, to_unit(image)
    assert result.image.shape == image.shape
    np.testing.assert_array_equal(result.image[kept], expected[kept])
    assert (result.image[~kept] != expected[~kept]).mean() > 0.4
    assert result.record.kept_labels == (0,)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_kept_pixels_equal_the_content_at_every_iteration(
    optimizer: str, photo: Maker, style: Image
) -> None:
    content = photo(64, 96)
    labels = label_halves(content, 0, 1)
    settings = quick(optimizer=optimizer, scales=2, iterations=10)
    run = StyleTransfer(content, style, settings, content_labels=labels)
    np.testing.assert_array_equal(run.result().image[labels == 0], content[labels == 0])
    for snapshot in run:
        image = snapshot.image((64, 96))
        np.testing.assert_array_equal(image[labels == 0], content[labels == 0])
        if snapshot.scale == 2:  # also in the image that is optimised
            optimised = snapshot._image[0, :, labels == 0].T.cpu()
            np.testing.assert_array_equal(optimised, content[labels == 0])


def test_a_result_of_another_size_keeps_the_resampled_content(content: Image, style: Image) -> None:
    labels = label_halves(content, 0, 1)
    settings = quick(size=24, output_size="working", content_layers=("relu1_1",))
    found = stylize(content, style, settings, content_labels=labels).image
    resampled = StyleTransfer(content, style, settings).result().image
    assert found.shape == resampled.shape == (20, 24, 3)
    np.testing.assert_array_equal(found[:, :12], resampled[:, :12])
    assert (found[:, 12:] != resampled[:, 12:]).mean() > 0.5


def test_missing_values_stay_missing_in_kept_pixels_too(content: Image, style: Image) -> None:
    image = content.copy()
    image[3:6, 4:40] = np.nan
    labels = label_halves(content, 0, 1)
    found = stylize(image, style, quick(nan="keep"), content_labels=labels).image
    np.testing.assert_array_equal(np.isnan(found), np.isnan(image))
    np.testing.assert_array_equal(found[labels == 0], image[labels == 0])


# Styles of regions


@pytest.mark.parametrize("guidance", ["all", "inside"])
@pytest.mark.parametrize("source", ["region_styles", "style_labels"])
def test_each_region_has_the_colours_of_its_style(
    source: str, guidance: str, content: Image
) -> None:
    choices: dict[str, Any] = {
        "content_weight": 0,
        "tv_weight": 0,
        "iterations": 60,
        "init": "noise",
        "style_layers": ("relu1_1",),
        "region_guidance": guidance,
    }
    inputs: dict[str, Any]
    if source == "region_styles":
        styles: Any = [red(40, 44), blue(36, 40)]
        choices["region_styles"] = {1: 0, 2: 1}
        inputs = {"content_labels": label_halves(content, 1, 2)}
    else:  # the same labels on one style, at the other side
        styles = np.concatenate([blue(40, 24), red(40, 24)], axis=1)
        inputs = {
            "content_labels": label_halves(content, 1, 2),
            "style_labels": label_halves(styles, 2, 1),
        }
    image = stylize(content, styles, quick(**choices), **inputs).image
    left, right = (part.mean(axis=(0, 1)) for part in (image[4:-4, 4:20], image[4:-4, 28:-4]))
    assert left[0] > left[2] + 0.25
    assert right[2] > right[0] + 0.25
    assert left[0] - right[0] > 0.3 and right[2] - left[2] > 0.3


def test_a_label_in_two_styles_is_blended_by_their_shares(content: Image) -> None:
    styles = [grainy(40, 44, 0.9, 0.1, 0.1), grainy(36, 40, 0.1, 0.1, 0.9)]
    labels = {
        "content_labels": np.ones(content.shape[:2], int),
        "style_labels": [np.ones(style.shape[:2], int) for style in styles],
    }
    settings = quick(iterations=3)
    for shares in ((1, 0), (0, 1), (1, 3)):
        guided = stylize(content, styles, settings, style_weights=shares, **labels)
        plain = stylize(content, styles, settings, style_weights=shares)
        np.testing.assert_allclose(guided.image, plain.image, atol=2e-3)
        assert guided.history[0].style == pytest.approx(plain.history[0].style, rel=1e-4)


def test_labels_with_the_same_style_are_one_region(content: Image, style: Image) -> None:
    settings = quick(iterations=6)
    one = np.ones(content.shape[:2], int)
    two = label_halves(content, 1, 7)
    plain = stylize(content, style, settings)
    unsplit = stylize(content, style, settings, content_labels=one)
    split = stylize(content, style, settings, content_labels=two)
    assert split.image.tobytes() == unsplit.image.tobytes()
    assert [region.labels for region in split.record.regions] == [(1, 7)]
    # A region of the whole image equals no regions up to rounding.
    np.testing.assert_allclose(unsplit.image, plain.image, atol=2e-3)
    assert unsplit.history[0].total == pytest.approx(plain.history[0].total, rel=1e-5)


def test_each_style_has_its_own_scale(content: Image, style: Image) -> None:
    styles = [style, grainy(40, 44, 0.9, 0.1, 0.1)]
    single, repeated, other = (
        stylize(content, styles, quick(iterations=1, style_scale=scale)).history[0].style
        for scale in (1.0, (1.0, 1.0), (0.5, 1.0))
    )
    assert single == repeated != other
    with pytest.raises(InputError, match=r"^style_scale has 2 values, and the number of styles"):
        StyleTransfer(content, style, quick(style_scale=(1, 2)))


# Record and errors


def test_the_record_describes_the_regions(photo: Maker, style: Image) -> None:
    content = photo(40, 48)
    labels = label_halves(content, 0, 4)
    labels[:4, 40:44] = 9
    own = label_halves(style, 4, 9)
    run = StyleTransfer(
        content,
        [style, style],
        quick(region_guidance="inside", style_layers=("relu1_1", "relu3_1")),
        content_labels=labels,
        style_labels=[own, None],
    )
    list(run)
    record = RunRecord.model_validate_json(run.record.to_json())
    assert record == run.record
    assert record.content_labels is not None and record.style_labels is not None
    assert record.content_labels.dtype == "uint8"
    assert (record.style_labels[0] is None, record.style_labels[1]) == (False, None)
    found = {region.labels: region for region in record.regions}
    assert found[(4,)].sources == ("style 0, label 4",)
    assert found[(4,)].share == pytest.approx(0.5 - 16 / (40 * 48))
    assert found[(4,)].dropped == {}
    assert found[(9,)].dropped == {"40 x 48": ("relu3_1",)}
    assert record.kept_labels == (0,)
    plain = stylize(content, style, quick()).record
    assert (plain.regions, plain.kept_labels, plain.content_labels) == ((), (), None)


def columns(*labels: int) -> Any:
    """Return labels of the content as columns of equal width."""
    return np.array([labels] * 40).repeat(48 // len(labels), axis=1)


@pytest.mark.parametrize(
    ("content_labels", "style_labels", "choices", "message"),
    [
        (columns(0, 2), [columns(1, 1)[:, :36]], {}, r"^style_labels of style has shape"),
        (columns(0, 2), [np.ones((44, 36), int)], {}, r"^Label 2 is on the content and on no"),
        (columns(1, 1), [np.eye(44, 36, dtype=int) + 1], {}, r"^Label 2 is on style 0 and not"),
        (columns(1, 1)[:, :9], None, {}, r"^content_labels has shape \(40, 9\); it must be that"),
        (columns(1, 1) / 2, None, {}, r"^content_labels has dtype float64; labels must be int"),
        (-columns(1, 1), None, {}, r"^content_labels has values from -1 to -1; "),
        (columns(0, 0), None, {}, r"^No label of the content has a style"),
        (columns(1, 1), None, {"region_styles": {1: 1}}, r"^region_styles gives label 1 the"),
        (None, [np.ones((44, 36), int)], {}, r"^There are style_labels and no content_labels"),
        (None, None, {"region_styles": {1: 0}}, r"^region_styles gives labels their styles, and"),
        (columns(1, 1), [None, None], {}, r"^style_labels has 2 entries, and the number of styl"),
        (columns(1, 1), 5, {}, r"^style_labels of style has shape \(\); it must be"),
    ],
)
def test_invalid_labels_raise_with_their_name(
    content: Image,
    style: Image,
    content_labels: Any,
    style_labels: Any,
    choices: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        stylize(
            content,
            style,
            quick(**choices),
            content_labels=content_labels,
            style_labels=style_labels,
        )
    assert "\n" not in str(caught.value)
