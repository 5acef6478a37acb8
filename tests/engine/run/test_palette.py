"""Runs with the colours of the style at the content's places."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from engine_helpers import label_halves, quick_settings, run_to_end, totals

from napari_nst import StyleTransfer, stylize
from napari_nst.engine.images.oklab import to_oklab

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Image = NDArray[np.float32]
    Maker = Callable[[int, int], Image]

quick = partial(quick_settings, iterations=6)

pytestmark = pytest.mark.usefixtures("one_thread")


def oklab(image: Any) -> Any:
    """Return the OKLab coordinates (H, W, 3) of an array."""
    tensor = torch.from_numpy(np.ascontiguousarray(image[..., :3])).permute(2, 0, 1)[None].double()
    return to_oklab(tensor)[0].permute(1, 2, 0).numpy()


def low(image: Any) -> Any:
    """Return the mean chroma of squares of 16 pixels."""
    height, width = (length // 16 for length in image.shape[:2])
    chroma = oklab(image)[: 16 * height, : 16 * width, 1:]
    return chroma.reshape(height, 16, width, 16, 2).mean(axis=(1, 3))


@pytest.mark.parametrize("loss", ["gram", "gram+moments", "wasserstein"])
def test_only_the_shown_colours_differ_from_a_run_in_the_styles_colours(
    loss: str, content: Image, style: Image
) -> None:
    plain = stylize(content, style, quick(style_loss=loss))
    found = stylize(content, style, quick(style_loss=loss, color="palette"))
    assert totals(found) == totals(plain)
    lightness, before = oklab(found.image)[..., 0], oklab(plain.image)[..., 0]
    np.testing.assert_allclose(lightness, before, atol=3e-3)
    assert np.abs(found.image - plain.image).mean() > 0.01
    assert found.record.settings.color == "palette"


def share_explained(chroma: Any, content: Image) -> float:
    """Return the share of the variance of low chroma that is affine in the content's."""
    given = low(content).reshape(-1, 2)
    found = chroma.reshape(-1, 2)
    _, residual, *_ = np.linalg.lstsq(np.c_[given, np.ones(len(given))], found, rcond=None)
    return float(1 - residual.sum() / ((found - found.mean(axis=0)) ** 2).sum())


def test_colours_lie_as_in_the_content_and_are_those_of_the_style(
    photo: Maker, stripes: Maker
) -> None:
    content, style = photo(96, 128), stripes(80, 100)
    settings = quick(size=128, init="noise", iterations=30, kept_structure=0)
    found = low(stylize(content, style, settings.replace(color="palette")).image)
    plain = low(stylize(content, style, settings).image)
    mean = oklab(style)[..., 1:].mean(axis=(0, 1))
    assert np.linalg.norm(found.mean(axis=(0, 1)) - mean) < 0.02
    assert share_explained(plain, content) < 0.7
    assert share_explained(found, content) > 0.85


def test_tiles_give_the_colours_of_the_whole_image(photo: Maker, style: Image) -> None:
    content, found = photo(144, 160), {}
    for color in ("style", "palette"):
        whole, tiled = (
            stylize(content, style, quick(color=color, iterations=2, tile=tile)).image
            for tile in ("off", 64)
        )
        found[color] = tiled - whole, low(tiled) - low(whole)
    # Steps of Adam have the sign of a gradient near 0, which rounding decides.  If no step
    # differs, linear values may lie 1e-5 outside the gamut, and sRGB's steepest slope is 12.92.
    highest = max(1.5 * np.abs(found["style"][0]).max(), 1.3e-4)
    assert np.abs(found["palette"][0]).max() < highest
    assert np.abs(found["palette"][1]).max() < 1e-3


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_colours_change_during_a_run_without_changing_the_run(
    optimizer: str, content: Image, style: Image
) -> None:
    settings = quick(optimizer=optimizer, iterations=8)
    plain = stylize(content, style, settings)
    run = StyleTransfer(content, style, settings)
    shown = {}
    for snapshot in run:
        shown[snapshot.iteration] = snapshot.image()
        if snapshot.iteration in (2, 5):
            run.steer(color="palette" if snapshot.iteration == 2 else "style")
    assert totals(run) == totals(plain)
    np.testing.assert_array_equal(run.result().image, plain.image)
    assert [change.choices for change in run.record.steering] == [
        {"color": "palette"},
        {"color": "style"},
    ]
    direct = StyleTransfer(content, style, settings.replace(color="palette"))
    for snapshot in direct:
        if snapshot.iteration in (3, 4, 5):
            np.testing.assert_array_equal(shown[snapshot.iteration], snapshot.image())
    assert not np.array_equal(shown[6], direct.result().image)


def test_a_weight_that_changes_with_the_colours_takes_effect(content: Image, style: Image) -> None:
    runs = [StyleTransfer(content, style, quick()) for _ in range(2)]
    for run, extra in zip(runs, ({}, {"color": "palette"}), strict=True):
        for snapshot in run:
            if snapshot.iteration == 2:
                run.steer(style_weight=5.0, **extra)
    assert totals(runs[0]) == totals(runs[1])


def test_new_styles_and_shares_change_the_colours_of_the_run(content: Image, style: Image) -> None:
    other = style[..., ::-1].copy()
    settings = quick(color="palette", style_weights=(1, 0))
    run = StyleTransfer(content, [style, other], settings)
    next(run)
    first = low(run.result().image)
    run.steer(style_weights=(0, 1))
    next(run)
    second = low(run.result().image)
    run.steer(styles=[style, 1 - style])
    next(run)
    third = low(run.result().image)
    for one, two in ((first, second), (second, third), (first, third)):
        assert np.abs(one - two).mean() > 0.02


def test_a_replay_has_the_same_bytes(content: Image, style: Image) -> None:
    labels = label_halves(content, 0, 1)
    run = StyleTransfer(content, style, quick(color="style"))
    for snapshot in run:
        if snapshot.iteration == 3:
            run.steer(color="palette")
            run.steer(content_labels=labels)
    result = run.result()
    replay = StyleTransfer(
        content, style, result.settings, replay=result.record, replacements=[labels]
    )
    assert run_to_end(replay).image.tobytes() == result.image.tobytes()


def test_regions_have_the_palettes_of_their_styles(photo: Maker) -> None:
    content = photo(96, 128)
    styles = [np.full((40, 40, 3), each, np.float32) for each in ((0.7, 0.3, 0.3), (0.3, 0.4, 0.7))]
    rng = np.random.default_rng(0)
    styles = [
        (each + rng.normal(0, 0.02, each.shape)).astype(np.float32).clip(0, 1) for each in styles
    ]
    labels = label_halves(content, 1, 2)
    settings = quick(color="palette", size=128, region_styles={1: 0, 2: 1})
    found = low(stylize(content, styles, settings, content_labels=labels).image)
    for part, own in ((found[:, :3], styles[0]), (found[:, 5:], styles[1])):
        mean = oklab(own)[..., 1:].mean(axis=(0, 1))
        np.testing.assert_allclose(part.mean(axis=(0, 1)), mean, atol=0.02)


@pytest.mark.parametrize("form", ["grey content", "grey style"])
def test_grey_images_give_a_grey_result(form: str, content: Image, style: Image) -> None:
    if form == "grey content":
        plain = stylize(content[..., 0], style, quick())
        found = stylize(content[..., 0], style, quick(color="palette"))
        np.testing.assert_array_equal(found.image, plain.image)
    else:
        found = stylize(content, style[..., 0], quick(color="palette", size=48))
        assert np.abs(low(found.image)).max() < 0.01


def test_kept_and_missing_pixels_stay(content: Image, style: Image) -> None:
    image = content.copy()
    image[3:6, 4:40] = np.nan
    labels = label_halves(content, 0, 1)
    settings = quick(nan="keep", color="palette")
    found = stylize(image, style, settings, content_labels=labels).image
    np.testing.assert_array_equal(np.isnan(found), np.isnan(image))
    np.testing.assert_array_equal(found[labels == 0], image[labels == 0])
