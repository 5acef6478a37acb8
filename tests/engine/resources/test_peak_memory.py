from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from engine_helpers import shallow_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.engine.optim.schedule import LBFGS_HISTORY, MIN_LBFGS_HISTORY, Scale
from napari_nst.engine.resources.activations import HALVED_ABOVE
from napari_nst.engine.resources.peak_memory import Workload
from napari_nst.settings import StyleTransferSettings


def workload(
    chosen: StyleTransferSettings,
    height: int,
    width: int | None = None,
    *styles: tuple[int, int],
    **more: Any,
) -> Workload:
    return Workload(chosen, Scale(height, width or height, 1), styles, **more)


def per_pixel(chosen: StyleTransferSettings, item_size: int = 4) -> float:
    """Return the bytes per pixel, from the difference of two sizes."""
    small, large = (
        workload(chosen, side, item_size=item_size).bytes_needed() for side in (64, 128)
    )
    return (large - small) / (128**2 - 64**2)


PICTURE = 3 * 4  # bytes of a pixel
IMAGES = (6 + 10) * PICTURE  # during the whole run, and during an evaluation


@pytest.mark.parametrize("size", [2, 4])
def test_memory_covers_the_backward_pass_and_the_losses(size: int) -> None:
    # Two ReLUs, and at the second the gradients from deeper layers and of the loss.
    assert per_pixel(shallow_settings(), size) == 4 * 64 * size + IMAGES
    # A convolution in use and its ReLU, the indices of a pooling, its ReLU, another layer and its
    # two gradients; or the first two, and input and output of a backward step.
    stored = 2 * 64 * size + 64 / 4 * 2 + 64 / 4 * size + 128 / 4 * size
    found = per_pixel(shallow_settings(style_layers=("conv2_1", "conv1_1")), size)
    assert found == max(stored + 2 * 128 / 4 * size, 4 * 64 * size) + IMAGES
    # The backward step of a convolution: a ReLU, input and output.
    assert per_pixel(shallow_settings(style_layers=("pool1",)), size) == 3 * 64 * size + IMAGES


def test_targets_of_content_layers_and_the_history_of_lbfgs_count() -> None:
    chosen = shallow_settings(style_layers=("relu1_1",), content_layers=("relu1_2",))
    assert (
        per_pixel(chosen)
        == per_pixel(shallow_settings(style_layers=("relu1_1", "relu1_2"))) + 64 * 4
    )
    assert (
        per_pixel(shallow_settings(optimizer="lbfgs"))
        == per_pixel(shallow_settings()) + 10 * 2 * PICTURE
    )
    lbfgs, adam = (
        workload(shallow_settings(optimizer="lbfgs"), 64),
        workload(shallow_settings(), 64),
    )
    six, three = (lbfgs.bytes_needed(history=n) for n in (6, 3))
    assert six - three == 3 * 2 * PICTURE * 64**2
    six, three = (adam.bytes_needed(history=n) for n in (6, 3))
    assert six == three  # Adam has no history


def test_the_weights_of_the_network_count() -> None:
    one, two = (
        workload(shallow_settings(style_layers=(name,)), 2).bytes_needed()
        for name in ("relu3_2", "relu3_3")
    )
    activations = 4 / 16 * (256 * 4)  # 256 more channels at a stride of 4
    assert two - one == 4 * 9 * 256 * 256 + activations


def test_a_style_needs_only_a_forward_pass() -> None:
    alone, with_style, with_a_large_one = (
        workload(shallow_settings(style_scale=factor), 512, 512, *styles).bytes_needed()
        for factor, styles in ((1, []), (1, [(30, 30)]), (4, [(30, 30)]))
    )
    assert with_style - alone == 512**2 * 3 * 4  # the image; its features are freed
    # The forward pass of the style needs more than the evaluation: the output of conv1_1 and that
    # of conv1_2, in tiles of 1024 pixels with a halo of two where they meet.
    evaluation, forward = (4 * 64 * 4 + 10 * PICTURE) * 512**2, 2 * 64 * 4 * 1026**2
    assert with_a_large_one - alone == 2048**2 * 3 * 4 + forward - evaluation


def test_the_peak_of_a_forward_pass_is_found_layer_by_layer() -> None:
    chosen = shallow_settings(style_layers=("relu1_1", "relu1_2", "relu2_1"), style_scale=8)
    small, large = (workload(chosen, 64, 64, (s, 8)).bytes_needed() for s in (8, 4))
    # After the first pooling: both ReLUs before it, its output and that of the next convolution.
    worst = (64 + 64 + 64 / 4 + 128 / 4) * 4
    assert small - large == pytest.approx((worst + 12) * 512 * 256)


# Tiles


def test_memory_in_tiles_is_that_of_the_largest_tile_and_the_images() -> None:
    run = workload(shallow_settings(style_layers=("relu2_1",)), 512, 768)
    whole, tiled = (run.bytes_needed(tile) for tile in (None, 256))
    each = 3 * 64 * 4 + 10 * PICTURE  # a ReLU, and input and output of a backward step
    read = (256 + 4) * (256 + 8)  # a halo of four, on one side or on both
    assert whole - tiled == pytest.approx(each * (512 * 768 - read), abs=1)
    assert run.bytes_needed(64) < tiled < whole


@settings(max_examples=12)
@given(st.integers(64, 1400), st.integers(64, 1400), st.floats(0, 1))
def test_max_tile_is_the_largest_tile_that_fits(height: int, width: int, share: float) -> None:
    run = workload(StyleTransferSettings(), height, width)
    whole = run.bytes_needed()
    needs = {side: run.bytes_needed(side) for side in range(64, max(height, width) + 16, 16)}
    budget = needs[64] + share * (whole - needs[64])
    side = run.max_tile(budget)
    if side is None:
        assert whole <= budget
        return
    assert side >= 64 and side % 16 == 0
    assert needs[side] <= budget
    # Larger ones do not fit, or give the same tiles.
    assert all(n > budget or n == needs[side] for larger, n in needs.items() if larger > side)


def test_max_tile_is_the_smallest_if_nothing_fits_and_none_if_everything_fits() -> None:
    run = workload(StyleTransferSettings(), 700, 900)
    whole = run.bytes_needed()
    assert run.max_tile(whole) is None
    assert run.max_tile(whole - 1) is not None
    assert run.max_tile(0) == 64
    half = workload(StyleTransferSettings(), 700, 900, item_size=2)
    assert half.max_tile(whole - 1) is None


def test_memory_of_a_large_image_in_tiles_is_seven_images_and_the_content_target() -> None:
    chosen = StyleTransferSettings()
    small, large = (workload(chosen, s, s, (s, s)).bytes_needed(512) for s in (2048, 3072))
    features = 512 / 8**2  # relu4_2, in two bytes at the larger size
    left = (7 * PICTURE + 2 * features) * 3072**2 - (7 * PICTURE + 4 * features) * 2048**2
    assert large - small == left
    # The rest is a tile of 512 pixels with a halo of 64, and the weights.
    assert large < (7 * PICTURE + 2 * features) * 3072**2 + 2500 * 640**2 + 200 * 2**20


def test_large_content_targets_are_float16() -> None:
    def of_target(side: int, tile: int | None, item_size: int = 4) -> float:
        without, with_one = (
            workload(
                shallow_settings(style_layers=("relu1_2",), content_layers=content),
                side,
                item_size=item_size,
            ).bytes_needed(tile)
            for content in ((), ("relu1_1",))
        )
        return round((with_one - without) / side**2, 3)

    assert HALVED_ABOVE == 64 * 4 * 1024**2
    assert of_target(1040, 520) == 64 * 2
    assert of_target(1008, 504) == 64 * 4
    assert of_target(1040, None) == 64 * 4  # the features as computed
    assert of_target(2080, 1040, 2) == 64 * 2


def test_weights_of_regions_at_every_style_layer_count() -> None:
    chosen = shallow_settings(style_layers=("relu1_2", "relu2_1"))
    none, one, two, five = (
        workload(chosen, 64, 64, (64, 64), regions=n).bytes_needed() for n in (0, 1, 2, 5)
    )
    assert five - two == 3 * (two - one) == 3 * 4 * (1 + 1 / 4) * 2 * 64**2  # content and style
    # Also the features at their positions are copied.
    assert one > none + 4 * (1 + 1 / 4) * 2 * 64**2
    # In small tiles the peak is the blurring of the masks.
    few, many = (workload(chosen, 2048, regions=n).bytes_needed(64) for n in (20, 21))
    assert many - few == (4 * (1 + 1 / 4) + 5 * 4) * 2048**2


def test_the_target_of_the_temporal_loss_and_its_reliability_count() -> None:
    plain = Workload(StyleTransferSettings(), Scale(512, 512, 100), ((512, 512),))
    temporal = replace(plain, temporal=True)
    assert temporal.bytes_needed() - plain.bytes_needed() == (3 + 1) * 4 * 512 * 512


def test_a_result_larger_than_the_working_size_counts() -> None:
    plain, same, large = (
        workload(shallow_settings(), 64, output_size=size).bytes_needed()
        for size in (None, (64, 64), (3000, 4000))
    )
    assert plain == same
    # The result and its copy as an array; test_costs_measured.py measures the rest.
    assert large - plain > 1.9 * PICTURE * 3000 * 4000


# The history of L-BFGS


def test_max_history_leaves_room_for_tiles_of_256_pixels() -> None:
    run = workload(StyleTransferSettings(optimizer="lbfgs"), 2048)
    needs = {n: run.bytes_needed(256, n) for n in range(11)}
    for pairs in range(3, 11):
        assert run.max_history(needs[pairs]) == pairs
        assert run.max_history(needs[pairs] - 1) == max(pairs - 1, 3)
    assert run.max_history(0) == MIN_LBFGS_HISTORY == 3
    assert run.max_history(10 * needs[10]) == LBFGS_HISTORY == 10


@pytest.mark.parametrize("tile", ["off", 512])
def test_max_history_leaves_room_for_the_requested_tiles(tile: Any) -> None:
    run = workload(StyleTransferSettings(optimizer="lbfgs", tile=tile), 2048)
    needed = run.bytes_needed(None if tile == "off" else tile, 6)
    assert run.max_history(needed) == 6
