"""Conversion of any range of values to [0, 1] and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_nst.errors import InputError
from napari_nst.ranges import (
    Display,
    Range,
    RangedImage,
    Summary,
    check_intensities,
    significant_bits,
    visible_values,
)

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float16", "float32", "float64", ">f4"]


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("bool", 0, 1), ("uint8", 0, 255), ("int16", -32768, 32767), (">u2", 0, 65535)]
    + [(dtype, 0, 1) for dtype in FLOATS],
)
def test_range_of_a_type(dtype: str, low: float, high: float) -> None:
    assert Range.from_dtype(dtype) == Range(low, high)


@pytest.mark.parametrize("dtype", ["complex64", "U3", "datetime64[s]"])
def test_error_for_types_that_are_not_real(dtype: str) -> None:
    with pytest.raises(InputError, match="must be real numbers or booleans"):
        Range.from_dtype(dtype)
    with pytest.raises(InputError, match="must be real numbers or booleans"):
        Range.from_extremes(np.zeros(3, dtype))


@pytest.mark.parametrize(("low", "high"), [(3, 3), (4, 3), (0, np.inf), (np.nan, 1)])
def test_error_for_empty_or_infinite_ranges(low: float, high: float) -> None:
    with pytest.raises(InputError, match=f"cannot go from {low:g} to {high:g}"):
        Range(low, high)


@given(
    arrays.arrays(
        np.float64,
        st.integers(1, 20),
        elements=st.one_of(st.floats(-1e30, 1e30), st.just(np.nan), st.just(np.inf)),
    )
)
def test_every_array_has_a_nonempty_range(values: np.ndarray) -> None:
    finite = values[np.isfinite(values)]
    for found in (Range.from_extremes(values), Range.from_percentiles(values)):
        assert found.low < found.high
        unit = found.to_unit(values)
        np.testing.assert_array_equal(np.isnan(unit), np.isnan(values))
        assert ((unit >= 0) & (unit <= 1))[~np.isnan(values)].all()
    extremes = Range.from_extremes(values)
    if finite.size and finite.min() < finite.max():
        assert (extremes.low, extremes.high) == (finite.min(), finite.max())


def test_percentiles_ignore_outliers_and_missing_values() -> None:
    values = np.concatenate([np.linspace(0, 100, 10001), [1e9, np.inf, np.nan]])
    found = Range.from_percentiles(values)
    assert (found.low, found.high) == pytest.approx((0.1, 99.91), abs=0.01)
    assert Range.from_percentiles(np.arange(101), 10, 90) == Range(10, 90)


def test_equal_percentiles_fall_back_to_the_extremes() -> None:
    values = np.zeros(100_000, np.uint16)
    values[:20] = np.arange(20) * 100
    assert Range.from_percentiles(values) == Range(0, 1900)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_round_trip(dtype: str) -> None:
    info = np.iinfo(dtype)
    span = Range.from_dtype(dtype)
    ends = np.array([info.min, info.max], dtype)
    back = span.from_unit(span.to_unit(ends), dtype)
    assert back.dtype == np.dtype(dtype)
    assert back[0] == info.min
    assert float(back[1]) >= float(info.max) * (1 - 1e-15)
    values = np.arange(0, 100, dtype=dtype)
    near = Range(0, 99)
    np.testing.assert_array_equal(near.from_unit(near.to_unit(values), dtype), values)


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_round_trip_in_native_order_with_nan(dtype: str) -> None:
    values = np.array([-3, 0, np.nan, 5], dtype)
    span = Range(-3, 5)
    back = span.from_unit(span.to_unit(values), dtype)
    assert back.dtype == np.dtype(dtype).newbyteorder("=")
    assert back.dtype.isnative
    np.testing.assert_allclose(back, values.astype(float), rtol=1e-3)


def test_values_beyond_the_type_are_clipped() -> None:
    unit = np.array([0, 0.5, 1], np.float32)
    assert Range(-100, 1000).from_unit(unit, "uint8").tolist() == [0, 255, 255]
    assert Range(-1e9, 1e9).from_unit(unit, "float16").tolist() == [-65504, 0, 65504]
    assert Range(0, 3).from_unit(np.array([np.nan]), "uint8").tolist() == [0]
    assert Range(0, 1).from_unit(np.array([0.4, 0.5]), "bool").tolist() == [False, True]


def test_alpha_is_scaled_by_the_range_of_the_type() -> None:
    colours = np.array([[[100, 200, 300, 65535], [100, 100, 100, 0]]], np.uint16)
    span = Range(100, 300)
    unit = span.to_unit(colours, alpha=True)
    np.testing.assert_allclose(unit, [[[0, 0.5, 1, 1], [0, 0, 0, 0]]], atol=1e-6)
    np.testing.assert_array_equal(span.from_unit(unit, "uint16", alpha=True), colours)


def test_display_applies_limits_gamma_and_colour_table() -> None:
    table = bytes(level for value in range(256) for level in (value, 0, 255 - value)).hex()
    display = Display((10, 20), 2.0, table)
    shown = display.show(np.array([[0, 10, 15, 20, 30]]))
    assert shown.dtype == np.uint8
    assert shown.tolist() == [[[0, 0, 255], [0, 0, 255], [64, 0, 191], [255, 0, 0], [255, 0, 0]]]
    grey = Display((0, 2)).show(np.array([[[0, 1, 2]]]))
    assert grey.tolist() == [[[0, 128, 255]]]


def test_display_of_missing_values_is_nan() -> None:
    shown = Display((0, 1)).show(np.array([[[0, 1, 0.5, 0.25], [np.nan, 1, 1, 1]]]))
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown[0, 0], [0, 1, 128 / 255, 64 / 255])
    assert np.isnan(shown[0, 1]).all()


def test_visible_values_exclude_alpha_and_transparent_colours() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    image[..., 3] = [[0, 1, 255], [0, 0, 7]]
    assert visible_values(image).tolist() == [4, 5, 6, 8, 9, 10, 20, 21, 22]
    assert visible_values(image[..., :3]).size == 18


# The range of given values


def auto(values: list[float], dtype: str, bits: int | None = None) -> tuple[float, float]:
    found = Summary.from_values(np.array(values, dtype)).range("auto", bits)
    return found.low, found.high


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 1], "bool", (0, 1)),
        ([3, 9], "uint8", (0, 255)),
        ([0, 200], "uint16", (0, 255)),
        ([0, 256], "uint16", (0, 1023)),
        ([819, 3021], "uint16", (0, 4095)),
        ([0, 4096], "uint16", (0, 16383)),
        ([0, 16384], "uint16", (0, 65535)),
        ([0, 3000], ">u2", (0, 4095)),
        ([0, 70_000], "uint32", (0, 2**18 - 1)),
        ([0, 3000], "int16", (0, 4095)),
        ([0, 20_000], "int16", (0, 32_767)),
        ([5, 100], "int8", (0, 127)),
        ([-1000, 3000], "int16", (-1000, 3000)),
        ([1_000_000, 1_000_100], "int32", (1_000_000, 1_000_100)),  # flat within 20 bits
        ([0.25, 0.5], "float32", (0, 1)),
        ([0, 1 + 1e-12], "float64", (0, 1)),
        ([0, 1e-4], "float32", (0, np.float32(1e-4))),  # would be displayed as black
        ([1200, 3100], "float32", (1200, 3100)),
        ([-0.5, 0.5], "float32", (-0.5, 0.5)),
        ([np.nan, np.inf, -2, 7], "float64", (-2, 7)),
        ([np.nan], "float64", (0, 1)),
        ([0, 0], "float64", (0, 1)),
        ([7, 7], "float64", (0, 7)),
    ],
)
def test_auto_range_depends_on_values_and_type(
    values: list[float], dtype: str, expected: tuple[float, float]
) -> None:
    assert auto(values, dtype) == expected


def test_declared_bits_are_used_if_the_values_fit() -> None:
    assert auto([0, 900], "uint16", 14) == (0, 16_383)
    assert auto([0, 9], "uint8", 4) == (0, 15)
    assert auto([0, 900], "uint16", 9) == (0, 1023)
    assert [significant_bits(top) for top in (0, 255, 256, 1024, 65_535)] == [8, 8, 10, 12, 16]


@given(
    st.sampled_from([*INTEGERS, "float32", "float64"]).flatmap(
        lambda dtype: arrays.arrays(
            dtype,
            st.integers(1, 20),
            elements=st.integers(*(0, 100) if "u" in dtype else (-100, 100))
            if "int" in dtype
            else st.floats(-(2.0**100), 2.0**100, width=32),
        )
    ),
    st.integers(0, 24),
)
def test_values_round_trip_within_their_auto_range(values: np.ndarray, shift: int) -> None:
    info = np.iinfo(values.dtype) if values.dtype.kind in "iu" else None
    highest = float(np.abs(values.astype(float)).max())
    if info is not None and max(highest, 1) * 2**shift <= info.max:
        values = values * values.dtype.type(2**shift)
    span = Summary.from_values(values).range("auto")
    assert span.low <= values.min() <= values.max() <= span.high
    unit = span.to_unit(values)
    back = span.from_unit(unit, values.dtype)
    assert back.dtype == values.dtype
    error = np.abs(back.astype(float) - values.astype(float)).max()
    assert error <= (span.high - span.low) * 2.0**-23 + (0.5 if info else 0)
    assert span.low <= back.min() <= back.max() <= span.high


def test_summary_of_parts_equals_summary_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(50, 20, (4, 30, 40)).astype(np.float32)
    values[1, 3, 4] = np.nan
    parts = Summary(values.dtype, values.size)
    for plane in values:
        parts.add(plane)
    for choice in ("auto", "percentiles"):
        assert parts.range(choice) == Summary.from_values(values).range(choice)  # type: ignore[arg-type]
    assert parts.range((3.0, 4.0)) == Range(3, 4)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1200, 3100], "uint16", (0, 65_535)),
        ([0, 3], "int16", (-32_768, 32_767)),
        ([0, 0.001], "float32", (0, 1)),
        ([0, 2**31], "uint32", (0, 2**32 - 1)),
        ([1200, 3100], "float32", (1200, 3100)),
        ([-0.5, 0.5], "float64", (-0.5, 0.5)),
        ([1200, 3100], "int32", (1200, 3100)),
        ([0, 2**23], "uint32", (0, 2**23)),
    ],
)
def test_full_range_is_the_type_unless_it_displays_white_or_one_grey(
    values: list[float], dtype: str, expected: tuple[float, float]
) -> None:
    assert Summary.from_values(np.array(values, dtype)).range("full") == Range(*expected)


@pytest.mark.parametrize("choice", ["all", (3, 3), (4, 3), (1, 2, 3), (0, np.inf)])
def test_error_for_invalid_intensities(choice: object) -> None:
    with pytest.raises(InputError, match="it must be 'auto', 'full', 'percentiles', or the values"):
        check_intensities(choice)


def test_ranged_image_keeps_alpha_and_marks_values_that_are_not_finite() -> None:
    image = np.full((1, 2, 4), 200, np.uint16)
    image[..., 3] = 65_535
    unit = RangedImage(image, Range(100, 300)).to_unit()
    np.testing.assert_allclose(unit[0, 0], [0.5, 0.5, 0.5, 1])
    assert RangedImage(image).to_unit() is image
    odd = RangedImage(np.array([[0, np.inf, -np.inf, np.nan]]), Range(0, 1)).to_unit()
    assert np.isnan(odd).tolist() == [[False, True, True, True]]
