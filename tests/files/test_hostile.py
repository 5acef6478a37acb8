"""Headers with excessive sizes are refused before memory is allocated."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from file_helpers import PICTURE_READERS, error_of
from PIL import Image

from napari_nst.errors import InputError
from napari_nst.files import (
    is_stack,
    open_stack,
    read_image,
    read_labels,
    read_npy,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PIXELS = 2**29
BYTES = 2**32
MEBIBYTE = 2**20


def first_and_last_plane(path: Path) -> None:
    with open_stack(path) as stack:
        _ = stack[0], stack[len(stack) - 1]


READERS = [*PICTURE_READERS, first_and_last_plane]


@pytest.fixture(autouse=True)
def limit_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 64 * MEBIBYTE
    finally:
        tracemalloc.stop()


def overwrite_tags(path: Path, page: int = 0, **tags: int) -> None:
    """Overwrite the values of tags in a TIFF."""
    with tifffile.TiffFile(path) as tiff:
        places = {tag.name: tag.offset for tag in tiff.pages[page].tags}  # type: ignore[union-attr]
    with path.open("rb+") as stream:
        for name, value in tags.items():
            stream.seek(places[name] + 2)
            stream.write(struct.pack("<HII", 4, 1, value))


def write_zeros(
    path: Path, shape: tuple[int, ...] = (64, 64), dtype: str = "uint8", **more: Any
) -> None:
    options: dict[str, Any] = {"metadata": None, "photometric": "minisblack", **more}
    tifffile.imwrite(path, np.zeros(shape, dtype), **options)


# TIFF


@pytest.mark.parametrize("read", READERS)
def test_a_page_with_too_many_pixels_is_refused(
    tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    for compression in (None, "zlib"):
        write_zeros(tmp_path / "a.tif", compression=compression)
        overwrite_tags(tmp_path / "a.tif", ImageWidth=65_535, ImageLength=65_535)
        assert error_of(read, tmp_path / "a.tif") == (
            "says that it is 65535 x 65535 pixels: an image has at least 1 and at most "
            f"{PIXELS} pixels."
        )
        assert not is_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("read", READERS)
def test_a_volume_in_one_page_with_too_many_pixels_is_refused(
    tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    write_zeros(tmp_path / "a.tif", (16, 16, 16), volumetric=True, tile=(16, 16, 16))
    overwrite_tags(tmp_path / "a.tif", ImageDepth=900, ImageWidth=60_000, ImageLength=60_000)
    assert "says that it is 60000 x 54000000 pixels" in error_of(read, tmp_path / "a.tif")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "claims", [{"SamplesPerPixel": 60_000}, {"TileWidth": 2**20, "TileLength": 2**20}]
)
def test_a_page_or_tile_with_too_many_bytes_is_refused(
    tmp_path: Path, read: Callable[[Path], Any], claims: dict[str, int]
) -> None:
    write_zeros(
        tmp_path / "a.tif", (64, 64, 2), tile=(64, 64), compression="zlib", planarconfig="contig"
    )
    overwrite_tags(tmp_path / "a.tif", ImageWidth=2**9, ImageLength=2**9, **claims)
    assert "bytes of memory: at most 4294967296 bytes are read" in error_of(
        read, tmp_path / "a.tif"
    )


@pytest.mark.parametrize("read", READERS)
def test_a_page_longer_than_its_file_is_refused(
    tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    write_zeros(tmp_path / "a.tif")
    overwrite_tags(tmp_path / "a.tif", ImageWidth=20_000, ImageLength=20_000)
    assert "its header claims 400000000 bytes, and the file has " in error_of(
        read, tmp_path / "a.tif"
    )


def test_planes_are_read_with_the_size_of_the_first_page(tmp_path: Path) -> None:
    write_zeros(
        tmp_path / "a.tif", (3, 64, 64), ome=True, metadata={"axes": "ZYX"}, compression="zlib"
    )
    for page in (1, 2):
        overwrite_tags(tmp_path / "a.tif", page, ImageWidth=65_535, ImageLength=65_535)
    with open_stack(tmp_path / "a.tif") as stack:
        assert [plane.shape for plane in stack] == [(64, 64)] * 3


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp", "png"])
def test_a_strip_larger_than_its_page_is_refused(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a.tif"
    write_zeros(path, (64, 64, 3), photometric="rgb", compression=compression)
    content = bytearray(path.read_bytes())
    if compression == "jpeg":
        place = content.index(b"\xff\xc0") + 5
        content[place : place + 4] = struct.pack(">HH", 65_000, 65_000)
    elif compression == "jpeg2000":
        place = content.index(b"\xff\x51") + 6
        content[place : place + 8] = struct.pack(">II", 65_000, 65_000)
    elif compression == "png":
        place = content.index(b"IHDR")
        content[place + 4 : place + 12] = struct.pack(">II", 65_000, 65_000)
        content[place + 17 : place + 21] = struct.pack(
            ">I", zlib.crc32(content[place : place + 17])
        )
    else:
        place = content.index(b"VP8L") + 9
        content[place : place + 4] = struct.pack("<I", 0x0FFFFFFF)
    path.write_bytes(content)
    for read in READERS:
        message = error_of(read, path)
        assert "65000 x 65000" in message or "16384 x 16384" in message, message


@pytest.mark.parametrize("read", READERS)
def test_jpeg_xl_is_refused(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((32, 32), np.uint8), compression="jpegxl")
    assert error_of(read, path) == "is compressed as JPEG XL: save it with another compression."


def test_wrong_byte_counts_are_tolerated(tmp_path: Path) -> None:
    write_zeros(tmp_path / "a.tif", compression="zlib")
    overwrite_tags(tmp_path / "a.tif", StripByteCounts=2**31)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.zeros((64, 64)))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("original", "claimed"),
    [
        ('SizeZ="2"', 'SizeZ="4000000000"'),
        ("SizeT='1'", "SizeT='3000000000'"),
        ('PlaneCount="2"', 'PlaneCount="4000000000"'),
        ('IFD="0"', 'IFD="4000000000"'),
        ('SizeX="64"', 'SizeX="40000000000"'),
    ],
)
def test_too_many_planes_in_ome_xml_are_refused(
    tmp_path: Path, original: str, claimed: str, read: Callable[[Path], Any]
) -> None:
    write_zeros(tmp_path / "a.tif", (2, 64, 64), ome=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        about = tiff.ome_metadata or ""
    original = original if original in about else original.replace("'", '"')
    assert original in about
    write_zeros(tmp_path / "a.tif", (2, 64, 64), description=about.replace(original, claimed))
    assert " planes: a stack has at most 16777216." in error_of(read, tmp_path / "a.tif")
    assert not is_stack(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "about",
    ['{"shape": [9000000000, 64, 64]}', "ImageJ=1.54f\nimages=9000000000\nslices=9000000000\n"],
)
def test_too_many_planes_in_other_descriptions_are_refused_or_ignored(
    tmp_path: Path, about: str
) -> None:
    write_zeros(tmp_path / "a.tif", description=about)
    try:
        first_and_last_plane(tmp_path / "a.tif")  # tifffile may read the single page
    except InputError as error:
        assert str(tmp_path / "a.tif") in str(error)


@pytest.mark.parametrize("source", ["summary", "index"])
def test_too_many_planes_in_micro_manager_metadata_are_refused(tmp_path: Path, source: str) -> None:
    # Micro-Manager's metadata are between the TIFF header and the first page.
    frames, last = (4_000_000_000, 0) if source == "summary" else (1, 4_000_000_000)
    summary = json.dumps({"MicroManagerVersion": "2", "Frames": frames}).encode()
    index = struct.pack("<7I", 3453623, 1, 0, 0, last, 0, 200)
    about = struct.pack("<6I", 54773648, 40 + len(summary), 483765892, 0, 99384722, 0)
    about += struct.pack("<2I", 2355492, len(summary)) + summary + index
    page = 8 + len(about)
    tags = [(256, 4, 8), (257, 4, 8), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 0)]
    tags += [(278, 4, 8), (279, 4, 64), (51123, 2, 8)]
    entries = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, kind, value in tags)
    content = struct.pack("<2sHI", b"II", 42, page) + about
    (tmp_path / "a.tif").write_bytes(content + struct.pack("<H", len(tags)) + entries + bytes(4))
    for read in READERS:
        assert "says that it has 400000000" in error_of(read, tmp_path / "a.tif")


def test_huge_stacks_with_small_planes_are_read(tmp_path: Path) -> None:
    shape = (10_000, 4096, 4096)  # 320 GiB, none of it stored
    zarr.create_array(tmp_path / "a.zarr", shape=shape, chunks=(1, 512, 512), dtype="uint16")
    with open_stack(tmp_path / "a.zarr") as stack:
        assert stack[9_999].shape == (4096, 4096)


# Zarr and NumPy


@pytest.mark.parametrize(
    ("shape", "chunks", "dtype", "message"),
    [
        ((2, 60_000, 60_000), (1, 64, 64), "uint16", "says that it is 60000 x 60000 pixels"),
        ((2, 20_000, 20_000, 4), (1, 64, 64, 4), "float64", "says that a plane in it takes"),
        ((2, 64, 64), (2**20, 2**10, 2**10), "uint16", "says that a chunk in it takes"),
        ((2**40, 2**40, 8, 8), (1, 1, 8, 8), "uint16", f"says that it has {2**80} planes"),
        ((0, 8, 8), (1, 8, 8), "uint16", "says that it has 0 planes"),
        ((2, 8, 8), (1, 8, 8), "complex64", "holds values of complex64"),
    ],
)
def test_a_zarr_array_beyond_the_limits_is_refused(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, message: str
) -> None:
    names = ["z", "y", "x", "s"][: len(shape)] if len(shape) == 4 and shape[3] == 4 else None
    zarr.create_array(
        tmp_path / "a.zarr", shape=shape, chunks=chunks, dtype=dtype, dimension_names=names
    )
    assert error_of(first_and_last_plane, tmp_path / "a.zarr").startswith(message)


class Intruder:
    """An object whose pickle makes a folder when it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("place", ["filters", "compressor"])
def test_the_code_in_a_zarr_store_with_pickles_is_not_run(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Versions of numcodecs before this switch always unpickle.
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    path, trace = tmp_path / "a.zarr", tmp_path / "trace"
    path.mkdir()
    codec = {"id": "pickle", "protocol": 4}
    about = {
        **{"zarr_format": 2, "shape": [8, 8], "chunks": [8, 8], "dtype": "|u1", "order": "C"},
        **{"fill_value": 0, "filters": None, "compressor": None},
        place: [codec] if place == "filters" else codec,
    }
    (path / ".zarray").write_text(json.dumps(about))
    (path / "0.0").write_bytes(pickle.dumps(Intruder(trace)))

    assert "pickle" in error_of(first_and_last_plane, path)
    assert not trace.exists()


def npy(shape: str, dtype: str = "'|u1'") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(100)


@pytest.mark.parametrize("read", [read_npy, read_labels])
@pytest.mark.parametrize(
    "content",
    [
        npy("(99999999999, 99999999999)"),
        npy("(100000, 100000)"),
        npy("(-1, 5)"),
        npy("(2, 2)", "'|O'"),
        npy("(2, 2"),
        npy("(" * 3000 + ")" * 3000),
        b"\x93NUMPY",
        b"PK\3\4, as numpy.savez begins",
        b"",
    ],
)
def test_damaged_npy_headers_are_refused(
    tmp_path: Path, content: bytes, read: Callable[[Path], Any]
) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    assert "cannot be read as " in error_of(read, tmp_path / "a.npy")


def test_an_npy_file_with_too_many_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(npy("(70000, 70000)"))
    with path.open("rb+") as stream:
        stream.truncate(5_000_000_000)  # sparse
    for read in (read_npy, read_labels):
        assert "at most 4294967296 bytes are read at once" in error_of(read, path)


def test_npy_is_read(tmp_path: Path) -> None:
    for array in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.eye(3)), np.array([True])):
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), array)
        assert read_npy(tmp_path / "a.npy").dtype == array.dtype


# Formats read by Pillow


def too_large(kind: str) -> bytes:
    """Return a small picture whose header says 60000 x 60000 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    side = struct.pack(">I", 60_000)
    if kind == "PNG":
        content[16:24] = side * 2
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif kind == "JPEG":
        place = content.index(b"\xff\xc0") + 5
        content[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
    elif kind == "BMP":
        content[18:26] = struct.pack("<II", 60_000, 60_000)
    elif kind == "GIF":
        content[6:10] = struct.pack("<HH", 60_000, 60_000)
    elif kind == "PPM":
        content[:] = b"P6 60000 60000 255\n" + bytes(9)
    elif kind == "TGA":
        content[12:16] = struct.pack("<HH", 60_000, 60_000)
    elif kind == "JPEG2000":
        place = content.index(b"ihdr") + 4
        content[place : place + 8] = side * 2
    return bytes(content)


@pytest.mark.parametrize("read", PICTURE_READERS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "PPM", "TGA", "JPEG2000"])
def test_pictures_with_too_many_pixels_are_refused(
    tmp_path: Path, kind: str, read: Callable[[Path], Any]
) -> None:
    (tmp_path / "a").write_bytes(too_large(kind))
    assert error_of(read, tmp_path / "a").startswith("says that it is 60000 x 60000 pixels: ")


@pytest.mark.parametrize("read", PICTURE_READERS)
def test_pictures_beyond_pillows_own_limit_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], Any]
) -> None:
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.zeros((30, 40), np.uint8)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    read(tmp_path / "a.png")


@pytest.mark.parametrize("read", PICTURE_READERS)
@pytest.mark.parametrize("kind", ["ICNS", "ICO", "DDS", "EPS", "SGI", "PCX", "MSP", "SPIDER"])
def test_rare_formats_of_pillow_are_refused(
    tmp_path: Path, kind: str, read: Callable[[Path], Any]
) -> None:
    mode = {"MSP": "1", "SPIDER": "F"}.get(kind, "RGB")
    buffer = io.BytesIO()  # given a path, Pillow would register its suffix for SPIDER
    Image.new(mode, (64, 64)).save(buffer, kind)
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    message = error_of(read, tmp_path / "a.png")
    if kind == "EPS":
        assert "which cannot be read" in message
    else:
        assert message.startswith("is not an image of a supported format")
        assert message.endswith("PPM, TGA or PSD file.")
