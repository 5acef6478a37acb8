from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from engine_helpers import shallow_settings

from napari_nst.engine.optim.schedule import Scale
from napari_nst.engine.resources.costs import estimate
from napari_nst.engine.resources.peak_memory import Workload
from napari_nst.engine.resources.tiles import TileGrid
from napari_nst.settings import StyleTransferSettings

GIB = 2**30


def test_estimating_does_not_import_torch() -> None:
    code = (
        "import sys; from napari_nst.engine.resources.costs import estimate;"
        "from napari_nst.settings import StyleTransferSettings as S;"
        "assert estimate(S(), 300, 400, 'cpu').memory > 0; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_operations_are_two_for_each_weight_forward_and_backward() -> None:
    # 3 x 3 kernels from 3 to 64 and from 64 to 64 channels, at every pixel of 7 evaluations
    found = estimate(shallow_settings(iterations=7), 40, 50, "cpu").operations
    assert found == 2 * 2 * 9 * (3 * 64 + 64 * 64) * 40 * 50 * 7


def test_operations_fall_with_the_stride() -> None:
    found = estimate(
        shallow_settings(style_layers=("conv2_1",), iterations=1), 64, 64, "cpu"
    ).operations
    assert found == 2 * 2 * 9 * ((3 * 64 + 64 * 64) * 64**2 + 64 * 128 * 32**2)


def test_estimates_follow_the_sizes_that_strokes_in_pixels_need() -> None:
    def find(size: int, strokes_relative_to: str) -> tuple[float, int]:
        chosen = StyleTransferSettings(
            size=None, tile="off", strokes_relative_to=strokes_relative_to
        )
        cost = estimate(chosen, size, size, "cpu", [(512, 512)])
        return cost.operations, cost.memory

    assert find(512, "pixels") == find(512, "picture")
    # 30 iterations at 1024 and 70 at 2048 pixels, instead of 30, 40, 15 and 15
    (fewer, more_memory), (more, less_memory) = find(2048, "picture"), find(2048, "pixels")
    picture = 30 * 256**2 + 40 * 512**2 + 15 * 1024**2 + 15 * 2048**2
    assert more / fewer == pytest.approx((30 * 1024**2 + 70 * 2048**2) / picture)
    # The style itself is 512 pixels, which it has already, instead of a copy of 2048.
    assert more_memory - less_memory == 3 * 4 * (2048**2 + 512**2 - 512**2)


def test_the_deeper_network_costs_more() -> None:
    of_vgg16, of_vgg19 = (
        estimate(StyleTransferSettings(network=network), 300, 400, "cpu")
        for network in ("vgg16", "vgg19")
    )
    assert of_vgg16.operations < of_vgg19.operations
    assert of_vgg16.memory < of_vgg19.memory


@pytest.mark.parametrize(
    ("network", "tile"), [("vgg16", 128), ("vgg16", 160), ("vgg19", 96), ("vgg16", 300)]
)
def test_tiles_compute_their_halo_too_and_a_second_forward_pass(network: str, tile: int) -> None:
    size = 256
    chosen = StyleTransferSettings(network=network, scales=1, iterations=7)
    parts = TileGrid(network, chosen.layers_in_use).tiles(torch.zeros(1, 1, size, size), tile)
    read = sum(math.prod(part.read(torch.zeros(size, size)).shape) for part in parts)
    whole, tiled = (
        estimate(chosen.replace(tile=side), size, size, "cpu").operations for side in (size, tile)
    )
    more = 1 if tile >= size else 1.5 * read / size**2
    assert tiled == pytest.approx(more * whole)


def test_the_requested_tile_counts() -> None:
    whole, tiled = (
        estimate(StyleTransferSettings(size=None, tile=tile), 1400, 1400, "cpu").memory
        for tile in ("off", 256)
    )
    assert tiled < whole / 2


def test_automatic_tiles_are_those_that_a_run_would_choose() -> None:
    chosen = StyleTransferSettings(size=None)
    run = Workload(chosen, Scale(900, 900, 1), fast_convolutions=True)
    whole = estimate(chosen, 900, 900, "cpu", free=64 * GIB).memory
    assert whole == run.bytes_needed()
    for limited in (
        estimate(chosen, 900, 900, "cpu", free=GIB),
        estimate(chosen.replace(memory_limit=1), 900, 900, "cpu", free=64 * GIB),
    ):
        tile = run.max_tile(0.8 * GIB)
        assert tile is not None
        assert limited.memory == run.bytes_needed(tile) < 0.8 * GIB
        assert limited.operations > 0
    on_gpu = Workload(chosen, Scale(900, 900, 1))
    limited = estimate(chosen.replace(memory_limit=1), 900, 900, "cuda")
    assert limited.memory == on_gpu.bytes_needed(on_gpu.max_tile(0.8 * GIB)) < 0.8 * GIB
    # Only torch could query the card.
    assert estimate(chosen, 900, 900, "cuda").memory == on_gpu.bytes_needed() < whole
    assert estimate(chosen.replace(tile="off"), 900, 900, "cpu", free=GIB).memory == whole


def test_the_history_of_lbfgs_is_the_one_that_a_run_would_choose() -> None:
    chosen = StyleTransferSettings(optimizer="lbfgs", size=None, tile="off")
    six = Workload(chosen, Scale(500, 500, 1), fast_convolutions=True).bytes_needed(history=6)
    assert estimate(chosen, 500, 500, "cpu", free=round(six / 0.8 + 2)).memory == six


def test_inputs_count_at_their_original_size() -> None:
    chosen = StyleTransferSettings(size=256, tile="off", output_size="working")
    plain = estimate(chosen, 256, 256, "cpu", [(256, 256)]).memory
    large = estimate(chosen, 2048, 2048, "cpu", [(1024, 1024)]).memory
    assert large - plain == 3 * 4 * (2048**2 + 1024**2)


def test_regions_and_half_precision_count() -> None:
    chosen = StyleTransferSettings(size=None, tile="off")
    plain = estimate(chosen, 300, 300, "cpu").memory
    assert estimate(chosen, 300, 300, "cpu", regions=3).memory > plain
    assert estimate(chosen.replace(precision="bfloat16"), 300, 300, "cpu").memory < plain
