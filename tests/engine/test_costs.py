from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.engine.costs import (
    automatic_size,
    bytes_needed,
    cost,
    fit_style,
    layers_in_use,
    scales_for,
)
from napari_nst.engine.schedule import Scale
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
        "import sys; from napari_nst.engine.costs import cost;"
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


@pytest.mark.parametrize("item_size", [2, 4])
def test_memory_is_every_convolutions_output_and_three_times_the_largest(item_size: int) -> None:
    pixels = 64 * 64
    first = 64 * pixels * item_size
    assert bytes_needed("vgg16", ["relu1_2"], 64, 64, item_size) == 2 * first + 3 * first
    pooled = 64 * 32 * 32 * (item_size + 8)
    second = 128 * 32 * 32 * item_size
    assert (
        bytes_needed("vgg16", ["conv2_1", "conv1_1"], 64, 64, item_size)
        == 2 * first + pooled + second + 3 * first
    )


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


def test_layers_in_use_have_a_weight() -> None:
    chosen = StyleTransferSettings(
        content_layers={"relu4_2": 1, "relu5_1": 0}, style_layers={"relu1_1": 0, "relu2_1": 0.1}
    )
    assert layers_in_use(chosen) == ("relu4_2", "relu2_1")
