from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.engine.optim.schedule import Scale
from napari_nst.engine.resources.activations import HALVED_ABOVE
from napari_nst.engine.resources.costs import (
    LBFGS_HISTORY,
    SHORTEST_HISTORY,
    automatic_size,
    bytes_needed,
    cost,
    fit_style,
    largest_tile,
    layers_in_use,
    lbfgs_history,
    scales_for,
)
from napari_nst.engine.resources.tiles import Cutting
from napari_nst.settings import StyleTransferSettings


def shallow(**choices: Any) -> StyleTransferSettings:
    return StyleTransferSettings(
        **{
            "content_layers": (),
            "style_layers": ("relu1_2",),
            "scales": 1,
            "size": None,
            "iterations": 50,
            **choices,
        }
    )


def test_costs_are_reckoned_without_torch() -> None:
    code = (
        "import sys; from napari_nst.engine.resources.costs import cost;"
        "from napari_nst.settings import StyleTransferSettings as S;"
        "assert cost(S(), 300, 400, 'cpu').memory > 0; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_operations_are_two_for_each_weight_forward_and_back() -> None:
    # 3 x 3 kernels from 3 to 64 and from 64 to 64 channels, at every pixel of 7 evaluations
    found = cost(shallow(iterations=7), 40, 50, "cpu").operations
    assert found == 2 * 2 * 9 * (3 * 64 + 64 * 64) * 40 * 50 * 7


def test_operations_fall_with_the_stride() -> None:
    found = cost(shallow(style_layers=("conv2_1",), iterations=1), 64, 64, "cpu").operations
    assert found == 2 * 2 * 9 * ((3 * 64 + 64 * 64) * 64**2 + 64 * 128 * 32**2)


def per_pixel(chosen: StyleTransferSettings, item_size: int = 4) -> float:
    """Bytes of one more pixel: of two sizes, so that what they share goes away."""
    small, large = (bytes_needed(chosen, Scale(s, s, 1), (), item_size) for s in (64, 128))
    return (large - small) / (128**2 - 64**2)


PICTURE = 3 * 4  # bytes of a pixel
IMAGES = (6 + 10) * PICTURE  # those that a run holds, and those that an evaluation adds


@pytest.mark.parametrize("size", [2, 4])
def test_memory_is_what_the_way_back_needs_and_what_the_losses_add(size: int) -> None:
    # two ReLUs kept, a gradient at the second from deeper layers, and the loss's own
    assert per_pixel(shallow(), size) == 4 * 64 * size + IMAGES
    # a convolution that is in use beside its ReLU, a pooling's places, its ReLU, another layer and
    # two gradients there; or the first two of them, and what goes into a way back and comes out
    kept = 2 * 64 * size + 64 / 4 * 2 + 64 / 4 * size + 128 / 4 * size
    found = per_pixel(shallow(style_layers=("conv2_1", "conv1_1")), size)
    assert found == max(kept + 2 * 128 / 4 * size, 4 * 64 * size) + IMAGES
    # with less it is a convolution's way back: a ReLU, what goes in and what comes out
    assert per_pixel(shallow(style_layers=("pool1",)), size) == 3 * 64 * size + IMAGES


def test_content_layers_have_a_target_and_lbfgs_a_history() -> None:
    chosen = shallow(style_layers=("relu1_1",), content_layers=("relu1_2",))
    assert per_pixel(chosen) == per_pixel(shallow(style_layers=("relu1_1", "relu1_2"))) + 64 * 4
    assert per_pixel(shallow(optimizer="lbfgs")) == per_pixel(shallow()) + 10 * 2 * PICTURE
    six, three = (
        bytes_needed(shallow(optimizer="lbfgs"), Scale(64, 64, 1), history=n) for n in (6, 3)
    )
    assert six - three == 3 * 2 * PICTURE * 64**2
    six, three = (bytes_needed(shallow(), Scale(64, 64, 1), history=n) for n in (6, 3))
    assert six == three  # Adam has none


def test_the_weights_take_memory_too() -> None:
    one, two = (
        bytes_needed(shallow(style_layers=(name,)), Scale(2, 2, 1))
        for name in ("relu3_2", "relu3_3")
    )
    activations = 4 / 16 * (256 * 4)  # 256 channels more at a quarter of a position
    assert two - one == 4 * 9 * 256 * 256 + activations


def test_a_style_is_seen_forward_only() -> None:
    scale = Scale(512, 512, 1)
    alone, with_style, with_a_large_one = (
        bytes_needed(shallow(style_scale=factor), scale, styles)
        for factor, styles in ((1, []), (1, [(30, 30)]), (4, [(30, 30)]))
    )
    assert with_style - alone == 512**2 * 3 * 4  # the style itself; its features have gone
    # conv1_1's output goes in and conv1_2's comes out, while evaluations need less; it is seen
    # in tiles of 1024 pixels, which read two more on the sides where they meet
    evaluation, forward = (4 * 64 * 4 + 10 * PICTURE) * 512**2, 2 * 64 * 4 * 1026**2
    assert with_a_large_one - alone == 2048**2 * 3 * 4 + forward - evaluation


def test_what_a_forward_pass_holds_is_counted_layer_by_layer() -> None:
    chosen = shallow(style_layers=("relu1_1", "relu1_2", "relu2_1"), style_scale=8)
    scale = Scale(64, 64, 1)
    small, large = (bytes_needed(chosen, scale, [(s, 8)]) for s in (8, 4))
    # behind the first pooling: both outputs before it, its own and the next convolution's
    worst = (64 + 64 + 64 / 4 + 128 / 4) * 4
    assert small - large == pytest.approx((worst + 12) * 512 * 256)


def test_the_deeper_network_costs_more() -> None:
    of_vgg16, of_vgg19 = (
        cost(StyleTransferSettings(network=network), 300, 400, "cpu")
        for network in ("vgg16", "vgg19")
    )
    assert of_vgg16.operations < of_vgg19.operations
    assert of_vgg16.memory < of_vgg19.memory


@pytest.mark.parametrize(("device", "side"), [("cpu", 512), ("cuda", 1024), ("mps", 1024)])
def test_the_automatic_size_is_the_contents_up_to_a_limit(device: str, side: int) -> None:
    assert automatic_size(device) == side
    large = scales_for(shallow(size="auto"), 3000, 4000, device)[-1]
    assert (large.height, large.width) == (side * 3 // 4, side)
    small = scales_for(shallow(size="auto"), 30, 40, device)[-1]
    assert (small.height, small.width) == (30, 40)


def test_a_size_asked_for_is_the_longest_side() -> None:
    assert scales_for(shallow(size=100), 300, 400, "cpu") == (Scale(75, 100, 50),)
    assert scales_for(shallow(size=None), 300, 400, "cpu") == (Scale(300, 400, 50),)


@settings(max_examples=50)
@given(
    st.integers(8, 2000),
    st.integers(8, 2000),
    st.sampled_from(["auto", None, 64, 700]),
    st.sampled_from([("relu1_1", 2), ("relu3_1", 8), ("relu5_1", 32)]),
)
def test_two_positions_of_the_deepest_layer_fit_at_every_scale(
    height: int, width: int, size: Any, layer: tuple[str, int]
) -> None:
    chosen = shallow(style_layers={layer[0]: 1, "relu5_3": 0}, size=size, scales="auto")
    for scale in scales_for(chosen, height, width, "cpu"):
        assert min(scale.height, scale.width) >= layer[1]
        style = fit_style(chosen, (width, height), scale)
        assert min(style) >= layer[1]


@pytest.mark.parametrize(
    ("style_scale", "style", "expected"),
    [(1, (200, 100), (80, 40)), (0.5, (50, 100), (20, 40)), (2, (64, 64), (160, 160))],
)
def test_the_style_takes_the_longest_side_of_the_scale(
    style_scale: float, style: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert fit_style(shallow(style_scale=style_scale), style, Scale(60, 80, 1)) == expected


@pytest.mark.parametrize(
    ("scale", "style", "expected"),
    [
        ((40, 80), (64, 64), (80, 80)),  # 2:1 against a square, which is not held back
        ((80, 40), (30, 60), (40, 80)),
        ((20, 80), (64, 64), (57, 57)),  # 2 x 20 x 80 pixels
        ((1920, 32), (36, 44), (317, 388)),  # 2 x 1920 x 32 pixels, not 1571 x 1920
        ((60, 1), (30, 30), (11, 11)),
    ],
)
@pytest.mark.parametrize("style_scale", [0.5, 1, 3])
def test_the_style_has_at_most_twice_the_contents_pixels(
    scale: tuple[int, int], style: tuple[int, int], expected: tuple[int, int], style_scale: float
) -> None:
    found = fit_style(shallow(style_scale=style_scale), style, Scale(*scale, 1))
    assert found == pytest.approx([side * style_scale for side in expected], abs=2)
    if style_scale == 1:
        assert found == expected


@given(st.integers(8, 3000), st.integers(8, 3000), st.integers(8, 3000), st.integers(8, 3000))
def test_a_style_is_never_many_times_the_content(h: int, w: int, sh: int, sw: int) -> None:
    found = fit_style(shallow(style_layers=("relu5_1",)), (sh, sw), Scale(h, w, 1))
    assert max(found) <= max(h, w) or min(found) == 32
    # half a pixel of rounding on each side; the short side's minimum comes first
    assert (found[0] - 0.5) * (found[1] - 0.5) <= 2 * h * w * (1 + 1e-9) or min(found) == 32


def test_layers_in_use_have_a_weight() -> None:
    chosen = StyleTransferSettings(
        content_layers={"relu4_2": 1, "relu5_1": 0}, style_layers={"relu1_1": 0, "relu2_1": 0.1}
    )
    assert layers_in_use(chosen) == ("relu4_2", "relu2_1")


# Tiles


def test_memory_in_tiles_is_that_of_the_largest_and_of_the_images() -> None:
    chosen, scale = shallow(style_layers=("relu2_1",)), Scale(512, 768, 1)
    whole, tiled = (bytes_needed(chosen, scale, tile=tile) for tile in (None, 256))
    each = 3 * 64 * 4 + 10 * PICTURE  # a ReLU, what goes into the way back and comes out
    read = (256 + 4) * (256 + 8)  # a halo of four: on both sides only along the longer
    assert whole - tiled == pytest.approx(each * (512 * 768 - read), abs=1)
    # which is what a small tile leaves: the images and the weights
    assert bytes_needed(chosen, scale, tile=64) < tiled < whole


@settings(max_examples=12)
@given(st.integers(64, 1400), st.integers(64, 1400), st.floats(0, 1))
def test_the_largest_tile_is_the_largest_of_all_that_fit(
    height: int, width: int, share: float
) -> None:
    chosen, scale = StyleTransferSettings(), Scale(height, width, 1)
    whole = bytes_needed(chosen, scale)
    costs = {
        side: bytes_needed(chosen, scale, tile=side)
        for side in range(64, max(height, width) + 16, 16)
    }
    budget = costs[64] + share * (whole - costs[64])
    side = largest_tile(chosen, scale, [], 4, budget)
    if side is None:
        assert whole <= budget
        return
    assert side >= 64 and side % 16 == 0
    assert costs[side] <= budget
    # What is larger does not fit, or comes to the same tiles.
    assert all(c > budget or c == costs[side] for larger, c in costs.items() if larger > side)


def test_where_the_whole_fits_there_are_no_tiles_and_where_nothing_does_the_smallest() -> None:
    chosen, scale = StyleTransferSettings(), Scale(700, 900, 1)
    whole = bytes_needed(chosen, scale)
    assert largest_tile(chosen, scale, [], 4, whole) is None
    assert largest_tile(chosen, scale, [], 4, whole - 1) is not None
    assert largest_tile(chosen, scale, [], 4, 0) == 64
    assert largest_tile(chosen, scale, [], 2, whole - 1) is None  # in half precision


@pytest.mark.parametrize(
    ("network", "tile"), [("vgg16", 128), ("vgg16", 160), ("vgg19", 96), ("vgg16", 300)]
)
def test_tiles_do_the_work_of_what_they_read_and_go_forward_twice(network: str, tile: int) -> None:
    size = 256
    chosen = StyleTransferSettings(network=network, scales=1, iterations=7)
    cutting = Cutting(network, layers_in_use(chosen))
    parts = cutting.tiles(torch.zeros(1, 1, size, size), tile)
    read = sum(math.prod(part.read(torch.zeros(size, size)).shape) for part in parts)
    whole, tiled = (
        cost(chosen.replace(tile=side), size, size, "cpu").operations for side in (size, tile)
    )
    more = 1 if tile >= size else 1.5 * read / size**2
    assert tiled == pytest.approx(more * whole)


GIB = 2**30


def test_what_tiles_leave_of_a_large_run_is_seven_images_and_the_contents_features() -> None:
    chosen = StyleTransferSettings()
    small, large = (bytes_needed(chosen, Scale(s, s, 1), [(s, s)], tile=512) for s in (2048, 3072))
    features = 512 / 8**2  # relu4_2, in two bytes at the larger size
    left = (7 * PICTURE + 2 * features) * 3072**2 - (7 * PICTURE + 4 * features) * 2048**2
    assert large - small == left
    # A tile of 512 pixels reads 64 more on each side, and is the rest but for the weights.
    assert large < (7 * PICTURE + 2 * features) * 3072**2 + 2500 * 640**2 + 200 * 2**20


def test_the_contents_features_are_two_bytes_wide_where_they_are_many() -> None:
    def of_target(side: int, tile: int | None, item_size: int = 4) -> float:
        scale = Scale(side, side, 1)
        without, with_one = (
            bytes_needed(
                shallow(style_layers=("relu1_2",), content_layers=content),
                scale,
                (),
                item_size,
                tile,
            )
            for content in ((), ("relu1_1",))
        )
        # Its gradient takes no more than that of the layer behind it did.
        return round((with_one - without) / side**2, 3)

    assert HALVED_ABOVE == 64 * 4 * 1024**2
    assert of_target(1040, 520) == 64 * 2
    assert of_target(1008, 504) == 64 * 4
    assert of_target(1040, None) == 64 * 4  # as they were computed
    assert of_target(2080, 1040, 2) == 64 * 2


def test_regions_take_memory_for_their_weights_at_every_style_layer() -> None:
    chosen, scale = shallow(style_layers=("relu1_2", "relu2_1")), Scale(64, 64, 1)
    one, two, five = (bytes_needed(chosen, scale, [(64, 64)], regions=n) for n in (1, 2, 5))
    assert five - two == 3 * (two - one) == 3 * 4 * (1 + 1 / 4) * 2 * 64**2  # content and style
    # and the positions that each picks out, once more than there were
    assert one > bytes_needed(chosen, scale, [(64, 64)]) + 4 * (1 + 1 / 4) * 2 * 64**2
    # in small tiles the masks themselves, while they are blurred, take the most
    few, many = (bytes_needed(chosen, Scale(2048, 2048, 1), regions=n, tile=64) for n in (20, 21))
    assert many - few == (4 * (1 + 1 / 4) + 5 * 4) * 2048**2


def test_a_result_larger_than_the_size_worked_at_takes_memory() -> None:
    scale = Scale(64, 64, 1)
    plain, large = (
        bytes_needed(shallow(), scale, output=output) for output in ((64, 64), (3000, 4000))
    )
    assert plain == bytes_needed(shallow(), scale)
    # The picture and the array that it becomes; the band of what is measured is elsewhere.
    assert large - plain > 1.9 * PICTURE * 3000 * 4000


def test_an_estimate_knows_the_tile_that_was_asked_for() -> None:
    whole, tiled = (
        cost(StyleTransferSettings(size=None, tile=tile), 900, 900, "cpu").memory
        for tile in ("off", 256)
    )
    assert tiled < whole / 2


def test_an_estimate_is_of_the_tiles_that_a_run_would_choose() -> None:
    chosen = StyleTransferSettings(size=None)
    whole = cost(chosen, 900, 900, "cpu", free=64 * GIB).memory
    assert whole == bytes_needed(chosen, Scale(900, 900, 1))
    for limited in (
        cost(chosen, 900, 900, "cpu", free=GIB),
        cost(chosen.replace(memory_limit=1), 900, 900, "cpu", free=64 * GIB),
        cost(chosen.replace(memory_limit=1), 900, 900, "cuda"),
    ):
        tile = largest_tile(chosen, Scale(900, 900, 1), [], 4, 0.8 * GIB)
        assert tile is not None
        assert limited.memory == bytes_needed(chosen, Scale(900, 900, 1), tile=tile) < 0.8 * GIB
        assert limited.operations > 0
    assert cost(chosen, 900, 900, "cuda").memory == whole  # only torch could ask the card
    assert cost(chosen.replace(tile="off"), 900, 900, "cpu", free=GIB).memory == whole


def test_an_estimate_counts_the_images_as_they_came() -> None:
    chosen = StyleTransferSettings(size=256, tile="off", output_size="working")
    plain = cost(chosen, 256, 256, "cpu", [(256, 256)]).memory
    large = cost(chosen, 2048, 2048, "cpu", [(1024, 1024)]).memory
    assert large - plain == PICTURE * (2048**2 + 1024**2)


def test_an_estimate_counts_regions_and_half_precision() -> None:
    chosen = StyleTransferSettings(size=None, tile="off")
    plain = cost(chosen, 300, 300, "cpu").memory
    assert cost(chosen, 300, 300, "cpu", regions=3).memory > plain
    assert cost(chosen.replace(precision="bfloat16"), 300, 300, "cpu").memory < plain


# The history of L-BFGS


def test_the_history_is_as_long_as_fits_beside_tiles_of_256_pixels() -> None:
    chosen, scale = StyleTransferSettings(optimizer="lbfgs"), Scale(2048, 2048, 1)
    needs = {n: bytes_needed(chosen, scale, (), 4, 256, n) for n in range(11)}
    for pairs in range(3, 11):
        assert lbfgs_history(chosen, scale, [], 4, needs[pairs]) == pairs
        assert lbfgs_history(chosen, scale, [], 4, needs[pairs] - 1) == max(pairs - 1, 3)
    assert lbfgs_history(chosen, scale, [], 4, 0) == SHORTEST_HISTORY == 3
    assert lbfgs_history(chosen, scale, [], 4, 10 * needs[10]) == LBFGS_HISTORY == 10


@pytest.mark.parametrize("tile", ["off", 512])
def test_the_history_is_as_long_as_fits_beside_the_tiles_that_were_asked_for(tile: Any) -> None:
    chosen, scale = StyleTransferSettings(optimizer="lbfgs", tile=tile), Scale(2048, 2048, 1)
    side = None if tile == "off" else tile
    needed = bytes_needed(chosen, scale, (), 4, side, 6)
    assert lbfgs_history(chosen, scale, [], 4, needed) == 6


def test_an_estimate_shortens_the_history_as_a_run_does() -> None:
    chosen = StyleTransferSettings(optimizer="lbfgs", size=None, tile="off")
    six = bytes_needed(chosen, Scale(500, 500, 1), history=6)
    assert cost(chosen, 500, 500, "cpu", free=round(six / 0.8 + 2)).memory == six
