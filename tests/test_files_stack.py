from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_nst.errors import InputError
from napari_nst.files import is_stack, open_stack, shape_of, write_image, write_stack

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


def write(folder: Path, kind: str) -> Path:
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
    elif kind == "one page for all":
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
        ("one page for all", "qyx", 3),
        ("big-endian", "", 3),
        ("colors", "zyxs", 3),
        ("signed", "yx", 1),
    ],
)
def test_a_tiff_is_written_as_it_was_read(tmp_path: Path, kind: str, axes: str, count: int) -> None:
    file = write(tmp_path, kind)
    assert is_stack(file)
    with open_stack(file) as stack:
        assert len(stack) == count
        assert "".join(stack.axes) == axes or not axes
        np.testing.assert_array_equal(
            np.stack(list(stack)).reshape(stack.shape), tifffile.imread(file)
        )
        write_stack(tmp_path / "out.tif", stack, upside_down(stack))
        with open_stack(tmp_path / "out.tif") as again:
            assert (again.axes, again.shape, again.dtype) == (stack.axes, stack.shape, stack.dtype)
            assert (again.sizes, again.units) == (stack.sizes, stack.units)
            for old, new in zip(stack, again, strict=True):
                np.testing.assert_array_equal(old[::-1], new)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([file.name, "out.tif"])


def test_ome_keeps_sizes_channels_and_positions(tmp_path: Path) -> None:
    with open_stack(write(tmp_path, "ome")) as stack:
        assert stack.sizes == {"x": 0.2, "y": 250.0, "z": 1.5, "t": 3.0}
        assert stack.units == {"x": "µm", "y": "nm", "z": "µm", "t": "s"}
        write_stack(tmp_path / "out.ome.tif", stack, stack)
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as tiff:
        image = tifffile.xml2dict(tiff.ome_metadata or "")["OME"]["Image"]
    assert image["Name"] == "my cells"
    assert [channel["Name"] for channel in image["Pixels"]["Channel"]] == ["DAPI", "GFP"]
    assert [plane["PositionX"] for plane in image["Pixels"]["Plane"]] == list(range(12))


@pytest.mark.parametrize("version", [2, 3])
def test_an_ome_zarr_is_written_as_it_was_read(tmp_path: Path, version: Any) -> None:
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
    group.attrs.update(about if version == 2 else {"ome": {"version": "0.5", **about}})
    array = group.create_array("0", shape=(2, 3, 20, 24), dtype="uint16", chunks=(1, 2, 16, 16))
    array[:] = VALUES[:, :, 0]
    with open_stack(tmp_path / "a.ome.zarr") as stack:
        assert is_stack(tmp_path / "a.ome.zarr")
        assert stack.axes == ("t", "z", "y", "x")
        assert stack.sizes == {"t": 3.0, "z": 0.5, "y": 0.2, "x": 0.2}
        assert stack.units["x"] == "micrometer"
        np.testing.assert_array_equal(stack[4], VALUES[1, 1, 0])
        for _ in range(2):  # the second one takes the place of the first
            write_stack(tmp_path / "out.ome.zarr", stack, upside_down(stack))
        with open_stack(tmp_path / "out.ome.zarr") as again:
            assert (again.axes, again.sizes, again.units) == (stack.axes, stack.sizes, stack.units)
            np.testing.assert_array_equal(np.stack(list(again)), np.stack(list(stack))[:, ::-1])
    written = zarr.open_group(tmp_path / "out.ome.zarr", mode="r")
    assert written.metadata.zarr_format == version
    found: Any = written.attrs.asdict()
    found = found if version == 2 else found["ome"]
    assert found["omero"] == about["omero"]
    assert [level["path"] for level in found["multiscales"][0]["datasets"]] == ["0"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ome.zarr", "out.ome.zarr"]


@pytest.mark.parametrize("version", [2, 3])
def test_an_array_of_zarr_is_a_stack(tmp_path: Path, version: Any) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=COLORS, zarr_format=version)
    with open_stack(tmp_path / "a.zarr") as stack:
        assert stack.axes == ("axis0", "y", "x", "s")
        write_stack(tmp_path / "b.zarr", stack, stack)
    with open_stack(tmp_path / "b.zarr") as again:
        np.testing.assert_array_equal(np.stack(list(again)), COLORS)


def test_a_picture_is_no_stack(tmp_path: Path) -> None:
    for name, depth in (("a.tif", "uint16"), ("b.tif", "uint8"), ("c.png", "uint16")):
        write_image(tmp_path / name, np.zeros((20, 24)), dtype=depth)  # type: ignore[arg-type]
        assert not is_stack(tmp_path / name)
        assert shape_of(tmp_path / name) == (20, 24)
    (tmp_path / "d.tif").write_bytes(b"II*\0 and no more")
    assert not is_stack(tmp_path / "d.tif")
    assert not is_stack(tmp_path)
    with pytest.raises(InputError, match="does not say how large"):
        shape_of(tmp_path / "d.tif")


def test_what_is_no_stack_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_stack(tmp_path / "a.tif")
    with pytest.raises(InputError, match="no Zarr store"):
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


def test_a_stack_that_fails_on_the_way_leaves_what_was_there(tmp_path: Path) -> None:
    with open_stack(write(tmp_path, "ome")) as stack:
        write_stack(tmp_path / "out.tif", stack, stack)
        before = (tmp_path / "out.tif").read_bytes()

        def broken() -> Iterator[NDArray[Any]]:
            yield stack[0]
            raise InputError("no more planes")

        with pytest.raises(InputError, match="no more planes"):
            write_stack(tmp_path / "out.tif", stack, broken())
    assert (tmp_path / "out.tif").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
