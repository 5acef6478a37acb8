"""Convert the values of files to the input of a run, and results back to values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.batch.layout import Layout
from napari_nst.errors import InputError
from napari_nst.files import (
    count_frames,
    is_stack,
    open_stack,
    read_image,
    read_metadata,
    write_image,
)
from napari_nst.ranges import Range, RangedImage, Summary, visible_values
from napari_nst.record import RunRecord

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_nst.batch.layout import Channels
    from napari_nst.engine.run.snapshots import StyleTransferResult
    from napari_nst.files import Stack
    from napari_nst.ranges import Intensities

__all__ = [
    "StackConversion",
    "StackPictures",
    "plane_of",
    "read_init_image",
    "read_picture",
    "read_result",
    "read_style",
    "write_result",
]

_JPEG, _TIFF = (".jpg", ".jpeg"), (".tif", ".tiff")
_UNNAMED = {"i": "page", "q": "page"}  # tifffile's names of axes without a name


@dataclass(frozen=True)
class StackConversion:
    """Conversion between the values of a stack and the input of a run.

    Attributes
    ----------
    dtype : dtype
        Type of the values.
    ranges : tuple of Range
        Values of black and white: one range, or one per channel.
    alpha : bool
        Whether the last of the colours is alpha.
    layout : Layout
        Which planes form a picture.
    """

    dtype: np.dtype[Any]
    ranges: tuple[Range, ...]
    alpha: bool = False
    layout: Layout = field(default_factory=Layout)

    @classmethod
    def from_stack(
        cls, stack: Stack, intensities: Intensities, channels: Channels
    ) -> StackConversion:
        """Choose one range for the stack, or one per channel.

        Raises
        ------
        InputError
            If a plane cannot be read, or an argument does not suit the stack.
        """
        layout = Layout.from_stack(stack, channels)
        count = layout.channel_count
        size = int(np.prod((len(stack), *stack.plane_shape))) // count
        summaries = [Summary(stack.dtype, size) for _ in range(count)]
        if _depends_on_values(intensities, stack.dtype, stack.bits):
            for k, plane in enumerate(stack):  # one plane in memory at a time
                summaries[layout.channel_of(k)].add(visible_values(plane))
        ranges = tuple(s.range(intensities, stack.bits) for s in summaries)
        ranges = ranges[:1] if len(set(ranges)) == 1 else ranges
        return cls(stack.dtype, ranges, stack.plane_shape[2:] == (4,), layout)

    @property
    def limits(self) -> tuple[float, float] | tuple[tuple[float, float], ...]:
        """Values of black and white: one pair for all channels, or one per channel."""
        limits = tuple((each.low, each.high) for each in self.ranges)
        return limits[0] if len(limits) == 1 else limits

    def to_engine(self, n: int, planes: NDArray[Any]) -> NDArray[Any]:
        """Convert picture `n` to the input of a run.

        Parameters
        ----------
        n : int
            Index of the picture.
        planes : ndarray
            Its plane; or its channels along the first axis, if the layout joins them.
        """
        numbers = self.layout.planes(n)
        if not self.layout.together:
            span = self.range_of(numbers[0])
            if self.dtype == np.uint8 and span == Range.from_dtype(self.dtype):
                return planes
            return RangedImage(planes, span).to_unit()
        colours = [
            RangedImage(plane, self.range_of(k)).to_unit()
            for k, plane in zip(numbers, planes, strict=True)
        ]
        black = np.zeros_like(colours[0])
        return np.stack([*colours, black][:3], axis=-1)

    def from_engine(self, n: int, picture: NDArray[np.floating[Any]]) -> NDArray[Any]:
        """Convert the result for picture `n` to its plane or channels, in the type of the stack."""
        numbers = self.layout.planes(n)
        if not self.layout.together:
            return self.range_of(numbers[0]).from_unit(picture, self.dtype, alpha=self.alpha)
        return np.stack(
            [self.range_of(k).from_unit(picture[..., c], self.dtype) for c, k in enumerate(numbers)]
        )

    def range_of(self, k: int) -> Range:
        """Return the range of plane `k`."""
        return self.ranges[self.layout.channel_of(k) if len(self.ranges) > 1 else 0]


class StackPictures:
    """Lazy sequence of the pictures of a stack as input of runs.

    Parameters
    ----------
    stack : Stack
        The planes in the file.
    conversion : StackConversion
        Conversion of the values.
    """

    def __init__(self, stack: Stack, conversion: StackConversion) -> None:
        self._stack, self._conversion = stack, conversion

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._conversion.layout)

    def __getitem__(self, n: int) -> NDArray[Any]:
        """Read a picture."""
        layout = self._conversion.layout
        planes = [self._stack[k] for k in layout.planes(n)]
        return self._conversion.to_engine(n, np.stack(planes) if layout.together else planes[0])


def read_picture(
    path: Path,
    intensities: Intensities = "auto",
    plane: tuple[int, ...] | None = None,
    *,
    what: str = "content",
    option: str | None = "--plane",
) -> RangedImage:
    """Read a picture, or one plane of a stack or animation, with the range of its values.

    Parameters
    ----------
    path : Path
        A picture, an animation or a stack.
    intensities : {"auto", "full", "percentiles"} or tuple of float
        Which values are black and white: see `Summary.range`.  A plane has the range of its stack
        or channel.
    plane : tuple of int, optional
        Index of the plane along each axis longer than 1, from 0.
    what, option : str
        Name of the picture and of the option for its plane in messages; None if there is no such
        option.

    Raises
    ------
    InputError
        If it cannot be read, or has several planes and `plane` is None.
    """
    if not is_stack(path):
        frames = count_frames(path)
        n = _plane_index(path, {"frame": frames}, plane, what, option, in_batch=False)
        image = read_image(path, n) if n else read_image(path)
        return _ranged(image, Summary.from_values(visible_values(image)).range(intensities))
    with open_stack(path) as stack:
        lengths = dict(zip(stack.leading_axes, stack.leading_shape, strict=True))
        in_batch = what == "content"
        k = _plane_index(path, lengths, plane, what, option, in_batch=in_batch)
        conversion = StackConversion.from_stack(stack, intensities, "separate")
        return _ranged(stack[k], conversion.range_of(k))


def plane_of(path: Path, plane: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the option `plane`, which is for several files, or None for a file with one plane."""
    if plane is None:
        return None
    if not is_stack(path):
        return plane if count_frames(path) > 1 else None
    with open_stack(path) as stack:
        return plane if len(stack) > 1 else None


def read_style(
    path: Path, intensities: Intensities = "auto", plane: tuple[int, ...] | None = None
) -> RangedImage:
    """Read a style for a run.

    Parameters
    ----------
    path : Path
        A picture, or a stack.
    intensities : {"auto", "full", "percentiles"} or tuple of float
        The option for the contents.  Two values say nothing about a style, so a grey style has the
        range of its own percentiles.  Colours of a style are never stretched.
    plane : tuple of int, optional
        The plane, if the style has several.

    Raises
    ------
    InputError
        If it cannot be read, or has several planes and `plane` is None.
    """
    grey = intensities if intensities in ("auto", "full") else "percentiles"
    style = read_picture(path, grey, plane, what="style", option="--style-plane")
    if style.values.ndim == 3 and grey == "percentiles":
        return read_picture(path, "auto", plane, what="style", option="--style-plane")
    return style


def read_init_image(
    path: Path, content: RangedImage, intensities: Intensities, plane: tuple[int, ...] | None
) -> RangedImage:
    """Read the initial image, in the range of the content if its values fit.

    Parameters
    ----------
    path : Path
        A picture, or a stack.
    content : RangedImage
        Its range is used if the type is the same and all values lie in it.
    intensities, plane
        As for `read_picture`.
    """
    image = read_picture(path, intensities, plane_of(path, plane), what="initial image")
    if image.values.dtype != content.values.dtype:
        return image
    span = content.range or Range.from_dtype(content.values.dtype)
    values = Summary.from_values(visible_values(image.values))
    within = values.low is not None and span.low <= values.low and values.high <= span.high
    return dataclasses.replace(image, range=content.range) if within else image


def write_result(
    path: Path, result: StyleTransferResult, depth: str | None = None
) -> tuple[Path | None, str | None]:
    """Write the result of a run, with its values in the range of the content.

    Parameters
    ----------
    path : Path
        The destination; its suffix selects the format.
    result : StyleTransferResult
        Result, with the type and range of the content in its record.
    depth : {"8", "16"}, optional
        Bits of a sample; by default the type of the content, as far as the format supports it.

    Returns
    -------
    Path or None
        As for `write_image`.
    str or None
        A note for the user, if the file cannot hold the values of the content.
    """
    content, text = result.record.content, result.record.to_json()
    dtype: np.dtype[Any] = np.dtype(content.dtype)
    picture: NDArray[Any] = result.image
    alpha = picture.shape[2:] == (4,)
    suffix = path.suffix.lower()
    has_8_bits = dtype.kind in "ub" and dtype.itemsize == 1
    bits = 8 if suffix in _JPEG else int(depth) if depth else 8 if has_8_bits else 16
    target = np.dtype(np.uint8 if bits == 8 else np.uint16)
    span = None if content.range is None else Range(*content.range)
    if content.bits is not None and bits == 8:  # relative to 16 bits, it would be nearly black
        span = Range(0, 2**content.bits - 1)
        share = Range(0, span.high / Range.from_dtype(dtype).high)
        picture = share.to_unit(picture, alpha=alpha)
    rescaled = None  # the range of the content, if the file cannot hold its values
    if span is not None and dtype not in (np.uint8, np.uint16):
        is_full = span == Range.from_dtype(dtype) and dtype.kind in "bf"
        if suffix in _TIFF and depth is None and not is_full:
            values = span.from_unit(picture, dtype, alpha=alpha)
            return write_image(path, values, dtype=None, metadata=text), None
        rescaled = None if is_full else span
    elif span is not None:
        top, content_top = Range.from_dtype(target).high, Range.from_dtype(dtype).high
        if top >= content_top:  # the content's own values, or those of 8 bits scaled to 16
            scaled = Range(span.low * top / content_top, span.high * top / content_top)
            picture = scaled.from_unit(picture, target, alpha=alpha) / np.float32(top)
        elif span != Range.from_dtype(dtype):
            rescaled = span
    sidecar = write_image(path, picture, dtype=target.name, metadata=text)  # type: ignore[arg-type]
    if rescaled is None:
        return sidecar, None
    return sidecar, (
        f"its values from {rescaled.low:g} to {rescaled.high:g} are 0 to {2**bits - 1} in {path}."
    )


def read_result(path: Path) -> NDArray[Any]:
    """Read a PNG that `write_result` wrote, with the values of the run, for display."""
    image = read_image(path)
    content = RunRecord.model_validate_json(read_metadata(path) or "").content
    if content.range is None or content.dtype not in ("uint8", "uint16"):
        return image
    return RangedImage(image, Range(*content.range)).to_unit()


def _ranged(image: NDArray[Any], span: Range) -> RangedImage:
    """Return an image with its range, or None for the full range of 8 or 16 bits."""
    is_full = image.dtype in (np.uint8, np.uint16) and span == Range.from_dtype(image.dtype)
    return RangedImage(image, None if is_full else span)


def _depends_on_values(intensities: Intensities, dtype: np.dtype[Any], bits: int | None) -> bool:
    """Return whether the range depends on the values, not only on their type."""
    if not isinstance(intensities, str) or dtype.kind == "b":
        return False
    if intensities == "full":
        return dtype.kind == "f" or dtype.itemsize > 2
    return intensities == "percentiles" or dtype != np.uint8 or bits is not None


def _plane_index(
    path: Path,
    lengths: dict[str, int],
    plane: tuple[int, ...] | None,
    what: str,
    option: str | None,
    *,
    in_batch: bool,
) -> int:
    """Return the index in the file of a plane, or raise InputError.

    `in_batch`: whether a batch restyles all planes of such a file.
    """
    several = {axis: length for axis, length in lengths.items() if length > 1}
    count = int(np.prod(list(lengths.values()), dtype=np.int64))
    along = ", ".join(
        f"{_UNNAMED.get(axis, axis)} 0 to {length - 1}" for axis, length in several.items()
    )
    names = ",".join("N" for _ in several)
    if plane is None:
        if count == 1:
            return 0
        prefix = f"{path} has {count} planes, and a {what} is one picture: "
        if option is None:
            raise InputError(f"{prefix}save one ({along}) as a separate file.")
        rest = ", or restyle all with 'napari-nst batch'" if in_batch else ""
        raise InputError(f"{prefix}name one with {option} {names} ({along}){rest}.")
    index = plane
    if len(plane) == len(several) != len(lengths):
        given = iter(plane)
        index = tuple(next(given) if axis in several else 0 for axis in lengths)
    exists = len(index) == len(lengths) and all(
        0 <= i < length for i, length in zip(index, lengths.values(), strict=True)
    )
    if not exists:
        prefix = f"{option} is {','.join(map(str, plane))}, and {path} has "
        if count == 1:
            raise InputError(f"{prefix}one plane: leave it out.")
        raise InputError(f"{prefix}{count} planes: give {names} ({along}).")
    return int(np.ravel_multi_index(index, tuple(lengths.values()))) if lengths else 0
