"""Labels are read from files unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_nst.errors import InputError
from napari_nst.files import read_labels

if TYPE_CHECKING:
    from pathlib import Path

LABELS = np.array([[0, 1, 2], [3, 200, 0]])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
@pytest.mark.parametrize("name", ["labels.tif", "labels.npy"])
def test_integers_of_every_type_are_unchanged(tmp_path: Path, dtype: str, name: str) -> None:
    labels = LABELS.astype(dtype)
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, labels)
    else:
        tifffile.imwrite(path, labels.view("uint8") if dtype == "bool" else labels)
    np.testing.assert_array_equal(read_labels(path), labels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_grey_png_values_are_labels(tmp_path: Path, dtype: str) -> None:
    Image.fromarray(LABELS.astype(dtype)).save(tmp_path / "labels.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.png"), LABELS)


def test_palette_indices_are_labels(tmp_path: Path) -> None:
    image = Image.fromarray(LABELS.astype(np.uint8)).convert("P")
    image.putpalette([255, 0, 0] * 256)
    image.save(tmp_path / "labels.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.png"), LABELS)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_become_labels_and_black_is_0(tmp_path: Path, mode: str) -> None:
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 0], colours[1, 1] = (1, 2, 3), (255, 0, 0)
    Image.fromarray(colours).convert(mode).save(tmp_path / "labels.png")
    found = read_labels(tmp_path / "labels.png")
    np.testing.assert_array_equal(found, [[65536 + 2 * 256 + 3, 0], [0, 255 * 65536]])


def test_error_for_files_without_labels(tmp_path: Path) -> None:
    Image.fromarray(LABELS.astype(np.uint8)).save(tmp_path / "a.jpg")
    tifffile.imwrite(tmp_path / "float.tif", LABELS.astype(np.float32))
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((6, 4, 5), np.uint8))
    (tmp_path / "text.png").write_text("labels")
    np.save(tmp_path / "objects.npy", np.array([{}]))
    for name, message in (
        ("a.jpg", "is a JPEG file, which blurs labels"),
        ("float.tif", "dtype float32; labels are one plane of integers"),
        ("stack.tif", r"shape \(6, 4, 5\)"),
        ("text.png", "is not an image"),
        ("objects.npy", "cannot be read as labels"),
        ("none.png", "does not exist"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read_labels(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_labels_are_stored_values_whatever_their_display(tmp_path: Path) -> None:
    labels = LABELS.astype(np.uint8)
    tifffile.imwrite(tmp_path / "white.tif", labels, photometric="miniswhite")
    table = np.full((3, 256), 65535, np.uint16)
    tifffile.imwrite(tmp_path / "palette.tif", labels, photometric="palette", colormap=table)
    (tmp_path / "white.png").write_bytes((tmp_path / "white.tif").read_bytes())
    for name in ("white.tif", "palette.tif", "white.png"):
        np.testing.assert_array_equal(read_labels(tmp_path / name), LABELS)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_planar_colours_have_the_same_labels(tmp_path: Path, planar: str) -> None:
    colours = np.zeros((5, 6, 3), np.uint8)
    colours[2, 3] = (1, 2, 3)
    values = colours if planar == "contig" else np.moveaxis(colours, -1, 0).copy()
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", planarconfig=planar)
    assert read_labels(tmp_path / "a.tif")[2, 3] == 65536 + 2 * 256 + 3


def test_orientation_of_labels_is_applied(tmp_path: Path) -> None:
    labels = LABELS.astype(np.uint8)
    tag = [(274, 3, 1, 6, True)]
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="minisblack", extratags=tag)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(labels).save(tmp_path / "a.png", exif=exif)
    for name in ("a.tif", "a.png"):
        np.testing.assert_array_equal(read_labels(tmp_path / name), np.rot90(LABELS, -1))


def test_several_planes_or_lossy_compression_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 5), k, np.uint8)) for k in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="an animation of 3 frames; labels are one plane"):
        read_labels(tmp_path / "a.gif")
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(LABELS.astype(np.uint8), photometric="minisblack")
        writer.write(LABELS[:1].astype(np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match="holds 2 images; labels are one plane"):
        read_labels(tmp_path / "a.tif")
    blurred = np.zeros((16, 16), np.uint8)
    tifffile.imwrite(tmp_path / "b.tif", blurred, photometric="minisblack", compression="jpeg")
    with pytest.raises(InputError, match="which blurs labels"):
        read_labels(tmp_path / "b.tif")
