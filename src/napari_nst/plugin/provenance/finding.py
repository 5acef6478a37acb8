"""Find the layers that were inputs of a run, by identity and pixels, not by name.  No Qt here.

Users rename layers, and another layer may get the name.  A layer is an input of a run if its
pixels, taken in the same way, have the hash in the record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

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

    from napari_nst.plugin.layers.value_range import LayerIntensities

__all__ = [
    "RunInput",
    "RunInputs",
    "find_layer",
    "origin_of",
    "origins_from",
    "require_layer",
]


@dataclass(frozen=True, eq=False)
class RunInput:
    """Image or labels that a run used.

    Attributes
    ----------
    records : tuple of dict
        Its `InputRecord` as a dictionary; several if only the hash can tell which it is.
    origins : tuple of Origin
        Its origin; several if only the hash can tell, none if unknown.
    """

    records: tuple[dict[str, Any], ...]
    origins: tuple[Origin, ...] = ()

    @property
    def name(self) -> str:
        """Name for messages: the layer's at the time of the run, if known."""
        layers = {origin.layer for origin in self.origins}
        if len(layers) == 1:
            return next(iter(layers))
        return str(self.records[0]["name"])

    @property
    def intensities(self) -> LayerIntensities:
        """Choice of intensities with which it was taken; "limits" if unknown."""
        found = (origin.intensities for origin in self.origins if origin.intensities)
        return cast("LayerIntensities", next(found, "limits"))

    @property
    def shape_text(self) -> str:
        """Size and data type in parentheses after a space; empty if the record lacks them."""
        record = self.records[0]
        if "shape" not in record:
            return ""
        height, width = record["shape"][:2]
        return f" ({width} x {height}, {record['dtype']})"

    def has_pixels(self, array: NDArray[Any]) -> bool:
        """Return whether an array has the pixels of this input."""
        return any(same_bytes(array, record) for record in self.records)

    @property
    def stored_labels(self) -> LabelsPlane | None:
        """Labels as the run took them, if they are stored with the result."""
        stored = (labels_from_origin(origin) for origin in self.origins)
        return next((labels for labels in stored if labels and self.has_pixels(labels.data)), None)


def find_layer(one: RunInput, layers: Iterable[Layer]) -> Layer | None:
    """Return the layer of an input, or another with the same pixels; None if there is none.

    Candidates are the layer itself, then layers of its name, then those with its shape and dtype.
    Only the part that the run took is read.
    """
    layers = [layer for layer in layers if isinstance(layer, Image | Labels)]
    for origin in one.origins or (None,):
        for layer in sorted(layers, key=lambda layer: _match_rank(layer, one.name, origin)):
            if _matches(layer, one, origin):
                return layer
    return None


def require_layer(one: RunInput, layers: Iterable[Layer], result: Layer, advice: str = "") -> Layer:
    """Return the layer of an input.

    Raises
    ------
    InputError
        If the layer is gone or its pixels have changed; the message names the `result` and ends
        with the `advice`.
    """
    layers = list(layers)
    found = find_layer(one, layers)
    if found is not None:
        return found
    for layer in layers:
        if origin_of(layer, one, by_hash=False) is not None:
            raise InputError(
                f"The pixels of {layer.name} have changed since the run of {result.name} began: "
                f"undo the change{advice}."
            )
    raise InputError(
        f"{result.name} was made of {one.name}, and no layer has its pixels{one.shape_text} now: "
        f"bring it back{advice}."
    )


def origin_of(layer: Layer, one: RunInput, *, by_hash: bool = True) -> Origin | None:
    """Return the origin of an input in a layer; None if it came from another layer.

    The layer itself counts even if its pixels have changed; with `by_hash`, any other layer with
    the same pixels counts, too.
    """
    for origin in one.origins:
        if origin.layer_id == str(layer.unique_id) or (by_hash and _matches(layer, one, origin)):
            return origin
    return None


def _match_rank(layer: Layer, name: str, origin: Origin | None) -> int:
    """Return 0 for the layer itself, 1 for one of its name, 2 for the others."""
    if origin is not None and str(layer.unique_id) == origin.layer_id:
        return 0
    return 1 if layer.name == name else 2


def _matches(layer: Layer, one: RunInput, origin: Origin | None) -> bool:
    """Return whether a layer has the pixels of an input in the place where it was taken."""
    itself = _match_rank(layer, one.name, origin) == 0
    if origin is None:
        return not layer.multiscale and _pixels_match(layer.data, one, None)
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
    return (alike or itself) and _pixels_match(data, one, origin)


def _pixels_match(data: Any, one: RunInput, origin: Origin | None) -> bool:
    """Read the part of a layer's data that the run took, and compare its hash."""
    if origin is None and not any(
        tuple(data.shape) == tuple(record.get("shape", ())) for record in one.records
    ):
        return False
    try:
        array = data[...] if origin is None else origin.take(data)
        return one.has_pixels(np.asarray(array))
    except Exception:  # another shape, or lazy data whose disk or server is gone
        return False


@dataclass(frozen=True)
class RunInputs:
    """Settings and inputs of a run at its end, after all steering.

    Attributes
    ----------
    settings : StyleTransferSettings
        The settings.
    content : RunInput
        The content; for a stack, its first finished plane.
    styles : tuple of RunInput
        The styles.
    content_labels : RunInput or None
        The labels of the content.
    style_labels : tuple of RunInput or None, or None
        Labels of each style.
    start_from : {"warped", "previous", "content"} or None
        What the planes of a stack started from; None for a run of one plane.
    long_term : bool
        Whether they also started from results two and four planes back.
    """

    settings: StyleTransferSettings
    content: RunInput
    styles: tuple[RunInput, ...]
    content_labels: RunInput | None = None
    style_labels: tuple[RunInput | None, ...] | None = None
    start_from: Literal["warped", "previous", "content"] | None = None
    long_term: bool = False

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
        planes = record.get("finished", ())  # for stacks only
        known = _OriginTable(origins)
        settings = StyleTransferSettings(**record["settings"])
        content = known.input([record["content"]], "content")
        labels = known.input([record.get("content_labels")], "content_labels")
        if planes:
            first = planes[0]
            content = known.at_plane(first["plane"], [first["content"]], "content")
            painted = [plane["content_labels"] for plane in planes]
            labels = known.at_plane(first["plane"], painted, "content_labels")
        styles = known.inputs(record["styles"], "styles")
        style_labels = known.inputs(record.get("style_labels"), "style_labels")
        for change in (
            *record.get("steering", ()),
            *(change for plane in planes for change in plane["steering"]),
        ):
            settings = settings.replace(**change["choices"])
            if change.get("styles"):
                styles = known.replacements(change["styles"])
            if change.get("content_labels"):
                (labels,) = known.replacements([change["content_labels"]])
            if change.get("style_labels"):
                style_labels = known.replacements(change["style_labels"])
        assert content is not None
        return cls(
            settings,
            content,
            tuple(one for one in styles if one is not None),
            labels,
            style_labels if any(style_labels) else None,
            record.get("start_from"),
            bool(record.get("long_term")),
        )

    @property
    def all(self) -> tuple[RunInput, ...]:
        """All inputs, images and labels."""
        labels = (self.content_labels, *(self.style_labels or ()))
        return (self.content, *self.styles, *(one for one in labels if one is not None))


class _OriginTable:
    """Origins in a result's metadata, to be joined with the records of the inputs."""

    def __init__(self, origins: Mapping[str, Any]) -> None:
        self._origins = origins
        every = [
            origins.get("content"),
            *(origins.get("styles") or ()),
            origins.get("content_labels"),
            *(origins.get("style_labels") or ()),
            *(origins.get("replacements") or ()),
        ]
        self._all = tuple(origin for fields in every for origin in origins_from(fields))

    def input(self, records: Sequence[Any], role: str) -> RunInput | None:
        """Return the input of a role; None if there is none."""
        return _joined(records, self._origins.get(role))

    def inputs(self, records: Sequence[Any] | None, role: str) -> tuple[RunInput | None, ...]:
        """Return the inputs of a role that has several."""
        origins = list(self._origins.get(role) or ())
        records = [None] * len(origins) if records is None else records
        padded = [*origins, *[None] * len(records)]
        return tuple(_joined([one], origin) for one, origin in zip(records, padded, strict=False))

    def replacements(self, records: Sequence[Any] | str) -> tuple[RunInput | None, ...]:
        """Return the inputs that were replaced during the run; none for "removed"."""
        listed = [] if isinstance(records, str) else records
        return tuple(
            RunInput((one,), self._all) if isinstance(one, dict) else None for one in listed
        )

    def at_plane(self, plane: int, records: Sequence[Any], role: str) -> RunInput | None:
        """Return the input of a role at a plane of a stack, which no origin names."""
        found = self.input(records, role)
        if found is None:
            return None
        moved = [
            replace(origin, index=(*origin.index[:axis], plane, *origin.index[axis + 1 :]))
            for origin in found.origins
            for axis, place in enumerate(origin.index)
            if isinstance(place, int)
        ]
        return replace(found, origins=(*moved, *found.origins))


def _joined(records: Sequence[Any], fields: Any) -> RunInput | None:
    known, origins = tuple(one for one in records if one is not None), origins_from(fields)
    return RunInput(known or ({},), origins) if known or origins else None


def origins_from(fields: Any) -> tuple[Origin, ...]:
    """Return the origin of `Origin.to_dict`; empty for None and for fields of another version."""
    try:
        return () if fields is None else (Origin.from_dict(fields),)
    except TypeError:
        return ()
