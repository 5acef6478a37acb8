"""Files that are written open in common readers with the same pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import imageio.v3
import numpy as np
import pytest
import skimage.io
import tifffile
import zarr
from file_helpers import set_ome_attributes
from napari_builtins.io import magic_imread
from PIL import Image, ImageSequence

from napari_nst.batch.masks import copy_mask
from napari_nst.errors import InputError
from napari_nst.files import (
    open_stack,
    read_image,
    read_labels,
    read_metadata,
    write_image,
    write_stack,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def with_pillow(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        pages = [np.array(page) for page in ImageSequence.Iterator(image)]
    return np.stack(pages) if len(pages) > 1 else pages[0]


READERS: dict[str, Callable[[Path], Any]] = {
    "tifffile": tifffile.imread,
    "scikit-image": skimage.io.imread,
    "imageio": imageio.v3.imread,
    "Pillow": with_pillow,
    "napari": lambda path: np.asarray(magic_imread(str(path))),
}
OTHER_READERS = [name for name in READERS if name != "tifffile"]

# In the image description, tifffile would parse this as the shape of the image.
RECORD = '{"shape": [3, 4], "axes": "YX", "seed": 3, "style": "Sternennacht — 星月夜"}'


def random_values(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    values = np.random.default_rng(len(shape)).random(shape)
    if dtype == "bool":
        return values > 0.5
    whole = 1 if dtype.startswith("float") else np.iinfo(dtype).max
    low = 0 if dtype.startswith("float") else np.iinfo(dtype).min
    return (low + values * (float(whole) - low)).astype(dtype)


def pillow_supports(dtype: str, channels: int) -> bool:
    """Return whether Pillow has a mode for such pixels in a TIFF.

    It reduces colours of 16 bits to 8 and refuses other types of colours.  It lacks grey of 64 bits
    and half precision, and confuses int8 with uint8 and uint32 with int32.
    """
    if channels:
        return dtype == "uint8"
    return dtype in ("bool", "uint8", "uint16", "int16", "int32", "float32")


def pixels_or_error(reader: str, path: Path) -> Any:
    """Return the pixels that a reader reads, or the type of its error."""
    try:
        return READERS[reader](path).tolist()
    except Exception as error:
        return type(error)


# Pictures


@pytest.mark.parametrize("record", [None, RECORD, '[{"shape": [2]}]', "ImageJ=1.54\nimages=7\n"])
@pytest.mark.parametrize("channels", [0, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff", "a.ome.tif", "a.jpg"])
def test_pictures_open_in_every_reader(
    tmp_path: Path, name: str, dtype: Any, channels: int, record: str | None
) -> None:
    image = random_values((12, 9, channels) if channels else (12, 9), dtype)
    path = tmp_path / name
    write_image(path, image / np.iinfo(dtype).max, dtype=dtype, metadata=record)
    assert read_metadata(path) == record
    if path.suffix == ".jpg":
        image = read_image(path)
        assert image.shape == ((12, 9, 3) if channels else (12, 9))
    bare = tmp_path / f"bare{path.suffix}"
    if path.suffix == ".png":
        bare.write_bytes(imagecodecs.png_encode(image))
    elif path.suffix != ".jpg":
        tifffile.imwrite(bare, image, photometric="rgb" if channels else "minisblack")
    for reader in READERS if path.suffix.startswith(".tif") else OTHER_READERS:
        # Every reader except tifffile reads PNG with Pillow.
        limited = reader == "Pillow" or path.suffix == ".png"
        if limited and channels and image.dtype == np.uint16:
            found = READERS[reader](path)
            np.testing.assert_array_equal(found, image >> 8, err_msg=reader)
            np.testing.assert_array_equal(found, READERS[reader](bare), err_msg=reader)
        else:
            found = READERS[reader](path)
            assert found.dtype == image.dtype, reader
            np.testing.assert_array_equal(found, image, err_msg=reader)


def test_metadata_is_found_after_other_programs_move_it(tmp_path: Path) -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    tifffile.imwrite(tmp_path / "old.tif", image, metadata=None, description=RECORD.encode())
    write_image(tmp_path / "a.tif", image / 255, metadata=RECORD)
    write_image(tmp_path / "a.png", image / 255, metadata=RECORD)
    with Image.open(tmp_path / "a.tif") as saved:
        saved.save(tmp_path / "saved.tif")
    content = (tmp_path / "a.png").read_bytes()
    start = content.index(b"iTXt") - 4
    chunk = content[start : start + 12 + int.from_bytes(content[start : start + 4])]
    end = content.index(b"IEND") - 4
    moved = content[:start] + content[start + len(chunk) : end] + chunk + content[end:]
    (tmp_path / "moved.png").write_bytes(moved)
    for name in ("old.tif", "a.tif", "saved.tif", "a.png", "moved.png"):
        assert read_metadata(tmp_path / name) == RECORD, name
    tifffile.imwrite(tmp_path / "none.tif", image, metadata=None)
    assert read_metadata(tmp_path / "none.tif") is None


# Stacks

TYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
TYPES += ["float16", "float32", "float64"]
KINDS = {
    "pages": TYPES,
    "shaped": TYPES,
    "ome": [dtype for dtype in TYPES if dtype not in ("uint64", "int64", "float16")],
    "imagej": ["uint8", "uint16", "int16", "float32"],
    "marked as ImageJ": TYPES,
}


def write_source(path: Path, image: NDArray[Any], kind: str, channels: int, planar: bool) -> None:
    leading = "TZ"[2 - (image.ndim - 2 - bool(channels)) :]
    axes = leading + ("SYX" if planar else "YXS" if channels else "YX")
    about: dict[str, Any] = {"metadata": {"axes": axes}}
    if kind == "pages":
        about = {"metadata": None}
    elif kind == "marked as ImageJ":
        about = {"metadata": None, "description": "ImageJ=1.54f\nunit=um\n"}
    if channels:
        about["planarconfig"] = "separate" if planar else "contig"
    if channels == 4:
        about["extrasamples"] = ["unassalpha"]
    tifffile.imwrite(
        path,
        np.moveaxis(image, -1, -3) if planar else image,
        photometric="rgb" if channels else "minisblack",
        ome=kind == "ome",
        imagej=kind == "imagej",
        **about,
    )


def is_possible(kind: str, dtype: str, channels: int) -> bool:
    """Return whether such stacks exist: colours have several bits, and 8 in ImageJ."""
    return not channels or (dtype != "bool" and (kind != "imagej" or dtype == "uint8"))


@pytest.mark.parametrize(
    ("kind", "dtype", "channels"),
    [
        (kind, dtype, channels)
        for kind, dtypes in KINDS.items()
        for dtype in dtypes
        for channels in (0, 3, 4)
        if is_possible(kind, dtype, channels)
    ],
)
def test_tiff_stacks_open_in_every_reader(
    tmp_path: Path, kind: str, dtype: str, channels: int
) -> None:
    # No axis has 3 or 4 planes: scikit-image would take them for colours.
    for leading, planar in (((), False), ((2,), False), ((2,), True), ((2, 5), False)):
        if planar and (not channels or "imagej" in kind.lower()):
            continue
        image = random_values((*leading, 12, 9, *([channels] if channels else [])), dtype)
        source, path, bare = (tmp_path / f"{name}.tif" for name in ("source", "a", "bare"))
        write_source(source, image, kind, channels, planar)
        with open_stack(source) as stack:
            write_stack(path, stack, (plane[::-1] for plane in stack))
        expected = image[..., ::-1, :, :] if channels else image[..., ::-1, :]
        write_source(bare, expected, "pages", channels, False)
        for reader in READERS:
            if reader == "Pillow" and not pillow_supports(dtype, channels):
                assert (
                    pixels_or_error(reader, path)
                    == pixels_or_error(reader, bare)
                    != expected.tolist()
                )
                continue
            found = READERS[reader](path)
            assert found.size == expected.size, reader
            np.testing.assert_array_equal(found.reshape(image.shape), expected, err_msg=reader)
            # Plain pages have no axes, and Pillow ignores them.
            has_axes = kind in ("shaped", "ome", "imagej") and reader != "Pillow"
            if has_axes or len(leading) < 2:
                assert found.squeeze().shape == image.shape, reader


def test_bigtiff_stacks_open_in_every_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_nst.files._stack_tiff._BIGTIFF_BYTES", 100)
    image = random_values((2, 12, 9), "uint16")
    for kind in ("pages", "ome"):
        write_source(tmp_path / "source.tif", image, kind, 0, False)
        with open_stack(tmp_path / "source.tif") as stack:
            write_stack(tmp_path / "a.tif", stack, stack)
        with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
            assert tiff.is_bigtiff
        for reader, read in READERS.items():
            np.testing.assert_array_equal(read(tmp_path / "a.tif"), image, err_msg=reader)


def test_one_bit_colours_are_refused_on_opening(tmp_path: Path) -> None:
    # tifffile writes them in an order that no reader expects.
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 8, 9, 3), bool), photometric="rgb")
    with pytest.raises(InputError, match="colours of one bit"):
        open_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [*TYPES])
@pytest.mark.parametrize("version", [2, 3])
def test_zarr_stacks_open_in_every_reader(tmp_path: Path, version: Any, dtype: str) -> None:
    image = random_values((2, 5, 12, 9), dtype)
    zarr.create_array(tmp_path / "array.zarr", data=image, zarr_format=version)
    group = zarr.open_group(tmp_path / "ome.zarr", mode="w", zarr_format=version)
    about: dict[str, Any] = {"multiscales": [{"datasets": [{"path": "0"}], "axes": [*"tzyx"]}]}
    set_ome_attributes(group, version, about)
    group.create_array("0", data=image)
    for name in ("array", "ome"):
        path = tmp_path / f"{name}-out.zarr"
        with open_stack(tmp_path / f"{name}.zarr") as stack:
            write_stack(path, stack, stack)
        node: Any = zarr.open(path, mode="r")
        for found in (node[:] if name == "array" else node["0"][:], READERS["napari"](path)):
            np.testing.assert_array_equal(np.asarray(found).reshape(image.shape), image)


# Masks


@pytest.mark.parametrize(
    "name",
    "grey.png deep.png palette.png colors.png a.bmp a.gif grey.tif deep.tif colors.tif alpha.tif "
    "grey.npy".split(),
)
def test_resampled_masks_open_in_every_reader(tmp_path: Path, name: str) -> None:
    labels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    if name.startswith("deep"):
        labels = labels.astype(np.uint16) * 1000
    elif name.startswith(("colors", "alpha")):
        labels = np.dstack([labels, labels[::-1], labels, labels + 100])
        labels = labels[..., : 3 if name.startswith("colors") else 4]
    mask, target = tmp_path / name, tmp_path / "out" / name
    if mask.suffix == ".npy":
        np.save(mask, labels)
    elif mask.suffix == ".tif":
        tifffile.imwrite(mask, labels, photometric="rgb" if labels.ndim == 3 else "minisblack")
    else:
        image = Image.fromarray(labels)
        if name.startswith("palette"):
            image.putpalette(list(range(256)) * 3)
        image.save(mask)
    assert copy_mask(mask, target, (6, 8), (12, 16)) == "resampled"
    rows, columns = np.arange(12) // 2, np.arange(16) // 2
    np.testing.assert_array_equal(read_labels(target), read_labels(mask)[np.ix_(rows, columns)])
    readers = (
        READERS if mask.suffix == ".tif" else ["napari"] if mask.suffix == ".npy" else OTHER_READERS
    )
    for reader in readers:
        before, after = READERS[reader](mask).squeeze(), READERS[reader](target).squeeze()
        np.testing.assert_array_equal(after, before[np.ix_(rows, columns)], err_msg=reader)
