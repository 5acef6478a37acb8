"""Stacks in Zarr: arrays, and the multiscale images of OME-Zarr."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.errors import InputError
from napari_nst.files._limits import check_bytes
from napari_nst.files._stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ZarrStack", "is_zarr"]

_METADATA_FILES = (".zarray", ".zgroup", "zarr.json")
_COLOUR_LENGTHS = (3, 4)

# Names of groups of several images, by their attribute.
_COLLECTIONS = {
    "plate": "plate of OME-Zarr",
    "well": "well of OME-Zarr",
    "labels": "group of labels of OME-Zarr",
    "bioformats2raw.layout": "group of images of OME-Zarr",
}
_MAX_DEPTH = 4  # of nested groups that are searched: a plate has rows, columns and fields


def is_zarr(path: Path) -> bool:
    """Return whether a folder is a Zarr array or group."""
    return any((path / name).is_file() for name in _METADATA_FILES)


class ZarrStack(Stack):
    """A Zarr array, or the full resolution of an OME-Zarr image.

    OME-Zarr has axes and units in ``multiscales``; an array may name its dimensions (Zarr 3,
    xarray).  Otherwise its last two axes are those of planes, preceding an axis of three or four
    uint8 values, which are colours.
    """

    def __init__(self, path: Path) -> None:
        try:
            import zarr
        except ImportError:
            raise InputError(
                f"{path} is a Zarr store, and the package zarr is not installed: install it with "
                "'pip install napari-nst[zarr]'."
            ) from None
        self.path = path
        node: Any = zarr.open(path, mode="r")
        self._group: Any = None
        self._level = ""
        self._channel: str | None = None
        if isinstance(node, zarr.Group):
            self._group = node
            self._level = _full_resolution(path, node)
            try:
                node = node[self._level]
            except KeyError:
                raise InputError(
                    f"{path} names {self._level!r} as its image, which is missing: copy it again."
                ) from None
        self._array: Any = node
        if not hasattr(node, "dtype") or node.ndim < 2:
            raise InputError(
                f"{path} is not a stack of planes: name an array of at least two axes, or an "
                "OME-Zarr image."
            )
        _refuse_pickles(path, node.metadata)
        self.shape = tuple(node.shape)
        self.dtype = np.dtype(node.dtype).newbyteorder("=")
        check_bytes(path, math.prod(node.chunks) * self.dtype.itemsize, "chunk")
        self.sizes, self.units = {}, {}
        if self._group is not None:
            self._read_multiscales(_multiscales(self._group.attrs)[0])
        else:
            self.axes = self._array_axes()
        if self.axes[-2:] != ("y", "x") and self.axes[-3:] != ("y", "x", "s"):
            raise InputError(
                f"{path} has the axes {', '.join(self.axes)}: the last two must be y and x."
            )

    @property
    def channel(self) -> str | None:
        """Name of the channel axis, by its type in OME-Zarr or its name."""
        return self._channel or super().channel

    def _read_multiscales(self, image: Mapping[str, Any]) -> None:
        """Set axes, channel, sizes and units from the metadata of an OME-Zarr image."""
        axes = image.get("axes") or [*"tczyx"][-len(self.shape) :]
        described = [axis if isinstance(axis, dict) else {"name": axis} for axis in axes]
        self.axes = tuple(str(axis["name"]).lower() for axis in described)
        if len(self.axes) != len(self.shape):
            raise InputError(
                f"{self.path} names {len(self.axes)} axes for an array of {len(self.shape)}: its "
                "multiscales attribute is damaged."
            )
        types = [str(axis.get("type", "")) for axis in described]
        self._channel = self.axes[types.index("channel")] if "channel" in types else None
        self.units = {
            name: str(axis["unit"])
            for name, axis in zip(self.axes, described, strict=True)
            if "unit" in axis
        }
        # The scale of the level is multiplied by the one of all levels.
        scales = [
            np.array(transform["scale"], float)
            for transform in (
                *image["datasets"][0].get("coordinateTransformations", ()),
                *image.get("coordinateTransformations", ()),
            )
            if transform.get("type") == "scale" and "scale" in transform
        ]
        if scales:
            steps = np.ones(len(self.axes)) * np.prod(scales, axis=0)
            self.sizes = dict(zip(self.axes, steps.tolist(), strict=True))

    def _array_axes(self) -> tuple[str, ...]:
        """Return the names of the axes of an array outside OME-Zarr."""
        ndim = len(self.shape)
        names = getattr(self._array.metadata, "dimension_names", None)
        names = names or self._array.attrs.get("_ARRAY_DIMENSIONS")
        if names and all(names):
            axes = [str(name).lower() for name in names]
            if axes[-1] in ("s", "rgb", "rgba", "sample", "samples"):
                return (*axes[:-3], "y", "x", "s")
            return (*axes[:-2], "y", "x")
        coloured = ndim > 2 and self.shape[-1] in _COLOUR_LENGTHS and self.dtype == np.uint8
        last = ("y", "x", "s") if coloured else ("y", "x")
        return (*(f"axis{n}" for n in range(ndim - len(last))), *last)

    def _read(self, k: int) -> NDArray[Any]:
        return np.asarray(self._array[self._index(k)])

    def _index(self, k: int) -> Any:
        """Return the index of a plane in the array."""
        return np.unravel_index(k, self.leading_shape) if self.leading_shape else ...

    def _write(self, path: Path, planes: Iterable[NDArray[Any]]) -> None:
        import zarr

        source = self._array
        version = source.metadata.zarr_format
        options: dict[str, Any] = {
            "shape": self.shape,
            "dtype": self.dtype,
            "chunks": source.chunks,
            "shards": source.shards,
            "compressors": source.compressors,
            "fill_value": source.fill_value,
            "attributes": source.attrs.asdict(),
        }
        names = getattr(source.metadata, "dimension_names", None)
        if names is not None:
            options["dimension_names"] = names
        if self._group is None:
            array = zarr.create_array(path, zarr_format=version, **options)
        else:
            group = zarr.open_group(
                path,
                mode="w",
                zarr_format=version,
                attributes=_single_level_attributes(self._group.attrs),
            )
            array = group.create_array(self._level, **options)
        for k, plane in enumerate(planes):
            array[self._index(k)] = plane


def _refuse_pickles(path: Path, metadata: Any) -> None:
    """Raise InputError for an array of Zarr 2 with pickles, whose decoding can run any code."""
    codecs = (*(getattr(metadata, "filters", None) or ()), getattr(metadata, "compressor", None))
    if any(getattr(codec, "codec_id", None) == "pickle" for codec in codecs):
        raise InputError(
            f"{path} has the codec 'pickle', which can run code of whoever made it: ask for a copy "
            "with another codec."
        )


def _multiscales(attributes: Any) -> Any:
    """Return the multiscales attribute; OME-Zarr 0.5 has it under "ome"."""
    found = attributes.get("multiscales") or attributes.get("ome", {}).get("multiscales")
    return found or [{}]


def _full_resolution(path: Path, group: Any) -> str:
    """Return the name of the full resolution of an image in its group."""
    try:
        return str(_multiscales(group.attrs)[0]["datasets"][0]["path"])
    except (KeyError, IndexError, TypeError):
        pass
    attributes = group.attrs.get("ome", group.attrs)
    collection = next((name for key, name in _COLLECTIONS.items() if key in attributes), None)
    kind = collection or "Zarr group without an image of OME-Zarr"
    inside = _first_image(group, _MAX_DEPTH)
    if inside is None:
        raise InputError(f"{path} is a {kind} without an image or array in it: copy it again.")
    raise InputError(f"{path} is a {kind}: name an image in it, such as {path / inside}.")


def _first_image(group: Any, depth: int) -> str | None:
    """Return the path in a group of the first OME-Zarr image or array of planes.

    The store is searched because the metadata of plates list wells and fields without images.
    """
    import zarr

    names: list[str] = sorted(group.keys(), key=_numbers_first)
    for name in names:
        try:
            node = group[name]
        except Exception:  # skip a damaged member
            continue
        if isinstance(node, zarr.Group):
            if _multiscales(node.attrs)[0]:
                return name
            found = _first_image(node, depth - 1) if depth > 1 else None
            if found is not None:
                return f"{name}/{found}"
        elif node.ndim > 1:
            return name
    return None


def _numbers_first(name: str) -> tuple[bool, int, str]:
    """Sort key: 2 before 10, and numbers before words such as "labels"."""
    return (False, int(name), name) if name.isdecimal() else (True, 0, name)


def _single_level_attributes(attributes: Any) -> dict[str, Any]:
    """Return a copy of the attributes of an image, with its full resolution as the only level."""
    copied: dict[str, Any] = copy.deepcopy(attributes.asdict())
    for image in _multiscales(copied)[:1]:
        image["datasets"] = image["datasets"][:1]
    return copied
