"""Weights of regions, and losses and gradients with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.ndimage
import thin_vgg
import torch
from engine_helpers import finite_differences

from napari_nst.engine.images.assignment import Region, Source
from napari_nst.engine.images.regions import Guide, Regions, resized_mask
from napari_nst.engine.losses.objective import Objective
from napari_nst.engine.network.statistics import PositionWeights, Statistics, feature_gradient
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.networks import NETWORKS
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from torch import Tensor

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)
LAYERS = ("relu1_1", "conv2_2", "relu3_1", "relu4_1")


def make_settings(**choices: Any) -> StyleTransferSettings:
    return StyleTransferSettings(
        **{"content_layers": ("relu2_1",), "style_layers": LAYERS, "tv_weight": 0, **choices}
    )


def blobs(count: int, height: int, width: int, *, kept: bool = False) -> Any:
    """Return masks of uneven regions side by side; with `kept` some pixels have none."""
    while True:
        noise = RNG.normal(size=(count + kept, height, width))
        best = scipy.ndimage.gaussian_filter(noise, (0, 9, 9)).argmax(axis=0)
        masks = np.stack([best == label for label in range(count + kept)]).astype(float)
        if masks.mean(axis=(1, 2)).min() > 0.05:
            return masks[:count]


def guide(masks: Any, softness: float = 0.0, **choices: Any) -> Guide:
    return Guide(torch.from_numpy(masks), make_settings(**choices), softness)


def area_average(masks: Any, stride: int) -> Any:
    rows, columns = masks.shape[1] // stride, masks.shape[2] // stride
    cut = masks[:, : rows * stride, : columns * stride]
    return cut.reshape(len(masks), rows, stride, columns, stride).mean(axis=(2, 4))


# Weights of regions


@pytest.mark.parametrize("size", [(64, 80), (67, 93)])
def test_a_position_is_weighted_by_the_share_of_its_pixels_in_a_region(
    size: tuple[int, int],
) -> None:
    masks = blobs(3, *size, kept=True)
    found = guide(masks)
    for name in LAYERS:
        expected = area_average(masks, NETWORKS["vgg16"].layer(name).stride)
        np.testing.assert_allclose(found.weights(name), expected, atol=1e-12)
        np.testing.assert_allclose(found.share(name), expected.mean(axis=(1, 2)), atol=1e-12)


@pytest.mark.parametrize("size", [(64, 80), (67, 93)])
def test_inside_means_the_whole_receptive_field(size: tuple[int, int]) -> None:
    masks = blobs(2, *size, kept=True)
    found = guide(masks, 0.1, region_guidance="inside")
    for name in LAYERS:
        layer = NETWORKS["vgg16"].layer(name)
        reach = (layer.receptive_field - layer.stride) // 2
        for region, mask in enumerate(masks):
            expected = np.zeros((size[0] // layer.stride, size[1] // layer.stride))
            for row, column in np.ndindex(expected.shape):
                top, left = row * layer.stride - reach, column * layer.stride - reach
                bottom, right = top + layer.receptive_field, left + layer.receptive_field
                field = mask[max(top, 0) : bottom, max(left, 0) : right]
                expected[row, column] = field.all()
            np.testing.assert_array_equal(found.weights(name)[region], expected)
        assert found.weights(name).shape[1:] == expected.shape
    assert found.empty("relu4_1") == (
        0,
        1,
    )  # its receptive field of 68 pixels fits into neither region
    assert found.empty("relu1_1") == ()


@pytest.mark.parametrize("softness", [0.0, 0.02, 0.1, 0.5, 1.0])
def test_weights_of_regions_sum_to_one(softness: float) -> None:
    masks = blobs(3, 64, 80)
    found = guide(masks, softness)
    for name in LAYERS:
        weights = found.weights(name)
        np.testing.assert_allclose(weights.sum(dim=0), 1, atol=1e-12)
        assert float(weights.min()) >= 0
        assert float(found.share(name).sum()) == pytest.approx(1)
    hard = guide(masks).weights("relu1_1")
    # A blur by 0.4 pixels, the least here, moves 0.04 across a straight border.
    assert bool((found.weights("relu1_1") - hard).abs().max() >= 0.04) == (softness > 0)


@pytest.mark.parametrize("softness", [0.02, 0.1, 1.0])
def test_softening_does_not_reach_kept_pixels(softness: float) -> None:
    masks = blobs(2, 64, 80, kept=True)
    weights = guide(masks, softness).weights("relu1_1").numpy()
    anywhere = masks.sum(axis=0)
    assert 0 < anywhere.mean() < 1
    assert (weights[:, anywhere == 0] == 0).all()
    np.testing.assert_allclose(weights.sum(axis=0), anywhere, atol=1e-12)  # the sum is unchanged


def test_a_soft_border_is_a_gaussian_blur() -> None:
    masks = np.zeros((2, 60, 100))
    masks[0, :, :50] = masks[1, :, 50:] = 1
    found = guide(masks, 0.2).weights("relu1_1")[0]  # 20 pixels wide: sigma of 5
    expected = scipy.ndimage.gaussian_filter1d(masks[0], 5, axis=1, mode="nearest", radius=16)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_border_to_kept_pixels_is_not_softened() -> None:
    masks = blobs(1, 40, 40, kept=True)
    np.testing.assert_array_equal(guide(masks, 0.5).weights("relu1_1"), masks)


@pytest.mark.parametrize("size", [(16, 20), (37, 41), (128, 160), (64, 80)])
def test_resampled_masks_still_sum_to_one(size: tuple[int, int]) -> None:
    masks = torch.from_numpy(blobs(4, 64, 80))
    found = resized_mask(masks, *size)
    assert found.shape == (4, *size)
    np.testing.assert_allclose(found.sum(dim=0), 1, atol=1e-6)
    assert float(found.min()) > -1e-6
    np.testing.assert_allclose(found.mean(dim=(1, 2)), masks.mean(dim=(1, 2)), atol=0.02)


# Weighted sums


def test_weighted_sums_match_numpy() -> None:
    f, w = RNG.normal(size=(4, 5, 7)), RNG.random((5, 7)) * (RNG.random((5, 7)) > 0.4)
    found = Statistics.from_features(
        torch.from_numpy(f)[None], PositionWeights.from_mask(torch.from_numpy(w))
    )
    assert float(found.weight) == pytest.approx(w.sum(), rel=1e-12)
    np.testing.assert_allclose(found.feature_sum, np.einsum("hw,nhw->n", w, f), rtol=1e-11)
    np.testing.assert_allclose(found.outer_sum, np.einsum("hw,nhw,mhw->nm", w, f, f), rtol=1e-11)
    # They equal the unweighted sums of features times sqrt(w).
    guided = Statistics.from_features(torch.from_numpy(np.sqrt(w) * f))
    np.testing.assert_allclose(found.outer_sum, guided.outer_sum, rtol=1e-11, atol=1e-11)
    empty = Statistics.from_features(
        torch.from_numpy(f), PositionWeights.from_mask(torch.zeros(5, 7))
    )
    assert float(empty.weight) == 0 == float(empty.outer_sum.abs().max())


def test_the_gradient_of_weighted_sums_matches_finite_differences() -> None:
    f, w = RNG.normal(size=(3, 4, 5)), RNG.random((4, 5)) * (RNG.random((4, 5)) > 0.3)
    first, half = RNG.normal(size=3), RNG.normal(size=(3, 3))
    second = half + half.T

    def value(f: Any) -> float:
        sums = np.einsum("hw,nhw->n", w, f), np.einsum("hw,nhw,mhw->nm", w, f, f)
        return float(first @ sums[0] + (second * sums[1]).sum())

    arguments = torch.from_numpy(first), torch.from_numpy(second)
    weights = PositionWeights.from_mask(torch.from_numpy(w))
    found = feature_gradient(torch.from_numpy(f)[None], *arguments, weights)
    assert found.shape == (1, *f.shape)
    np.testing.assert_allclose(found[0], finite_differences(value, f, 1e-4), atol=1e-7)
    plain = feature_gradient(torch.from_numpy(f), *arguments)
    everywhere = PositionWeights.from_mask(torch.ones(4, 5))
    ones = feature_gradient(torch.from_numpy(f), *arguments, everywhere)
    np.testing.assert_allclose(ones, plain, rtol=1e-12)


# Objective


SIZE = (40, 56)


def reference(
    settings: StyleTransferSettings, image: Any, content: Any, styles: list[Any], weights: Any
) -> float:
    """Return alpha sum 1/2 (F - P)^2 + beta sum_l w_l sum_r share_r E(G_r, A_r), in numpy.

    `weights` lists the mask of each region, and share, style and mask of each of its sources.
    """
    network = thin_vgg.extractor(settings)

    def features(picture: Any) -> dict[str, Any]:
        return {k: v[0].numpy() for k, v in network(torch.from_numpy(picture)[None]).items()}

    def moment(f: Any, w: Any) -> Any:
        return np.einsum("hw,nhw,mhw->nm", w, f, f) / w.sum()

    generated, target = features(image), features(content)
    of_styles = [features(style) for style in styles]
    total = 0.0
    for layer, weight in settings.content_layers.items():
        squared = ((generated[layer] - target[layer]) ** 2).sum()
        total += settings.content_weight * weight * squared / 2
    for layer, weight in settings.style_layers.items():
        stride = NETWORKS["vgg16"].layer(layer).stride
        for mask, sources in weights:
            w = area_average(mask[None], stride)[0]
            g = moment(generated[layer], w)
            a = np.zeros_like(g)
            for share, style, own in sources:
                a += share * moment(of_styles[style][layer], area_average(own[None], stride)[0])
            error = ((g - a) ** 2).sum() / (4 * len(g) ** 2)
            total += settings.style_weight * weight * w.mean() * error
    return float(total)


@pytest.mark.parametrize("tile", [None, 16])
def test_the_objective_matches_the_formula(tile: int | None) -> None:
    settings = make_settings(
        normalize_gradients=False, content_weight=0.02, style_weight=3, style_weights=(1, 3)
    )
    image, content = (thin_vgg.picture(n, *SIZE)[0].numpy() for n in (0, 1))
    styles = [thin_vgg.picture(n, *size)[0].numpy() for n, size in ((2, (48, 40)), (3, (32, 64)))]
    masks = blobs(2, *SIZE, kept=True)
    labels = [blobs(2, 48, 40), blobs(2, 32, 64)]
    everywhere = [np.ones(style.shape[1:]) for style in styles]
    weights = [
        (
            masks[0],
            [(0.25, 0, labels[0][1]), (0.75, 1, labels[1][1])],
        ),  # region 1: a label of two styles
        (masks[1], [(1.0, 1, everywhere[1])]),  # region 2: a whole style
    ]
    sources = (Source(0, 1), Source(1, 1))
    regions = Regions(
        (Region((1,), sources), Region((2,), (Source(1),))),
        guide(masks),
        {source: guide(labels[source.style][1:]) for source in sources},
    )
    objective = Objective(
        torch.from_numpy(content)[None],
        [torch.from_numpy(style)[None] for style in styles],
        settings,
        thin_vgg.extractor(settings),
        regions=regions,
    )

    def value(image: Any) -> float:
        return reference(settings, image, content, styles, weights)

    losses, gradient = objective.loss_and_gradient(torch.from_numpy(image)[None], tile)
    assert losses.total == pytest.approx(value(image), rel=1e-10)
    for _ in range(6):
        direction = RNG.normal(size=image.shape)
        step = 1e-6
        slope = (value(image + step * direction) - value(image - step * direction)) / (2 * step)
        assert float((gradient[0].numpy() * direction).sum()) == pytest.approx(slope, rel=1e-4)


def objective(settings: StyleTransferSettings, content: Tensor, masks: Any | None) -> Objective:
    style = thin_vgg.picture(5, 48, 40)
    extractor = symmetric(settings)
    if masks is None:
        return Objective(content, [style], settings, extractor)
    own = tuple(Region((label,), (Source(0),)) for label in range(len(masks)))
    regions = Regions(own, guide(masks, style_loss=settings.style_loss), {})
    return Objective(content, [style], settings, extractor, regions=regions)


def symmetric(settings: StyleTransferSettings) -> FeatureExtractor:
    """Return a network whose features of a mirrored image are mirrored."""
    weights = thin_vgg.weights("vgg16")
    even = {k: (w + w.flip(-1)) / 2 if w.ndim == 4 else w for k, w in weights.items()}
    layers = (*settings.content_layers, *settings.style_layers)
    return FeatureExtractor("vgg16", even, layers, dtype=torch.float64)


@pytest.mark.parametrize("style_loss", ["gram", "gram+moments", "wasserstein"])
@pytest.mark.parametrize("normalize", [False, True], ids=["paper", "normalised"])
def test_regions_of_a_mirrored_image_equal_the_whole(style_loss: str, normalize: bool) -> None:
    settings = make_settings(style_loss=style_loss, normalize_gradients=normalize)
    half, other = thin_vgg.picture(0, 48, 40), thin_vgg.picture(1, 48, 40)
    image, content = (torch.cat([x, x.flip(-1)], dim=-1) for x in (half, other))
    masks = np.zeros((2, 48, 80))
    masks[0, :, :40] = masks[1, :, 40:] = 1
    whole, expected = objective(settings, content, None).loss_and_gradient(image)
    split, found = objective(settings, content, masks).loss_and_gradient(image)
    assert split.total == pytest.approx(whole.total, rel=1e-9)
    assert float((found - expected).norm() / expected.norm()) < 1e-8
    one, alone = objective(settings, content, np.ones((1, 48, 80))).loss_and_gradient(image)
    assert one.total == pytest.approx(whole.total, rel=1e-9)
    assert float((alone - expected).norm() / expected.norm()) < 1e-8


def test_a_region_without_positions_at_a_layer_is_dropped_there() -> None:
    settings = make_settings(region_guidance="inside", content_weight=0)
    masks = np.zeros((2, *SIZE))
    masks[0, :, :36] = 1
    masks[1, 4:7, 44:47] = 1  # a few pixels: no position from the second layer on
    content, style = thin_vgg.picture(0, *SIZE), thin_vgg.picture(1, 48, 40)
    regions = Regions(
        (Region((1,), (Source(0),)), Region((2,), (Source(0),))),
        guide(masks, region_guidance="inside"),
        {},
    )
    guided = Objective(content, [style], settings, thin_vgg.extractor(settings), regions=regions)
    assert guided.dropped == [[], ["conv2_2", "relu3_1", "relu4_1"]]
    image = thin_vgg.picture(2, *SIZE)
    losses, gradient = guided.loss_and_gradient(image)
    only = Regions(regions.regions[:1], guide(masks[:1], region_guidance="inside"), {})
    alone = Objective(content, [style], settings, thin_vgg.extractor(settings), regions=only)
    expected = alone.loss_and_gradient(image)[0].style_layers
    for layer in ("conv2_2", "relu3_1", "relu4_1"):  # without the other region
        assert losses.style_layers[layer] == pytest.approx(expected[layer], rel=1e-12)
    assert losses.style_layers["relu1_1"] > expected["relu1_1"]
    assert gradient.isfinite().all()
