"""Tiles: their geometry, and losses and gradients equal to those of the whole image."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import thin_vgg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.engine.images.assignment import Region, Source
from napari_nst.engine.images.regions import Guide, Regions
from napari_nst.engine.losses import targets
from napari_nst.engine.losses.objective import Objective, extractor_for
from napari_nst.engine.network.convolutions import FastConvolutions
from napari_nst.engine.resources import tiles
from napari_nst.engine.resources.tiles import TileGrid
from napari_nst.networks import NETWORKS
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from torch import Tensor

    from napari_nst.networks import ConvolutionMethod

pytestmark = pytest.mark.usefixtures("one_thread")


# Geometry


@pytest.mark.parametrize(
    ("network", "layer", "stride", "halo"),
    [
        ("vgg16", "conv1_1", 1, 1),
        ("vgg16", "relu5_1", 16, 64),
        ("vgg16", "relu5_3", 16, 96),
        ("vgg19", "relu5_1", 16, 80),
        ("vgg19", "relu5_4", 16, 128),
    ],
)
def test_the_halo_covers_the_receptive_field_of_the_deepest_layer(
    network: str, layer: str, stride: int, halo: int
) -> None:
    grid = TileGrid(network, ["relu1_1", layer])
    assert (grid.stride, grid.halo) == (stride, halo)
    field = NETWORKS[network].layer(layer).receptive_field
    assert halo - stride < (field - stride) / 2 <= halo


@settings(max_examples=60)
@given(
    st.integers(16, 400),
    st.integers(16, 400),
    st.one_of(st.none(), st.integers(16, 420)),
    st.sampled_from(["relu1_2", "relu3_1", "relu5_1", "relu5_3"]),
)
def test_interiors_cover_every_position_of_every_layer_once(
    height: int, width: int, size: int | None, deepest: str
) -> None:
    grid = TileGrid("vgg16", [deepest])
    image = torch.zeros(1, 3, height, width)
    parts = grid.tiles(image, size)
    pixels = torch.zeros(height, width)
    read = []
    for part in parts:
        view = part.read(image)
        read.append(view.shape[-2] * view.shape[-1])
        for span, length in ((part.rows, height), (part.columns, width)):
            assert span.start % grid.stride == span.read_start % grid.stride == 0
            assert span.read_start in {0, span.start - grid.halo}
            assert span.read_stop in {length, span.stop + grid.halo}
            assert size is None or span.stop - span.start <= max(size, grid.stride)
        pixels[part.rows.start : part.rows.stop, part.columns.start : part.columns.stop] += 1
    assert (pixels == 1).all()
    assert max(read) <= grid.max_tile_pixels(height, width, size)
    assert parts[0].is_whole == (len(parts) == 1)
    for stride in set(grid.strides.values()):
        whole = torch.zeros(height // stride, width // stride)
        for part in parts:
            view = part.read(image)
            features = torch.ones(view.shape[-2] // stride, view.shape[-1] // stride)
            interior = part.interior(features, stride)
            part.cells(whole, stride).add_(interior)
            assert part.cells(whole, stride).shape == interior.shape
        assert (whole == 1).all()


def test_tiles_are_evenly_large() -> None:
    grid = TileGrid("vgg16", ["relu5_1"])
    image = torch.zeros(1, 3, 100, 530)
    (whole,) = grid.tiles(image, None)
    assert whole.is_whole
    widths = [part.columns.stop - part.columns.start for part in grid.tiles(image, 512)]
    assert widths == [272, 258]  # not 512 and a sliver of 18
    assert grid.max_tile_pixels(100, 530, 512) == 100 * (272 + 64)
    assert grid.max_tile_pixels(100, 530, None) == 100 * 530


# Loss and gradient


def make_settings(**choices: Any) -> StyleTransferSettings:
    return StyleTransferSettings(
        **{
            "content_layers": {"relu2_2": 0.5, "relu4_2": 1},
            "style_layers": ("relu1_1", "conv2_1", "relu3_1", "relu4_1", "relu5_1"),
            "content_weight": 0.3,
            "style_weight": 2,
            "tv_weight": 3,
            **choices,
        }
    )


def regions_of(settings: StyleTransferSettings, height: int, width: int) -> Regions:
    """Return three regions with soft borders and pixels outside them; one source is a label."""
    left = torch.zeros(3, height, width, dtype=torch.float64)
    left[0, :, : width // 3] = left[1, : height // 2, width // 3 : -9] = 1
    left[2, height // 2 :, width // 3 : -9] = 1
    painted = torch.zeros(1, 90, 75, dtype=torch.float64)
    painted[0, 10:80, :50] = 1
    whole, label = Source(0), Source(1, 2)
    return Regions(
        (Region((1,), (whole,)), Region((2,), (label,)), Region((3,), (whole, Source(1)))),
        Guide(left, settings, 0.1),
        {label: Guide(painted, settings)},
    )


def objective(
    settings: StyleTransferSettings,
    size: tuple[int, int],
    *,
    dtype: torch.dtype = torch.float64,
    regions: bool = False,
    **options: Any,
) -> Objective:
    return Objective(
        thin_vgg.picture(1, *size, dtype=dtype),
        [thin_vgg.picture(2, 70, 101, dtype=dtype), 1 - thin_vgg.picture(3, 90, 75, dtype=dtype)],
        settings,
        thin_vgg.extractor(settings, dtype),
        regions=regions_of(settings, *size) if regions else None,
        **options,
    )


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def check_tiles(
    whole: Objective, tiled: Objective, image: Tensor, tile: int | None, tolerance: float
) -> None:
    """Compare an evaluation of the whole image with one in tiles."""
    expected, gradient = whole.loss_and_gradient(image)
    found, found_gradient = tiled.loss_and_gradient(image, tile)
    # Relative to the total: the loss of a layer can be a tiny difference of large sums.
    tolerances = {"rel": tolerance, "abs": tolerance * expected.total}
    assert found.total == pytest.approx(expected.total, rel=tolerance)
    assert dict(found.content_layers) == pytest.approx(dict(expected.content_layers), **tolerances)
    assert dict(found.style_layers) == pytest.approx(dict(expected.style_layers), **tolerances)
    assert found.tv == pytest.approx(expected.tv, rel=tolerance)
    assert found_gradient.dtype == image.dtype and found_gradient.shape == image.shape
    assert relative_error(found_gradient, gradient) < tolerance


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
@pytest.mark.parametrize(
    ("pooling", "padding"),
    [("max", "replicate"), ("max", "zero"), ("average", "replicate"), ("average", "zero")],
)
@pytest.mark.parametrize(
    ("size", "tile"),
    [
        ((110, 163), 64),  # odd
        ((97, 193), 96),  # pooling drops a row and a column
        ((33, 301), 80),  # a narrow image
        ((50, 80), 16),  # the smallest tiles: one has no cell in its interior
    ],
)
def test_tiles_do_not_change_loss_and_gradient(
    network: str, pooling: str, padding: str, size: tuple[int, int], tile: int
) -> None:
    settings = make_settings(network=network, pooling=pooling, padding=padding)
    whole = objective(settings, size)
    check_tiles(whole, whole, thin_vgg.picture(4, *size), tile, 1e-10)


@pytest.mark.parametrize("style_loss", ["gram", "gram+moments", "wasserstein"])
@pytest.mark.parametrize("normalize", [False, True], ids=["paper", "normalised"])
@pytest.mark.parametrize("regions", [None, "all", "inside"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["64", "32"]
)
def test_tiles_do_not_change_any_style_loss(
    style_loss: str, normalize: bool, regions: str | None, dtype: torch.dtype, tolerance: float
) -> None:
    settings = make_settings(
        style_loss=style_loss,
        normalize_gradients=normalize,
        region_guidance=regions or "all",
    )
    size = (117, 171)
    whole = objective(settings, size, regions=regions is not None, dtype=dtype)
    check_tiles(whole, whole, thin_vgg.picture(4, *size, dtype=dtype), 64, tolerance)


@pytest.mark.parametrize(
    "choices",
    [
        {"style_layers": ()},
        {"content_layers": ()},
        {"content_layers": ("relu1_1",), "style_layers": ("conv1_1",)},
        {"content_layers": ("relu1_1",), "style_layers": (), "content_weight": 0},
        {"style_layers": ("relu5_3",)},
        {"network": "vgg19", "style_layers": ("relu5_4",), "content_layers": ("conv5_4",)},
        {"style_layers": ("pool2", "pool4"), "content_layers": ("pool3",)},
    ],
    ids=lambda choices: " ".join(map(str, choices.values())),
)
def test_tiles_do_not_change_losses_of_any_layers(choices: dict[str, Any]) -> None:
    size = (97, 163)
    whole = objective(make_settings(**choices), size)
    check_tiles(whole, whole, thin_vgg.picture(4, *size), 64, 1e-10)


def test_targets_computed_in_tiles_equal_those_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = (150, 203)
    settings = make_settings()
    whole = objective(settings, size, regions=True)
    monkeypatch.setattr(targets, "STYLE_TILE", 32)
    tiled = objective(settings, size, regions=True, tile=64)
    check_tiles(whole, tiled, thin_vgg.picture(4, *size), 64, 1e-10)


@pytest.mark.parametrize(
    ("network", "deepest"), [("vgg16", "relu5_1"), ("vgg16", "relu5_3"), ("vgg19", "relu5_4")]
)
def test_a_narrower_halo_changes_the_gradient(
    monkeypatch: pytest.MonkeyPatch, network: str, deepest: str
) -> None:
    size = (40, 400)
    settings = make_settings(
        network=network, content_layers=(), style_layers=(deepest,), tv_weight=0
    )
    image = thin_vgg.picture(4, *size)
    whole = objective(settings, size)
    check_tiles(whole, whole, image, 64, 1e-10)
    original = TileGrid.__init__

    def narrow(self: TileGrid, *arguments: Any) -> None:
        original(self, *arguments)
        self.halo -= 16

    monkeypatch.setattr(TileGrid, "__init__", narrow)
    _, expected = whole.loss_and_gradient(image)
    _, found = objective(settings, size).loss_and_gradient(image, 64)
    assert relative_error(found, expected) > 1e-6


@pytest.mark.parametrize("style_loss", ["gram", "gram+moments", "wasserstein"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["64", "32"]
)
def test_tiles_do_not_change_losses_of_the_packaged_network(
    style_loss: str, dtype: torch.dtype, tolerance: float
) -> None:
    # Deep layers have fewer positions here than channels.  The smallest eigenvalues are those of
    # the ridge, 1e-8 of the largest, and their vectors lose as many digits.
    if style_loss == "wasserstein" and dtype == torch.float64:
        tolerance = 1e-9
    settings = make_settings(style_loss=style_loss)
    content, style, image = (thin_vgg.picture(n, 50, 150, dtype=dtype) for n in range(3))
    whole = Objective(content, [style], settings)
    check_tiles(whole, whole, image, 64, tolerance)


@pytest.mark.parametrize("method", ["nnpack", "winograd"])
def test_tiles_change_fast_convolutions_by_rounding_only(method: ConvolutionMethod) -> None:
    # Large enough for either algorithm at some layer, in the whole image and in each tile.
    settings = make_settings(style_loss="gram")
    network = extractor_for(settings, "cpu", torch.float32, FastConvolutions(method))
    content, style, image = (thin_vgg.picture(n, 140, 300, dtype=torch.float32) for n in range(3))
    objective = Objective(content, [style], settings, network)
    losses, gradient = objective.loss_and_gradient(image)
    tiled, found = objective.loss_and_gradient(image, 128)
    assert tiled.total == pytest.approx(losses.total, rel=1e-6)
    # NNPACK's rounding differs with the position in a tile.  Where it decides the sign of an
    # activation or a maximum, the gradient changes: the whole gradient by direct convolutions
    # differs by 7e-5 from float64, by NNPACK by 3e-4.
    assert 0 < relative_error(found, gradient) < 1e-3


def test_on_tile_is_called_before_each_tile_and_can_abort() -> None:
    class AbortError(Exception):
        pass

    size = (64, 200)
    settings = make_settings()
    calls: list[int] = []

    def count() -> None:
        calls.append(1)
        if len(calls) == stop_at:
            raise AbortError

    stop_at = 0
    grid = TileGrid("vgg16", ["relu5_1"])
    parts, *of_styles = (
        len(grid.tiles(torch.zeros(1, 3, *shape), 64)) for shape in (size, (70, 101), (90, 75))
    )
    assert (parts, of_styles) == (4, [4, 4])
    whole = objective(settings, size, tile=64, on_tile=count)
    assert len(calls) == parts + sum(of_styles)
    image = thin_vgg.picture(4, *size)
    calls.clear()
    whole.loss_and_gradient(image, 64, count)
    assert len(calls) == 2 * parts
    for stop_at in (2, parts + 1):
        calls.clear()
        with pytest.raises(AbortError):
            whole.loss_and_gradient(image, 64, count)
        assert len(calls) == stop_at
    calls.clear()
    stop_at = 3
    with pytest.raises(AbortError):
        objective(settings, size, tile=64, on_tile=count)
    assert len(calls) == 3


def test_corners_lie_on_multiples_of_the_deepest_stride() -> None:
    grid = TileGrid("vgg16", ["relu5_1"])
    for size in (tiles.SMALLEST_TILE, 70, 100, 250):
        spans = {(p.columns.start, p.columns.stop) for p in grid.tiles(torch.zeros(1, 500), size)}
        assert all(a[1] == b[0] and a[1] % 16 == 0 for a, b in pairwise(sorted(spans)))
