"""Pictures in PNG, JPEG, TIFF and other formats: values, metadata, errors."""

from __future__ import annotations

import errno
import io
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from file_helpers import D65, DISPLAY_P3, error_of, icc_profile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageCms

from napari_nst.errors import InputError
from napari_nst.files import (
    _limits,
    check_writable,
    count_frames,
    read_image,
    read_metadata,
    write_image,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

posix = pytest.mark.skipif(os.name != "posix", reason="permission bits and links are POSIX")
LAYOUTS = [(7, 5), (7, 5, 3), (7, 5, 4), (3, 5, 3), (1, 1), (1, 1, 3), (1, 1, 4), (4, 1, 4)]


def picture(shape: tuple[int, ...], dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, shape, dtype=dtype, endpoint=True)


def as_unit(image: NDArray[Any]) -> NDArray[np.float32]:
    return (image / np.iinfo(image.dtype).max).astype(np.float32)


def assert_same(image: NDArray[Any], expected: NDArray[Any]) -> None:
    assert image.dtype == expected.dtype
    assert image.dtype.isnative
    assert image.flags.c_contiguous
    assert image.flags.writeable
    np.testing.assert_array_equal(image, expected)


# Round trips


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3, 4])),
    ),
    st.sampled_from([".png", ".PNG", ".tif", ".tiff"]),
)
@settings(deadline=None)
def test_lossless_formats_preserve_every_value(image: NDArray[Any], suffix: str) -> None:
    image = image[..., 0] if image.shape[2] == 1 else image
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"picture{suffix}")
        write_image(path, as_unit(image), dtype=image.dtype.name, metadata="{}")  # type: ignore[arg-type]
        assert_same(read_image(path), image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", LAYOUTS)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_channel_layout_round_trips(
    tmp_path: Path, suffix: str, shape: tuple[int, ...], dtype: str
) -> None:
    image = picture(shape, dtype)
    path = tmp_path / f"picture{suffix}"
    write_image(str(path), as_unit(image), dtype=dtype)  # type: ignore[arg-type]
    assert_same(read_image(str(path)), image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_value_of_a_type_round_trips(tmp_path: Path, suffix: str, dtype: str) -> None:
    image = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(-1, 16)
    write_image(tmp_path / f"a{suffix}", as_unit(image), dtype=dtype)  # type: ignore[arg-type]
    assert_same(read_image(tmp_path / f"a{suffix}"), image)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_jpeg_has_8_bits_and_small_errors(
    tmp_path: Path, channels: tuple[int, ...], dtype: str, suffix: str
) -> None:
    rows, columns = np.mgrid[0:32, 0:48]
    image = np.stack([rows / 31, columns / 47, rows * 0 + 0.3], axis=-1).astype(np.float32)
    image = image if channels else image[..., 0]
    write_image(tmp_path / f"a{suffix}", image, dtype=dtype)  # type: ignore[arg-type]
    result = read_image(tmp_path / f"a{suffix}")
    assert result.dtype == np.uint8
    np.testing.assert_allclose(result / 255, image, atol=0.016)


def test_alpha_is_blended_over_white_in_jpeg(tmp_path: Path) -> None:
    image = np.zeros((16, 48, 4), np.float32)
    image[..., :3] = (1.0, 0.5, 0.0)
    image[:, :16, 3], image[:, 16:32, 3], image[:, 32:, 3] = 0, 0.5, 1
    write_image(tmp_path / "a.jpg", image)
    result = read_image(tmp_path / "a.jpg")
    for column, expected in ((8, (255, 255, 255)), (24, (255, 191, 128)), (40, (255, 128, 0))):
        np.testing.assert_allclose(result[8, column].astype(int), expected, atol=2)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_values_are_rounded_and_clipped(tmp_path: Path, dtype: str) -> None:
    top = np.iinfo(dtype).max
    values = np.array(
        [[-1, 0, 0.49 / top, 0.51 / top, (top - 0.51) / top, 1, 2, np.inf, -np.inf, np.nan]]
    )
    expected = np.array([[0, 0, 0, 1, top - 1, top, top, top, 0, 0]], dtype)
    for kind in (np.float32, np.float64):
        write_image(tmp_path / "a.png", values.astype(kind), dtype=dtype)  # type: ignore[arg-type]
        assert_same(read_image(tmp_path / "a.png"), expected)


def test_strided_views_are_written_correctly(tmp_path: Path) -> None:
    image = picture((9, 8, 4))
    write_image(tmp_path / "a.png", as_unit(image)[::-2, ::3, ::-1])
    assert_same(read_image(tmp_path / "a.png"), image[::-2, ::3, ::-1])


# Files of other programs


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_grey_with_alpha_becomes_rgba(tmp_path: Path, dtype: str) -> None:
    image = picture((5, 6, 2), dtype)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(image))
    tifffile.imwrite(
        tmp_path / "a.tif",
        image,
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    for name in ("a.png", "a.tif"):
        assert_same(read_image(tmp_path / name), image[..., [0, 0, 0, 1]])


def test_a_transparent_colour_becomes_alpha(tmp_path: Path) -> None:
    grey = np.array([[0, 10, 20]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png", transparency=10)
    expected = np.stack([grey, grey, grey, np.array([[255, 0, 255]], np.uint8)], axis=-1)
    assert_same(read_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_are_converted_to_rgb(tmp_path: Path, bits: int) -> None:
    colours = picture((2**bits, 3), seed=1)
    indices = picture((9, 7), seed=2) & (2**bits - 1)
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette(colours.ravel().tolist())
    image.save(tmp_path / "a.png", bits=bits)
    image.save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        assert_same(read_image(tmp_path / name), colours[indices])
    image.save(tmp_path / "b.png", bits=bits, transparency=bytes([0, 77]))
    alpha = np.select([indices == 0, indices == 1], [0, 77], 255).astype(np.uint8)
    assert_same(read_image(tmp_path / "b.png"), np.dstack([colours[indices], alpha]))


@pytest.mark.parametrize("name", ["a.bmp", "a.webp", "a.gif", "a.ppm"])
def test_lossless_formats_of_pillow_are_read(tmp_path: Path, name: str) -> None:
    image = np.repeat(picture((4, 6, 1)), 3, axis=2)
    Image.fromarray(image).save(tmp_path / name, lossless=True)
    assert_same(read_image(tmp_path / name), image)


def test_the_format_is_recognised_by_content_not_suffix(tmp_path: Path) -> None:
    image = picture((4, 6, 3))
    Image.fromarray(image).save(tmp_path / "picture.jpg", "PNG")
    assert_same(read_image(tmp_path / "picture.jpg"), image)


def test_one_bit_becomes_0_and_255(tmp_path: Path) -> None:
    image = picture((9, 11)) > 127
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray(image).save(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", image, photometric="minisblack")
    for name in ("a.png", "a.tif", "b.tif"):
        assert_same(read_image(tmp_path / name), np.where(image, 255, 0).astype(np.uint8))


@pytest.mark.parametrize(("name", "pillow"), [("a.pgm", "PPM"), ("a.jp2", "JPEG2000")])
def test_pillow_reads_16_bits_of_grey(tmp_path: Path, name: str, pillow: str) -> None:
    image = picture((9, 11), "uint16")
    Image.fromarray(image).save(tmp_path / name, pillow)
    assert_same(read_image(tmp_path / name), image)


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    inks = np.zeros((16, 64, 4), np.uint8)
    for number in range(4):
        inks[:, 16 * number : 16 * (number + 1), number] = 255
    Image.frombytes("CMYK", (64, 16), inks.tobytes()).save(tmp_path / "a.jpg", quality=100)
    result = read_image(tmp_path / "a.jpg").astype(int)
    assert result.shape == (16, 64, 3)
    for number, rgb in enumerate([(0, 255, 255), (255, 0, 255), (255, 255, 0), (0, 0, 0)]):
        np.testing.assert_allclose(result[8, 16 * number + 8], rgb, atol=3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_cmyk_tiff_becomes_rgb(tmp_path: Path, dtype: str) -> None:
    inks = picture((5, 6, 4), dtype)
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated", planarconfig="contig")
    top = np.iinfo(dtype).max
    light = 1 - inks / top
    expected = light[..., :3] * light[..., 3:] * top
    result = read_image(tmp_path / "a.tif")
    assert result.dtype == inks.dtype
    assert np.abs(result - expected).max() <= 0.51


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("big", [False, True])
def test_tiff_is_read_in_every_layout_type_and_byte_order(
    tmp_path: Path, big: bool, planar: str, dtype: str, byteorder: Any
) -> None:
    image = (picture((6, 7, 3)) * 1.7 - 30).astype(dtype)
    tifffile.imwrite(
        tmp_path / "a.tif",
        image if planar == "contig" else np.moveaxis(image, -1, 0).copy(),
        photometric="rgb",
        planarconfig=planar,
        byteorder=byteorder,
        bigtiff=big,
    )
    expected = image if image.dtype.kind == "u" else image.astype(np.float32)
    assert_same(read_image(tmp_path / "a.tif"), expected)


def test_float_tiff_is_unchanged(tmp_path: Path) -> None:
    image = np.array([[-3.5, 0, np.nan], [1e30, np.inf, 4096]], np.float32)
    tifffile.imwrite(tmp_path / "a.tif", image, iccprofile=icc_profile(gamma=1.0))
    assert_same(read_image(tmp_path / "a.tif"), image)


def test_float64_beyond_float32_becomes_infinite(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[1e300, 0.1]]), photometric="miniswhite")
    assert_same(read_image(tmp_path / "a.tif"), np.array([[np.inf, 0.1]], np.float32))


def test_only_the_first_page_or_frame_is_read(tmp_path: Path) -> None:
    stack = picture((3, 6, 7), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    assert_same(read_image(tmp_path / "a.tif"), stack[0])
    Image.fromarray(stack[0].astype(np.uint8)).save(
        tmp_path / "a.gif", save_all=True, append_images=[Image.new("L", (7, 6))]
    )
    assert_same(read_image(tmp_path / "a.gif"), np.dstack([stack[0].astype(np.uint8)] * 3))


def test_frames_of_animations_are_counted_and_read(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture((6, 7, 3), seed=k)) for k in range(3)]
    rest: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "lossless": True}
    for name in ("a.webp", "a.png"):
        frames[0].save(tmp_path / name, **rest)
        assert count_frames(tmp_path / name) == 3
        for k, frame in enumerate(frames):
            assert_same(read_image(tmp_path / name, k), np.asarray(frame).copy())
    frames[0].save(tmp_path / "a.mpo", format="MPO", **rest)  # such as a photo with its depth
    frames[0].save(tmp_path / "a.jpg")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    for name in ("a.mpo", "a.jpg", "a.tif", "none.png"):
        assert count_frames(tmp_path / name) == 1


def test_miniswhite_is_inverted_within_the_bits_in_use(tmp_path: Path) -> None:
    image = picture((6, 7), "uint16") >> 4
    image[0, 0] = 4000
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="miniswhite")
    assert_same(read_image(tmp_path / "a.tif"), 4095 - image)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int64", "float16", "float64"])
def test_tiff_stores_values_of_any_type_unchanged(tmp_path: Path, dtype: str) -> None:
    values = (picture((6, 7, 4)) / 3).astype(dtype)
    for image in (values, values[..., 0]):
        write_image(tmp_path / "a.tif", image, dtype=None, metadata="{}")
        with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
            np.testing.assert_array_equal(tiff.pages.first.asarray(), image)
    message = error_of(lambda path: write_image(path, values, dtype=None), tmp_path / "a.png")
    assert message == "cannot hold values as they are: name a .tif file."


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_miniswhite_is_inverted(tmp_path: Path, dtype: str) -> None:
    image = picture((6, 7), dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="miniswhite")
    assert_same(read_image(tmp_path / "a.tif"), np.iinfo(dtype).max - image)


def test_12_bits_are_scaled_to_16(tmp_path: Path) -> None:
    image = np.array([[0, 1, 2047, 4095]], np.uint16)
    packed = imagecodecs.packints_encode(image, 12)
    tifffile.imwrite(
        tmp_path / "a.tif",
        iter([packed]),
        shape=image.shape,
        dtype="uint16",
        bitspersample=12,
        photometric="minisblack",
    )
    expected = np.rint(image / 4095 * 65535).astype(np.uint16)
    assert_same(read_image(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_premultiplied_alpha_is_divided_out(tmp_path: Path, dtype: str) -> None:
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    image = np.array([[[0.2, 0.1, 0, 0.4], [0, 0, 0, 0], [0.7, 0.8, 0.9, 1]]]) * top
    image = image.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extrasamples=["assocalpha"])
    result = read_image(tmp_path / "a.tif")
    assert result.dtype == dtype
    expected = np.array([[[0.5, 0.25, 0, 0.4], [0, 0, 0, 0], [0.7, 0.8, 0.9, 1]]])
    np.testing.assert_allclose(result / top, expected, atol=1e-6 if top == 1 else 2 / top)


def test_extra_samples_other_than_alpha_are_dropped(tmp_path: Path) -> None:
    image = picture((4, 5, 6))
    kinds = ["unspecified", "unassalpha", "unspecified"]
    tifffile.imwrite(
        tmp_path / "a.tif", image, photometric="rgb", planarconfig="contig", extrasamples=kinds
    )
    assert_same(read_image(tmp_path / "a.tif"), image[..., [0, 1, 2, 4]])
    kinds = ["unspecified"] * 3
    tifffile.imwrite(
        tmp_path / "b.tif", image, photometric="rgb", planarconfig="contig", extrasamples=kinds
    )
    assert_same(read_image(tmp_path / "b.tif"), image[..., :3])


def test_pillow_keeps_its_own_pixel_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    image = picture((30, 40))
    Image.fromarray(image).save(tmp_path / "a.png")
    assert_same(read_image(tmp_path / "a.png"), image)
    assert Image.MAX_IMAGE_PIXELS == 10


# Orientation

APPLY_ORIENTATION: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: np.fliplr(np.rot90(stored, -1)),
    6: lambda stored: np.rot90(stored, -1),  # clockwise
    7: lambda stored: np.fliplr(np.rot90(stored, 1)),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", APPLY_ORIENTATION)
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.jpg"])
def test_exif_orientation_is_applied(tmp_path: Path, name: str, orientation: int) -> None:
    stored = np.kron(picture((3, 2, 1)), np.ones((16, 16, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(
        tmp_path / name, exif=exif, quality=100, **({"lossless": True} if "webp" in name else {})
    )
    result = read_image(tmp_path / name)
    expected = APPLY_ORIENTATION[orientation](stored)
    if name == "a.jpg":
        np.testing.assert_allclose(result.astype(int), expected, atol=2)
    else:
        assert_same(result, expected)


@pytest.mark.parametrize("orientation", APPLY_ORIENTATION)
def test_exif_orientation_is_applied_to_16_bits(tmp_path: Path, orientation: int) -> None:
    stored = picture((5, 7, 4), "uint16")
    tag = (0x0112, 3, 1, orientation, True)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extratags=[tag])
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = imagecodecs.png_encode(stored)
    (tmp_path / "a.png").write_bytes(with_chunk(encoded, b"eXIf", exif.tobytes()[6:]))
    for name in ("a.tif", "a.png"):
        assert_same(read_image(tmp_path / name), APPLY_ORIENTATION[orientation](stored))


def test_exif_orientation_is_applied_to_a_tiff_palette(tmp_path: Path) -> None:
    image = Image.fromarray(picture((5, 7))).convert("P")
    image.save(tmp_path / "a.tif", tiffinfo={0x0112: 6})
    stored = np.array(image.convert("RGB"))
    assert_same(read_image(tmp_path / "a.tif"), APPLY_ORIENTATION[6](stored))


@pytest.mark.parametrize("exif", [b"Exif\0\0junk", b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01", b"\1"])
def test_damaged_exif_is_ignored(tmp_path: Path, exif: bytes) -> None:
    image = picture((8, 8))
    Image.fromarray(image).save(tmp_path / "a.jpg", exif=exif, quality=100)
    assert read_image(tmp_path / "a.jpg").shape == (8, 8)


# Colour profiles

SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))


def to_xyz(primaries: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    white = np.array([D65[0] / D65[1], 1, (1 - D65[0] - D65[1]) / D65[1]])
    return columns * np.linalg.solve(columns, white)


def encode_srgb(linear: Any) -> NDArray[Any]:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    chunk = struct.pack(">I", len(content)) + name + content
    return png[:33] + chunk + struct.pack(">I", zlib.crc32(name + content)) + png[33:]


def save(path: Path, image: NDArray[Any], icc: bytes) -> None:
    if path.suffix == ".png":
        compressed = b"profile\0\0" + zlib.compress(icc)
        path.write_bytes(with_chunk(imagecodecs.png_encode(image), b"iCCP", compressed))
    elif path.suffix == ".tif":
        kind = "minisblack" if image.ndim == 2 else "rgb"
        tifffile.imwrite(path, image, photometric=kind, iccprofile=icc)
    else:
        Image.fromarray(image).save(path, quality=100, subsampling=0, icc_profile=icc)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_rgb_profile_is_converted_to_srgb(
    tmp_path: Path, suffix: str, dtype: str, channels: int
) -> None:
    image = picture((40, 40, channels), dtype)
    top = np.iinfo(dtype).max
    save(tmp_path / f"a{suffix}", image, icc_profile())
    result = read_image(tmp_path / f"a{suffix}")
    assert result.dtype == image.dtype
    linear = (image[..., :3] / top) ** 1.8
    expected = encode_srgb(linear @ (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(DISPLAY_P3)).T)
    # Profiles store the matrix with 16 fractional bits; the rounding error is largest in the dark.
    error = np.abs(result[..., :3] / top - expected)
    assert error.max() < (1.0 / 255 if dtype == "uint8" else 1e-3)
    assert error[expected > 0.2].max() < (0.8 / 255 if dtype == "uint8" else 2e-4)
    np.testing.assert_array_equal(result[..., 3:], image[..., 3:])
    assert np.abs(image[..., :3] / top - expected).max() > 0.1


def test_the_profile_of_a_jpeg_is_converted_to_srgb(tmp_path: Path) -> None:
    image = np.full((16, 16, 3), (200, 110, 90), np.uint8)
    save(tmp_path / "a.jpg", image, icc_profile())
    linear = (image[0, 0] / 255) ** 1.8
    expected = 255 * encode_srgb(np.linalg.inv(to_xyz(SRGB)) @ to_xyz(DISPLAY_P3) @ linear)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg")[8, 8], expected, atol=2)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_grey_profile_is_converted_to_srgb(tmp_path: Path, suffix: str, dtype: str) -> None:
    top = np.iinfo(dtype).max
    image = np.linspace(0, top, 256).astype(dtype).reshape(16, 16)
    save(tmp_path / f"a{suffix}", image, icc_profile(gamma=1.0, kind="gray"))
    result = read_image(tmp_path / f"a{suffix}")
    assert result.dtype == image.dtype
    assert result.shape == image.shape
    assert np.abs(result / top - encode_srgb(image / top)).max() < 1.1 / top


def test_a_cmyk_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    # A profile in which paper and coloured inks are the same grey, L* = 50.2, and black is black.
    clut = struct.pack(">4sIBBBx", b"mft1", 0, 4, 3, 2)
    clut += struct.pack(">9i", *(65536 * value for value in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    clut += (
        bytes(range(256)) * 4 + bytes([128, 128, 128, 0, 128, 128] * 2**3) + bytes(range(256)) * 3
    )
    d50 = struct.pack(">3i", *(round(65536 * value) for value in (0.9642, 1, 0.8249)))
    tags = [(b"A2B0", clut), (b"wtpt", b"XYZ \0\0\0\0" + d50)]
    table, content = struct.pack(">I", len(tags)), b""
    for name, value in tags:
        start = 128 + 4 + 12 * len(tags) + len(content)
        table += name + struct.pack(">II", start, len(value))
        content += value + b"\0" * (-len(value) % 4)
    size = 128 + len(table) + len(content)
    head = struct.pack(">I4xI4s4s4s12x4s", size, 0x02400000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    icc = (head + bytes(28) + d50).ljust(128, b"\0") + table + content

    Image.new("CMYK", (8, 8), (10, 200, 30, 0)).save(tmp_path / "a.jpg", icc_profile=icc)
    result = read_image(tmp_path / "a.jpg")
    luminance = ((128 / 255 * 100 + 16) / 116) ** 3
    np.testing.assert_allclose(result, np.full((8, 8, 3), 255 * encode_srgb(luminance)), atol=1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_an_srgb_profile_changes_nothing(tmp_path: Path, dtype: str) -> None:
    image = picture((30, 30, 3), dtype)
    save(
        tmp_path / "a.png",
        image,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    )
    assert_same(read_image(tmp_path / "a.png"), image)


@pytest.mark.parametrize(
    "icc",
    [b"junk", icc_profile(kind="gray"), icc_profile()[:200]],
    ids=["junk", "grey", "damaged"],  # a profile has the time at which it was made
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_damaged_or_mismatched_profile_is_ignored(
    tmp_path: Path, suffix: str, icc: bytes
) -> None:
    image = picture((5, 6, 3))
    save(tmp_path / f"a{suffix}", image, icc)
    assert_same(read_image(tmp_path / f"a{suffix}"), image)


# Metadata

RECORD = '{"seed": 3, "style": "Sternennacht über der Rhône — 星月夜"}'


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_metadata_is_stored_in_each_format(tmp_path: Path, dtype: Any) -> None:
    image = np.zeros((4, 4, 3), np.float32)
    for name in ("a.png", "a.jpg", "a.tif"):
        write_image(tmp_path / name, image, dtype=dtype, metadata=RECORD)
    with Image.open(tmp_path / "a.png") as png:
        assert png.text == {"napari-nst": RECORD}  # type: ignore[attr-defined]
        assert png.info["srgb"] == 0
    with Image.open(tmp_path / "a.jpg") as jpeg:
        assert jpeg.info["comment"].decode() == RECORD
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages.first.tags[65301].value.decode() == f"napari-nst\n{RECORD}"
        assert tiff.pages.first.description == ""


def test_no_metadata_is_stored_by_default(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.tif"):
        write_image(tmp_path / name, np.zeros((4, 4), np.float32))
    with Image.open(tmp_path / "a.png") as png:
        assert png.text == {}  # type: ignore[attr-defined]
    with Image.open(tmp_path / "a.jpg") as jpeg:
        assert "comment" not in jpeg.info
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages.first.description == ""


def test_long_metadata_is_stored_in_png_and_tiff(tmp_path: Path) -> None:
    long = '{"losses": "' + "0.125, " * 400_000 + '"}'
    image = picture((8, 8, 3))
    for name in ("a.png", "a.tif"):
        assert write_image(tmp_path / name, as_unit(image), metadata=long) is None
        assert read_image(tmp_path / name).shape == image.shape
    with Image.open(tmp_path / "a.png") as png:
        assert png.text == {"napari-nst": long}  # type: ignore[attr-defined]
    assert read_metadata(tmp_path / "a.tif") == long
    assert {each.name for each in tmp_path.iterdir()} == {"a.png", "a.tif"}


@pytest.mark.parametrize("letter", ["x", "星"])
def test_metadata_too_long_for_jpeg_is_written_to_a_file_beside_it(
    tmp_path: Path, letter: str
) -> None:
    file, beside = tmp_path / "a.jpg", tmp_path / "a.jpg.napari-nst.json"
    # Pillow before 13 fails at comments of 65,512 bytes.
    longest = letter * (65_000 // len(letter.encode()))
    image = as_unit(picture((8, 8, 3)))
    for extra in (3, 500, 512, 533, 600):
        assert write_image(file, image, metadata=longest + "y" * extra) == beside
        assert beside.read_text(encoding="utf-8") == longest + "y" * extra
    with Image.open(file) as jpeg:
        assert "a.jpg.napari-nst.json" in jpeg.info["comment"].decode()
    # A shorter text is stored in the picture, and the file beside it is removed.
    assert write_image(file, image, metadata=longest) is None
    with Image.open(file) as jpeg:
        assert jpeg.info["comment"].decode() == longest
    assert list(tmp_path.iterdir()) == [file]


def test_a_picture_is_written_even_if_its_record_cannot_be(tmp_path: Path) -> None:
    file, obstacle = tmp_path / "a.jpg", tmp_path / "a.jpg.napari-nst.json"
    obstacle.mkdir()
    with pytest.raises(InputError) as caught:
        write_image(file, as_unit(picture((8, 8, 3))), metadata="x" * 70_000)
    assert str(caught.value).startswith(
        f"{file} was written, but its record {obstacle} cannot be written ("
    )
    assert read_image(file).shape == (8, 8, 3)
    assert set(tmp_path.iterdir()) == {file, obstacle}


# Completely or not at all


def fail_encoding(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(imagecodecs, "png_encode", fail)
    monkeypatch.setattr(Image.Image, "save", fail)
    monkeypatch.setattr(tifffile, "imwrite", fail)


def fail_sync(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)


def fail_move(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Path, "replace", fail)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("existing", [b"old picture", None])
@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("broken", [fail_encoding, fail_sync, fail_move])
def test_a_failed_write_leaves_the_folder_unchanged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[pytest.MonkeyPatch, BaseException], None],
    interrupted: bool,
    existing: bytes | None,
    name: str,
) -> None:
    path = tmp_path / name
    if existing is not None:
        path.write_bytes(existing)
    full = OSError(errno.ENOSPC, "No space left on device")
    broken(monkeypatch, KeyboardInterrupt() if interrupted else full)
    with pytest.raises(KeyboardInterrupt if interrupted else InputError) as caught:
        write_image(path, np.zeros((4, 4), np.float32))
    if not interrupted:
        assert str(caught.value) == (
            f"{path} cannot be written (No space left on device): name another file or format."
        )
    assert list(tmp_path.iterdir()) == ([] if existing is None else [path])
    assert existing is None or path.read_bytes() == existing


@posix
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    image = np.zeros((4, 4), np.float32)
    old = tmp_path / "old.png"
    old.write_bytes(b"")
    old.chmod(0o604)
    before = os.umask(0o027)
    try:
        write_image(old, image)
        write_image(tmp_path / "new.png", image)
    finally:
        os.umask(before)
    assert old.stat().st_mode & 0o777 == 0o604
    assert (tmp_path / "new.png").stat().st_mode & 0o777 == 0o640


@posix
def test_symbolic_links_are_kept(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link.png"
    for target in (tmp_path / "elsewhere/a.png", Path("elsewhere/b.png")):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        write_image(link, np.ones((2, 2), np.float32))
        assert link.is_symlink()
        assert_same(read_image(tmp_path / target), np.full((2, 2), 255, np.uint8))
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "link.png"]


# Errors


def test_error_for_missing_empty_and_unknown_files(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("Not a picture.")
    assert error_of(read_image, tmp_path / "none.png") == (
        "does not exist: name an image file that does."
    )
    assert error_of(read_image, tmp_path) == "is a folder: name an image file in it."
    assert error_of(read_image, tmp_path / "empty.png") == "is an empty file: name an image file."
    assert error_of(read_image, tmp_path / "text.png") == (
        "is not an image of a supported format: name a PNG, JPEG, JPEG 2000, "
        "TIFF, WebP, AVIF, BMP, GIF, PPM, TGA or PSD file."
    )


@posix
@pytest.mark.parametrize("call", [read_image, check_writable])
def test_error_for_a_name_too_long(tmp_path: Path, call: Callable[[Path], Any]) -> None:
    message = error_of(call, tmp_path / ("a" * 500 + ".png"))
    assert "(File name too long): name " in message


@posix
def test_error_for_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert error_of(read_image, tmp_path / "file" / "a.png") == (
        "cannot be read (Not a directory): name an image file that can."
    )


@pytest.mark.parametrize("name", ["a.png", "b.png", "a.jpg", "a.tif", "b.tif", "a.webp"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_error_for_a_truncated_file(tmp_path: Path, name: str, part: float) -> None:
    image = picture((64, 64, 3), "uint16" if name.startswith("b") else "uint8")
    if name in ("b.png", "a.tif", "b.tif"):
        write_image(tmp_path / name, as_unit(image), dtype=image.dtype.name)  # type: ignore[arg-type]
    else:
        Image.fromarray(image).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * part)])
    message = error_of(read_image, tmp_path / name)
    assert message.startswith("is damaged or cut short (")
    assert message.endswith("): save or copy it again.")


def damaged(draw: Callable[..., Any], original: bytes) -> bytes:
    content = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(1, len(content)))])


@given(st.data(), st.sampled_from(["PNG", "PNG16", "JPEG", "TIFF", "TIFF16", "WEBP", "GIF"]))
@settings(deadline=None, max_examples=200)
def test_a_damaged_file_is_read_or_raises_input_error(data: st.DataObject, kind: str) -> None:
    if kind == "PNG16":
        content = imagecodecs.png_encode(picture((6, 5, 3), "uint16"))
    else:
        buffer = io.BytesIO()
        if kind == "TIFF16":
            tifffile.imwrite(buffer, picture((6, 5, 3), "uint16"), photometric="rgb")
        else:
            Image.fromarray(picture((6, 5, 3))).save(buffer, kind)
        content = buffer.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "damaged")
        path.write_bytes(damaged(data.draw, content))
        try:
            image = read_image(path)
        except InputError as error:
            assert str(path) in str(error)
        else:
            assert image.size
            assert image.shape[2:] in ((), (3,), (4,))
            assert image.dtype in (np.uint8, np.uint16, np.float32)


def test_error_for_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    png = imagecodecs.png_encode(picture((1, 1)))
    header = b"IHDR" + struct.pack(">II", 200_000, 100_000) + png[24:29]
    bomb = png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
    (tmp_path / "a.png").write_bytes(bomb)
    assert error_of(read_image, tmp_path / "a.png") == (
        "says that it is 200000 x 100000 pixels: "
        "an image has at least 1 and at most 536870912 pixels."
    )
    tifffile.imwrite(tmp_path / "a.tif", picture((4, 6)))
    monkeypatch.setattr(_limits, "MAX_PIXELS", 23)
    assert error_of(read_image, tmp_path / "a.tif") == (
        "says that it is 6 x 4 pixels: an image has at least 1 and at most 23 pixels."
    )


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int64"])
def test_error_for_unsupported_integer_types(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), dtype))
    assert error_of(read_image, tmp_path / "a.tif") == (
        f"has pixels of {dtype}: save it with 8 or 16 bits without a sign, or in floating point."
    )


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4, 5, 6), {"planarconfig": "contig"}),
        ((4, 16, 16), {"volumetric": True, "tile": (4, 16, 16)}),
    ],
)
def test_error_for_pages_that_are_not_one_picture(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros(shape, np.uint8), photometric="minisblack", **options
    )
    size = " x ".join(map(str, shape))
    assert error_of(read_image, tmp_path / "a.tif") == (
        f"holds {size} samples that are not one picture: save a plane of it as grey, RGB or RGBA."
    )


def test_error_for_lab(tmp_path: Path) -> None:
    Image.new("LAB", (4, 4)).save(tmp_path / "a.tif")
    assert error_of(read_image, tmp_path / "a.tif") == (
        "has pixels of the kind 'LAB': save it as grey or RGB of 8 or 16 bits."
    )


@pytest.mark.parametrize("call", [check_writable, lambda path: write_image(path, np.zeros((2, 2)))])
def test_error_for_paths_that_cannot_be_written(
    tmp_path: Path, call: Callable[[Path], None]
) -> None:
    (tmp_path / "file.d").touch()
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.iterdir())
    for name in ("a.bmp", "a", ".png", "a.png.gz", "a."):
        assert error_of(call, tmp_path / name) == (
            "has no suffix that can be written: use .png, .jpg, .jpeg, .tif, .tiff."
        )
    assert error_of(call, tmp_path / "folder.png") == "is a folder: name a file in it."
    for folder in ("none", "file.d"):
        assert error_of(call, tmp_path / folder / "a.png") == (
            f"cannot be written: there is no folder {tmp_path / folder}."
        )
    assert sorted(tmp_path.iterdir()) == before


def test_error_for_a_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(0o500)
    if os.name != "posix" or os.geteuid() == 0:
        # Root may write anywhere except in a virtual folder.
        folder = Path("/proc/self")
        if not folder.is_dir():
            pytest.skip("this user can write to every folder")
    for call in (check_writable, lambda path: write_image(path, np.zeros((2, 2)))):
        message = error_of(call, folder / "a.png")
        assert message.startswith("cannot be written (")
        assert message.endswith("): name a file in a folder that is yours.")


def test_check_writable_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    check_writable(tmp_path / "a.png")
    check_writable(str(tmp_path / "b.TIFF"))
    monkeypatch.chdir(tmp_path)
    check_writable("b.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 0), np.float32),
        np.zeros((0, 4, 3), np.float32),
        np.zeros((4,), np.float32),
        np.zeros((4, 4, 2), np.float32),
        np.zeros((2, 4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
    ],
)
def test_error_for_an_array_that_is_not_a_picture(tmp_path: Path, image: NDArray[Any]) -> None:
    assert error_of(write_image, tmp_path / "a.png", image) == (
        f"cannot hold an array of {image.dtype} with shape {image.shape}: a picture is "
        "floating point, (H, W), (H, W, 3) or (H, W, 4), and at least one pixel high and wide."
    )
    assert not list(tmp_path.iterdir())


def test_error_for_a_jpeg_too_large(tmp_path: Path) -> None:
    message = error_of(write_image, tmp_path / "a.jpg", np.zeros((1, 65_536), np.float32))
    assert message.startswith("cannot be written (")
    assert not list(tmp_path.iterdir())
