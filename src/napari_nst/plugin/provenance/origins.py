"""Origins of a run's images, stored with its result.  No Qt here.

A record names the inputs of a run and their hashes.  An origin says which layer, file or sample an
input came from, and how its pixels were taken from there.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_nst.errors import InputError
from napari_nst.files import read_image
from napari_nst.plugin.layers.labels import LabelsPlane
from napari_nst.plugin.layers.projections import ProjectedArray
from napari_nst.plugin.layers.value_range import DisplayedArray
from napari_nst.ranges import Display, Range
from napari_nst.samples import SAMPLES
from napari_nst.sampling import nearest, plane_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_nst.plugin.layers.arrays import Plane
    from napari_nst.plugin.run.job import Job

__all__ = [
    "ORIGINS_KEY",
    "RECORD_KEY",
    "Origin",
    "origins_of_job",
    "origins_of_planes",
    "record_of",
    "same_bytes",
    "single_axes",
    "without_repeats",
]

# Keys of a result layer's metadata.
RECORD_KEY = "napari_nst"
ORIGINS_KEY = "napari_nst_origins"


@dataclass(frozen=True)
class Origin:
    """Source of an input, and the steps from the source's data to the engine's array.

    Attributes
    ----------
    layer : str
        Name of the layer when the run began.
    path : str or None
        File that the layer was read from.
    sample : str or None
        Key in `samples.SAMPLES`, for a layer of one of this plugin's samples.
    level : int or None
        Level of a multiscale layer.
    index : tuple of int, (start, stop) or None
        Part of each axis; None: all of it.
    transposed : bool
        Whether the viewer showed the two axes in the other order.
    limits : tuple of float or None
        Values that became 0 and 1; None: values were not rescaled.
    dtype : str
        Of the layer's data; with intensities "displayed", of the colours computed from them.
    layer_id : str or None
        The layer's ``unique_id``, which no other layer has in the same napari process.
    shape : tuple of int or None
        Shape of the layer's data at that level.
    pixels : str or None
        Labels as the run took them, compressed: the user may paint over the layer later.
    grid : tuple of tuple of int, or None
        For labels: rows and columns taken in the last step; None: all of them.
    intensities : str or None
        The choice of `Plane.intensities`; None for labels.
    alpha : bool
        Whether the last channel is alpha.
    display : dict or None
        With intensities "displayed": the fields of the `Display`.
    nearest : tuple or None
        For labels that are rotated, or cover the image in part: matrix, rows and columns of
        `sampling.nearest`.
    projection : tuple or None
        For a thick slice: name of the NumPy function, and the axes that it reduces.
    """

    layer: str
    path: str | None
    sample: str | None
    level: int | None
    index: tuple[Any, ...]
    transposed: bool
    limits: tuple[float, float] | None
    dtype: str
    layer_id: str | None = None
    shape: tuple[int, ...] | None = None
    pixels: str | None = None
    grid: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    intensities: str | None = None
    alpha: bool = False
    display: dict[str, Any] | None = None
    nearest: tuple[Any, ...] | None = None
    projection: tuple[Any, ...] | None = None

    @classmethod
    def from_plane(cls, plane: Plane | LabelsPlane) -> Origin:
        """Return the origin of a plane that was taken from a layer."""
        if isinstance(plane, LabelsPlane):
            if plane.origin is not None:
                return plane.origin
            fields = _fields_of_labels(plane)
        else:
            fields = _fields_of_image(plane)
        assert plane.source is not None
        index = tuple(_plain(place) for place in fields.pop("index"))
        dtype = np.dtype(plane.data.dtype).newbyteorder("=").name
        return cls(layer=plane.name, index=index, dtype=dtype, **asdict(plane.source), **fields)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Origin:
        """Return the origin that `to_dict` converted."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the origin as a dictionary of lists, strings and numbers."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def stored_labels(self) -> NDArray[Any] | None:
        """Labels as the run took them; None for an image."""
        return None if self.pixels is None else _decompressed(self.pixels)

    @property
    def single_axes(self) -> tuple[int, ...]:
        """Axes of the layer along which the input has one place."""
        return single_axes(self.index, self.projection)

    @property
    def range(self) -> Range:
        """Range of values that became 0 and 1."""
        return Range.from_dtype(self.dtype) if self.limits is None else Range(*self.limits)

    def take(self, data: Any) -> NDArray[Any]:
        """Return the engine's array, given the layer's data; see `Plane.load`."""
        places = tuple(slice(*i) if isinstance(i, list | tuple) else i for i in self.index)
        array = np.asarray(data[tuple(slice(None) if i is None else i for i in places)])
        if self.projection is not None:
            mode, axes = self.projection
            array = getattr(np, mode)(array, axis=tuple(axes))
        if self.transposed:
            array = array.swapaxes(0, 1)
        if self.grid is not None:
            array = array[np.ix_(*self.grid)]
        if self.nearest is not None:
            array = nearest(array, *self.nearest)
        if self.display is not None:
            return Display(**self.display).show(array)
        return array if self.limits is None else self.range.to_unit(array, alpha=self.alpha)

    def sources(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Yield the sources that may still have the layer's data.

        Yields
        ------
        expression : str
            Python that reads the data, given `read_image`, `samples` and `tifffile`.
        read : callable
            The same as a function.
        """
        if self.sample is not None and self.sample in SAMPLES:
            sample = SAMPLES[self.sample]
            yield f"samples.SAMPLES[{self.sample!r}].content()", sample.content
            yield f"samples.SAMPLES[{self.sample!r}].style()", sample.style
        if self.path is not None and Path(self.path).is_file():
            path = self.path
            yield f"read_image({path!r})", lambda: read_image(path)
            yield f"tifffile.imread({path!r})", lambda: tifffile.imread(path)


def single_axes(index: Sequence[Any], projection: Sequence[Any] | None) -> tuple[int, ...]:
    """Return the axes along which an image with this index and projection has one place."""
    single = [axis for axis, place in enumerate(index) if isinstance(place, int)]
    if projection is not None:
        left = [axis for axis in range(len(index)) if axis not in single]
        single += [left[axis] for axis in projection[1]]
    return tuple(sorted(single))


def origins_of_job(job: Job) -> dict[str, Any]:
    """Return the origins of a job's inputs, for ``metadata[ORIGINS_KEY]`` of its result."""
    return {
        "content": _origin(job.content),
        "styles": [_origin(plane) for plane in job.styles],
        "init_image": _origin(job.init_image),
        "content_labels": _origin(job.content_labels),
        "style_labels": [_origin(plane) for plane in job.style_labels or ()],
        "replacements": [],
    }


def origins_of_planes(planes: Iterable[Plane | LabelsPlane]) -> list[dict[str, Any]]:
    """Return the origins of inputs that replace others, to extend "replacements"."""
    return [Origin.from_plane(plane).to_dict() for plane in planes]


def without_repeats(origins: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the origins; of several that differ only in painted labels, keep the last."""
    latest = {repr(origin | {"pixels": None}): origin for origin in origins}
    return list(latest.values())


def record_of(layer: Layer) -> dict[str, Any]:
    """Return the record of a result layer.

    Raises
    ------
    InputError
        If the layer has none.
    """
    record = layer.metadata.get(RECORD_KEY)
    if not isinstance(record, dict) or "settings" not in record:
        raise InputError(
            f"{layer.name} has no record of a run: choose a layer that the style transfer made."
        )
    return record


def same_bytes(array: NDArray[Any], record: dict[str, Any]) -> bool:
    """Return whether an array is the input that a record names."""
    if list(array.shape) != list(record["shape"]) or array.dtype.name != record["dtype"]:
        return False
    found = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
    return found == str(record["sha256"])


def _origin(plane: Plane | LabelsPlane | None) -> dict[str, Any] | None:
    return None if plane is None else Origin.from_plane(plane).to_dict()


def _compressed(labels: NDArray[Any]) -> str:
    file = io.BytesIO()
    np.save(file, labels, allow_pickle=False)
    return base64.b64encode(zlib.compress(file.getvalue(), 1)).decode()


def _decompressed(text: str) -> NDArray[Any]:
    file = io.BytesIO(zlib.decompress(base64.b64decode(text)))
    return np.asarray(np.load(file, allow_pickle=False))


def _plain(place: Any) -> int | tuple[int | None, int | None] | None:
    if isinstance(place, slice):
        return None if place == slice(None) else (place.start, place.stop)
    return int(place)


def _fields_of_image(plane: Plane) -> dict[str, Any]:
    index, data = plane.index, plane.data
    fields: dict[str, Any] = {
        "transposed": plane.transposed,
        "limits": None if plane.range is None else plane.limits,
        "intensities": plane.intensities,
        "alpha": plane.rgb and data.shape[-1] == 4,
    }
    if isinstance(data, DisplayedArray):
        index = index[: len(data.source.shape)]
        fields["display"] = asdict(data.display)
        data = data.source
    if isinstance(data, ProjectedArray):
        fields["projection"] = (data.mode, data.axes_within(index))
        index = tuple(
            slice(*data.thick[axis]) if axis in data.thick else place
            for axis, place in enumerate(index)
        )
    return fields | {"index": index}


def _fields_of_labels(plane: LabelsPlane) -> dict[str, Any]:
    fields: dict[str, Any] = {"limits": None, "pixels": _compressed(plane.load())}
    shape = plane.data.shape
    rows, columns = (tuple(map(int, places)) for places in plane.grid)
    simple = plane_index(shape, plane.matrix, rows, columns)
    if simple is None:
        matrix = tuple(tuple(map(float, row)) for row in plane.matrix)
        nearest_arguments = (matrix, rows, columns)
        whole_index = (slice(None),) * len(shape)
        return fields | {"index": whole_index, "transposed": False, "nearest": nearest_arguments}
    index, transposed, grid = simple
    sides = [range(n) for n, i in zip(shape, index, strict=True) if isinstance(i, slice)]
    whole = all(
        np.array_equal(own, side)
        for own, side in zip(grid, sides[::-1] if transposed else sides, strict=True)
    )
    if not whole:
        fields["grid"] = tuple(tuple(map(int, places)) for places in grid)
    return fields | {"index": index, "transposed": transposed}
