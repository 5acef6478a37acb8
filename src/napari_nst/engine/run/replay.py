"""Repeat a run from its record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_nst.engine.images.arguments import as_array
from napari_nst.engine.images.labels import Labels
from napari_nst.engine.images.pictures import Picture, input_record
from napari_nst.errors import InputError
from napari_nst.ranges import RangedImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_nst.engine.images.inputs import Inputs
    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.record import InputRecord, RunRecord, SteeringRecord

__all__ = ["Replay"]

_Key = tuple[str, tuple[int, ...], str]


class Replay:
    """Recorded run with its steering, and the images that replaced others during it.

    On the same machine, with the same versions and number of threads, a replay gives the same
    bytes.  If the run ran out of memory, the replay uses the smaller tiles and the shorter L-BFGS
    history from the start; its result then differs by rounding, and with L-BFGS by the effect of
    the shorter history.

    Parameters
    ----------
    record : RunRecord
        Run to repeat.
    inputs : Inputs
        Inputs at the start of the run.
    replacements : sequence of array_like
        Styles and labels that replaced others during the run, in any order; their hashes identify
        them.

    Raises
    ------
    InputError
        If an image is missing or is not that of the record.
    """

    def __init__(self, record: RunRecord, inputs: Inputs, replacements: Sequence[Any]) -> None:
        _check(record, inputs)
        self._record = record
        labels = (inputs.content_labels, *(inputs.style_labels or ()))
        self._styles: dict[_Key, Any] = {_key(one.record): one for one in inputs.styles}
        self._labels_by_key: dict[_Key, Any] = {_key(one.record): one for one in labels if one}
        for array in replacements:
            given = array.values if isinstance(array, RangedImage) else array
            key = _key(input_record(as_array(given, "A replacement"), ""))
            self._styles[key] = self._labels_by_key[key] = array
        for change in record.steering:
            self.images(change)

    @property
    def tile_sizes(self) -> list[int | None]:
        """Tile size at each scale at the end of the run."""
        return [scale.tile for scale in self._record.resolved.scales]

    def changes(self, iteration: int) -> Iterator[SteeringRecord]:
        """Return the changes after a number of evaluations."""
        return (change for change in self._record.steering if change.iteration == iteration)

    def has_sizes(self, scales: Sequence[Scale]) -> bool:
        """Return whether the run had these sizes; another device may have others."""
        had = [(scale.height, scale.width) for scale in self._record.resolved.scales]
        return had == [(scale.height, scale.width) for scale in scales]

    def images(self, change: SteeringRecord) -> dict[str, Any]:
        """Return the images of a change, as `Inputs.replaced` takes them."""
        found: dict[str, Any] = {}
        if change.styles is not None:
            found["styles"] = [self._style(record) for record in change.styles]
            found["names"] = [record.name for record in change.styles]
        if change.content_labels is not None:
            found["content_labels"] = self._labels(change.content_labels)
        if change.style_labels == "removed":
            found["style_labels"] = None
        elif change.style_labels is not None:
            found["style_labels"] = [own and self._labels(own) for own in change.style_labels]
        return found

    def is_over(self, iterations: int) -> bool:
        """Return whether a stopped run has been replayed as far as it went."""
        return self._record.status != "finished" and iterations >= self._record.iterations

    def _style(self, record: InputRecord) -> Picture:
        known = _find(record, self._styles)
        if isinstance(known, Picture):
            return replace(known, record=record)
        return Picture.from_array(known, record.name, recorded=record)

    def _labels(self, record: InputRecord | str) -> Any:
        if isinstance(record, str):  # "removed"
            return None
        known = _find(record, self._labels_by_key)
        return replace(known, record=record) if isinstance(known, Labels) else known


def _key(record: InputRecord) -> _Key:
    # Flat images of different shapes can have the same bytes.
    return record.sha256, record.shape, record.dtype


def _find(record: InputRecord, known: Mapping[_Key, Any]) -> Any:
    found = known.get(_key(record))
    if found is None:
        raise InputError(
            f"{record.name} was added during the run and is missing: give the image whose "
            f"sha256 begins with {record.sha256[:8]} as one of the replacements."
        )
    return found


def _check(record: RunRecord, inputs: Inputs) -> None:
    """Raise if inputs are not those of a record."""
    given = inputs.records
    if len(record.styles) != len(given["styles"]):
        raise InputError(
            f"The record is of {len(record.styles)} styles, and {len(given['styles'])} are given."
        )
    pairs: list[tuple[InputRecord | None, InputRecord | None]] = [
        (record.content, given["content"]),
        (record.init_image, given["init_image"]),
        (record.init_reliability, given["init_reliability"]),
        (record.content_labels, given["content_labels"]),
        *zip(record.styles, given["styles"], strict=True),
        *zip(
            record.style_labels or (None,) * len(record.styles),
            given["style_labels"] or (None,) * len(record.styles),
            strict=True,
        ),
    ]
    for old, new in pairs:
        if old is None and new is None:
            continue
        if old is None or new is None:
            named = old or new
            assert named is not None
            raise InputError(
                f"The record is of a run {'with' if old else 'without'} {named.name}, which is "
                f"{'missing' if old else 'given'}."
            )
        if old.sha256 != new.sha256:
            raise InputError(
                f"{new.name} is not the image of the record: its sha256 begins with "
                f"{new.sha256[:8]}, and that of {old.name} with {old.sha256[:8]}."
            )
