"""Alpha and missing values: hidden pixels have no effect, others are weighted by their alpha."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_nst.engine.images import color
from napari_nst.engine.images.assignment import Source, whole_image_region
from napari_nst.engine.images.inputs import Inputs
from napari_nst.engine.images.pictures import Picture
from napari_nst.engine.images.regions import Guide, Regions, resized_mask
from napari_nst.engine.images.visibility import fill_hidden
from napari_nst.engine.losses.objective import Objective
from napari_nst.engine.network.statistics import PositionWeights, Statistics
from napari_nst.engine.optim.schedule import Scale
from napari_nst.engine.run.style_cache import StyleCache
from napari_nst.engine.run.stylize import stylize
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.errors import InputError
from napari_nst.settings import StyleTransferSettings

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")

LAYERS: dict[str, Any] = {
    "style_layers": ("relu1_1", "relu3_1"),
    "content_layers": ("relu2_2",),
}
QUICK: dict[str, Any] = {"size": 48, "iterations": 4, "precision": "float32", **LAYERS}
DEFAULT_LAYERS = {name: getattr(StyleTransferSettings(), name) for name in LAYERS}


def round_alpha(height: int, width: int) -> Any:
    """Return an alpha channel of 1 in a disc with a soft border, and 0 outside."""
    y, x = np.mgrid[0:height, 0:width]
    return np.clip(0.4 * width - np.hypot(y - height / 2, x - width / 2), 0, 1)


def cut_out(picture: Any, hidden: float = 0.0) -> Any:
    """Return an image with that alpha and a constant colour where it is 0."""
    alpha = round_alpha(*picture.shape[:2])[..., None]
    return np.dstack([np.where(alpha > 0, picture, hidden), alpha]).astype(np.float32)


@pytest.fixture(scope="module")
def images(photo: Any, stripes: Any) -> tuple[Any, Any]:
    return photo(64, 72), stripes(60, 52)


def check_hidden_has_no_effect(make_result: Any) -> Any:
    """Check that a function of the hidden colour is constant, and return its result."""
    results = [make_result(hidden) for hidden in (0.0, 1.0)]
    np.testing.assert_array_equal(*results)
    return results[0]


@pytest.mark.parametrize(
    "choices",
    [
        pytest.param(DEFAULT_LAYERS, id="default"),
        {"style_loss": "gram+moments", "color": "match"},
        {"color": "palette"},
        {"style_loss": "wasserstein", "color": "luminance"},
        {"normalize_gradients": False, "style_weight": 1e-3, "content_weight": 1e-6},
        {"tile": 64, "size": 96, "iterations": 3},
        {"optimizer": "lbfgs"},
        {"init": "style"},
        {"init": "noise", "padding": "zero", "pooling": "average"},
        {"size": 40, "style_scale": 1.3},
        {"strokes_relative_to": "pixels", "style_scale": 0.2},
    ],
    ids=", ".join,
)
def test_hidden_colours_do_not_affect_the_result(images: Any, choices: dict[str, Any]) -> None:
    content, style = images
    chosen = {**QUICK, **choices}

    def make_result(hidden: float) -> Any:
        return stylize(cut_out(content, hidden), cut_out(style, hidden), **chosen).image

    result = check_hidden_has_no_effect(make_result)
    assert result.shape == (64, 72, 4)
    np.testing.assert_allclose(result[..., 3], round_alpha(64, 72), atol=1e-6)
    opaque = stylize(content, style, **chosen).image
    assert np.abs(result[24:40, 24:48, :3] - opaque[24:40, 24:48]).max() > 0.01


@pytest.mark.parametrize("guidance", ["all", "inside"])
def test_hidden_labels_do_not_affect_the_result(images: Any, guidance: str) -> None:
    content, style = images
    labels, painted = np.ones((64, 72), int), np.ones((60, 52), int)
    labels[:, 36:], painted[:30] = 2, 2

    def make_result(hidden: float) -> Any:
        shown, given = labels.copy(), painted.copy()
        shown[round_alpha(64, 72) == 0] = int(3 * hidden)  # label 3 has no style
        given[round_alpha(60, 52) == 0] = 1 + int(hidden)
        return stylize(
            cut_out(content, hidden),
            cut_out(style, hidden),
            content_labels=shown,
            style_labels=[given],
            region_guidance=guidance,
            **QUICK,
        ).image

    check_hidden_has_no_effect(make_result)


def test_hidden_colours_of_the_initial_image_do_not_affect_the_result(images: Any) -> None:
    content, style = images

    def make_result(hidden: float) -> Any:
        start = cut_out(content[::-1], hidden)
        return stylize(content, style, init_image=start, init="image", **QUICK).image

    check_hidden_has_no_effect(make_result)


@pytest.mark.parametrize("loss", ["gram", "gram+moments", "wasserstein"])
def test_missing_pixels_do_not_affect_the_result(images: Any, loss: str) -> None:
    content, style = images
    holes, hidden = content.copy(), np.dstack([content, np.ones((64, 72, 1), np.float32)])
    holes[20:40, 30:50] = np.nan
    hidden[20:40, 30:50, 3] = 0
    missing = stylize(holes, style, nan="keep", style_loss=loss, **QUICK).image
    shown = stylize(hidden, style, style_loss=loss, **QUICK).image
    known = np.isfinite(missing)
    assert not known[20:40, 30:50].any() and known.sum() == 3 * (64 * 72 - 400)
    np.testing.assert_array_equal(missing[known], shown[..., :3][known])


@pytest.mark.parametrize("mode", ["style", "palette", "match", "luminance"])
def test_opaque_alpha_equals_no_alpha(images: Any, mode: str) -> None:
    content, style = (
        np.dstack([image, np.ones((*image.shape[:2], 1), np.float32)]) for image in images
    )
    found = stylize(content, style, color=mode, **QUICK).image
    expected = stylize(*images, color=mode, **QUICK).image
    np.testing.assert_array_equal(found[..., :3], expected)


def test_an_alpha_of_one_half_everywhere_only_changes_rounding(images: Any) -> None:
    content, style = (
        np.dstack([image, np.full((*image.shape[:2], 1), 0.5, np.float32)]) for image in images
    )
    chosen = StyleTransferSettings(style_loss="gram+moments", color="match", **QUICK)
    runs = [StyleTransfer(*given, chosen) for given in ((content, style), images)]
    found, expected = (next(run).losses for run in runs)
    for name in ("content", "style", "tv"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-4), name


@pytest.mark.usefixtures("real_network")
def test_a_transparent_border_does_not_change_the_visible_part(images: Any) -> None:
    content, style = images
    padded = np.zeros((96, 104, 4), np.float32)
    padded[16:80, 16:88] = np.dstack([content, np.ones((64, 72, 1))])
    padded[..., 0] += padded[..., 3] == 0  # red around it
    run = {"precision": "float32", "scales": 1, "iterations": 10}
    alone = stylize(content, style, size=72, style_scale=104 / 72, **run).image
    found = stylize(padded, style, size=104, **run).image[16:80, 16:88, :3]
    solid = stylize(padded[..., :3], style, size=104, **run).image[16:80, 16:88]
    distance, worse = (np.abs(part - alone)[24:40, 24:48].mean() for part in (found, solid))
    assert distance < 0.7 * worse


def weighted_mean(values: Any, weights: Any) -> Any:
    return (values * weights).sum(axis=(-2, -1)) / weights.sum()


def double_tensor(image: Any) -> torch.Tensor:
    """Return an image with the shape (1, C, H, W), in float64."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None])).double()


def regions_of_alpha(alpha: Any, settings: StyleTransferSettings) -> Regions:
    """Return regions of a content and a style with the same alpha."""
    visible = torch.from_numpy(alpha)[None]
    guide = Guide(visible, settings, visible=visible)
    return Regions((whole_image_region(1),), guide, {Source(0): guide}, visible)


def test_losses_weight_features_by_alpha(images: Any) -> None:
    content, style = (double_tensor(image[:48, :48]) for image in images)
    alpha = np.random.default_rng(0).random((48, 48)) * (round_alpha(48, 48) > 0)
    settings = StyleTransferSettings(normalize_gradients=False, tv_weight=1, **LAYERS)
    objective = Objective(content, [style], settings, regions=regions_of_alpha(alpha, settings))
    image = torch.rand(content.shape, dtype=torch.float64, generator=torch.manual_seed(0))
    losses, _ = objective.loss_and_gradient(image)
    extract = objective._extractor
    features = [extract(one) for one in (image, content, style)]

    def pooled(layer: str) -> Any:
        side = 48 // features[0][layer].shape[-1]
        return alpha.reshape(48 // side, side, 48 // side, side).mean(axis=(1, 3))

    for layer in settings.style_layers:
        mine, _, its = (one[layer][0].numpy() for one in features)
        grams = [weighted_mean(f[:, None] * f[None], pooled(layer)) for f in (mine, its)]
        expected = ((grams[0] - grams[1]) ** 2).sum() / (4 * len(mine) ** 2)
        assert losses.style_layers[layer] == pytest.approx(expected, rel=1e-6)
    mine, its, _ = (one["relu2_2"][0].numpy() for one in features)
    expected = 0.5 * (pooled("relu2_2") * (mine - its) ** 2).sum()
    assert losses.content_layers["relu2_2"] == pytest.approx(expected, rel=1e-6)
    pixels = image[0].numpy()
    variation = 0.0
    for weight, one, other in (
        (2 / 3, np.s_[:, 1:], np.s_[:, :-1]),
        (2 / 3, np.s_[1:], np.s_[:-1]),
        (1 / 6, np.s_[1:, 1:], np.s_[:-1, :-1]),
        (1 / 6, np.s_[:-1, 1:], np.s_[1:, :-1]),
    ):
        both = np.minimum(alpha[one], alpha[other])
        variation += weight * sum((both * (p[one] - p[other]) ** 2).sum() for p in pixels)
    # Replicated, the last row and column have diagonal neighbours, too.
    for edge, visible in ((pixels[:, -1], alpha[-1]), (pixels[:, :, -1], alpha[:, -1])):
        both = np.minimum(visible[1:], visible[:-1])
        variation += 2 / 6 * (both * (edge[:, 1:] - edge[:, :-1]) ** 2).sum()
    assert losses.tv == pytest.approx(variation / (3 * alpha.sum()), rel=1e-6)


@pytest.mark.parametrize("loss", ["gram", "gram+moments", "wasserstein"])
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("tile", [None, 64])
def test_the_gradient_with_alpha_matches_finite_differences(
    images: Any, loss: str, normalized: bool, tile: int | None
) -> None:
    content = torch.nn.functional.pad(double_tensor(images[0]), (0, 8, 0, 32), mode="replicate")
    style = double_tensor(images[1])
    settings = StyleTransferSettings(
        style_loss=loss, normalize_gradients=normalized, content_weight=0.01, **LAYERS
    )
    visible = torch.from_numpy(round_alpha(*content.shape[-2:]))[None]
    shown = torch.from_numpy(round_alpha(*style.shape[-2:]))[None]
    regions = Regions(
        (whole_image_region(1),),
        Guide(visible, settings, visible=visible),
        {Source(0): Guide(shown, settings, visible=shown)},
        visible,
    )
    objective = Objective(content, [style], settings, regions=regions, tile=tile)
    generator = torch.manual_seed(1)
    image = (content + 0.1 * torch.randn(content.shape, generator=generator)).double()
    direction = torch.randn(image.shape, dtype=torch.float64, generator=generator)
    losses, gradient = objective.loss_and_gradient(image, tile)
    step = 1e-7  # smaller than the distance to the next kink of a ReLU
    above, below = (
        objective.loss_and_gradient(image + s * direction, tile)[0] for s in (step, -step)
    )
    slope = (above.total - below.total) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5)
    if tile is not None:
        whole, expected = objective.loss_and_gradient(image)
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-12)
        assert losses.total == pytest.approx(whole.total, rel=1e-9)
    # Far from visible pixels the gradient is 0.
    assert gradient[..., -4:, -4:].abs().max() == 0


def test_match_colors_weights_pixels_by_visibility(images: Any) -> None:
    generator = torch.manual_seed(0)
    content = 0.4 + 0.2 * double_tensor(images[0])  # without clipping
    style = 0.4 + 0.1 * torch.rand(1, 3, 60, 52, generator=generator, dtype=torch.float64)
    style += torch.linspace(0, 0.2, 60).view(1, 1, -1, 1)
    masks = [torch.from_numpy(round_alpha(*image.shape[-2:]))[None] for image in (content, style)]
    _, (matched,) = color.prepare(content, [style], "match", masks)
    of_content, of_style = (
        Statistics.from_features(image, PositionWeights.from_mask(mask[0]))
        for image, mask in zip((content, matched), masks, strict=True)
    )
    torch.testing.assert_close(of_style.mean, of_content.mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(of_style.covariance, of_content.covariance, atol=1e-5, rtol=0)
    unweighted = color.match_colors(style, content)
    without = Statistics.from_features(unweighted, PositionWeights.from_mask(masks[1][0]))
    assert (without.mean - of_content.mean).abs().max() > 1e-3


def test_an_invisible_region_is_ignored(images: Any) -> None:
    content, style = images
    labels = np.ones((64, 72), int)
    labels[round_alpha(64, 72) == 0] = 2
    run = StyleTransfer(
        cut_out(content), style, StyleTransferSettings(**QUICK), content_labels=labels
    )
    next(run)
    (region,) = run.record.regions
    assert region.labels == (1,)
    assert region.share == pytest.approx(1)
    painted = np.ones((60, 52), int)
    painted[round_alpha(60, 52) == 0] = 2
    labels[:32] = 2
    with pytest.raises(InputError, match="Label 2 is on the content and on no style"):
        Inputs(
            content,
            cut_out(style),
            StyleTransferSettings(),
            content_labels=labels,
            style_labels=[painted],
        )


def test_a_run_without_labels_records_no_regions(images: Any) -> None:
    run = StyleTransfer(cut_out(images[0]), images[1], StyleTransferSettings(**QUICK))
    next(run)
    assert run.record.regions == ()


@pytest.mark.parametrize("part", ["content", "style", "init_image"])
def test_fully_transparent_images_raise(images: Any, part: str) -> None:
    given = {"content": images[0], "style": images[1], "init_image": images[0]}
    given[part] = np.dstack([given[part], np.zeros((*given[part].shape[:2], 1))])
    with pytest.raises(InputError, match=f"^{part} is fully transparent: "):
        stylize(**given, init="image", **QUICK)


def test_a_saved_run_keeps_the_visibility(images: Any, tmp_path: Any) -> None:
    content, style = map(cut_out, images)
    settings = StyleTransferSettings(color="match", **QUICK)
    run = StyleTransfer(content, style, settings)
    next(run)
    run.save(tmp_path / "run")
    other = StyleTransfer.load(tmp_path / "run")
    for each in (run, other):
        for _ in each:
            pass
    np.testing.assert_array_equal(run.result().image, other.result().image)
    replayed = stylize(content, style, record=run.record).image
    np.testing.assert_array_equal(replayed, run.result().image)


def test_runs_share_statistics_of_styles_with_the_same_visibility_only(images: Any) -> None:
    content, style = images
    flat = np.full_like(style, 0.5)  # the same pixels, visible or not
    style_cache = StyleCache()
    for given in (flat, cut_out(flat, 0.5), cut_out(flat, 0.2), cut_out(flat[::-1, ::-1], 0.5)):
        next(StyleTransfer(content, given, StyleTransferSettings(**QUICK), style_cache=style_cache))
    assert style_cache.computed == 2


def test_hidden_pixels_of_a_result_are_filled_from_their_neighbours(images: Any) -> None:
    result = stylize(cut_out(images[0], 1), images[1], **QUICK).image
    shown = result[..., 3] > 0
    assert result[~shown][:, :3].std() < result[shown][:, :3].std()
    again = torch.from_numpy(result[..., :3].transpose(2, 0, 1)[None].copy())
    mask = resized_mask(torch.from_numpy(result[..., 3])[None], 64, 72)
    torch.testing.assert_close(fill_hidden(again, mask), again, atol=1e-6, rtol=0)


def test_the_estimate_of_memory_counts_guides(images: Any) -> None:
    content, style = images
    settings = StyleTransferSettings()
    assert Inputs(content, style, settings).guides == 0
    assert Inputs(content, cut_out(style), settings).guides == 1
    inputs = Inputs(cut_out(content), style, settings)
    assert inputs.regions(settings, Scale(32, 36, 1), torch.device("cpu")) is not None
    assert Picture.from_array(content, "content").visible is None
