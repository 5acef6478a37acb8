"""Python that repeats what an `Origin` did to a layer's data.  No Qt here."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from napari_nst.ranges import Display

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_nst.plugin.provenance.origins import Origin

__all__ = ["restore_code", "take_code"]

_RANGES = "napari_nst.ranges"
_SAMPLING = "napari_nst.sampling"


def take_code(origin: Origin, name: str) -> Iterator[str]:
    """Yield the lines that turn a layer's data in a variable into the engine's array.

    They do the same as `Origin.take`.  A place in the index may be the name of a variable.
    """
    if any(place is not None for place in origin.index):
        yield f"{name} = {name}[{', '.join(map(_index_code, origin.index))}]"
    if origin.projection is not None:
        mode, axes = origin.projection
        yield f"{name} = np.{mode}({name}, axis={tuple(axes)})"
    if origin.transposed:
        yield f"{name} = {name}.swapaxes(0, 1)"
    if origin.nearest is not None:
        matrix, *sides = origin.nearest
        rows, columns = (_range_or_list(tuple(places)) for places in sides)
        shown = [list(row) for row in matrix]
        yield f"{name} = {_SAMPLING}.nearest({name}, {shown}, {rows}, {columns})"
    if origin.grid is not None:
        rows, columns = map(_range_or_list, origin.grid)
        yield f"{name} = {name}[np.ix_({rows}, {columns})]"
    if origin.display is not None:
        display = Display(**origin.display)
        table = wrap(display.table, 88) or [""]
        yield f"{name} = {_RANGES}.Display("
        yield f"    {tuple(display.limits)!r},"
        yield f"    {display.gamma!r},"
        yield from (f"    {line!r}" for line in table)
        yield f").show({name})"
    elif origin.limits is not None:
        yield f"{name} = {_range_code(origin)}.to_unit({name}{_alpha_code(origin)})"


def restore_code(origin: Origin, name: str) -> Iterator[str]:
    """Yield the lines that turn a result into data like the layer's, as `Plane.restore` does."""
    arguments = f'{name}, "{origin.dtype}"{_alpha_code(origin)}'
    yield f"{name} = {_range_code(origin)}.from_unit({arguments})"
    if origin.transposed:
        yield f"{name} = {name}.swapaxes(0, 1)"
    if origin.single_axes:
        yield f"{name} = np.expand_dims({name}, {origin.single_axes})"
    yield f"{name} = np.ascontiguousarray({name})"


def _range_code(origin: Origin) -> str:
    return f"{_RANGES}.Range({origin.range.low!r}, {origin.range.high!r})"


def _alpha_code(origin: Origin) -> str:
    return ", alpha=True" if origin.alpha else ""


def _index_code(place: Any) -> str:
    if place is None:
        return ":"
    return str(place) if isinstance(place, int | str) else f"{place[0]}:{place[1]}"


def _range_or_list(places: tuple[int, ...]) -> str:
    if places == tuple(range(places[0], places[-1] + 1)):
        return f"range({places[0]}, {places[-1] + 1})"
    return str(list(places))
