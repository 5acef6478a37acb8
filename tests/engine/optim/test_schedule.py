from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from napari_nst.engine.optim.schedule import Scale, ScaleRole, fit, make_scales

sides = st.integers(32, 3000)
counts = st.one_of(st.just("auto"), st.integers(1, 12))


@settings(max_examples=200)
@given(sides, sides, st.integers(1, 1000), counts, st.sampled_from([2, 4, 8, 16, 32]))
def test_scales_grow_to_the_requested_size_within_the_requested_iterations(
    height: int, width: int, iterations: int, scales: int | str, shortest: int
) -> None:
    found = make_scales(height, width, iterations, scales, shortest)
    assert sum(scale.iterations for scale in found) == iterations
    assert all(scale.iterations >= 1 for scale in found)
    assert (found[-1].height, found[-1].width) == (height, width)
    for scale in found:
        assert min(scale.height, scale.width) >= shortest
        assert scale.height == pytest.approx(
            height * max(scale.height, scale.width) / max(height, width), abs=1
        )
        assert scale.width == pytest.approx(
            width * max(scale.height, scale.width) / max(height, width), abs=1
        )
    for small, large in pairwise(found):
        assert max(small.height, small.width) < max(large.height, large.width)
        assert small.height <= large.height and small.width <= large.width
    if scales != "auto":
        assert len(found) <= int(scales)
    # Each scale has at least one iteration.  Of the others, up to rounding, the first one for the
    # composition has three tenths, and further ones a third of that for the strokes.
    more = [scale.iterations - 1 for scale in found]
    of_roles = {
        role: [n for n, one in zip(more, found, strict=True) if one.role == role]
        for role in get_args(ScaleRole)
    }
    assert [*of_roles["composition"], *of_roles["strokes"], *of_roles["detail"]] == more
    (strokes,) = of_roles["strokes"]
    share, between = 1.0, list[int]()
    if of_roles["composition"]:
        first, *between = of_roles["composition"]
        assert first == pytest.approx(0.3 * sum(more), abs=1)
        assert between == pytest.approx([strokes / 3] * len(between), abs=2)
        share = 0.7
    parts = 1 + len(between) / 3 + 0.35 * len(of_roles["detail"])
    assert strokes == pytest.approx(share * sum(more) / parts, abs=1)
    assert of_roles["detail"] == pytest.approx([0.35 * strokes] * len(of_roles["detail"]), abs=2)
    # Strokes are drawn at about 512 pixels, or as close as the scales come.
    at = len(of_roles["composition"])
    sizes = [max(scale.height, scale.width) for scale in found]
    assert all(size <= 362 for size in sizes[:at])
    assert all(size >= 724 for size in sizes[at + 1 :])
    assert sizes[at] >= 362 or at == len(found) - 1


@settings(max_examples=50)
@given(sides, sides, st.integers(12, 1000))
def test_automatic_scales_start_near_256_pixels_or_at_half_the_size_and_double(
    height: int, width: int, iterations: int
) -> None:
    assume(40 * min(height, width) > max(height, width))  # the short side is no limit
    found = make_scales(height, width, iterations, "auto", 2)
    first = max(found[0].height, found[0].width)
    longest = max(height, width)
    if longest <= 128 * 2**0.5:
        assert first == longest
    elif longest <= 512:
        assert first == pytest.approx(longest / 2, abs=1)
    else:
        assert 256 / 2**0.5 - 1 <= first <= 256 * 2**0.5 + 1
    for small, large in pairwise(found):
        growth = max(large.height, large.width) / max(small.height, small.width)
        assert growth == pytest.approx(2, abs=0.03)


def test_examples_of_scales() -> None:
    first = Scale(96, 128, 48, role="composition")
    assert make_scales(192, 256, 160) == (first, Scale(192, 256, 112))
    first = Scale(192, 256, 30, role="composition")
    assert make_scales(384, 512, 100) == (first, Scale(384, 512, 70))
    assert make_scales(768, 1024, 100) == (
        first,
        Scale(384, 512, 51),
        Scale(768, 1024, 19, role="detail"),
    )
    assert [scale.iterations for scale in make_scales(1536, 2048, 100)] == [30, 40, 15, 15]
    assert make_scales(768, 1024, 100, 2) == (
        Scale(384, 512, 74),
        Scale(768, 1024, 26, role="detail"),
    )
    assert make_scales(135, 180, 100) == (Scale(135, 180, 100),)
    assert len(make_scales(137, 182, 100)) == 2


@pytest.mark.parametrize(
    ("height", "width", "iterations", "scales", "expected"),
    [
        (100, 120, 50, "auto", 1),
        (512, 512, 2, "auto", 2),  # one iteration each
        (512, 512, 1, 9, 1),
        (512, 64, 100, "auto", 2),  # 64 and 32 pixels on the short side
        (512, 512, 100, 2, 2),
        (512, 512, 100, 9, 5),
        (32, 4000, 100, "auto", 1),
    ],
)
def test_the_number_of_scales(
    height: int, width: int, iterations: int, scales: int | str, expected: int
) -> None:
    assert len(make_scales(height, width, iterations, scales, 32)) == expected


@pytest.mark.parametrize(
    ("style_side", "scales", "expected"),
    [
        (512, "auto", [256, 512]),
        (1024, "auto", [256, 512, 1024]),
        (100, "auto", [100]),
        (512, 1, [512]),
        (512, 3, [128, 256, 512]),
    ],
)
def test_scales_with_a_side_of_the_style_begin_where_it_has_256_pixels(
    style_side: float, scales: int | str, expected: list[float]
) -> None:
    found = make_scales(2048, 2048, 100, scales, style_side=style_side)
    assert [scale.style_side for scale in found] == expected
    assert [scale.height for scale in found] == [2048 * side / style_side for side in expected]
    assert [scale.role for scale in found] == ["composition"] * (len(expected) - 1) + ["strokes"]


def test_a_single_scale_has_all_iterations() -> None:
    assert make_scales(50, 70, 9, 1) == (Scale(50, 70, 9),)


@settings(max_examples=100)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 64))
def test_fit_keeps_the_aspect_ratio_and_the_shortest_side(
    height: int, width: int, longest: int, shortest: int
) -> None:
    found = fit(height, width, longest, shortest)
    factor = max(longest / max(height, width), shortest / min(height, width))
    assert found[0] == pytest.approx(height * factor, abs=0.5) or found[0] == shortest
    assert found[1] == pytest.approx(width * factor, abs=0.5) or found[1] == shortest
    assert min(found) >= shortest
    assert max(found) == longest or min(found) == shortest


@pytest.mark.parametrize(
    ("size", "longest", "shortest", "expected"),
    [
        ((30, 40), 80, 1, (60, 80)),
        ((400, 300), 100, 1, (100, 75)),
        ((20, 1200), 512, 32, (32, 1920)),  # the short side takes precedence
        ((7, 9), 9, 1, (7, 9)),
        ((1, 1000), 10, 1, (1, 1000)),
        ((50, 100), 64.4, 1, (32, 64)),
    ],
)
def test_examples_of_fit(
    size: tuple[int, int], longest: float, shortest: int, expected: tuple[int, int]
) -> None:
    assert fit(*size, longest, shortest) == expected
