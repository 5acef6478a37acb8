"""Any range of intensities becomes [0, 1], and comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_nst.errors import InputError
from napari_nst.intensities import Display, Range, visible_values

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float16", "float32", "float64", ">f4"]


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("bool", 0, 1), ("uint8", 0, 255), ("int16", -32768, 32767), (">u2", 0, 65535)]
    + [(dtype, 0, 1) for dtype in FLOATS],
)
def test_a_type_has_a_range(dtype: str, low: float, high: float) -> None:
    assert Range.of_dtype(dtype) == Range(low, high)


@pytest.mark.parametrize("dtype", ["complex64", "U3", "datetime64[s]"])
def test_what_is_no_real_number_has_none(dtype: str) -> None:
    with pytest.raises(InputError, match="must be real numbers or booleans"):
        Range.of_dtype(dtype)
    with pytest.raises(InputError, match="must be real numbers or booleans"):
        Range.of_extremes(np.zeros(3, dtype))


@pytest.mark.parametrize(("low", "high"), [(3, 3), (4, 3), (0, np.inf), (np.nan, 1)])
def test_a_range_has_a_width(low: float, high: float) -> None:
    with pytest.raises(InputError, match=f"cannot go from {low:g} to {high:g}"):
        Range(low, high)


@given(
    arrays.arrays(
        np.float64,
        st.integers(1, 20),
        elements=st.one_of(st.floats(-1e30, 1e30), st.just(np.nan), st.just(np.inf)),
    )
)
def test_every_image_has_a_range_of_some_width(values: np.ndarray) -> None:
    finite = values[np.isfinite(values)]
    for found in (Range.of_extremes(values), Range.of_percentiles(values)):
        assert found.low < found.high
        unit = found.to_unit(values)
        np.testing.assert_array_equal(np.isnan(unit), np.isnan(values))
        assert ((unit >= 0) & (unit <= 1))[~np.isnan(values)].all()
    extremes = Range.of_extremes(values)
    if finite.size and finite.min() < finite.max():
        assert (extremes.low, extremes.high) == (finite.min(), finite.max())


def test_percentiles_leave_out_what_is_missing_and_few_outliers() -> None:
    values = np.concatenate([np.linspace(0, 100, 10001), [1e9, np.inf, np.nan]])
    found = Range.of_percentiles(values)
    assert (found.low, found.high) == pytest.approx((0.1, 99.91), abs=0.01)
    assert Range.of_percentiles(np.arange(101), 10, 90) == Range(10, 90)


def test_where_nearly_all_is_background_the_few_things_are_not_flattened() -> None:
    values = np.zeros(100_000, np.uint16)
    values[:20] = np.arange(20) * 100
    assert Range.of_percentiles(values) == Range(0, 1900)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_integer_comes_back(dtype: str) -> None:
    info = np.iinfo(dtype)
    span = Range.of_dtype(dtype)
    ends = np.array([info.min, info.max], dtype)
    back = span.from_unit(span.to_unit(ends), dtype)
    assert back.dtype == np.dtype(dtype)
    assert back[0] == info.min
    assert float(back[1]) >= float(info.max) * (1 - 1e-15)
    values = np.arange(0, 100, dtype=dtype)
    near = Range(0, 99)
    np.testing.assert_array_equal(near.from_unit(near.to_unit(values), dtype), values)


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_come_back_in_the_machines_order_with_what_is_missing(dtype: str) -> None:
    values = np.array([-3, 0, np.nan, 5], dtype)
    span = Range(-3, 5)
    back = span.from_unit(span.to_unit(values), dtype)
    assert back.dtype == np.dtype(dtype).newbyteorder("=")
    assert back.dtype.isnative
    np.testing.assert_allclose(back, values.astype(float), rtol=1e-3)


def test_what_a_type_cannot_hold_is_clipped() -> None:
    unit = np.array([0, 0.5, 1], np.float32)
    assert Range(-100, 1000).from_unit(unit, "uint8").tolist() == [0, 255, 255]
    assert Range(-1e9, 1e9).from_unit(unit, "float16").tolist() == [-65504, 0, 65504]
    assert Range(0, 3).from_unit(np.array([np.nan]), "uint8").tolist() == [0]
    assert Range(0, 1).from_unit(np.array([0.4, 0.5]), "bool").tolist() == [False, True]


def test_alpha_has_a_range_of_its_own() -> None:
    colours = np.array([[[100, 200, 300, 65535], [100, 100, 100, 0]]], np.uint16)
    span = Range(100, 300)
    unit = span.to_unit(colours, alpha=True)
    np.testing.assert_allclose(unit, [[[0, 0.5, 1, 1], [0, 0, 0, 0]]], atol=1e-6)
    np.testing.assert_array_equal(span.from_unit(unit, "uint16", alpha=True), colours)


def test_a_screen_shows_by_limits_gamma_and_table() -> None:
    table = bytes(level for value in range(256) for level in (value, 0, 255 - value)).hex()
    display = Display((10, 20), 2.0, table)
    shown = display.show(np.array([[0, 10, 15, 20, 30]]))
    assert shown.dtype == np.uint8
    assert shown.tolist() == [[[0, 0, 255], [0, 0, 255], [64, 0, 191], [255, 0, 0], [255, 0, 0]]]
    grey = Display((0, 2)).show(np.array([[[0, 1, 2]]]))
    assert grey.tolist() == [[[0, 128, 255]]]


def test_a_screen_shows_nothing_where_a_value_is_missing() -> None:
    shown = Display((0, 1)).show(np.array([[[0, 1, 0.5, 0.25], [np.nan, 1, 1, 1]]]))
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown[0, 0], [0, 1, 128 / 255, 64 / 255])
    assert np.isnan(shown[0, 1]).all()


def test_only_colours_that_can_be_seen_are_values() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    image[..., 3] = [[0, 1, 255], [0, 0, 7]]
    assert visible_values(image).tolist() == [4, 5, 6, 8, 9, 10, 20, 21, 22]
    assert visible_values(image[..., :3]).size == 18
