"""Python that repeats the run of a stack.  No Qt here."""

from __future__ import annotations

import pprint
from dataclasses import replace
from textwrap import indent
from typing import TYPE_CHECKING, Any

from napari_nst.errors import InputError
from napari_nst.plugin.layers.value_range import channel_axis
from napari_nst.plugin.provenance.python_code import restore_code, take_code

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari.layers import Image

    from napari_nst.plugin.provenance.origins import Origin

__all__ = ["check_repeatable", "stack_axis", "stack_code"]


def stack_axis(layer: Image, origin: Origin) -> int:
    """Return the axis along which a result layer has the planes of its run.

    Raises
    ------
    InputError
        If the layer's data have another shape than the result had.
    """
    single = [axis for axis, place in enumerate(origin.index) if isinstance(place, int)]
    shape = layer.data.shape
    found = [axis for axis in single if axis < len(shape) and shape[axis] > 1]
    if len(found) != 1:
        raise InputError(
            f"{layer.name} has the shape {tuple(shape)} now, which is not that of its run: select "
            "the result itself."
        )
    return found[0]


def check_repeatable(layer: Image, record: dict[str, Any], origin: Origin) -> None:
    """Raise InputError if the run of a stack cannot be repeated by code."""
    changes = [change for plane in record["finished"] for change in plane["steering"]]
    reason = ""
    if any(plane["content_labels"] for plane in record["finished"]):
        reason = "it has regions"
    elif any(
        change[name] for change in changes for name in ("styles", "content_labels", "style_labels")
    ):
        reason = "its styles were changed during the run"
    elif origin.intensities == "percentiles" and channel_axis(layer) == stack_axis(layer, origin):
        reason = "each of its channels has its own intensities"
    if reason:
        raise InputError(
            f"{layer.name} is a whole stack, and cannot be copied because {reason}: stylize 'this "
            "plane' and copy that, or begin the stack again."
        )


def stack_code(
    layer: Image, record: dict[str, Any], origin: Origin, styles: Sequence[str]
) -> Iterator[str]:
    """Yield the lines that repeat the run of a stack, given variables with its inputs.

    Parameters
    ----------
    layer : Image
        The result.
    record : dict
        Its `StackRecord` as a dictionary.
    origin : Origin
        Origin of the content, whose data are in the variable ``content``.
    styles : sequence of str
        Variables with the styles.
    """
    axis, count = stack_axis(layer, origin), len(record["finished"])
    place = f"picture[{':, ' * axis}k : k + 1]"
    of_result = replace(
        origin,
        index=tuple(0 if a in origin.single_axes else None for a in range(len(origin.index))),
        projection=None,
        display=None,
    )
    yield from _function("take", "content", origin, axis)
    yield ""
    yield ""
    yield from _function("take_result", place, of_result, None)
    yield ""
    yield ""
    yield "def put_result(k, result):"
    yield "    plane = result.image"
    yield from (f"    {line}" for line in restore_code(origin, "plane"))
    yield f"    {place} = plane"
    yield ""
    yield ""
    yield "settings = napari_nst.StyleTransferSettings.model_validate("
    yield indent(pprint.pformat(record["settings"], width=96, sort_dicts=False), "    ")
    yield ")"
    yield f'picture = np.zeros({tuple(map(int, layer.data.shape))}, "{layer.data.dtype.name}")'
    yield "run = StackTransfer("
    yield f"    [take(k) for k in range({count})],"
    yield f"    [{', '.join(styles)}],"
    yield "    settings,"
    yield f'    start_from="{record["start_from"]}",'
    if record.get("long_term"):
        yield "    long_term=True,"
    yield "    on_plane_done=put_result,"
    yield "    load_previous=take_result,"
    yield ")"
    changes = _changes(record)
    if changes:
        yield "changes = {  # after so many iterations"
        yield from (f"    {after}: {choices}," for after, choices in changes.items())
        yield "}"
    if 0 in changes:
        yield "run.steer(**changes[0])"
    yield "for snapshot in run:"
    if changes:
        yield "    if snapshot.iteration in changes:"
        yield "        run.steer(**changes[snapshot.iteration])"
    else:
        yield "    pass"
    hashes = [plane["content"]["sha256"][:8] for plane in record["finished"]]
    yield "found = [plane.content.sha256[:8] for plane in run.record.finished]"
    yield "recorded = " + pprint.pformat(hashes, width=96, compact=True)
    yield 'assert found == recorded, "The content has other planes than the run had."'


def _function(name: str, source: str, origin: Origin, axis: int | None) -> Iterator[str]:
    """Yield a function that returns plane k of a source as the engine takes it."""
    yield f"def {name}(k):"
    yield f"    plane = {source}"
    index = tuple("k" if a == axis else place for a, place in enumerate(origin.index))
    yield from (f"    {line}" for line in take_code(replace(origin, index=index), "plane"))
    yield "    return np.asarray(plane)"


def _changes(record: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the settings that changed, by the number of iterations of the run before them."""
    changes: dict[int, dict[str, Any]] = {}
    before = 0
    for plane in record["finished"]:
        for change in plane["steering"]:
            changes.setdefault(before + change["iteration"], {}).update(change["choices"])
        before += plane["iterations"]
    return changes
