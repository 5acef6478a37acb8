from __future__ import annotations

from typing import Any

import pytest
from engine_helpers import shallow_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.engine.optim.schedule import Scale
from napari_nst.engine.optim.sizes import automatic_size, scales_for, style_size


@pytest.mark.parametrize(("device", "side"), [("cpu", 512), ("cuda", 1024), ("mps", 1024)])
def test_the_automatic_size_is_the_contents_up_to_a_limit(device: str, side: int) -> None:
    assert automatic_size(device) == side
    large = scales_for(shallow_settings(size="auto"), 3000, 4000, device)[-1]
    assert (large.height, large.width) == (side * 3 // 4, side)
    small = scales_for(shallow_settings(size="auto"), 30, 40, device)[-1]
    assert (small.height, small.width) == (30, 40)


def test_the_requested_size_is_the_longest_side() -> None:
    assert scales_for(shallow_settings(size=100), 300, 400, "cpu") == (Scale(75, 100, 50),)
    assert scales_for(shallow_settings(size=None), 300, 400, "cpu") == (Scale(300, 400, 50),)


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
    chosen = shallow_settings(style_layers={layer[0]: 1, "relu5_3": 0}, size=size, scales="auto")
    for scale in scales_for(chosen, height, width, "cpu"):
        assert min(scale.height, scale.width) >= layer[1]
        style = style_size(chosen, (width, height), scale)
        assert min(style) >= layer[1]


@pytest.mark.parametrize(
    ("style_scale", "style", "expected"),
    [(1, (200, 100), (80, 40)), (0.5, (50, 100), (20, 40)), (2, (64, 64), (160, 160))],
)
def test_the_style_takes_the_longest_side_of_the_scale(
    style_scale: float, style: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert (
        style_size(shallow_settings(style_scale=style_scale), style, Scale(60, 80, 1)) == expected
    )


@pytest.mark.parametrize(
    ("scale", "style", "expected"),
    [
        ((40, 80), (64, 64), (80, 80)),  # 2:1 beside a square, which is not limited
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
    found = style_size(shallow_settings(style_scale=style_scale), style, Scale(*scale, 1))
    assert found == pytest.approx([side * style_scale for side in expected], abs=2)
    if style_scale == 1:
        assert found == expected


@given(st.integers(8, 3000), st.integers(8, 3000), st.integers(8, 3000), st.integers(8, 3000))
def test_a_style_is_never_many_times_the_content(h: int, w: int, sh: int, sw: int) -> None:
    found = style_size(shallow_settings(style_layers=("relu5_1",)), (sh, sw), Scale(h, w, 1))
    assert max(found) <= max(h, w) or min(found) == 32
    # each side is rounded by up to half a pixel; the minimum of the short side takes precedence
    assert (found[0] - 0.5) * (found[1] - 0.5) <= 2 * h * w * (1 + 1e-9) or min(found) == 32
