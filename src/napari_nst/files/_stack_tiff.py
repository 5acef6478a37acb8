"""Stacks in TIFF: OME's, ImageJ's, and pages that are simply there."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_nst.errors import InputError
from napari_nst.files._colour import assemble
from napari_nst.files._stack import Stack
from napari_nst.files._tiff import check_page, open_tiff
from napari_nst.files._tiff_options import tiff_options
from napari_nst.files._tiff_page import (
    MAX_SAMPLE_VALUE,
    alpha_of,
    declared_bits,
    decode_page,
    is_packed,
    space_of,
)
from napari_nst.ranges import Range, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["TiffStack", "is_tiff_stack"]

_ALMOST_4_GIB = 2**32 - 2**25  # beyond it offsets of 32 bits do not reach
_SIDEWAYS = (5, 6, 7, 8)  # orientations whose rows are the scene's columns
_OF_IMAGEJ, _OF_IMAGEJ_COLORS = "BHhf", "B"  # the types that ImageJ has, as NumPy's characters


def is_tiff_stack(path: Path) -> bool:
    """Return whether a TIFF is more than one picture of 8 or 16 bits that are all significant."""
    with open_tiff(path) as tiff:
        found = _images(tiff)
        if len(found) > 1:
            return True  # which a stack refuses, for it must not be the first one silently
        page, series = tiff.pages.first, found[0]
        kind = np.dtype(page.dtype).kind
        if tiff.is_ome or tiff.is_imagej:
            return True  # they say how large a pixel is, which a picture has no place for
        single = all(axis in "YXS" for axis in series.axes)
        narrow = kind == "u" and page.bitspersample > 8 and declared_bits(page) is not None
        return not single or page.bitspersample > 16 or kind not in "bu" or narrow


def _images(tiff: tifffile.TiffFile) -> list[Any]:
    """Return the images in a file; smaller copies and masks of one are none of their own."""
    own = [s for s in tiff.series if not (s.keyframe.is_reduced or s.keyframe.is_mask)]
    return own or list(tiff.series[:1])


class TiffStack(Stack):
    """The image of a TIFF file.

    Its planes are grey values as the file has them, or RGB(A) of sRGB: by its tags palettes are
    looked up, colour profiles converted, multiplied alpha is divided out, pages are turned upright,
    and where 0 is white, values are turned round within the range that they use.  What is written
    like it says that 0 is black.

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
        found = _images(self._tiff)
        if len(found) > 1:
            shapes = " and ".join(" x ".join(map(str, series.shape)) for series in found[:3])
            raise InputError(
                f"{self.path} holds {len(found)} images ({shapes}{', ...' * (len(found) > 3)}): "
                "save the one that is meant as a file of its own."
            )
        self._series = series = found[0]
        self._page = page = series.keyframe
        stored = "".join(series.axes.lower())
        if np.dtype(series.dtype).kind == "b" and "s" in stored:
            raise InputError(
                f"{self.path} has colours of one bit, which cannot be written: save it with 8 bits."
            )
        ends = stored[-3:] in ("syx", "yxs") or "s" not in stored
        if stored.replace("s", "")[-2:] != "yx" or not ends:
            raise InputError(
                f"{self.path} has the axes {series.axes}: its planes must be YX, with the colours "
                "(S) beside them."
            )
        self._stored_dtype = np.dtype(series.dtype).newbyteorder("=")
        # ImageJ shows intensities in the colours of a table; others store colours by it.
        self._is_table = page.photometric == tifffile.PHOTOMETRIC.PALETTE
        self._is_table = self._is_table and (self._tiff.is_imagej or self._tiff.is_ome)
        sides = dict(zip(stored, series.shape, strict=True))
        leading = tuple(axis for axis in stored if axis not in "yxs")
        height, width = sides["y"], sides["x"]
        if page.tags.valueof("Orientation", default=1) in _SIDEWAYS:
            height, width = width, height
        colors = self._colors()
        self.axes = (*leading, "y", "x", *("s" if colors else ""))
        self.shape = (*(sides[axis] for axis in leading), height, width, *([colors] * bool(colors)))
        palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE and not self._is_table
        self.dtype = np.dtype(np.uint8) if palette else self._stored_dtype
        self.bits = None if palette else self._declared_bits()
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
                self._tiff.byteorder + self._stored_dtype.char,
                (*self.leading, *series.shape[len(leading) :]),
                series.dataoffset,
            )
        self.sizes, self.units = self._steps()

    def _colors(self) -> int:
        """Return how many colours, alpha among them, a pixel has; 0: it is grey."""
        if self._is_table:
            return 0
        space = space_of(self.path, self._page)
        alpha = alpha_of(self._page, space) is not None
        return 4 if alpha else 0 if space == "gray" else 3

    def _declared_bits(self) -> int | None:
        """Return the bits of a value that are significant, by OME-XML or the tags."""
        found = declared_bits(self._page)
        if found is None and self._tiff.is_ome and self.dtype.kind in "iu":
            named = int(self._ome().get("Pixels", {}).get("SignificantBits", 0))
            found = named if 1 < named < 8 * self.dtype.itemsize else None
        # Beside alpha they become 8 or 16 bits.
        return None if found and self.axes[-1] == "s" and is_packed(self._page) else found

    def close(self) -> None:
        """Let go of the file."""
        self._mapped = None
        self._tiff.close()

    def _read(self, k: int) -> NDArray[Any]:
        page, plane = self._raw(k)
        if not self._is_table:
            plane = assemble(decode_page(self.path, page, plane))
        if plane.shape != self.plane_shape:
            raise InputError(
                f"Plane {k} of {self.path} has shape {plane.shape}, and the first "
                f"{self.plane_shape}: save it as a file of its own."
            )
        white_is_0 = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        return self._turned_round(plane) if white_is_0 else plane

    def _raw(self, k: int) -> tuple[Any, NDArray[Any]]:
        """Return the page whose tags hold for a plane, and its samples as they are stored."""
        if self._mapped is not None:
            return self._page, self._mapped[np.unravel_index(k, self.leading)]
        page = self._series.pages[k]
        if page is None:
            raise InputError(f"Plane {k} of {self.path} is missing: save the stack again.")
        check_page(self.path, page)
        own = page if isinstance(page, tifffile.TiffPage) else self._page
        return own, page.asarray()

    def _turned_round(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return values whose 0 is white as values whose 0 is black, alpha aside."""
        grey = plane[..., :1] if self.axes[-1] == "s" else plane
        kind, span = self.dtype.kind, self._span
        if kind == "b":
            turned = ~grey
        elif kind == "f":
            turned = (span.low + span.high - grey.astype(np.float64)).astype(self.dtype)
        else:  # what does not fit while it is computed comes back when it wraps round again
            whole = np.dtype(f"u{self.dtype.itemsize}")
            total = (int(span.low) + int(span.high)) % 2 ** (8 * whole.itemsize)
            turned = (np.array(total, whole) - grey.astype(whole)).astype(self.dtype)
        if grey is plane:
            return turned
        return np.dstack([np.broadcast_to(turned, (*plane.shape[:2], 3)), plane[..., 3:]])

    @cached_property
    def _span(self) -> Range:
        """The range that the values of all planes use, within which they are turned round."""
        if self.dtype.kind == "b" or (self.dtype == np.uint8 and self.bits is None):
            return Range.from_dtype(self.dtype)
        summary = Summary(self.dtype)
        for k in range(len(self)):
            page, plane = self._raw(k)
            alpha = None if self._is_table else alpha_of(page, "gray")
            summary.add(plane if alpha is None else plane[..., 0])
        return summary.range("auto", self.bits)

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
        shape = (*self.leading, *self.plane_shape)
        options = tiff_options(self.dtype, self.plane_shape)
        axes = "".join(self.axes).upper()
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
        packed = self.bits is not None and is_packed(self._page)
        if packed or imagej:  # tifffile cannot compress packed bits, ImageJ cannot read it
            options["compression"] = options["predictor"] = None
        if packed:
            options["bitspersample"] = self.bits
        elif self.bits is not None and not ome:
            options["extratags"] = [(MAX_SAMPLE_VALUE, 3, 1, 2**self.bits - 1, True)]
        with tifffile.TiffWriter(
            path, bigtiff=size > _ALMOST_4_GIB and not imagej, ome=ome, imagej=imagej
        ) as writer:
            writer.write(_as(self.dtype, planes), shape=shape, dtype=self.dtype, **options)

    def _metadata(self, axes: str) -> dict[str, Any]:
        if self._tiff.is_ome:
            # tifffile takes over channels, positions, sizes and what else belongs to the image.
            image = self._ome()
            pixels = {
                key: value
                for key, value in image.get("Pixels", {}).items()
                if key not in ("ID", "BigEndian", "Interleaved", "TiffData", "BinData", "Type")
            }
            same = tuple(self._series.shape) == self.shape
            pixels["Channel"] = _by_name(pixels.get("Channel")) if same else {}
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
