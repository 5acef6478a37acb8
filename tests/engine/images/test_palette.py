from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_nst.engine.images.assignment import Assignment, Region, Source
from napari_nst.engine.images.labels import Labels
from napari_nst.engine.images.oklab import from_oklab, to_oklab
from napari_nst.engine.images.palette import Palette
from napari_nst.engine.images.pictures import Picture
from napari_nst.settings import StyleTransferSettings

REGULARISER = 0.005**2  # of the content's covariance, so that a grey picture has an inverse
SETTINGS = StyleTransferSettings(region_softness=0)


def random_picture(
    height: int, width: int, mean: Any, mix: Any, lightness: float = 0.6, seed: int = 0
) -> Any:
    """Return an array with correlated chroma, all of it in the gamut."""
    noise = np.random.default_rng(seed).uniform(-1, 1, (2, height * width))
    chroma = np.array(mix) @ noise + np.reshape(mean, (2, 1))
    lab = np.concatenate([np.full((1, height * width), lightness), chroma])
    image = from_oklab(torch.from_numpy(lab.reshape(1, 3, height, width)))
    return image[0].permute(1, 2, 0).float().numpy()


CONTENT = random_picture(30, 40, (0.01, 0.03), [[0.03, 0.01], [0.0, 0.03]])
STYLE = random_picture(25, 45, (-0.02, 0.01), [[0.02, 0.0], [-0.02, 0.05]], seed=1)
OTHER = random_picture(36, 28, (0.03, -0.04), [[0.01, 0.0], [0.0, 0.02]], seed=2)


def to_tensor(image: Any) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def chroma_of(image: Any) -> Any:
    """Return the chroma (2, N) of an array."""
    return to_oklab(to_tensor(image).double())[0, 1:].flatten(1).numpy()


def make_palette(content: Any, *styles: Any, **choices: Any) -> Palette:
    """Return the palette without labels."""
    settings = SETTINGS.replace(**choices)
    pictures = [Picture.from_array(each, "style") for each in styles]
    return Palette.from_pictures(
        Picture.from_array(content, "content"), pictures, None, None, None, settings
    )


def found_chroma(palette: Palette) -> Any:
    return palette.chroma[0].flatten(1).double().numpy()


def covariance(chroma: Any) -> Any:
    return np.cov(chroma, bias=True)


def transport(before: Any, after: Any) -> Any:
    """Return the linear change between chroma before and after, by least squares."""
    centred, moved = (each - each.mean(axis=1, keepdims=True) for each in (before, after))
    found, residual, *_ = np.linalg.lstsq(centred.T, moved.T, rcond=None)
    assert np.all(residual < 1e-9)
    return found.T


def test_the_chroma_is_an_affine_map_of_the_contents_with_the_styles_mean_and_covariance() -> None:
    content, style = chroma_of(CONTENT), chroma_of(STYLE)
    found = found_chroma(make_palette(CONTENT, STYLE))
    np.testing.assert_allclose(found.mean(axis=1), style.mean(axis=1), atol=1e-8)
    matrix = transport(content, found)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    assert np.linalg.eigvalsh(matrix).min() > 0
    regular = covariance(content) + REGULARISER * np.eye(2)
    np.testing.assert_allclose(matrix @ regular @ matrix.T, covariance(style), atol=1e-9)
    np.testing.assert_allclose(covariance(found), covariance(style), rtol=0.15, atol=2e-5)


def test_the_style_of_the_content_itself_hardly_changes_it() -> None:
    found = found_chroma(make_palette(CONTENT, CONTENT))
    np.testing.assert_allclose(found, chroma_of(CONTENT), atol=3e-3)


@pytest.mark.parametrize("grey", [0.5, 0.0, 1.0])
def test_a_grey_content_has_the_mean_colour_of_the_style(grey: float) -> None:
    found = found_chroma(make_palette(np.full((20, 30, 3), grey), STYLE))
    expected = np.repeat(chroma_of(STYLE).mean(axis=1, keepdims=True), 600, axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_content_of_one_colour_has_the_mean_colour_of_the_style() -> None:
    found = found_chroma(make_palette(np.full((20, 30, 3), (0.8, 0.2, 0.1)), STYLE))
    expected = np.repeat(chroma_of(STYLE).mean(axis=1, keepdims=True), 600, axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("form", ["grey", "grey in three channels", "one colour"])
def test_a_style_without_variation_gives_its_only_colour(form: str) -> None:
    styles = {
        "grey": np.linspace(0, 1, 400).reshape(20, 20),
        "grey in three channels": np.linspace(0, 1, 1200).reshape(20, 20, 3)[..., :1].repeat(3, 2),
        "one colour": np.full((20, 20, 3), (0.2, 0.4, 0.5)),
    }
    found = found_chroma(make_palette(CONTENT, styles[form]))
    color = chroma_of(styles[form])[:, :1] if form == "one colour" else np.zeros((2, 1))
    np.testing.assert_allclose(found, np.repeat(color, found.shape[1], axis=1), atol=1e-6)


def test_noise_of_a_nearly_grey_content_is_not_stretched_to_all_colours() -> None:
    noise = 0.5 + np.random.default_rng(0).normal(0, 0.002, (30, 40, 3))
    found = covariance(found_chroma(make_palette(noise, STYLE)))
    assert np.trace(found) < 0.15 * np.trace(covariance(chroma_of(STYLE)))


def test_several_styles_are_mixed_by_their_shares() -> None:
    parts = [chroma_of(STYLE), chroma_of(OTHER)]
    shares = np.array([0.25, 0.75])
    mean = sum(share * part.mean(axis=1) for share, part in zip(shares, parts, strict=True))
    second = sum(
        share * part @ part.T / part.shape[1] for share, part in zip(shares, parts, strict=True)
    )
    found = found_chroma(make_palette(CONTENT, STYLE, OTHER, style_weights=(1, 3)))
    np.testing.assert_allclose(found.mean(axis=1), mean, atol=1e-7)
    matrix = transport(chroma_of(CONTENT), found)
    regular = covariance(chroma_of(CONTENT)) + REGULARISER * np.eye(2)
    expected = second - np.outer(mean, mean)
    np.testing.assert_allclose(matrix @ regular @ matrix.T, expected, atol=1e-9)


def labels_of(values: Any, picture: Any) -> Labels:
    return Labels.from_array(values, "labels", picture.shape[:2], "picture")


def test_each_region_has_the_palette_of_its_own_style() -> None:
    values = np.ones(CONTENT.shape[:2], int)
    values[:, 20:] = 2
    painted = np.full(OTHER.shape[:2], 2)
    painted[18:] = 0  # only the upper half of the style has the label
    regions = Region((1,), (Source(0),)), Region((2,), (Source(1, 2),))
    palette = Palette.from_pictures(
        Picture.from_array(CONTENT, "content"),
        [Picture.from_array(STYLE, "style"), Picture.from_array(OTHER, "other")],
        labels_of(values, CONTENT),
        [None, labels_of(painted, OTHER)],
        Assignment(regions, ()),
        SETTINGS,
    )
    found = palette.chroma[0].double().numpy()
    for part, style in ((found[..., :20], STYLE), (found[..., 20:], OTHER[:18])):
        chroma = part.reshape(2, -1)
        np.testing.assert_allclose(chroma.mean(axis=1), chroma_of(style).mean(axis=1), atol=1e-7)
        difference = covariance(chroma) - covariance(chroma_of(style))
        assert np.abs(difference).max() < 0.2 * np.trace(covariance(chroma_of(style)))


def test_a_region_whose_styles_have_no_share_takes_them_all() -> None:
    everything = labels_of(np.ones(CONTENT.shape[:2], int), CONTENT)
    palette = Palette.from_pictures(
        Picture.from_array(CONTENT, "content"),
        [Picture.from_array(STYLE, "style"), Picture.from_array(OTHER, "other")],
        everything,
        None,
        Assignment((Region((1,), (Source(0),)),), ()),
        SETTINGS.replace(style_weights=(0, 1)),
    )
    np.testing.assert_array_equal(palette.chroma, make_palette(CONTENT, STYLE).chroma)


def test_borders_between_regions_are_soft() -> None:
    values = np.ones(CONTENT.shape[:2], int)
    values[:, 20:] = 2
    regions = Region((1,), (Source(0),)), Region((2,), (Source(1),))
    flat = [np.full((20, 20, 3), each) for each in ((0.6, 0.4, 0.4), (0.4, 0.4, 0.6))]
    columns = {}
    for softness in (0.0, 0.4):
        palette = Palette.from_pictures(
            Picture.from_array(CONTENT, "content"),
            [Picture.from_array(each, "style") for each in flat],
            labels_of(values, CONTENT),
            None,
            Assignment(regions, ()),
            SETTINGS.replace(region_softness=softness),
        )
        columns[softness] = palette.chroma[0, 1, 15].numpy()  # b, along a row
    assert len(np.unique(columns[0.0].round(5))) == 2
    assert np.all(np.diff(columns[0.4][14:26]) < 0)


def test_hidden_pixels_have_no_weight() -> None:
    found = []
    for hidden in (0.0, 1.0):
        content, style = (
            np.dstack([image, np.ones(image.shape[:2])]) for image in (CONTENT, STYLE)
        )
        content[:10], style[:, :20] = (*[hidden] * 3, 0), (*[1 - hidden] * 3, 0)
        found.append(make_palette(content, style))
    torch.testing.assert_close(found[0].chroma, found[1].chroma, rtol=0, atol=0)
    shown = found[0].chroma[0, :, 10:].flatten(1).double().numpy()
    np.testing.assert_allclose(shown.mean(axis=1), chroma_of(STYLE[:, 20:]).mean(axis=1), atol=1e-7)
    assert torch.equal(found[0].weight[0, 0, :10], torch.zeros(10, 40))


def test_a_large_picture_is_compared_at_a_reduced_size() -> None:
    large = np.kron(CONTENT, np.ones((10, 30, 1), np.float32))  # 300 x 1200 pixels
    palette = make_palette(large, STYLE)
    assert palette.chroma.shape[-2:] == (64, 256)


# The step


def halves(brightness: float, side: int = 128) -> Any:
    """Return a picture with a dark left half and a light right half, in different colours."""
    image = np.empty((side, side, 3), np.float32)
    image[:, : side // 2], image[:, side // 2 :] = (0.3, 0.15, 0.1), (0.5, 0.7, 0.9)
    return image * np.float32(brightness)


def test_the_step_keeps_the_lightness() -> None:
    image = to_tensor(random_picture(64, 96, (0, 0), 0.02 * np.eye(2), seed=3))
    before = to_oklab(image)[:, :1]
    found = make_palette(CONTENT, STYLE).apply_(image.clone())
    torch.testing.assert_close(to_oklab(found)[:, :1], before, rtol=0, atol=2e-3)
    assert (found - image).abs().max() > 0.01


def test_low_frequencies_are_the_palettes_and_high_ones_the_images() -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 0.01, (2, 128, 128))
    lab = np.stack([np.full((128, 128), 0.6), 0.04 + noise[0], noise[1] - 0.02])
    image = from_oklab(torch.from_numpy(lab)[None]).float()
    smooth = random_picture(4, 4, (0.0, 0.0), 0.04 * np.eye(2), seed=5).repeat(32, 0).repeat(32, 1)
    palette = make_palette(smooth, STYLE)
    chroma = to_oklab(palette.apply_(image))[0, 1:].numpy()
    # Away from the edges of the squares, and averaged over the noise.
    squares = chroma.reshape(2, 4, 32, 4, 32)[:, :, 8:24, :, 8:24]
    expected = palette.chroma[0].numpy().reshape(2, 4, 32, 4, 32)[:, :, 8:24, :, 8:24]
    np.testing.assert_allclose(
        squares.mean(axis=(2, 4)), expected.mean(axis=(2, 4)), rtol=0, atol=3e-3
    )
    own = noise.reshape(2, 4, 32, 4, 32)[:, :, 8:24, :, 8:24]
    for found, given in zip(squares, own, strict=True):
        kept = np.corrcoef((found - found.mean(axis=(1, 3), keepdims=True)).ravel(), given.ravel())
        assert kept[0, 1] > 0.9


def test_colours_stop_at_an_edge_of_the_lightness() -> None:
    content = halves(1.0)
    palette = make_palette(content, STYLE)
    targets = palette.chroma[0, :, 64, [10, 118]].numpy()
    for size in (128, 96, 300):
        image = to_tensor(halves(0.9, size))
        chroma = to_oklab(palette.apply_(image))[0, 1:].numpy()
        contrast = np.linalg.norm(targets[:, 0] - targets[:, 1])
        for columns, target in ((slice(0, size // 2), 0), (slice(size // 2, size), 1)):
            error = np.linalg.norm(chroma[:, :, columns] - targets[:, target, None, None], axis=0)
            assert error.max() < 0.25 * contrast, (size, target)


def test_without_an_edge_of_the_lightness_colours_are_smooth() -> None:
    palette = make_palette(halves(1.0), STYLE)
    lab = torch.tensor([0.6, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 128, 128)
    row = to_oklab(palette.apply_(from_oklab(lab)))[0, 1:, 64].numpy()
    steps = np.abs(np.diff(row, axis=1)).max(axis=1)
    assert np.all(steps < 0.3 * np.ptp(row, axis=1))


def test_the_step_does_not_change_kept_pixels_far_from_the_border() -> None:
    values = np.zeros(CONTENT.shape[:2], int)
    values[:, 20:] = 1
    palette = Palette.from_pictures(
        Picture.from_array(CONTENT, "content"),
        [Picture.from_array(STYLE, "style")],
        labels_of(values, CONTENT),
        None,
        Assignment((Region((1,), (Source(0),)),), (0,)),
        SETTINGS,
    )
    image = to_tensor(CONTENT)
    found = palette.apply_(image.clone())
    torch.testing.assert_close(found[..., :16], image[..., :16], rtol=0, atol=1e-4)
    assert (found[..., 20:] - image[..., 20:]).abs().mean() > 0.01


def test_the_step_is_the_same_at_every_size() -> None:
    palette = make_palette(CONTENT, STYLE)
    smooth = to_tensor(random_picture(6, 8, (0, 0), 0.03 * np.eye(2), seed=6))
    images = [
        torch.nn.functional.interpolate(smooth, size, mode="bicubic").clamp(0, 1)
        for size in ((60, 80), (240, 320), (600, 800))
    ]
    small, *larger = (palette.apply_(image) for image in images)
    for found in larger:
        reduced = torch.nn.functional.interpolate(found, (60, 80), mode="area")
        torch.testing.assert_close(reduced, small, rtol=0, atol=0.02)
