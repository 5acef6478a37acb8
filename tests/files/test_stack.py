"""Stacks in TIFF and Zarr: planes, metadata, errors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from file_helpers import icc_profile, set_ome_attributes

from napari_nst.errors import InputError
from napari_nst.files import (
    is_stack,
    open_stack,
    read_image,
    shape_of,
    write_image,
    write_stack,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

VALUES = np.random.default_rng(0).integers(0, 4000, (2, 3, 2, 20, 24), dtype="uint16")
COLORS = np.random.default_rng(1).integers(0, 256, (3, 20, 24, 3), dtype="uint8")
OME: dict[str, Any] = {
    "PhysicalSizeX": 0.2,
    "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 250.0,
    "PhysicalSizeYUnit": "nm",
    "PhysicalSizeZ": 1.5,
    "TimeIncrement": 3.0,
    "Channel": {"Name": ["DAPI", "GFP"], "Color": [255, 65535]},
    "Plane": {"PositionX": list(range(12)), "PositionXUnit": ["µm"] * 12},
    "Name": "my cells",
}


def write_sample(folder: Path, kind: str) -> Path:
    """Write a TIFF of a kind, with its metadata."""
    file = folder / f"{kind}.tif"
    if kind == "ome":
        file = folder / "a.ome.tif"
        about = {"axes": "TZCYX", **OME}
        tifffile.imwrite(file, VALUES, ome=True, photometric="minisblack", metadata=about)
    elif kind == "imagej":
        about = {"axes": "TZCYX", "spacing": 2.0, "unit": "um", "finterval": 3.0}
        tifffile.imwrite(file, VALUES, imagej=True, resolution=(5, 5), metadata=about)
    elif kind == "pages":
        pages = VALUES[0, :, 0].astype("float32")
        tifffile.imwrite(file, pages, photometric="minisblack", metadata=None, compression="zlib")
    elif kind == "contiguous":
        tifffile.imwrite(file, VALUES[0, :, 0], photometric="minisblack", truncate=True)
    elif kind == "big-endian":
        tifffile.imwrite(file, VALUES[0, :, 0].astype(">u2"), byteorder=">", ome=True)
    elif kind == "colors":
        about = {"axes": "ZYXS", "PhysicalSizeX": 0.2}
        tifffile.imwrite(file, COLORS, ome=True, photometric="rgb", metadata=about)
    elif kind == "signed":
        tifffile.imwrite(file, VALUES[0, 0, 0].astype("int16"))
    return file


def upside_down(stack: Any) -> Iterator[NDArray[Any]]:
    return (plane[::-1] for plane in stack)


@pytest.mark.parametrize(
    ("kind", "axes", "count"),
    [
        ("ome", "tzcyx", 12),
        ("imagej", "tzcyx", 12),
        ("pages", "iyx", 3),
        ("contiguous", "qyx", 3),
        ("big-endian", "", 3),
        ("colors", "zyxs", 3),
        ("signed", "yx", 1),
    ],
)
def test_a_tiff_round_trip_keeps_axes_sizes_and_values(
    tmp_path: Path, kind: str, axes: str, count: int
) -> None:
    file = write_sample(tmp_path, kind)
    assert is_stack(file)
    with open_stack(file) as stack:
        assert len(stack) == count
        assert "".join(stack.axes) == axes or not axes
        np.testing.assert_array_equal(
            np.stack(list(stack)).reshape(stack.shape), tifffile.imread(file)
        )
        write_stack(tmp_path / "out.tif", stack, upside_down(stack))
        with open_stack(tmp_path / "out.tif") as rewritten:
            assert (rewritten.axes, rewritten.shape, rewritten.dtype) == (
                stack.axes,
                stack.shape,
                stack.dtype,
            )
            assert (rewritten.sizes, rewritten.units) == (stack.sizes, stack.units)
            for old, new in zip(stack, rewritten, strict=True):
                np.testing.assert_array_equal(old[::-1], new)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([file.name, "out.tif"])


def test_an_ome_tiff_round_trip_keeps_sizes_channels_and_positions(tmp_path: Path) -> None:
    with open_stack(write_sample(tmp_path, "ome")) as stack:
        assert stack.sizes == {"x": 0.2, "y": 250.0, "z": 1.5, "t": 3.0}
        assert stack.units == {"x": "µm", "y": "nm", "z": "µm", "t": "s"}
        write_stack(tmp_path / "out.ome.tif", stack, stack)
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as tiff:
        image = tifffile.xml2dict(tiff.ome_metadata or "")["OME"]["Image"]
    assert image["Name"] == "my cells"
    assert [channel["Name"] for channel in image["Pixels"]["Channel"]] == ["DAPI", "GFP"]
    assert [plane["PositionX"] for plane in image["Pixels"]["Plane"]] == list(range(12))


@pytest.mark.parametrize("version", [2, 3])
def test_an_ome_zarr_round_trip_keeps_axes_sizes_and_attributes(
    tmp_path: Path, version: Any
) -> None:
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="w", zarr_format=version)
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    image = {
        "axes": [{"name": "t", "type": "time", "unit": "second"}, *axes],
        "datasets": [
            {"path": path, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
            for path, scale in (("0", [3, 0.5, 0.2, 0.2]), ("1", [3, 0.5, 0.4, 0.4]))
        ],
    }
    about = {"multiscales": [image], "omero": {"channels": [{"label": "DAPI"}]}}
    set_ome_attributes(group, version, about if version == 2 else {"version": "0.5", **about})
    array = group.create_array("0", shape=(2, 3, 20, 24), dtype="uint16", chunks=(1, 2, 16, 16))
    array[:] = VALUES[:, :, 0]
    with open_stack(tmp_path / "a.ome.zarr") as stack:
        assert is_stack(tmp_path / "a.ome.zarr")
        assert stack.axes == ("t", "z", "y", "x")
        assert stack.sizes == {"t": 3.0, "z": 0.5, "y": 0.2, "x": 0.2}
        assert stack.units["x"] == "micrometer"
        np.testing.assert_array_equal(stack[4], VALUES[1, 1, 0])
        for _ in range(2):  # the second write replaces the first
            write_stack(tmp_path / "out.ome.zarr", stack, upside_down(stack))
        with open_stack(tmp_path / "out.ome.zarr") as rewritten:
            assert (rewritten.axes, rewritten.sizes, rewritten.units) == (
                stack.axes,
                stack.sizes,
                stack.units,
            )
            np.testing.assert_array_equal(np.stack(list(rewritten)), np.stack(list(stack))[:, ::-1])
    written = zarr.open_group(tmp_path / "out.ome.zarr", mode="r")
    assert written.metadata.zarr_format == version
    found: Any = written.attrs.asdict()
    found = found if version == 2 else found["ome"]
    assert found["omero"] == about["omero"]
    assert [level["path"] for level in found["multiscales"][0]["datasets"]] == ["0"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ome.zarr", "out.ome.zarr"]


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_array_round_trip_keeps_values(tmp_path: Path, version: Any) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=COLORS, zarr_format=version)
    with open_stack(tmp_path / "a.zarr") as stack:
        assert stack.axes == ("axis0", "y", "x", "s")
        write_stack(tmp_path / "b.zarr", stack, stack)
    with open_stack(tmp_path / "b.zarr") as rewritten:
        np.testing.assert_array_equal(np.stack(list(rewritten)), COLORS)


@pytest.mark.skipif(sys.platform == "win32", reason="links need privileges on Windows")
def test_a_symbolic_link_to_a_stack_is_kept(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=COLORS)
    zarr.create_array(tmp_path / "old.zarr", data=COLORS[:1])
    (tmp_path / "link.zarr").symlink_to("old.zarr")
    with open_stack(tmp_path / "a.zarr") as stack:
        write_stack(tmp_path / "link.zarr", stack, stack)
    assert (tmp_path / "link.zarr").is_symlink()
    with open_stack(tmp_path / "old.zarr") as stack:
        np.testing.assert_array_equal(np.stack(list(stack)), COLORS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "link.zarr", "old.zarr"]


def test_pictures_are_not_stacks(tmp_path: Path) -> None:
    for name, depth in (("a.tif", "uint16"), ("b.tif", "uint8"), ("c.png", "uint16")):
        write_image(tmp_path / name, np.zeros((20, 24)), dtype=depth)  # type: ignore[arg-type]
        assert not is_stack(tmp_path / name)
        assert shape_of(tmp_path / name) == (20, 24)
    (tmp_path / "d.tif").write_bytes(b"II*\0 and no more")
    assert not is_stack(tmp_path / "d.tif")
    assert not is_stack(tmp_path)
    with pytest.raises(InputError, match="does not say how large"):
        shape_of(tmp_path / "d.tif")


def test_files_that_are_not_stacks_raise_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_stack(tmp_path / "a.tif")
    with pytest.raises(InputError, match="not a Zarr store"):
        open_stack(tmp_path)
    (tmp_path / "bad.tif").write_bytes(b"II*\0 and no more")
    with pytest.raises(InputError, match="cannot be read as a stack"):
        open_stack(tmp_path / "bad.tif")
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    with pytest.raises(InputError, match="without an image of OME-Zarr"):
        open_stack(tmp_path / "group.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match=r"napari-nst\[zarr\]"):
        open_stack(tmp_path / "group.zarr")


def test_a_failed_write_keeps_the_old_stack(tmp_path: Path) -> None:
    with open_stack(write_sample(tmp_path, "ome")) as stack:
        write_stack(tmp_path / "out.tif", stack, stack)
        before = (tmp_path / "out.tif").read_bytes()

        def broken() -> Iterator[NDArray[Any]]:
            yield stack[0]
            raise InputError("no more planes")

        with pytest.raises(InputError, match="no more planes"):
            write_stack(tmp_path / "out.tif", stack, broken())
    assert (tmp_path / "out.tif").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


# Values and their metadata


def planes_of(file: Path) -> NDArray[Any]:
    with open_stack(file) as stack:
        return np.stack(list(stack))


def rewrite(file: Path) -> Path:
    out = file.with_name(f"rewritten-{file.name}")
    with open_stack(file) as stack:
        write_stack(out, stack, stack)
    return out


RAMP = np.linspace(0.1, 0.9, 3 * 16 * 24).reshape(3, 16, 24)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "total"),
    [
        ("bool", 0, 1, 1),
        ("uint8", 0, 200, 255),
        ("uint16", 0, 3000, 4095),
        ("uint16", 0, 60_000, 65_535),
        (">u2", 0, 3000, 4095),
        ("uint32", 0, 100_000, 2**18 - 1),
        ("int16", -1000, 3000, None),
        ("int32", 0, 3000, 4095),
        ("int64", -(2**40), 2**40, None),
        ("float32", 0, 1, 1),
        ("float32", 1200, 3100, None),
        ("float64", -5, 3, None),
    ],
)
def test_miniswhite_is_inverted_within_the_range_in_use(
    tmp_path: Path, dtype: str, low: float, high: float, total: float | None
) -> None:
    values = (low + RAMP * (high - low)).astype(dtype) if dtype != "bool" else RAMP > 0.4
    file = tmp_path / "white.tif"
    order = ">" if dtype.startswith(">") else "<"
    tifffile.imwrite(file, values, photometric="miniswhite", byteorder=order)  # type: ignore[arg-type]
    with tifffile.TiffFile(file) as tiff:
        stored = tiff.asarray()
    if total is None:
        total = float(stored.min()) + float(stored.max())
    assert is_stack(file)
    found = planes_of(file)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_allclose(found.astype(float), total - stored.astype(float), rtol=1e-6)
    rewritten = rewrite(file)
    np.testing.assert_array_equal(planes_of(rewritten), found)
    with tifffile.TiffFile(rewritten) as tiff:
        assert {page.photometric for page in tiff.pages} == {tifffile.PHOTOMETRIC.MINISBLACK}


def test_miniswhite_planes_share_one_range(tmp_path: Path) -> None:
    values = np.stack([np.full((16, 24), 100), np.full((16, 24), 3000)]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    np.testing.assert_array_equal(planes_of(tmp_path / "a.tif"), 4095 - values)


def test_a_single_page_of_miniswhite_is_read_as_a_picture(tmp_path: Path) -> None:
    values = (RAMP[0] * 4000).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "b.tif", values[None], photometric="miniswhite", imagej=True)
    assert not is_stack(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), 4095 - values)


def test_palettes_are_colours_but_display_palettes_of_imagej_are_ignored(tmp_path: Path) -> None:
    table = np.random.default_rng(0).integers(0, 256, (3, 256), dtype=np.uint16)
    indices = (RAMP * 255).astype(np.uint8)
    for name, kept in (("a.tif", table * 257), ("old.tif", table)):
        tifffile.imwrite(tmp_path / name, indices, photometric="palette", colormap=kept)
        with open_stack(tmp_path / name) as stack:
            assert (stack.axes[-3:], stack.shape, stack.dtype) == (
                ("y", "x", "s"),
                (3, 16, 24, 3),
                np.uint8,
            )
        expected = np.moveaxis(table[:, indices], 0, -1)
        np.testing.assert_array_equal(planes_of(tmp_path / name), expected)
        rewritten = rewrite(tmp_path / name)
        np.testing.assert_array_equal(tifffile.imread(rewritten), expected)
    tifffile.imwrite(tmp_path / "one.tif", indices[0], photometric="palette", colormap=table * 257)
    np.testing.assert_array_equal(read_image(tmp_path / "one.tif"), expected[0])
    with tifffile.TiffWriter(tmp_path / "ij.tif") as writer:
        about = {"photometric": "palette", "colormap": table * 257, "metadata": None}
        for number, plane in enumerate(indices):
            text = "ImageJ=1.54f\nimages=3\nslices=3\n" if number == 0 else None
            writer.write(plane, description=text, contiguous=False, **about)
    with tifffile.TiffFile(tmp_path / "ij.tif") as tiff:
        assert tiff.is_imagej
    np.testing.assert_array_equal(planes_of(tmp_path / "ij.tif"), indices)


@pytest.mark.parametrize("count", [1, 3])
def test_packed_bits_are_kept(tmp_path: Path, count: int) -> None:
    values = (RAMP[:count] * 4000).astype(np.uint16)
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, values, bitspersample=12, photometric="minisblack")
    assert is_stack(file)
    with open_stack(file) as stack:
        assert stack.bits == 12
    rewritten = rewrite(file)
    for one in (file, rewritten):
        np.testing.assert_array_equal(planes_of(one), values)
        with tifffile.TiffFile(one) as tiff:
            assert tiff.pages.first.bitspersample == 12


def test_significant_bits_are_kept(tmp_path: Path) -> None:
    values = (RAMP * 900).astype(np.uint16)
    about = {"axes": "ZYX", "SignificantBits": 14}
    tifffile.imwrite(tmp_path / "a.ome.tif", values, photometric="minisblack", metadata=about)
    whole = {"axes": "ZYX", "SignificantBits": 16}
    tifffile.imwrite(tmp_path / "b.ome.tif", values, photometric="minisblack", metadata=whole)
    tag = [(281, 3, 1, 4095, True)]
    tifffile.imwrite(tmp_path / "c.tif", values, photometric="minisblack", extratags=tag)
    tifffile.imwrite(tmp_path / "d.tif", values[0], photometric="minisblack", extratags=tag)
    for name, bits in (("a.ome.tif", 14), ("b.ome.tif", None), ("c.tif", 12), ("d.tif", 12)):
        assert is_stack(tmp_path / name)
        for file in (tmp_path / name, rewrite(tmp_path / name)):
            with open_stack(file) as stack:
                assert stack.bits == bits, file.name


RGBA = np.random.default_rng(2).integers(1, 256, (3, 16, 24, 4), dtype=np.uint8)


def test_alpha_of_every_layout_is_last_and_unpremultiplied(tmp_path: Path) -> None:
    multiplied = RGBA.copy()
    multiplied[..., :3] = np.rint(RGBA[..., :3] * (RGBA[..., 3:] / 255))
    spare = np.concatenate([RGBA, RGBA[..., :1]], axis=-1)
    options: dict[str, Any] = {"photometric": "rgb", "planarconfig": "contig"}
    for name, values, kinds in (
        ("plain", RGBA, ["unassalpha"]),
        ("multiplied", multiplied, ["assocalpha"]),
        ("spare", spare[..., [0, 1, 2, 4, 3]], ["unspecified", "unassalpha"]),
    ):
        tifffile.imwrite(tmp_path / f"{name}.tif", values, extrasamples=kinds, **options)
        found = planes_of(tmp_path / f"{name}.tif").astype(int)
        opaque = RGBA[..., 3] > 100 if name == "multiplied" else np.ones(RGBA.shape[:3], bool)
        tolerance = 2 if name == "multiplied" else 0
        assert np.abs(found - RGBA)[opaque].max() <= tolerance, name
        rewritten = rewrite(tmp_path / f"{name}.tif")
        np.testing.assert_array_equal(planes_of(rewritten), found)
    options["planarconfig"] = "separate"
    beside = np.moveaxis(RGBA, -1, 1).copy()
    tifffile.imwrite(tmp_path / "p.tif", beside, extrasamples=["unassalpha"], **options)
    np.testing.assert_array_equal(planes_of(tmp_path / "p.tif"), RGBA)
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    grey = RGBA[..., [0, 3]]
    tifffile.imwrite(tmp_path / "g.tif", grey, extrasamples=["unassalpha"], **options)
    np.testing.assert_array_equal(planes_of(tmp_path / "g.tif"), RGBA[..., [0, 0, 0, 3]])


def test_planes_have_the_same_colours_as_pictures(tmp_path: Path) -> None:
    smooth = np.kron(RGBA[:, ::4, ::4, :3], np.ones((1, 16, 16, 1), np.uint8))
    kinds: dict[str, Any] = {
        "jpeg": {"photometric": "ycbcr", "compression": "jpeg"},
        "cmyk": {"photometric": "separated", "planarconfig": "contig"},
        "icc": {"photometric": "rgb", "iccprofile": icc_profile()},
    }
    for name, options in kinds.items():
        values = smooth if name != "cmyk" else np.concatenate([smooth, smooth[..., :1]], axis=-1)
        tifffile.imwrite(tmp_path / f"{name}.tif", values, **options)
        tifffile.imwrite(tmp_path / f"{name}-1.tif", values[0], **options)
        picture = read_image(tmp_path / f"{name}-1.tif")
        np.testing.assert_array_equal(planes_of(tmp_path / f"{name}.tif")[0], picture)
        assert name != "icc" or (picture != values[0]).any()
    tifffile.imwrite(tmp_path / "lab.tif", smooth, photometric="cielab")
    with pytest.raises(InputError, match="colours of the kind CIELAB"):
        open_stack(tmp_path / "lab.tif")


def test_orientation_of_pages_is_applied(tmp_path: Path) -> None:
    values = (RAMP * 255).astype(np.uint8)
    for orientation, upright in ((3, values[:, ::-1, ::-1]), (6, np.rot90(values, -1, (1, 2)))):
        tag = [(274, 3, 1, orientation, False)]
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", extratags=tag)
        np.testing.assert_array_equal(planes_of(tmp_path / "a.tif"), upright)
        np.testing.assert_array_equal(tifffile.imread(rewrite(tmp_path / "a.tif")), upright)


def test_several_images_are_refused_but_reduced_copies_are_not(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
        writer.write(COLORS[0], photometric="rgb")
        writer.write(COLORS[0, :10], photometric="rgb")
    assert is_stack(tmp_path / "two.tif")
    with pytest.raises(InputError, match=r"holds 2 images \(20 x 24 x 3 and 10 x 24 x 3\)"):
        open_stack(tmp_path / "two.tif")
    with tifffile.TiffWriter(tmp_path / "small.tif") as writer:
        writer.write(COLORS[0], photometric="rgb")
        writer.write(COLORS[0, ::2, ::2], photometric="rgb", subfiletype=1)
    assert not is_stack(tmp_path / "small.tif")
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as writer:
        for kind in ("minisblack", "miniswhite"):
            writer.write(COLORS[0, ..., 0], photometric=kind, metadata=None, contiguous=False)
    with pytest.raises(InputError, match="holds 2 images"):
        open_stack(tmp_path / "mixed.tif")


def test_the_channel_axis_is_recognised_by_name_or_type(tmp_path: Path) -> None:
    with open_stack(write_sample(tmp_path, "ome")) as stack:
        assert (stack.channel, stack.leading_axes) == ("c", ("t", "z", "c"))
    with open_stack(write_sample(tmp_path, "pages")) as stack:
        assert stack.channel is None
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    kinds = [("stain", "channel"), ("y", "space"), ("x", "space")]
    axes = [{"name": name, "type": kind} for name, kind in kinds]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
    group.create_array("0", shape=(2, 20, 24), dtype="uint8")
    with open_stack(tmp_path / "a.zarr") as stack:
        assert stack.channel == "stain"
