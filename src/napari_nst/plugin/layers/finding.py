"""Find the layers that a result was made of: by identity and pixels, not by name.  No Qt here.

A user renames layers, and another layer may get the name.  A layer counts as an input of a run if
its pixels, taken as they were then, have the hash in the record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from napari.layers import Image, Labels

from napari_nst.errors import InputError
from napari_nst.plugin.layers.labels import LabelsPlane, labels_from_origin
from napari_nst.plugin.layers.source import level_of
from napari_nst.plugin.provenance.origins import ORIGINS_KEY, Origin, record_of, same_bytes
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_nst.plugin.layers.intensities import Intensities

__all__ = ["Input", "RunInputs", "find_layer", "needed_layer", "origin_of"]


@dataclass(frozen=True, eq=False)
class Input:
    """A picture of a run, or its labels.

    Attributes
    ----------
    records : tuple of dict
        Its `InputRecord` as a dictionary; several where only the hash tells which one it is.
    origins : tuple of Origin
        Where it came from; several where only the hash tells, none where it is unknown.
    """

    records: tuple[dict[str, Any], ...]
    origins: tuple[Origin, ...] = ()

    @property
    def name(self) -> str:
        """What messages call it: the name that the layer had, if there was one."""
        layers = {origin.layer for origin in self.origins}
        if len(layers) == 1:
            return next(iter(layers))
        return str(self.records[0]["name"])

    @property
    def intensities(self) -> Intensities:
        """Choice of intensities with which it was taken; "limits" where it is unknown."""
        found = (origin.intensities for origin in self.origins if origin.intensities)
        return cast("Intensities", next(found, "limits"))

    @property
    def size_in_words(self) -> str:
        """Its size and type in brackets after a space, if the record has them."""
        record = self.records[0]
        if "shape" not in record:
            return ""
        height, width = record["shape"][:2]
        return f" ({width} x {height}, {record['dtype']})"

    def is_it(self, array: NDArray[Any]) -> bool:
        """Return whether an array is this picture."""
        return any(same_bytes(array, record) for record in self.records)

    @property
    def stored_labels(self) -> LabelsPlane | None:
        """Labels as the run took them, if they are stored with the result."""
        stored = (labels_from_origin(origin) for origin in self.origins)
        return next((labels for labels in stored if labels and self.is_it(labels.data)), None)


def find_layer(one: Input, layers: Iterable[Layer]) -> Layer | None:
    """Return the layer that a picture of a run came from, or another with the same pixels.

    The layer itself is looked at first, then one of its name, then those whose data have its shape
    and type.  Of each, only what the run took is read.

    Parameters
    ----------
    one : Input
        The picture.
    layers : iterable of Layer
        Where to look.
    """
    layers = [layer for layer in layers if isinstance(layer, Image | Labels)]
    for origin in one.origins or (None,):
        for layer in sorted(layers, key=lambda layer: _unlikeness(layer, one.name, origin)):
            if _has_it(layer, one, origin):
                return layer
    return None


def needed_layer(one: Input, layers: Iterable[Layer], result: Layer, advice: str = "") -> Layer:
    """Return the layer that a picture of a run came from.

    Parameters
    ----------
    one : Input
        The picture.
    layers : iterable of Layer
        Where to look.
    result : Layer
        The result, whose name the message has.
    advice : str
        What else the user can do, for the end of the message.

    Raises
    ------
    InputError
        If there is none, in a sentence that says what was looked for.
    """
    layers = list(layers)
    found = find_layer(one, layers)
    if found is not None:
        return found
    for layer in layers:
        if origin_of(layer, one, by_hash=False) is not None:
            raise InputError(
                f"{layer.name} is not what it was when the run of {result.name} began: its pixels "
                f"are others; undo the change{advice}."
            )
    raise InputError(
        f"There is no layer {one.name} any more, and none with its pixels{one.size_in_words}, of "
        f"which {result.name} was made: bring it back{advice}."
    )


def origin_of(layer: Layer, one: Input, *, by_hash: bool = True) -> Origin | None:
    """Return how a picture was taken from a layer; None if it came from another layer.

    Parameters
    ----------
    layer : Layer
        The layer.
    one : Input
        The picture.
    by_hash : bool
        Whether another layer with the same pixels counts, too.  The layer itself counts even if
        its pixels have changed.
    """
    for origin in one.origins:
        if origin.layer_id == str(layer.unique_id) or (by_hash and _has_it(layer, one, origin)):
            return origin
    return None


def _unlikeness(layer: Layer, name: str, origin: Origin | None) -> int:
    """Return 0 for the layer itself, 1 for one of its name, 2 for the others."""
    if origin is not None and str(layer.unique_id) == origin.layer_id:
        return 0
    return 1 if layer.name == name else 2


def _has_it(layer: Layer, one: Input, origin: Origin | None) -> bool:
    """Return whether a layer has the pixels of a picture where that was taken."""
    itself = _unlikeness(layer, one.name, origin) == 0
    if origin is None:
        return not layer.multiscale and _read(layer.data, one, None)
    if not any("sha256" in record for record in one.records):
        return itself
    is_labels = origin.intensities is None
    if is_labels != isinstance(layer, Labels) or layer.multiscale != (origin.level is not None):
        return False
    if layer.multiscale and len(layer.data) <= (origin.level or 0):
        return False
    data = level_of(layer, origin.level)
    alike = origin.shape in (None, tuple(data.shape)) and (
        origin.display is not None or data.dtype.name == origin.dtype
    )
    return (alike or itself) and _read(data, one, origin)


def _read(data: Any, one: Input, origin: Origin | None) -> bool:
    """Read what a run took of a layer's data, and compare its hash."""
    if origin is None and not any(
        tuple(data.shape) == tuple(record.get("shape", ())) for record in one.records
    ):
        return False
    try:
        array = data[...] if origin is None else origin.take(data)
        return one.is_it(np.asarray(array))
    except Exception:  # data of another shape, or behind a disk or a server that is gone
        return False


@dataclass(frozen=True)
class RunInputs:
    """Settings and pictures of a run as they were at its end, after all steering.

    Attributes
    ----------
    settings : StyleTransferSettings
        Every choice.
    content : Input
        The content; of a stack, its first plane that is done.
    styles : tuple of Input
        The styles.
    content_labels : Input or None
        The labels of the content.
    style_labels : tuple of Input or None, or None
        Those of each style.
    is_stack : bool
        Whether the run processed every plane along an axis.
    """

    settings: StyleTransferSettings
    content: Input
    styles: tuple[Input, ...]
    content_labels: Input | None = None
    style_labels: tuple[Input | None, ...] | None = None
    is_stack: bool = False

    @classmethod
    def from_layer(cls, result: Layer) -> RunInputs:
        """Return the inputs of the run that made a result layer.

        Raises
        ------
        InputError
            If the layer has no record.
        """
        return cls.from_metadata(record_of(result), result.metadata.get(ORIGINS_KEY) or {})

    @classmethod
    def from_metadata(cls, record: Mapping[str, Any], origins: Mapping[str, Any]) -> RunInputs:
        """Return the inputs that a record and origins name."""
        planes = record.get("finished", ())  # of a stack
        known = _Known(origins)
        settings = StyleTransferSettings(**record["settings"])
        content = known.input([record["content"]], "content")
        labels = known.input([record.get("content_labels")], "content_labels")
        if planes:
            content = known.plane_of_stack(planes, content)
            labels = known.input([plane["content_labels"] for plane in planes], "content_labels")
        styles = known.inputs(record["styles"], "styles")
        style_labels = known.inputs(record.get("style_labels"), "style_labels")
        for change in (
            *record.get("steering", ()),
            *(change for plane in planes for change in plane["steering"]),
        ):
            settings = settings.replace(**change["choices"])
            if change.get("styles"):
                styles = known.later(change["styles"])
            if change.get("content_labels"):
                (labels,) = known.later([change["content_labels"]])
            if change.get("style_labels"):
                style_labels = known.later(change["style_labels"])
        assert content is not None
        return cls(
            settings,
            content,
            tuple(one for one in styles if one is not None),
            labels,
            style_labels if any(style_labels) else None,
            "start_from" in record,
        )

    @property
    def all(self) -> tuple[Input, ...]:
        """Every picture and every layer of labels."""
        labels = (self.content_labels, *(self.style_labels or ()))
        return (self.content, *self.styles, *(one for one in labels if one is not None))


class _Known:
    """The origins in a result's metadata, joined with the records of its pictures."""

    def __init__(self, origins: Mapping[str, Any]) -> None:
        self._origins = origins
        every = [
            origins.get("content"),
            *(origins.get("styles") or ()),
            origins.get("content_labels"),
            *(origins.get("style_labels") or ()),
            *(origins.get("replacements") or ()),
        ]
        self._all = tuple(origin for fields in every for origin in _origins_from(fields))

    def input(self, records: Sequence[Any], role: str) -> Input | None:
        """Return the picture of a role; None if there is none."""
        return _joined(records, self._origins.get(role))

    def inputs(self, records: Sequence[Any] | None, role: str) -> tuple[Input | None, ...]:
        """Return the pictures of a role of which there are several."""
        origins = list(self._origins.get(role) or ())
        records = [None] * len(origins) if records is None else records
        padded = [*origins, *[None] * len(records)]
        return tuple(_joined([one], origin) for one, origin in zip(records, padded, strict=False))

    def later(self, records: Sequence[Any] | str) -> tuple[Input | None, ...]:
        """Return pictures that were put in on the way; "removed" is none."""
        listed = [] if isinstance(records, str) else records
        return tuple(Input((one,), self._all) if isinstance(one, dict) else None for one in listed)

    def plane_of_stack(self, planes: Sequence[Any], stack: Input | None) -> Input:
        """Return the first plane of a stack that is done."""
        first, origins = planes[0], () if stack is None else stack.origins
        moved = [
            replace(origin, index=(*origin.index[:axis], first["plane"], *origin.index[axis + 1 :]))
            for origin in origins
            for axis, place in enumerate(origin.index)
            if isinstance(place, int)
        ]
        return Input((first["content"],), (*moved, *origins))


def _joined(records: Sequence[Any], fields: Any) -> Input | None:
    known, origins = tuple(one for one in records if one is not None), _origins_from(fields)
    return Input(known or ({},), origins) if known or origins else None


def _origins_from(fields: Any) -> tuple[Origin, ...]:
    try:
        return () if fields is None else (Origin.from_dict(fields),)
    except TypeError:  # of another version
        return ()
