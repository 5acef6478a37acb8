from __future__ import annotations

from typing import Any

import pytest
from engine_helpers import shallow_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.engine.optim.schedule import Scale
from napari_nst.engine.optim.sizes import automatic_size, scales_for, style_size
from napari_nst.settings import StyleTransferSettings


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


def longest_sides(settings: StyleTransferSettings, height: int, width: int) -> list[list[int]]:
    """Return the longest sides of the picture and of a style of 640 x 512 pixels at each scale."""
    scales = scales_for(settings, height, width, "cpu")
    assert (scales[-1].height, scales[-1].width) == (height, width)
    return [
        [max(scale.height, scale.width), max(style_size(settings, (512, 640), scale))]
        for scale in scales
    ]


@pytest.mark.parametrize(
    ("size", "to_picture", "to_pixels"),
    [
        (128, [[128, 128]], [[64, 256], [128, 512]]),
        (256, [[128, 128], [256, 256]], [[128, 256], [256, 512]]),
        (512, [[256, 256], [512, 512]], [[256, 256], [512, 512]]),
        (
            1024,
            [[256, 256], [512, 512], [1024, 1024]],
            [[512, 256], [1024, 512]],
        ),
        (
            2048,
            [[256, 256], [512, 512], [1024, 1024], [2048, 2048]],
            [[1024, 256], [2048, 512]],
        ),
    ],
)
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (4, 3)])
def test_a_style_follows_the_picture_or_has_the_pixels_it_has_at_512(
    size: int, to_picture: list[list[int]], to_pixels: list[list[int]], shape: tuple[int, int]
) -> None:
    height, width = (size * side // max(shape) for side in shape)
    settings = StyleTransferSettings(size=None)
    assert longest_sides(settings, height, width) == to_picture
    pixels = settings.replace(strokes_relative_to="pixels")
    assert longest_sides(pixels, height, width) == to_pixels


@pytest.mark.parametrize("shape", [(512, 512), (384, 512), (512, 256)])
def test_at_512_pixels_both_choices_give_the_same_sizes_and_iterations(
    shape: tuple[int, int],
) -> None:
    picture = StyleTransferSettings(size=None, style_scale=(1.5, 0.5))
    pixels = picture.replace(strokes_relative_to="pixels")
    found = [scales_for(chosen, *shape, "cpu") for chosen in (picture, pixels)]
    for one, other in zip(*found, strict=True):
        assert (one.height, one.width, one.iterations) == (
            other.height,
            other.width,
            other.iterations,
        )
        for index, style in enumerate([(300, 200), (640, 512)]):
            assert style_size(picture, style, one, index) == style_size(pixels, style, other, index)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (512, [[64, 64], [128, 128], [256, 256], [512, 512]]),
        (2048, [[256, 64], [512, 128], [1024, 256], [2048, 512]]),
    ],
)
def test_an_explicit_number_of_scales_holds_with_strokes_in_pixels(
    size: int, expected: list[list[int]]
) -> None:
    settings = StyleTransferSettings(size=None, strokes_relative_to="pixels", scales=4)
    assert longest_sides(settings, size, size) == expected
    assert longest_sides(settings.replace(scales=1), size, size) == [[size, 512]]


@given(
    st.integers(8, 3000),
    st.integers(8, 3000),
    st.tuples(st.floats(0.1, 4), st.floats(0.1, 4)),
    st.sampled_from(["auto", 1, 3]),
    st.sampled_from(["auto", None, 100, 700]),
)
def test_in_pixels_the_last_size_of_a_style_depends_on_its_style_scale_alone(
    height: int, width: int, style_scales: tuple[float, float], scales: Any, size: Any
) -> None:
    settings = shallow_settings(
        size=size, scales=scales, style_scale=style_scales, strokes_relative_to="pixels"
    )
    last = scales_for(settings, height, width, "cpu")[-1]
    for index, style_scale in enumerate(style_scales):
        found = style_size(settings, (640, 512), last, index)
        assert found == pytest.approx((512 * style_scale, 409.6 * style_scale), abs=0.5)


@given(st.integers(64, 3000), st.integers(64, 3000), st.integers(2, 4))
def test_in_pixels_a_style_has_the_same_part_of_the_picture_at_all_scales(
    height: int, width: int, scales: int
) -> None:
    settings = shallow_settings(scales=scales, strokes_relative_to="pixels")
    parts = [
        max(style_size(settings, (64, 64), scale)) / max(scale.height, scale.width)
        for scale in scales_for(settings, height, width, "cpu")
    ]
    assert parts == pytest.approx([512 / max(height, width)] * len(parts), rel=0.06)
