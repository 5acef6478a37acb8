"""Errors for unsupported kinds of files name the kind and give advice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from file_helpers import PICTURE_READERS, set_ome_attributes
from PIL import Image

from napari_nst.errors import InputError
from napari_nst.files import open_stack, read_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READERS: list[Callable[[Path], Any]] = [*PICTURE_READERS, open_stack]


def iso_media(*brands: bytes) -> bytes:
    """Return the beginning of an ISO media file with these brands."""
    content = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (len(content) + 4).to_bytes(4) + content + b"\0\0\0\x08meta" * 9


KINDS = {
    "HEIC": (iso_media(b"heic", b"mif1", b"heic"), "a HEIC photo", "JPEG"),
    "HEIC of an iPhone": (iso_media(b"heix", b"mif1", b"heix", b"miaf"), "a HEIC photo", "JPEG"),
    "HEIF by its compatible brands": (iso_media(b"mif1", b"miaf", b"heic"), "a HEIC photo", "JPEG"),
    "CR3": (iso_media(b"crx ", b"crx ", b"isom"), "a camera's raw file", "TIFF"),
    "MP4": (iso_media(b"isom", b"isom", b"avc1"), "a video", "a frame"),
    "MOV": (iso_media(b"qt  ", b"qt  "), "a video", "a frame"),
    "MKV": (b"\x1a\x45\xdf\xa3\x01\0\0\0", "a video", ".mp4"),
    "WMV": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video", ".mp4"),
    "MPEG": (b"\0\0\1\xba\x44\0\4\0", "a video", ".mp4"),
    "TS": ((b"G" + bytes(187)) * 4, "a video", ".mp4"),
    "MTS of a camcorder": ((bytes(4) + b"G" + bytes(187)) * 4, "a video", ".mp4"),
    "CR2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "a camera's raw file", "TIFF"),
    "RAF": (b"FUJIFILMCCD-RAW 0201", "a camera's raw file", "TIFF"),
    "ORF": (b"IIRO\x08\0\0\0", "a camera's raw file", "TIFF"),
    "SVG": (b'<?xml version="1.0"?>\n<!-- A -->\n<svg width="9">', "an SVG drawing", "PNG"),
    "SVG alone": (b'\n<svg xmlns="http://www.w3.org/2000/svg">', "an SVG drawing", "PNG"),
    "PDF": (b"%PDF-1.7\n", "a PDF document", "PNG"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript drawing", "PNG"),
    "CZI": (b"ZISRAWFILE\0\0\0\0\0\0", "a CZI file of Zeiss", "OME-TIFF"),
    "LIF": (b"p\0\0\0\x12\1\0\0*\x86\0\0\0", "a LIF file of Leica", "OME-TIFF"),
    "ND2": (b"\xda\xce\xbe\x0a\x10\0\0\0", "an ND2 file of Nikon", "OME-TIFF"),
    "OIB": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a compound document", "OME-TIFF"),
    "IMS": (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "OME-TIFF"),
    "DICOM": (bytes(128) + b"DICM", "a DICOM file", "OME-TIFF"),
    "FITS": (b"SIMPLE  =                    T", "a FITS file", "OME-TIFF"),
    "NIfTI": (bytes(344) + b"n+1\0", "a NIfTI file", "OME-TIFF"),
    "JXL": (b"\xff\x0a\xfa\x1f", "a JPEG XL picture", "PNG"),
    "EXR": (b"\x76\x2f\x31\x01\2\0\0\0", "an OpenEXR picture", "floating point"),
    "HTML": (b"<!DOCTYPE html><html><img>", "a web page", "save the picture"),
    "ZIP": (b"PK\3\4\x14\0", "an archive", "unpack"),
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_unsupported_kinds_are_named_with_advice(
    tmp_path: Path, kind: str, read: Callable[[Path], Any]
) -> None:
    content, name, advice = KINDS[kind]
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is {name}")
    assert "which cannot be read: " in message
    assert advice in message.partition(": ")[2]
    assert "\n" not in message


def test_avif_is_read(tmp_path: Path) -> None:
    image = np.full((32, 32, 3), 200, np.uint8)
    Image.fromarray(image).save(tmp_path / "a.avif", quality=100)
    np.testing.assert_allclose(read_image(tmp_path / "a.avif").astype(int), image, atol=3)
    # Many programs write the general HEIF brand first.
    content = (tmp_path / "a.avif").read_bytes()
    (tmp_path / "b.avif").write_bytes(content.replace(b"ftypavif", b"ftypmif1", 1))
    np.testing.assert_allclose(read_image(tmp_path / "b.avif").astype(int), image, atol=3)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["dng", "nef", "thumbnail", "mosaic"])
def test_camera_raw_in_tiff_is_refused(
    tmp_path: Path, kind: str, read: Callable[[Path], Any]
) -> None:
    preview, whole = np.zeros((12, 16, 3), np.uint8), np.zeros((120, 160), np.uint16)
    path = tmp_path / (f"a.{kind}" if kind in ("dng", "nef") else "a.tif")
    with tifffile.TiffWriter(path) as writer:
        if kind == "mosaic":
            cfa = [(33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True)]
            writer.write(whole, photometric="cfa", extratags=cfa, metadata=None)
        elif kind == "thumbnail":
            writer.write(preview, photometric="rgb", subfiletype=1, subifds=1, metadata=None)
            writer.write(whole, photometric="minisblack", metadata=None)
        else:
            writer.write(preview, photometric="rgb", metadata=None)
    with pytest.raises(InputError, match=f"{path.name} is a camera's raw file, which cannot be"):
        read(path)


def test_full_resolution_of_a_pyramid_is_read(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(image, photometric="rgb", subifds=1, metadata=None)
        writer.write(image[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image)


# Zarr stores of several images


def add_image(group: zarr.Group, name: str, version: int) -> None:
    image = group.create_group(name)
    about = {"multiscales": [{"axes": [*"zyx"], "datasets": [{"path": "0"}]}]}
    set_ome_attributes(image, version, about)
    image.create_array("0", data=np.zeros((2, 8, 8), np.uint8))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", ["plate", "well", "labels", "series", "groups", "arrays"])
def test_a_zarr_collection_raises_a_message_with_an_existing_image(
    tmp_path: Path, kind: str, version: Any
) -> None:
    path = tmp_path / ("a folder with a name that is longer than sixty characters " * 2) / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=version)
    if kind == "plate":
        # The metadata list wells without images, and B/2 is empty.
        wells = [{"path": f"{row}/{column}"} for row in "AB" for column in (1, 2, 10)]
        set_ome_attributes(group, version, {"plate": {"wells": wells}})
        group.create_group("B/2")
        add_image(group, "B/10/3", version)
        expected, name = "B/10/3", "a plate of OME-Zarr"
    elif kind == "well":
        set_ome_attributes(group, version, {"well": {"images": [{"path": "0"}, {"path": "1"}]}})
        add_image(group, "1", version)
        expected, name = "1", "a well of OME-Zarr"
    elif kind == "labels":
        set_ome_attributes(group, version, {"labels": ["nuclei"]})
        add_image(group, "nuclei", version)
        expected, name = "nuclei", "a group of labels of OME-Zarr"
    elif kind == "series":
        set_ome_attributes(group, version, {"bioformats2raw.layout": 3})
        group.create_group("OME")
        for number in ("10", "2"):
            add_image(group, number, version)
        expected, name = "2", "a group of images of OME-Zarr"
    elif kind == "groups":
        group.create_array("list", data=np.zeros(5))
        group.create_array("raw/c0", data=np.zeros((2, 8, 8)))
        expected, name = "raw/c0", "a Zarr group without an image of OME-Zarr"
    else:
        group.create_array("volume", data=np.zeros((2, 8, 8)))
        expected, name = "volume", "a Zarr group without an image of OME-Zarr"
    with pytest.raises(InputError) as caught:
        open_stack(path)
    assert str(caught.value) == (
        f"{path} is {name}: name an image in it, such as {path / expected}."
    )
    with open_stack(path / expected) as stack:
        assert stack.plane_shape == (8, 8)


@pytest.mark.parametrize("about", [{}, {"plate": {"wells": [{"path": "A/1"}]}}])
def test_a_zarr_group_without_images_raises_a_message(
    tmp_path: Path, about: dict[str, Any]
) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w").attrs.update(about)
    with pytest.raises(InputError, match="without an image or array in it: copy it"):
        open_stack(tmp_path / "a.zarr")
