"""Stacks in TIFF: OME-TIFF, ImageJ TIFF, and plain pages."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_nst.errors import InputError
from napari_nst.files._colour import to_srgb
from napari_nst.files._stack import Stack
from napari_nst.files._tiff import check_page, open_tiff
from napari_nst.files._tiff_options import tiff_options
from napari_nst.files._tiff_page import (
    MAX_SAMPLE_VALUE,
    alpha_index,
    colour_space,
    declared_bits,
    decode_page,
    has_packed_bits,
)
from napari_nst.ranges import Range, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["TiffStack", "is_tiff_stack"]

_BIGTIFF_BYTES = 2**32 - 2**25  # offsets of 32 bits end at 4 GiB
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that exchange rows and columns
_IMAGEJ_GREY, _IMAGEJ_COLOUR = "BHhf", "B"  # types that ImageJ has, as NumPy's characters


def is_tiff_stack(path: Path) -> bool:
    """Return whether a TIFF is more than one picture of 8 or 16 significant bits."""
    with open_tiff(path) as tiff:
        images = _images(tiff)
        if len(images) > 1:
            return True  # `TiffStack` refuses it; as a picture, the first would be read silently
        page, series = tiff.pages.first, images[0]
        kind = np.dtype(page.dtype).kind
        if tiff.is_ome or tiff.is_imagej:
            return True  # to keep their pixel sizes
        single = all(axis in "YXS" for axis in series.axes)
        fewer_bits = kind == "u" and page.bitspersample > 8 and declared_bits(page) is not None
        return not single or page.bitspersample > 16 or kind not in "bu" or fewer_bits


def _images(tiff: tifffile.TiffFile) -> list[Any]:
    """Return the images in a file without reduced copies and masks."""
    images = [s for s in tiff.series if not (s.keyframe.is_reduced or s.keyframe.is_mask)]
    return images or list(tiff.series[:1])


class TiffStack(Stack):
    """The image of a TIFF file.

    Planes are grey values as stored, or RGB or RGBA in sRGB: palettes are looked up, colour
    profiles converted, premultiplied alpha is divided out, and the orientation is applied.  Where 0
    is white, values are inverted within the range in use, and written with 0 as black.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tiff = open_tiff(path)
        try:
            self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> None:
        images = _images(self._tiff)
        if len(images) > 1:
            shapes = " and ".join(" x ".join(map(str, series.shape)) for series in images[:3])
            raise InputError(
                f"{self.path} holds {len(images)} images ({shapes}{', ...' * (len(images) > 3)}): "
                "save one of them as a separate file."
            )
        self._series = series = images[0]
        self._page = page = series.keyframe
        stored_axes = series.axes.lower()
        self.dtype = np.dtype(series.dtype).newbyteorder("=")
        if self.dtype.kind == "b" and "s" in stored_axes:
            raise InputError(
                f"{self.path} has colours of one bit, which cannot be written: save it with 8 bits."
            )
        colours_last = stored_axes[-3:] in ("syx", "yxs") or "s" not in stored_axes
        if stored_axes.replace("s", "")[-2:] != "yx" or not colours_last:
            raise InputError(
                f"{self.path} has the axes {series.axes}: its planes must be YX, with the colours "
                "(S) beside them."
            )
        palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
        # ImageJ and OME display grey values with a palette; in other files, it has the colours.
        self._has_display_palette = palette and (self._tiff.is_imagej or self._tiff.is_ome)
        lengths = dict(zip(stored_axes, series.shape, strict=True))
        leading = tuple(axis for axis in stored_axes if axis not in "yxs")
        leading_shape = tuple(lengths[axis] for axis in leading)
        height, width = lengths["y"], lengths["x"]
        if page.tags.valueof("Orientation", default=1) in _TRANSPOSED:
            height, width = width, height
        colours = self._colour_count()
        self.axes = (*leading, "y", "x", *("s" if colours else ""))
        self.shape = (*leading_shape, height, width, *([colours] if colours else []))
        self._contiguous: NDArray[Any] | None = None
        pages = series.pages
        if getattr(pages, "is_truncated", False) or len(pages) != len(self):
            # ImageJ beyond 4 GiB, and tifffile for contiguous data, write one page for all planes.
            if series.dataoffset is None:
                raise InputError(
                    f"{self.path} has {len(pages)} pages for {len(self)} planes: save it again, "
                    "with a page for each plane."
                )
            self._contiguous = self._tiff.filehandle.memmap_array(
                self._tiff.byteorder + self.dtype.char,
                (*leading_shape, *series.shape[len(leading) :]),
                series.dataoffset,
            )
        if palette and not self._has_display_palette:
            self.dtype = np.dtype(np.uint8)
        else:
            self.bits = self._significant_bits()
        self.sizes, self.units = self._physical_sizes()

    def _colour_count(self) -> int:
        """Return the number of channels of a colour, including alpha; 0 for grey."""
        if self._has_display_palette:
            return 0
        space = colour_space(self.path, self._page)
        if alpha_index(self._page, space) is not None:
            return 4
        return 0 if space == "gray" else 3

    def _significant_bits(self) -> int | None:
        """Return the significant bits in the tags or in OME-XML, if fewer than the type has."""
        bits = declared_bits(self._page)
        if bits is None and self._tiff.is_ome and self.dtype.kind in "iu":
            in_xml = int(self._ome_image().get("Pixels", {}).get("SignificantBits", 0))
            bits = in_xml if 1 < in_xml < 8 * self.dtype.itemsize else None
        # `decode_page` scales packed bits with alpha to 8 or 16 bits.
        return None if self.axes[-1] == "s" and has_packed_bits(self._page) else bits

    def close(self) -> None:
        """Close the file."""
        self._contiguous = None
        self._tiff.close()

    def _read(self, k: int) -> NDArray[Any]:
        page, plane = self._stored_plane(k)
        if not self._has_display_palette:
            plane = to_srgb(decode_page(self.path, page, plane))
        if plane.shape != self.plane_shape:
            raise InputError(
                f"Plane {k} of {self.path} has shape {plane.shape}, and the first "
                f"{self.plane_shape}: save it as a separate file."
            )
        white_is_0 = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        return self._invert(plane) if white_is_0 else plane

    def _stored_plane(self, k: int) -> tuple[Any, NDArray[Any]]:
        """Return the page with the tags of a plane, and its samples as stored."""
        if self._contiguous is not None:
            return self._page, self._contiguous[np.unravel_index(k, self.leading_shape)]
        page = self._series.pages[k]
        if page is None:
            raise InputError(f"Plane {k} of {self.path} is missing: save the stack again.")
        check_page(self.path, page)
        with_tags = page if isinstance(page, tifffile.TiffPage) else self._page
        return with_tags, page.asarray()

    def _invert(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Convert values with 0 as white to values with 0 as black, except for alpha."""
        grey = plane[..., :1] if self.axes[-1] == "s" else plane
        used = self._used_range
        if self.dtype.kind == "b":
            inverted = ~grey
        elif self.dtype.kind == "f":
            inverted = (used.low + used.high - grey.astype(np.float64)).astype(self.dtype)
        else:  # in unsigned arithmetic, whose overflows cancel out
            unsigned = np.dtype(f"u{self.dtype.itemsize}")
            total = (int(used.low) + int(used.high)) % 2 ** (8 * unsigned.itemsize)
            inverted = (np.array(total, unsigned) - grey.astype(unsigned)).astype(self.dtype)
        if grey is plane:
            return inverted
        return np.dstack([np.broadcast_to(inverted, (*plane.shape[:2], 3)), plane[..., 3:]])

    @cached_property
    def _used_range(self) -> Range:
        """Range of the stored values of all planes."""
        if self.dtype.kind == "b" or (self.dtype == np.uint8 and self.bits is None):
            return Range.from_dtype(self.dtype)
        summary = Summary(self.dtype)
        for k in range(len(self)):
            page, plane = self._stored_plane(k)
            alpha = None if self._has_display_palette else alpha_index(page, "gray")
            summary.add(plane if alpha is None else plane[..., 0])
        return summary.range("auto", self.bits)

    def _physical_sizes(self) -> tuple[dict[str, float], dict[str, str]]:
        """Return the distance of neighbours along each axis, and its unit."""
        if self._tiff.is_ome:
            pixels = self._ome_image().get("Pixels", {})
            keys = {axis: f"PhysicalSize{axis.upper()}" for axis in "xyz"} | {"t": "TimeIncrement"}
            sizes = {axis: float(pixels[key]) for axis, key in keys.items() if key in pixels}
            # The defaults of the OME-XML schema are µm and s.
            return sizes, {
                axis: pixels.get(f"{keys[axis]}Unit", "s" if axis == "t" else "µm")
                for axis in sizes
            }
        if not self._tiff.is_imagej:
            return {}, {}
        metadata = self._tiff.imagej_metadata or {}
        sizes = {}
        for axis, tag in (("x", "XResolution"), ("y", "YResolution")):
            pixels_per, units_per = self._tiff.pages.first.tags.valueof(tag, default=(0, 0))
            if pixels_per and units_per:
                sizes[axis] = units_per / pixels_per
        if "spacing" in metadata:
            sizes["z"] = float(metadata["spacing"])
        units = {axis: str(metadata["unit"]) for axis in sizes if "unit" in metadata}
        if "finterval" in metadata:
            sizes["t"], units["t"] = float(metadata["finterval"]), "s"
        return sizes, units

    def _ome_image(self) -> dict[str, Any]:
        """Return the Image element of the OME-XML."""
        image = tifffile.xml2dict(self._tiff.ome_metadata or "")["OME"]["Image"]
        first: dict[str, Any] = image[0] if isinstance(image, list) else image
        return first

    def _write(self, path: Path, planes: Iterable[NDArray[Any]]) -> None:
        options = tiff_options(self.dtype, self.plane_shape)
        axes = "".join(self.axes).upper()
        ome = bool(self._tiff.is_ome)
        # Some files are marked as ImageJ's, but have types or orders that ImageJ lacks: these are
        # written as any other TIFF.
        types = _IMAGEJ_COLOUR if "s" in self.axes else _IMAGEJ_GREY
        in_order = axes == "".join(axis for axis in "TZCYXS" if axis in axes)
        imagej = bool(self._tiff.is_imagej) and self.dtype.char in types and in_order
        options["metadata"] = {"axes": axes}
        if ome:
            options["metadata"] |= self._ome_metadata()
        else:
            options |= self._resolution()
            if imagej:
                options["metadata"] |= self._imagej_metadata()
        packed = self.bits is not None and has_packed_bits(self._page)
        if packed or imagej:  # tifffile cannot compress packed bits; ImageJ needs a plugin
            options["compression"] = options["predictor"] = None
        if packed:
            options["bitspersample"] = self.bits
        elif self.bits is not None and not ome:
            options["extratags"] = [(MAX_SAMPLE_VALUE, 3, 1, 2**self.bits - 1, True)]
        big = math.prod(self.shape) * self.dtype.itemsize > _BIGTIFF_BYTES and not imagej
        with tifffile.TiffWriter(path, bigtiff=big, ome=ome, imagej=imagej) as writer:
            writer.write(
                (np.ascontiguousarray(plane, dtype=self.dtype) for plane in planes),
                shape=self.shape,
                dtype=self.dtype,
                **options,
            )

    def _ome_metadata(self) -> dict[str, Any]:
        """Return the attributes of the image, its channels and planes, as tifffile takes them."""
        image = self._ome_image()
        pixels = {
            key: value
            for key, value in image.get("Pixels", {}).items()
            if key not in ("ID", "BigEndian", "Interleaved", "TiffData", "BinData", "Type")
        }
        same_shape = tuple(self._series.shape) == self.shape
        pixels["Channel"] = _attribute_lists(pixels.get("Channel")) if same_shape else {}
        pixels["Plane"] = self._plane_attributes(pixels)
        names = ("Name", "Description", "AcquisitionDate")
        return {name: image[name] for name in names if name in image} | {
            key: value for key, value in pixels.items() if value
        }

    def _plane_attributes(self, pixels: dict[str, Any]) -> dict[str, Any]:
        """Return the attributes of the Plane elements in the order of the planes."""
        found = pixels.get("Plane")
        elements = found if isinstance(found, list) else [found] if found else []
        if len(elements) != len(self):
            return {}
        slowest_first = pixels["DimensionOrder"][:1:-1]
        return _attribute_lists(
            sorted(elements, key=lambda e: [int(e.get(f"The{axis}", 0)) for axis in slowest_first])
        )

    def _imagej_metadata(self) -> dict[str, Any]:
        from_shape = ("ImageJ", "images", "channels", "slices", "frames", "hyperstack")
        metadata = self._tiff.imagej_metadata or {}
        return {key: value for key, value in metadata.items() if key not in from_shape}

    def _resolution(self) -> dict[str, Any]:
        tags = self._tiff.pages.first.tags
        if "XResolution" not in tags or "YResolution" not in tags:
            return {}
        return {
            "resolution": (tags.valueof("XResolution"), tags.valueof("YResolution")),
            "resolutionunit": tags.valueof("ResolutionUnit", default=1),
        }


def _attribute_lists(found: Any) -> dict[str, Any]:
    """Return the attributes that all XML elements have, as lists by name."""
    elements = found if isinstance(found, list) else [found] if isinstance(found, dict) else []
    if not elements:
        return {}
    names = set.intersection(*(set(element) for element in elements))
    plain = [name for name in names if isinstance(elements[0][name], (str, int, float))]
    return {name: [element[name] for element in elements] for name in sorted(plain)}
