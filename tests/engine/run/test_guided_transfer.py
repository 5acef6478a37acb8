"""Labels through a whole run: what is kept, what is restyled, and by which style."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from engine_helpers import quick as quick_settings
from numpy.typing import NDArray

from napari_nst import RunRecord, StyleTransfer, stylize
from napari_nst.errors import InputError

Image = NDArray[np.float32]
Maker = Callable[[int, int], Image]

quick = partial(
    quick_settings, iterations=5, precision="float32"
)  # rounding would hide what is compared
MONO = np.array([0.299, 0.587, 0.114], np.float32)

pytestmark = pytest.mark.usefixtures("one_thread")


def halves(shape: tuple[int, ...], left: int, right: int) -> NDArray[np.uint8]:
    labels = np.full(shape[:2], right, np.uint8)
    labels[:, : shape[1] // 2] = left
    return labels


def flat(height: int, width: int, *color: float) -> Image:
    """A colour with a little grain, so that it has a texture."""
    grain = np.random.default_rng(0).normal(0, 0.03, (height, width, 1))
    return (np.array(color) + grain).clip(0, 1).astype(np.float32)


# What is kept


FORMS: dict[str, Callable[[Image], Any]] = {
    "uint8": lambda x: (x * 255).astype(np.uint8),
    "uint16": lambda x: (x * 65535).astype(np.uint16),
    "float32": lambda x: x,
    "float64": lambda x: x.astype(float),
    "grey": lambda x: x @ MONO,
    "grey uint16": lambda x: ((x @ MONO) * 65535).astype(np.uint16),
    "rgba": lambda x: np.dstack([x, np.linspace(0, 1, x[:, :, 0].size).reshape(x.shape[:2])]),
}


def as_floats(image: Any) -> Any:
    full = {"uint8": 255, "uint16": 65535}.get(image.dtype.name)
    return image.astype(np.float32) / np.float32(full) if full else image.astype(np.float32)


def check_kept(image: Any, choices: dict[str, Any], style: Image) -> None:
    labels = halves(image.shape, 0, 3)
    result = stylize(image, style, quick(**choices), content_labels=labels)
    kept = labels == 0
    assert result.image.shape == image.shape
    np.testing.assert_array_equal(result.image[kept], as_floats(image)[kept])
    changed = result.image[~kept] != as_floats(image)[~kept]
    assert changed.mean() > 0.4
    assert result.record.kept_labels == (0,)


@pytest.mark.parametrize("form", FORMS)
def test_a_label_without_a_style_keeps_its_pixels(form: str, content: Image, style: Image) -> None:
    check_kept(FORMS[form](content), {}, style)


@pytest.mark.parametrize(
    "choices",
    [
        {"color": "luminance"},
        {"color": "match"},
        {"init": "noise"},
        {"init": "style"},
        {"optimizer": "lbfgs"},
        {"optimizer": "lbfgs", "init": "noise", "color": "luminance"},
        {"size": 32},
        {"size": 96},
        {"size": 64, "scales": 2},
        {"region_guidance": "inside"},
        {"region_softness": 0.5},
        {"style_loss": "wasserstein", "style_layers": ("relu1_1",)},
    ],
    ids=str,
)
def test_a_label_without_a_style_keeps_its_pixels_whatever_is_chosen(
    choices: dict[str, Any], content: Image, style: Image
) -> None:
    check_kept(content, choices, style)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_kept_pixels_are_the_contents_all_along(optimizer: str, photo: Maker, style: Image) -> None:
    content = photo(64, 96)
    labels = halves(content.shape, 0, 1)
    settings = quick(optimizer=optimizer, scales=2, iterations=10)
    run = StyleTransfer(content, style, settings, content_labels=labels)
    np.testing.assert_array_equal(run.result().image[labels == 0], content[labels == 0])
    for snapshot in run:
        image = snapshot.image((64, 96))
        np.testing.assert_array_equal(image[labels == 0], content[labels == 0])
        if snapshot.scale == 2:  # what is optimised, too
            np.testing.assert_array_equal(
                snapshot._image[0, :, labels == 0].T.cpu(), content[labels == 0]
            )


def test_a_result_of_another_size_keeps_the_resampled_content(content: Image, style: Image) -> None:
    labels = halves(content.shape, 0, 1)
    settings = quick(size=24, output_size="working", content_layers=("relu1_1",))
    found = stylize(content, style, settings, content_labels=labels).image
    nothing = settings.replace(style_weight=0, tv_weight=0, iterations=1)
    plain = StyleTransfer(content, style, nothing).result().image  # the content, resampled
    assert found.shape == plain.shape == (20, 24, 3)
    np.testing.assert_array_equal(found[:, :12], plain[:, :12])
    assert (found[:, 12:] != plain[:, 12:]).mean() > 0.5


def test_missing_values_and_kept_labels_go_together(content: Image, style: Image) -> None:
    holed = content.copy()
    holed[3:6, 4:40] = np.nan
    labels = halves(content.shape, 0, 1)
    found = stylize(holed, style, quick(nan="keep"), content_labels=labels).image
    np.testing.assert_array_equal(np.isnan(found), np.isnan(holed))
    np.testing.assert_array_equal(found[labels == 0], holed[labels == 0])


# What each region takes


def regional(content: Image, **choices: Any) -> Any:
    styles = [flat(40, 44, 0.8, 0.15, 0.1), flat(36, 40, 0.1, 0.2, 0.85)]
    options = {
        "content_weight": 0,
        "tv_weight": 0,
        "region_styles": {1: 0, 2: 1},
        "iterations": 60,
        "init": "noise",
        "style_layers": ("relu1_1",),
    }
    settings = quick(**{**options, **choices})
    return stylize(content, styles, settings, content_labels=halves(content.shape, 1, 2))


@pytest.mark.parametrize("guidance", ["all", "inside"])
def test_each_region_takes_its_own_style(guidance: str, content: Image) -> None:
    image = regional(content, region_guidance=guidance).image
    left, right = image[4:-4, 4:20].mean(axis=(0, 1)), image[4:-4, 28:-4].mean(axis=(0, 1))
    assert left[0] > left[2] + 0.25
    assert right[2] > right[0] + 0.25
    assert left[0] - right[0] > 0.3 and right[2] - left[2] > 0.3


def test_a_region_takes_the_same_label_of_the_styles(content: Image) -> None:
    style = np.concatenate([flat(40, 24, 0.8, 0.15, 0.1), flat(40, 24, 0.1, 0.2, 0.85)], axis=1)
    settings = quick(
        content_weight=0, tv_weight=0, iterations=60, init="noise", style_layers=("relu1_1",)
    )
    found = stylize(
        content,
        style,
        settings,
        content_labels=halves(content.shape, 2, 1),
        style_labels=halves(style.shape, 1, 2),
    ).image
    left, right = found[4:-4, 4:20].mean(axis=(0, 1)), found[4:-4, 28:-4].mean(axis=(0, 1))
    assert left[2] > left[0] + 0.25  # the style's label 2 is on its right
    assert right[0] > right[2] + 0.25


def test_a_label_in_two_styles_is_blended_by_their_shares(content: Image) -> None:
    styles = [flat(40, 44, 0.9, 0.1, 0.1), flat(36, 40, 0.1, 0.1, 0.9)]
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


# What changes nothing


def test_a_label_split_in_two_changes_nothing(content: Image, style: Image) -> None:
    settings = quick(iterations=6)
    one = np.ones(content.shape[:2], int)
    two = halves(content.shape, 1, 7)
    plain = stylize(content, style, settings)
    unsplit = stylize(content, style, settings, content_labels=one)
    split = stylize(content, style, settings, content_labels=two)
    assert split.image.tobytes() == unsplit.image.tobytes()
    assert [region.labels for region in split.record.regions] == [(1, 7)]
    # As one region that is everywhere is none: but for rounding.
    np.testing.assert_allclose(unsplit.image, plain.image, atol=2e-3)
    assert unsplit.history[0].total == pytest.approx(plain.history[0].total, rel=1e-5)


def test_each_style_has_its_own_scale(content: Image, style: Image) -> None:
    other = flat(40, 44, 0.9, 0.1, 0.1)
    same, own, swapped = (
        stylize(content, [style, other], quick(iterations=1, style_scale=scale)).history[0].style
        for scale in (1.0, (1.0, 1.0), (0.5, 1.0))
    )
    assert same == own != swapped
    with pytest.raises(InputError, match=r"^style_scale has 2 values, and the number of styles"):
        StyleTransfer(content, style, quick(style_scale=(1, 2)))


# The record, and what cannot be


def test_the_record_says_what_the_regions_were(photo: Maker, style: Image) -> None:
    content = photo(40, 48)
    labels = halves(content.shape, 0, 4)
    labels[:4, 40:44] = 9
    own = halves(style.shape, 4, 9)
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


def painted(*labels: int) -> Any:
    return np.array([labels] * 40).repeat(48 // len(labels), axis=1)


@pytest.mark.parametrize(
    ("content_labels", "style_labels", "choices", "message"),
    [
        (painted(0, 2), [painted(1, 1)[:, :36]], {}, r"^style_labels of style has shape"),
        (painted(0, 2), [np.ones((44, 36), int)], {}, r"^Label 2 is on the content and on no"),
        (painted(1, 1), [np.eye(44, 36, dtype=int) + 1], {}, r"^Label 2 is on style 0 and not"),
        (painted(1, 1)[:, :9], None, {}, r"^content_labels has shape \(40, 9\); it must be that"),
        (painted(1, 1) / 2, None, {}, r"^content_labels has dtype float64; labels must be int"),
        (-painted(1, 1), None, {}, r"^content_labels has values from -1 to -1; "),
        (painted(0, 0), None, {}, r"^No label of the content has a style"),
        (painted(1, 1), None, {"region_styles": {1: 1}}, r"^region_styles gives label 1 the"),
        (None, [np.ones((44, 36), int)], {}, r"^There are style_labels and no content_labels"),
        (None, None, {"region_styles": {1: 0}}, r"^region_styles gives labels their styles, and"),
        (painted(1, 1), [None, None], {}, r"^style_labels has 2 entries, and the number of styl"),
        (painted(1, 1), 5, {}, r"^style_labels of style has shape \(\); it must be"),
    ],
)
def test_labels_that_cannot_be_used_are_named(
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
