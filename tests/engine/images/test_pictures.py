from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nst.engine.images.pictures import Picture, init_image_like, resize
from napari_nst.errors import InputError
from napari_nst.ranges import Range, RangedImage

RNG = np.random.default_rng(0)
SHAPES = [(9, 8), (9, 8, 3), (9, 8, 4)]
FULL = {"uint8": 255, "uint16": 65535}


def picture(shape: tuple[int, ...], dtype: str = "float32") -> Any:
    if dtype in FULL:
        return RNG.integers(0, FULL[dtype], shape, dtype=dtype, endpoint=True)
    return RNG.random(shape).astype(dtype)


def planes(array: Any) -> Any:
    """Return colour and alpha as planes, float64 in [0, 1]."""
    values = array.astype(np.float64) / FULL.get(array.dtype.name, 1)
    return np.atleast_3d(values).transpose(2, 0, 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", ">u2", "float16", "float32", ">f4", "float64", ">f8"]
)
def test_every_kind_of_image_becomes_a_tensor_in_the_unit_range(
    shape: tuple[int, ...], dtype: str
) -> None:
    native = picture(shape, np.dtype(dtype).name)
    given = native.astype(dtype)
    found = Picture.from_array(given, "content")
    expected = planes(native)
    assert found.pixels.dtype == torch.float32
    assert found.pixels.shape == (1, min(len(expected), 3), 9, 8)
    np.testing.assert_allclose(found.pixels[0].numpy(), expected[:3], atol=1e-7)
    assert found.missing is None
    assert found.shape == (9, 8)
    if len(expected) == 4:
        assert found.alpha is not None and found.alpha.shape == (1, 1, 9, 8)
        np.testing.assert_allclose(found.alpha[0].numpy(), expected[3:], atol=1e-7)
    else:
        assert found.alpha is None


@pytest.mark.parametrize(("dtype", "full"), FULL.items())
def test_black_and_white_are_exactly_0_and_1(dtype: str, full: int) -> None:
    image = np.zeros((8, 8), dtype)
    image[0] = full
    assert set(Picture.from_array(image, "content").pixels.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_views_and_read_only_arrays_are_accepted_and_unchanged(
    shape: tuple[int, ...], dtype: str
) -> None:
    whole = picture((2 * shape[0], *shape[1:]), dtype)
    views = [whole[::2], whole[::-2], np.asfortranarray(whole[::2])]
    for view in views:
        view.flags.writeable = False
        before = view.copy()
        found = Picture.from_array(view, "content")
        np.testing.assert_allclose(found.pixels[0].numpy(), planes(before)[:3], atol=1e-7)
        found.pixels.zero_()
        assert np.array_equal(view, before)


def test_nested_lists_are_images_too() -> None:
    found = Picture.from_array([[0.25] * 8] * 8, "content")
    assert found.pixels.shape == (1, 1, 8, 8)
    assert found.record.dtype == "float64"


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32"])
def test_the_record_identifies_the_array(dtype: str) -> None:
    image = picture((9, 8, 3), np.dtype(dtype).name).astype(dtype)
    record = Picture.from_array(image[:, ::-1], "my layer").record
    assert (record.name, record.shape, record.dtype) == (
        "my layer",
        (9, 8, 3),
        np.dtype(dtype).name,
    )
    assert record.sha256 == hashlib.sha256(image[:, ::-1].tobytes()).hexdigest()


def message(array: Any, **choices: Any) -> str:
    with pytest.raises(InputError) as caught:
        Picture.from_array(array, "my layer", **choices)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "shape", [(), (9,), (9, 8, 1), (9, 8, 2), (9, 8, 5), (3, 9, 8), (2, 9, 8, 3), (0,)]
)
def test_an_invalid_shape_raises(shape: tuple[int, ...]) -> None:
    assert message(np.zeros(shape, np.float32)).startswith(
        f"my layer has shape {shape}; it must be (height, width), (height, width, 3) or "
        "(height, width, 4)"
    )


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 100), (100, 7), (0, 9)])
def test_an_image_that_is_too_small_raises(height: int, width: int) -> None:
    assert message(np.zeros((height, width), np.uint8)) == (
        f"my layer is {width} x {height} pixels; it must be at least 8 x 8."
    )


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int16", "int32", "uint32", "int64", "complex64"]
)
def test_an_invalid_dtype_raises(dtype: str) -> None:
    assert message(np.zeros((9, 8), dtype)) == (
        f"my layer has dtype {dtype}; it must be uint8, uint16, or floats in [0, 1]."
    )


def test_ragged_lists_and_none_raise() -> None:
    assert message("content.png").startswith("my layer is 'content.png', and it must be an array")
    assert message(np.full((9, 8), None)).startswith("my layer has dtype object;")


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        (0.0, 1.5, "from 0 to 1.5"),
        (-0.25, 0.5, "from -0.25 to 0.5"),
        (0.0, 255.0, "from 0 to 255"),
        (0.0, 1e300, "from 0 to inf"),
    ],
)
def test_floats_out_of_range_raise(low: float, high: float, values: str) -> None:
    image = np.full((9, 8), 0.25)
    image[0, 0], image[1, 1] = low, high
    image[2, 2] = max(low, 0)
    expected = f"my layer has values {values}; floats must lie in [0, 1]: rescale them first."
    assert message(image) == expected


def test_float64_may_exceed_the_range_by_less_than_float32_resolves() -> None:
    image = np.full((8, 8), 1 + 1e-12)
    assert Picture.from_array(image, "content").pixels.max() == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_that_are_not_finite_raise_with_their_number(
    value: float, shape: tuple[int, ...]
) -> None:
    image = picture(shape)
    image[1, 2] = value
    number = image[1, 2].size
    assert re.match(rf"my layer has {number} values? that (is|are) not finite; ", message(image))


def test_keeping_nan_fills_it_with_the_mean_of_the_rest() -> None:
    image = picture((9, 8, 3))
    image[1, 2, 0], image[4, 5] = np.nan, np.inf
    found = Picture.from_array(image, "content", "keep")
    assert found.missing is not None and found.missing.dtype == bool
    assert np.argwhere(found.missing).tolist() == [[1, 2], [4, 5]]
    finite = np.isfinite(image)
    pixels = found.pixels[0].permute(1, 2, 0).numpy()
    assert np.array_equal(pixels[finite], image[finite])
    np.testing.assert_allclose(pixels[~finite], image[finite].mean(), rtol=1e-6)
    assert found.visible is not None
    assert np.array_equal(found.visible[0].numpy(), finite.all(axis=2))


def test_keeping_nan_without_nan_has_no_effect() -> None:
    assert Picture.from_array(picture((9, 8)), "content", "keep").missing is None


@pytest.mark.parametrize("nan", ["error", "keep", None])
def test_an_image_of_only_nan_raises_even_with_keep(nan: Any) -> None:
    assert message(np.full((9, 8), np.nan), nan=nan) == (
        "my layer has 72 values that are not finite and no others; give another image."
    )


def test_keeping_nan_is_advised_for_the_content_only() -> None:
    image = picture((9, 8))
    image[1, 2] = np.nan
    start = "my layer has 1 value that is not finite; replace it"
    assert message(image, nan="error") == (
        f"{start}, or choose nan='keep' (in the panel: Missing pixels) to fill it for the run and "
        "put it back."
    )
    assert message(image) == f"{start}."  # a style has no such setting
    image[2, 2] = np.inf
    assert message(image, nan="error") == (
        "my layer has 2 values that are not finite; replace them, or choose nan='keep' (in the "
        "panel: Missing pixels) to fill "
        "them for the run and put them back."
    )


@settings(max_examples=20)
@given(
    st.sampled_from(SHAPES).flatmap(
        lambda shape: arrays(np.float32, shape, elements=st.floats(0, 1, width=32))
    )
)
def test_an_image_survives_the_round_trip(image: Any) -> None:
    found = Picture.from_array(image, "content")
    back = found.assemble(found.pixels)
    assert back.dtype == np.float32 and back.flags.writeable
    assert np.array_equal(back, image)
    back[:] = 7
    assert np.array_equal(found.assemble(found.pixels), image)


def test_alpha_and_missing_pixels_are_restored() -> None:
    image = picture((9, 8, 4))
    image[3, 4, 1] = np.nan
    found = Picture.from_array(image, "content", "keep")
    back = found.assemble(torch.full((1, 3, 9, 8), 0.5))
    missing = np.isnan(back).all(axis=2)
    assert np.argwhere(missing).tolist() == [[3, 4]]
    assert np.array_equal(back[~missing][:, 3], image[~missing][:, 3])
    assert np.all(back[~missing][:, :3] == 0.5)


def test_alpha_and_missing_pixels_are_resampled_to_the_size_of_the_result() -> None:
    image = np.zeros((8, 8, 4), np.float32)
    image[:, 4:, 3] = 1
    image[:4, :4, 0] = np.nan
    back = Picture.from_array(image, "content", "keep").assemble(torch.zeros(1, 3, 24, 16))
    assert back.shape == (24, 16, 4)
    assert np.array_equal(np.isnan(back).all(axis=2).nonzero(), np.nonzero(back[..., 0] != 0))
    assert np.isnan(back).sum() == 12 * 8 * 4
    assert np.all(back[12:, :4, 3] < 0.1) and np.all(back[:, 12:, 3] > 0.9)


def test_resizing_to_the_same_size_returns_the_same_image() -> None:
    image = torch.zeros(1, 3, 9, 8)
    assert resize(image, 9, 8) is image


def test_resizing_keeps_the_range_and_the_mean() -> None:
    y, x = torch.meshgrid(torch.arange(32), torch.arange(48), indexing="ij")
    image = ((x // 6 + y // 6) % 2).float()[None, None]
    for size in ((16, 24), (64, 96), (11, 77)):
        found = resize(image, *size)
        assert found.shape == (1, 1, *size)
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        assert float(found.mean()) == pytest.approx(0.5, abs=0.03)
    flat = torch.full((1, 3, 20, 20), 0.3)
    torch.testing.assert_close(resize(flat, 7, 31), torch.full((1, 3, 7, 31), 0.3))


def test_resizing_does_not_alias() -> None:
    stripes = (torch.arange(64) % 2).float().expand(1, 1, 64, 64)  # finer than the result can show
    found = resize(stripes.contiguous(), 16, 16)
    torch.testing.assert_close(found, torch.full_like(found, 0.5), rtol=0, atol=0.05)


HIDDEN = [0.0, 1.0, 0.3, 7.0, -1.0, np.nan, np.inf]


def cut_out(hidden: float, dtype: str = "float32") -> Any:
    """Return an image whose left third is invisible and whose next column is half visible."""
    image = np.random.default_rng(3).random((9, 12, 4))
    image[..., 3] = 1
    image[:, 4, 3] = 0.5
    image[:, :4] = (hidden, 0.2, hidden, 0)
    return image.astype(dtype)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_values_under_alpha_0_have_no_effect(hidden: float) -> None:
    first, found = (Picture.from_array(cut_out(value), "content") for value in (0, hidden))
    assert torch.equal(found.filled, first.filled)
    assert found.missing is None
    assert found.record.sha256 == hashlib.sha256(cut_out(hidden).tobytes()).hexdigest()
    visible = cut_out(hidden)[:, 4:, :3].transpose(2, 0, 1)
    assert np.array_equal(found.filled[0, :, :, 4:].numpy(), visible)
    assert found.filled[0, :, :, :4].min() > visible.min()
    assert found.filled[0, :, :, :4].max() < visible.max()


def test_a_constant_image_stays_constant_where_it_is_invisible() -> None:
    image = cut_out(0.9)
    image[:, 4:, :3] = 0.25
    found = Picture.from_array(image, "content")
    torch.testing.assert_close(found.filled, torch.full_like(found.pixels, 0.25))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_opaque_alpha_changes_nothing(dtype: str) -> None:
    image = picture((9, 8, 4), dtype)
    image[..., 3] = FULL.get(dtype, 1)
    found = Picture.from_array(image, "content")
    assert found.visible is None
    assert found.filled is found.pixels
    assert torch.equal(found.pixels, Picture.from_array(image[..., :3].copy(), "content").pixels)


def test_an_invisible_image_raises() -> None:
    image = picture((9, 8, 4))
    image[..., 3] = 0
    with pytest.raises(InputError, match=r"^mine is fully transparent: no pixel of it is visible;"):
        Picture.from_array(image, "mine").check_visible()
    image[4, 4] = (np.nan, 0, 0, 1)
    with pytest.raises(InputError, match="no pixel of it is visible and finite;"):
        Picture.from_array(image, "mine", "keep").check_visible()


def test_resampling_weights_pixels_by_alpha() -> None:
    image = np.zeros((16, 16, 4))
    image[..., 3] = 1
    image[::2, :, 0], image[1::2, :, 2] = 1, 1  # red rows, and blue rows of alpha 1/3
    image[1::2, :, 3] = 1 / 3
    found = Picture.from_array(image, "style")
    small = found.resize(found.filled, (8, 8))[0, :, 2:6, 2:6]
    expected = torch.tensor([0.75, 0, 0.25]).view(3, 1, 1).expand_as(small)
    torch.testing.assert_close(small, expected, atol=0.03, rtol=0)
    opaque = Picture.from_array(image[..., :3].copy(), "style")
    assert opaque.resize(opaque.filled, (8, 8))[0, 0, 2:6, 2:6].mean() == pytest.approx(0.5)


def test_resampling_a_cut_out_keeps_its_colours() -> None:
    image = np.zeros((32, 32, 4))
    image[..., 1] = 1  # invisible green
    image[6:27, 5:26] = (0.8, 0.1, 0.3, 1)
    found = Picture.from_array(image, "content")
    for size in ((16, 16), (11, 45)):
        colors = found.resize(found.filled, size)
        expected = torch.tensor([0.8, 0.1, 0.3]).view(1, 3, 1, 1).expand_as(colors)
        torch.testing.assert_close(colors, expected, atol=1e-5, rtol=0)


# Value ranges


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_largest_uint16_value_determines_the_bits(shape: tuple[int, ...], bits: int) -> None:
    top = 2**bits - 1
    image = RNG.integers(0, top, shape, dtype=np.uint16, endpoint=True)
    image[0, 0] = top
    if len(shape) == 3 and shape[2] == 4:
        image[..., 3] = 65_535  # opaque, however few bits the colours have
    found = Picture.from_array(image, "content")
    colours = image[..., :3] if image.ndim == 3 else image
    expected = np.atleast_3d(colours).transpose(2, 0, 1) / top
    np.testing.assert_allclose(found.pixels[0].numpy(), expected, atol=1e-7)
    assert (found.record.bits, found.record.range) == (None if bits == 16 else bits, None)
    if found.alpha is not None:
        assert float(found.alpha.min()) == 1
    back = found.assemble(found.pixels)
    assert np.array_equal(back, image.astype(np.float32) / np.float32(65_535))  # bit for bit


def test_values_between_integers_are_not_rounded() -> None:
    image = np.zeros((8, 8), np.uint16)
    image[0, 0] = 4095
    back = Picture.from_array(image, "content").assemble(torch.full((1, 1, 8, 8), 0.3))
    np.testing.assert_allclose(back * 65_535, 0.3 * 4095, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", "float32", "float64", "bool"])
def test_any_numbers_are_accepted_with_a_range(dtype: str) -> None:
    image = RNG.integers(0, 2, (9, 8)).astype(dtype)
    found = Picture.from_array(RangedImage(image, Range(-1, 3)), "content")
    np.testing.assert_allclose(found.pixels[0, 0].numpy(), (image.astype(float) + 1) / 4, atol=1e-7)
    assert (found.record.range, found.record.bits) == ((-1, 3), None)
    assert found.record.sha256 == hashlib.sha256(image.tobytes()).hexdigest()
    assert found.record.dtype == dtype


def test_infinite_values_stay_missing_with_a_range() -> None:
    image = np.ones((9, 8), np.float32)
    image[1, 2], image[3, 4] = np.inf, np.nan
    with pytest.raises(InputError, match="2 values that are not finite"):
        Picture.from_array(RangedImage(image, Range(0, 2)), "content", "error")
    found = Picture.from_array(RangedImage(image, Range(0, 2)), "content", "keep")
    assert found.missing is not None and found.missing.sum() == 2
    assert found.pixels.unique().tolist() == [0.5]


def test_the_full_range_is_used_on_request_and_for_older_records() -> None:
    image = np.full((9, 8), 4095, np.uint16)
    older = Picture.from_array(image, "content").record.model_copy(update={"bits": None})
    for found in (
        Picture.from_array(RangedImage(image), "a"),
        Picture.from_array(image, "a", recorded=older),
    ):
        np.testing.assert_allclose(found.pixels.numpy(), 4095 / 65_535)
    recorded = older.model_copy(update={"range": (4000.0, 4190.0)})
    found = Picture.from_array(image, "a", recorded=recorded)
    np.testing.assert_allclose(found.pixels.numpy(), 0.5)
    assert found.record == recorded.model_copy(update={"name": "a"})


def test_an_initial_image_gets_the_bits_of_the_content_if_it_fits() -> None:
    content = np.zeros((8, 8), np.uint16)
    content[0, 0] = 3000
    about = Picture.from_array(content, "content").record

    def first(start: Any) -> float:
        return float(
            Picture.from_array(init_image_like(start, about), "init_image").pixels[0, 0, 0, 0]
        )

    dim = np.full((8, 8), 200, np.uint16)
    assert first(dim) == pytest.approx(200 / 4095)  # not 200 / 255
    assert first((dim / 65_535).astype(np.float32)) == pytest.approx(200 / 4095)  # a result
    assert first(np.full((8, 8), 0.75)) == 0.75  # a picture of its own
    assert first(np.full((8, 8), 60_000, np.uint16)) == pytest.approx(60_000 / 65_535)
    assert first(np.full((8, 8), 51, np.uint8)) == pytest.approx(0.2)
    about = Picture.from_array(np.full((8, 8), 60_000, np.uint16), "content").record
    assert first(dim) == pytest.approx(200 / 65_535)
