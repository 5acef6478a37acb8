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

_MARKS = (".zarray", ".zgroup", "zarr.json")
_COLORS = (3, 4)

# What a group of several images is called, by an attribute of it.
_COLLECTIONS = {
    "plate": "plate of OME-Zarr",
    "well": "well of OME-Zarr",
    "labels": "group of labels of OME-Zarr",
    "bioformats2raw.layout": "group of images of OME-Zarr",
}
_MOST_NESTED = 4  # groups within groups that are looked into: a plate has rows, columns and fields


def is_zarr(path: Path) -> bool:
    """Return whether a folder is an array or a group of Zarr."""
    return any((path / mark).is_file() for mark in _MARKS)


class ZarrStack(Stack):
    """An array of Zarr, or the full resolution of an OME-Zarr image.

    The axes of OME-Zarr and their units are those of its ``multiscales``; an array on its own may
    name its dimensions (Zarr 3, xarray), and if not, its last two axes are the planes'; a third
    one of three or four bytes is colour.

    Parameters
    ----------
    path : Path
        The folder.

    Raises
    ------
    InputError
        If the package zarr is missing, or the folder holds neither.
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
            self._level = _level_zero(path, node)
            try:
                node = node[self._level]
            except KeyError:
                raise InputError(
                    f"{path} says that its image is in {self._level!r}, and there is nothing: "
                    "copy it again."
                ) from None
        self._array: Any = node
        if not hasattr(node, "dtype") or node.ndim < 2:
            raise InputError(
                f"{path} is no stack of planes: name an array of at least two axes, or an "
                "OME-Zarr image."
            )
        self.shape = tuple(node.shape)
        self.dtype = np.dtype(node.dtype).newbyteorder("=")
        check_bytes(path, math.prod(node.chunks) * self.dtype.itemsize, "chunk")
        self.sizes, self.units = {}, {}
        if self._group is not None:
            self._take_ome(_multiscales(self._group.attrs)[0])
        else:
            self.axes = self._axes_of_array()
        if self.axes[-2:] != ("y", "x") and self.axes[-3:] != ("y", "x", "s"):
            raise InputError(
                f"{path} has the axes {', '.join(self.axes)}: the last two must be y and x."
            )

    @property
    def channel(self) -> str | None:
        """The name of the axis of the channels: the one of that type, or by its name."""
        return self._channel or super().channel

    def _take_ome(self, image: Mapping[str, Any]) -> None:
        axes = image.get("axes") or [*"tczyx"][-len(self.shape) :]
        named = [axis if isinstance(axis, dict) else {"name": axis} for axis in axes]
        self.axes = tuple(str(axis["name"]).lower() for axis in named)
        if len(self.axes) != len(self.shape):
            raise InputError(
                f"{self.path} names {len(self.axes)} axes for an array of {len(self.shape)}: its "
                "multiscales attribute is damaged."
            )
        types = [str(about.get("type", "")) for about in named]
        self._channel = self.axes[types.index("channel")] if "channel" in types else None
        self.units = {
            axis: str(about["unit"])
            for axis, about in zip(self.axes, named, strict=True)
            if "unit" in about
        }
        steps = np.ones(len(self.axes))
        found = False
        # What holds for all levels comes on top of what holds for this one.
        for change in (
            *image["datasets"][0].get("coordinateTransformations", ()),
            *image.get("coordinateTransformations", ()),
        ):
            if change.get("type") == "scale" and "scale" in change:
                steps, found = steps * np.array(change["scale"], float), True
        if found:
            self.sizes = dict(zip(self.axes, steps.tolist(), strict=True))

    def _axes_of_array(self) -> tuple[str, ...]:
        """Name the axes of an array that is on its own."""
        count = len(self.shape)
        named = getattr(self._array.metadata, "dimension_names", None)
        named = named or self._array.attrs.get("_ARRAY_DIMENSIONS")
        if named and all(named):
            found = [str(name).lower() for name in named]
            if found[-1] in ("s", "rgb", "rgba", "sample", "samples"):
                return (*found[:-3], "y", "x", "s")
            return (*found[:-2], "y", "x")
        colored = count > 2 and self.shape[-1] in _COLORS and self.dtype == np.uint8
        last = ("y", "x", "s") if colored else ("y", "x")
        return (*(f"axis{n}" for n in range(count - len(last))), *last)

    def _read(self, k: int) -> NDArray[Any]:
        return np.asarray(self._array[self._place(k)])

    def _place(self, k: int) -> Any:
        return np.unravel_index(k, self.leading) if self.leading else ...

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
                path, mode="w", zarr_format=version, attributes=_of_one_level(self._group.attrs)
            )
            array = group.create_array(self._level, **options)
        for k, plane in enumerate(planes):
            array[self._place(k)] = plane


def _multiscales(attributes: Any) -> Any:
    """Return the attribute in its place: OME-Zarr 0.5 has it under "ome"."""
    found = attributes.get("multiscales") or attributes.get("ome", {}).get("multiscales")
    return found or [{}]


def _level_zero(path: Path, group: Any) -> str:
    """Return where in a group the full resolution is."""
    try:
        return str(_multiscales(group.attrs)[0]["datasets"][0]["path"])
    except (KeyError, IndexError, TypeError):
        pass
    about = group.attrs.get("ome", group.attrs)
    found = next((kind for key, kind in _COLLECTIONS.items() if key in about), None)
    kind = found or "Zarr group without an image of OME-Zarr"
    inside = _first_image(group, _MOST_NESTED)
    if inside is None:
        raise InputError(
            f"{path} is a {kind}, and there is no image or array in it: copy it again."
        )
    raise InputError(f"{path} is a {kind}: name an image in it, such as {path / inside}.")


def _first_image(group: Any, depth: int) -> str | None:
    """Return where in a group the first image of OME-Zarr or the first array of planes is.

    The metadata of plates name wells and fields that were never written, so the store is asked.
    """
    import zarr

    names: list[str] = sorted(group.keys(), key=_by_number)
    for name in names:
        try:
            node = group[name]
        except Exception:  # a damaged member is no reason against those after it
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


def _by_number(name: str) -> tuple[bool, int, str]:
    """Order the names of members: 2 before 10, and numbers before words such as "labels"."""
    return (False, int(name), name) if name.isdecimal() else (True, 0, name)


def _of_one_level(attributes: Any) -> dict[str, Any]:
    """Return the attributes of a group whose image has its full resolution only."""
    kept: dict[str, Any] = copy.deepcopy(attributes.asdict())
    for image in _multiscales(kept)[:1]:
        image["datasets"] = image["datasets"][:1]
    return kept
