"""Stacks in TIFF: OME's, ImageJ's, and pages that are simply there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_nst.errors import InputError
from napari_nst.files._stack import Stack
from napari_nst.files._tiff import check_page, open_tiff

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["TiffStack", "is_tiff_stack"]

_ALMOST_4_GIB = 2**32 - 2**25  # beyond it offsets of 32 bits do not reach
_PLANE = ("y", "x", "s")
_OF_IMAGEJ, _OF_IMAGEJ_COLORS = "BHhf", "B"  # the types that ImageJ has, as NumPy's characters


def is_tiff_stack(path: Path) -> bool:
    """Return whether a TIFF is more than a picture of 8 or 16 bits on its first page."""
    with open_tiff(path) as tiff:
        page, series = tiff.pages.first, tiff.series[0]
        kind = np.dtype(page.dtype).kind
        if tiff.is_ome or tiff.is_imagej:
            return True  # they say how large a pixel is, which a picture has no place for
        single = all(axis in "YXS" for axis in series.axes)
        return not single or page.bitspersample > 16 or kind not in "bu"


class TiffStack(Stack):
    """The first image of a TIFF file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    InputError
        If it holds several images, or one that does not consist of planes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tiff = open_tiff(path)
        try:
            self._take_in()
        except BaseException:
            self.close()
            raise

    def _take_in(self) -> None:
        if len(self._tiff.series) > 1:
            raise InputError(
                f"{self.path} holds {len(self._tiff.series)} images: save the one that is meant "
                "as a file of its own."
            )
        self._series = series = self._tiff.series[0]
        self.axes = tuple(series.axes.lower())
        self.shape = tuple(series.shape)
        self.dtype = np.dtype(series.dtype).newbyteorder("=")
        if self.dtype.kind == "b" and "s" in self.axes:
            raise InputError(
                f"{self.path} has colours of one bit, which cannot be written: save it with 8 bits."
            )
        ends = ("".join(self.axes)[-3:] in ("syx", "yxs")) or "s" not in self.axes
        if "".join(self.axes).replace("s", "")[-2:] != "yx" or not ends:
            raise InputError(
                f"{self.path} has the axes {series.axes}: its planes must be YX, with the colours "
                "(S) beside them."
            )
        self._mapped: NDArray[Any] | None = None
        pages = series.pages
        whole = not pages.is_truncated if hasattr(pages, "is_truncated") else True
        if not (whole and len(pages) == len(self)):
            if series.dataoffset is None:
                raise InputError(
                    f"{self.path} has {len(pages)} pages for {len(self)} planes: save it again, "
                    "with a page for each plane."
                )
            # ImageJ writes what is larger than 4 GiB, and tifffile what is contiguous, with one
            # page for all.
            self._mapped = self._tiff.filehandle.memmap_array(
                self._tiff.byteorder + self.dtype.char,
                (*self.leading, *self.shape[len(self.leading) :]),
                series.dataoffset,
            )
        self.sizes, self.units = self._steps()

    def close(self) -> None:
        """Let go of the file."""
        self._mapped = None
        self._tiff.close()

    def _read(self, k: int) -> NDArray[Any]:
        plane: NDArray[Any]
        if self._mapped is not None:
            plane = self._mapped[np.unravel_index(k, self.leading)]
        else:
            page = self._series.pages[k]
            if page is None:
                raise InputError(f"Plane {k} of {self.path} is missing: save the stack again.")
            check_page(self.path, page)
            plane = page.asarray()
        return np.moveaxis(plane, 0, -1) if "".join(self.axes).endswith("syx") else plane

    def _steps(self) -> tuple[dict[str, float], dict[str, str]]:
        """Return the length of a step along each axis, and its unit."""
        if self._tiff.is_ome:
            pixels = self._ome().get("Pixels", {})
            keys = {axis: f"PhysicalSize{axis.upper()}" for axis in "xyz"} | {"t": "TimeIncrement"}
            # Where OME-XML names no unit, its schema says which one is meant.
            units = {axis: pixels.get(f"{key}Unit", "µm") for axis, key in keys.items()}
            units["t"] = pixels.get("TimeIncrementUnit", "s")
            sizes = {axis: float(pixels[key]) for axis, key in keys.items() if key in pixels}
            return sizes, {axis: units[axis] for axis in sizes}
        if not self._tiff.is_imagej:
            return {}, {}
        about = self._tiff.imagej_metadata or {}
        sizes = {}
        for axis, tag in (("x", "XResolution"), ("y", "YResolution")):
            over, under = self._tiff.pages.first.tags.valueof(tag, default=(0, 0))
            if over and under:
                sizes[axis] = under / over
        if "spacing" in about:
            sizes["z"] = float(about["spacing"])
        units = {axis: str(about["unit"]) for axis in sizes if "unit" in about}
        if "finterval" in about:
            sizes["t"], units["t"] = float(about["finterval"]), "s"
        return sizes, units

    def _ome(self) -> dict[str, Any]:
        """Return what OME-XML says of the image."""
        image = tifffile.xml2dict(self._tiff.ome_metadata or "")["OME"]["Image"]
        found: dict[str, Any] = image[0] if isinstance(image, list) else image
        return found

    def _write(self, path: Path, planes: Iterable[NDArray[Any]]) -> None:
        ordered = self.axes
        if "".join(ordered).endswith("syx"):  # the same, with the colours of a pixel together
            ordered = (*ordered[:-3], *_PLANE)
        shape = (*self.leading, *self.plane_shape)
        options: dict[str, Any] = {
            "shape": shape,
            "dtype": self.dtype,
            "photometric": "rgb" if "s" in self.axes else "minisblack",
        }
        if self.axes[-1] == "s" and self.plane_shape[2] == 4:
            options["extrasamples"] = ["unassalpha"]
        axes = "".join(ordered).upper()
        size = int(np.prod(shape)) * self.dtype.itemsize
        ome = bool(self._tiff.is_ome)
        # Files that call themselves ImageJ's may have other types or orders than it can have
        # itself; those are written as any other TIFF.
        kinds = _OF_IMAGEJ_COLORS if "s" in self.axes else _OF_IMAGEJ
        in_order = axes == "".join(axis for axis in "TZCYXS" if axis in axes)
        imagej = bool(self._tiff.is_imagej) and self.dtype.char in kinds and in_order
        options["metadata"] = self._metadata(axes) if ome or imagej else {"axes": axes}
        if not ome:
            options |= self._resolution()
        if not imagej:  # which reads what is compressed only with a plugin
            options["compression"] = "adobe_deflate"
            # The differences of 64 bits are no predictor of TIFF.
            options["predictor"] = self.dtype.kind in "iu" and self.dtype.itemsize < 8
        with tifffile.TiffWriter(
            path, bigtiff=size > _ALMOST_4_GIB and not imagej, ome=ome, imagej=imagej
        ) as writer:
            writer.write(_as(self.dtype, planes), **options)

    def _metadata(self, axes: str) -> dict[str, Any]:
        if self._tiff.is_ome:
            # tifffile takes over channels, positions, sizes and what else belongs to the image.
            image = self._ome()
            pixels = {
                key: value
                for key, value in image.get("Pixels", {}).items()
                if key not in ("ID", "BigEndian", "Interleaved", "TiffData", "BinData", "Type")
            }
            pixels["Channel"] = _by_name(pixels.get("Channel"))
            pixels["Plane"] = self._planes_in_order(pixels)
            kept = {key: image[key] for key in ("Name", "Description", "AcquisitionDate")
                    if key in image}  # fmt: skip
            return {"axes": axes, **kept, **{k: v for k, v in pixels.items() if v}}
        counted = ("ImageJ", "images", "channels", "slices", "frames", "hyperstack")
        return {"axes": axes} | {
            key: value
            for key, value in (self._tiff.imagej_metadata or {}).items()
            if key not in counted
        }

    def _planes_in_order(self, pixels: dict[str, Any]) -> dict[str, Any]:
        """Return what is said of each plane, in the order in which tifffile takes it."""
        found = pixels.get("Plane")
        elements = found if isinstance(found, list) else [found] if found else []
        if len(elements) != len(self):
            return {}
        slowest_first = pixels["DimensionOrder"][:1:-1]
        return _by_name(
            sorted(elements, key=lambda e: [int(e.get(f"The{axis}", 0)) for axis in slowest_first])
        )

    def _resolution(self) -> dict[str, Any]:
        tags = self._tiff.pages.first.tags
        if "XResolution" not in tags or "YResolution" not in tags:
            return {}
        return {
            "resolution": (tags.valueof("XResolution"), tags.valueof("YResolution")),
            "resolutionunit": tags.valueof("ResolutionUnit", default=1),
        }


def _by_name(found: Any) -> dict[str, Any]:
    """Return lists by the attributes' names, of those attributes that all elements have."""
    elements = found if isinstance(found, list) else [found] if isinstance(found, dict) else []
    if not elements:
        return {}
    names = set.intersection(*(set(element) for element in elements))
    plain = [name for name in names if isinstance(elements[0][name], (str, int, float))]
    return {name: [element[name] for element in elements] for name in sorted(plain)}


def _as(dtype: np.dtype[Any], planes: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    for plane in planes:
        yield np.ascontiguousarray(plane, dtype=dtype)
