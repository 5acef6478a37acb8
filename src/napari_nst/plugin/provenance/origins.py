"""Where the pictures of a run came from, so that they can be had again.  No Qt here.

A record names its inputs and their hashes.  An origin says which file or sample an input was, or
which layer, and what was done to it on the way to the engine.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_nst.files import read_image
from napari_nst.intensities import Display, Range
from napari_nst.plugin.layers.intensities import Displayed
from napari_nst.plugin.layers.labels import LabelsPlane
from napari_nst.plugin.layers.projections import Projected
from napari_nst.samples import SAMPLES
from napari_nst.sampling import crossing, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_nst.plugin.layers.arrays import Plane
    from napari_nst.plugin.run.job import Job, Wish

__all__ = [
    "KEY",
    "Origin",
    "level_of",
    "origins_of_job",
    "origins_of_wish",
    "same_bytes",
    "without_repeats",
]

KEY = "napari_nst_origins"  # in the metadata of a result layer, beside its record
_US = "napari-nst"
_US_IN_PYTHON = "napari_nst.intensities"
_SAMPLING = "napari_nst.sampling"


@dataclass(frozen=True)
class Origin:
    """The way of a layer's pixels to the engine.

    Attributes
    ----------
    layer : str
        Its name when the run began.
    path : str or None
        The file it was read from.
    sample : str or None
        Its key in `samples.SAMPLES`, for a layer of one of our samples.
    level : int or None
        Which level of a multiscale layer.
    index : tuple of int, (start, stop) or None
        What of each axis was taken; None: all of it.
    transposed : bool
        Whether the viewer showed the two axes in the other order.
    limits : tuple of float or None
        The values that became 0 and 1; None: they were taken as they are.
    dtype : str
        Of the layer's data; as displayed, of what was made of them.
    layer_id : str or None
        The layer's ``unique_id``, which no other layer has while napari runs.
    shape : tuple of int or None
        Shape of the layer's data, of that level.
    pixels : str or None
        The labels as they were taken, compressed, for they may be painted over later.
    grid : tuple of tuple of int, or None
        For labels: the rows and columns that were taken last; None: all of them.
    intensities : str or None
        How the values were understood: the choice of `Plane.intensities`; None for labels.
    alpha : bool
        Whether the last of the colours is alpha.
    display : dict or None
        As displayed: the fields of the `Display`.
    nearest : tuple or None
        For labels that are turned, or beside the image in part: matrix, rows and columns of
        `sampling.nearest`.
    projection : tuple or None
        For a thick slice: the function of NumPy, and the axes of what was taken.
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
    def of(cls, layer: Layer, plane: Plane | LabelsPlane) -> Origin:
        """Return where a plane that was taken from a layer came from."""
        source = layer.source
        level = 0 if getattr(layer, "multiscale", False) else None
        limits, transposed = None, False
        index: tuple[Any, ...]
        more: dict[str, Any] = {}
        if isinstance(plane, LabelsPlane):
            index, transposed, more = _of_labels(plane)
        else:
            index, transposed, level = plane.index, plane.transposed, plane.level
            limits = None if plane.range is None else plane.limits
            more["intensities"] = plane.intensities
            more["alpha"] = plane.rgb and plane.data.shape[-1] == 4
            data = plane.data
            if isinstance(data, Displayed):
                index = index[: len(data.source.shape)]
                more["display"] = asdict(data.display)
                data = data.source
            if isinstance(data, Projected):
                more["projection"] = (data.mode, data.axes_within(index))
                index = tuple(
                    slice(*data.thick[axis]) if axis in data.thick else place
                    for axis, place in enumerate(index)
                )
        return cls(
            layer=plane.name,
            layer_id=str(layer.unique_id),
            shape=tuple(map(int, level_of(layer, level).shape)),
            pixels=_packed(plane.load()) if isinstance(plane, LabelsPlane) else None,
            path=None if source.path is None else str(source.path),
            sample=source.sample[1] if source.sample and source.sample[0] == _US else None,
            level=level,
            index=tuple(_plain(place) for place in index),
            transposed=transposed,
            limits=limits,
            dtype=np.dtype(plane.data.dtype).newbyteorder("=").name,
            **more,
        )

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Origin:
        """Return the origin that `to_dict` gave."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the origin as a dictionary of lists, strings and numbers."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def kept(self) -> NDArray[Any] | None:
        """The labels as they were taken; None for an image."""
        return None if self.pixels is None else _unpacked(self.pixels)

    def take(self, data: Any) -> NDArray[Any]:
        """Return what the engine was given, from a layer's data; see `Plane.load`."""
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
        return array if self.limits is None else self._range.to_unit(array, alpha=self.alpha)

    def take_in_python(self, name: str) -> Iterator[str]:
        """Yield the lines of Python that do to a variable what `take` does."""
        if any(place is not None for place in self.index):
            yield f"{name} = {name}[{', '.join(map(_place_in_python, self.index))}]"
        if self.projection is not None:
            mode, axes = self.projection
            yield f"{name} = np.{mode}({name}, axis={tuple(axes)})"
        if self.transposed:
            yield f"{name} = {name}.swapaxes(0, 1)"
        if self.nearest is not None:
            matrix, *sides = self.nearest
            rows, columns = (_places_in_python(tuple(places)) for places in sides)
            shown = [list(row) for row in matrix]
            yield f"{name} = {_SAMPLING}.nearest({name}, {shown}, {rows}, {columns})"
        if self.grid is not None:
            rows, columns = map(_places_in_python, self.grid)
            yield f"{name} = {name}[np.ix_({rows}, {columns})]"
        if self.display is not None:
            display = Display(**self.display)
            table = wrap(display.table, 88) or [""]
            yield f"{name} = {_US_IN_PYTHON}.Display("
            yield f"    {tuple(display.limits)!r},"
            yield f"    {display.gamma!r},"
            yield from (f"    {line!r}" for line in table)
            yield f").show({name})"
        elif self.limits is not None:
            yield f"{name} = {self._range_in_python}.to_unit({name}{self._alpha_in_python})"

    def restore_in_python(self, name: str) -> Iterator[str]:
        """Yield the lines of Python that make a result like the layer's data: `Plane.restore`."""
        back = f'from_unit({name}, "{self.dtype}"{self._alpha_in_python})'
        yield f"{name} = {self._range_in_python}.{back}"
        if self.transposed:
            yield f"{name} = {name}.swapaxes(0, 1)"
        axes = self.single_axes
        if axes:
            yield f"{name} = np.expand_dims({name}, {axes})"
        yield f"{name} = np.ascontiguousarray({name})"

    @property
    def single_axes(self) -> tuple[int, ...]:
        """The axes of the layer on which the picture has one place."""
        return single_axes(self.index, self.projection)

    @property
    def _range(self) -> Range:
        return Range.of_dtype(self.dtype) if self.limits is None else Range(*self.limits)

    @property
    def _range_in_python(self) -> str:
        found = self._range
        return f"{_US_IN_PYTHON}.Range({found.low!r}, {found.high!r})"

    @property
    def _alpha_in_python(self) -> str:
        return ", alpha=True" if self.alpha else ""

    def sources(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Yield where the layer's data may be had again: an expression, and what it does.

        The expressions need `read_image`, `samples` and `tifffile`.
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
    """Return the axes on which a picture with this index and projection has one place."""
    single = [axis for axis, place in enumerate(index) if isinstance(place, int)]
    if projection is not None:
        left = [axis for axis in range(len(index)) if axis not in single]
        single += [left[axis] for axis in projection[1]]
    return tuple(sorted(single))


def origins_of_job(job: Job, layers: Mapping[str, Layer] | Any) -> dict[str, Any]:
    """Return the origins of a job's pictures, for ``layer.metadata[KEY]`` of its result.

    Parameters
    ----------
    job : Job
        Whose planes were taken just now: layers are found by the planes' names.
    layers : mapping of str to Layer
        The viewer's.
    """
    return {
        "content": _origin(job.content, layers),
        "styles": [_origin(plane, layers) for plane in job.styles],
        "start": _origin(job.start, layers),
        "content_labels": _origin(job.content_labels, layers),
        "style_labels": [_origin(plane, layers) for plane in job.style_labels or ()],
        "replacements": [],
    }


def origins_of_wish(wish: Wish, layers: Mapping[str, Layer] | Any) -> list[dict[str, Any]]:
    """Return the origins of what a wish puts in, to be appended to the "replacements"."""
    planes = (*(wish.styles or ()), wish.content_labels, *(wish.style_labels or ()))
    return [found for plane in planes if (found := _origin(plane, layers)) is not None]


def without_repeats(origins: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return origins without those that a later one repeats: labels painted once more."""
    known = {repr(origin | {"pixels": None}): origin for origin in origins}
    return list(known.values())


def level_of(layer: Layer, level: int | None) -> Any:
    """Return the data of a level; None: all of them, of a layer without levels."""
    return layer.data if level is None else layer.data[level]


def same_bytes(array: NDArray[Any], record: dict[str, Any]) -> bool:
    """Return whether an array is the input that a record names."""
    if list(array.shape) != list(record["shape"]) or array.dtype.name != record["dtype"]:
        return False
    found = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
    return found == str(record["sha256"])


def _origin(plane: Any, layers: Mapping[str, Layer] | Any) -> dict[str, Any] | None:
    if plane is None or plane.name not in layers:
        return None
    return Origin.of(layers[plane.name], plane).to_dict()


def _packed(labels: NDArray[Any]) -> str:
    file = io.BytesIO()
    np.save(file, labels, allow_pickle=False)
    return base64.b64encode(zlib.compress(file.getvalue(), 1)).decode()


def _unpacked(text: str) -> NDArray[Any]:
    file = io.BytesIO(zlib.decompress(base64.b64decode(text)))
    return np.asarray(np.load(file, allow_pickle=False))


def _plain(place: Any) -> int | tuple[int | None, int | None] | None:
    if isinstance(place, slice):
        return None if place == slice(None) else (place.start, place.stop)
    return int(place)


def _of_labels(plane: LabelsPlane) -> tuple[tuple[Any, ...], bool, dict[str, Any]]:
    """Return index, transposed and the other fields of an origin of labels."""
    shape = plane.data.shape
    rows, columns = (tuple(map(int, places)) for places in plane.grid)
    simple = crossing(shape, plane.matrix, rows, columns)
    if simple is None:
        matrix = tuple(tuple(map(float, row)) for row in plane.matrix)
        return (slice(None),) * len(shape), False, {"nearest": (matrix, rows, columns)}
    index, transposed, grid = simple
    sides = [range(n) for n, i in zip(shape, index, strict=True) if isinstance(i, slice)]
    whole = all(
        np.array_equal(own, side)
        for own, side in zip(grid, sides[::-1] if transposed else sides, strict=True)
    )
    more = {} if whole else {"grid": tuple(tuple(map(int, places)) for places in grid)}
    return index, transposed, more


def _place_in_python(place: Any) -> str:
    if place is None:
        return ":"
    return str(place) if isinstance(place, int) else f"{place[0]}:{place[1]}"


def _places_in_python(places: tuple[int, ...]) -> str:
    if places == tuple(range(places[0], places[-1] + 1)):
        return f"range({places[0]}, {places[-1] + 1})"
    return str(list(places))
