"""Run of a stack: one `StyleTransfer` per plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np

from napari_nst.engine.images.arguments import (
    UNCHANGED,
    as_array,
    as_list,
    refuse_path,
    style_names,
)
from napari_nst.engine.run.control import Control, Controlled
from napari_nst.engine.run.updates import SettingsUpdate
from napari_nst.errors import InputError
from napari_nst.settings import StyleTransferSettings
from napari_nst.stacks import motion
from napari_nst.stacks.agreement import check_start_from, plane_settings
from napari_nst.stacks.initial import Earlier, Initial, motion_of, warm_start, warped_start
from napari_nst.stacks.labels import CarriedLabels
from napari_nst.stacks.planes import (
    PlaneRanges,
    check_labels,
    check_unchanged,
    default_engine,
    previous_plane,
)
from napari_nst.stacks.record import PlaneRecord, StackContent, StackRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.engine.run.snapshots import Snapshot, StyleTransferResult
    from napari_nst.engine.run.style_cache import StyleCache
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.record import RunRecord
    from napari_nst.stacks.agreement import StartFrom
    from napari_nst.stacks.motion import FlowMethod, Motion
    from napari_nst.stacks.planes import Planes

__all__ = ["StackTransfer"]

# Planes back to the earlier results (Ruder et al., arXiv 1604.08610, section 4.3).
_SHORT_TERM, _LONG_TERM = (1,), (1, 2, 4)


class _Recent(NamedTuple):
    """A plane that was processed or read lately; the result is None if it was only read."""

    content: Any
    result: Any


class StackTransfer(Controlled):
    """Run of all planes of a stack: an iterator of `Snapshot`.

    Network and style statistics are computed once.  Planes are processed in order; a plane that is
    not finished when the run ends is discarded.

    Parameters
    ----------
    planes : Planes
        A list, an array, or another sequence of images as `StyleTransfer` takes them, all of one
        shape; each is read when it is processed.
    styles : array_like or sequence of array_like
        One or several style images, of any size.
    settings : StyleTransferSettings, optional
        All settings.
    start_from : {"warped", "previous", "content"}
        Initial image of a plane: the result of the previous plane, carried along the motion between
        the two (`warped_start`) or changed as the content changed (`warm_start`), with the settings
        of `plane_settings`; or its own content, as for a single image.
    long_term : bool
        With "warped": where the previous plane does not show a pixel, carry it from the results two
        and four planes back.
    flow_method : {"dis", "tvl1"}, optional
        With "warped": how the motion is estimated, see `motion_between`.  By default "dis", which
        needs OpenCV, if that is installed.
    on_plane_done : callable, optional
        Called with the index of each finished plane and its `StyleTransferResult`, in order.
    names : sequence of str, optional
        Names of the stack and the styles, for messages and the record.
    finished : iterable of int, or mapping of int to PlaneRecord or dict
        Planes to skip.  With their records, the record of this run includes them, and a plane whose
        content has changed since is refused.
    before : callable, optional
        Returns the index of the plane before a plane, a smaller one, or None: then it starts from
        its own content.  By default the previous index.
    load_previous : callable, optional
        Returns the result of a finished plane, uint8, uint16 or floats in [0, 1], from which the
        next one starts.  It is used even for planes of this run, so that an interrupted run ends
        with the same bytes as an uninterrupted one, however results are rounded.
    content_labels : sequence of array_like, optional
        Labels of the regions of each plane.  With "warped", a plane without any label has those of
        the plane before, carried along.
    style_labels : sequence of array_like or None, optional
        Labels of each style, or None.
    engine : callable, optional
        Creates the run of a plane; by default `StyleTransfer`, which imports torch.
    control : Control, optional
        Stops, pauses and steers the runs of all planes; by default its own.

    Raises
    ------
    InputError
        If the stack is empty, or an argument is invalid, or OpenCV is missing.  Planes are checked
        when they are read.
    """

    def __init__(
        self,
        planes: Planes,
        styles: Any,
        settings: StyleTransferSettings | None = None,
        *,
        start_from: StartFrom = "previous",
        long_term: bool = False,
        flow_method: FlowMethod | None = None,
        on_plane_done: Callable[[int, StyleTransferResult], object] | None = None,
        names: Sequence[str] | None = None,
        finished: Iterable[int] | Mapping[int, Any] = (),
        before: Callable[[int], int | None] | None = None,
        load_previous: Callable[[int], Any] | None = None,
        content_labels: Planes | None = None,
        style_labels: Any = None,
        engine: Callable[..., StyleTransfer] | None = None,
        control: Control | None = None,
    ) -> None:
        super().__init__(control or Control())
        self.settings = settings or StyleTransferSettings()
        if self.settings.init == "image":
            raise InputError(
                "init is 'image', and a stack has no initial image; choose 'content', 'noise' or "
                "'style'."
            )
        self.start_from = check_start_from(start_from)
        self.long_term = long_term
        self._flow_method = motion.flow_method(flow_method) if start_from == "warped" else None
        self._recent: dict[int, _Recent] = {}
        self._motions: dict[tuple[int, int], Motion] = {}  # to the current plane, and before it
        refuse_path(planes, "The stack", "open the file with napari_nst.files.open_stack")
        if len(planes) == 0:
            raise InputError("The stack has no planes; give at least one.")
        self._planes, self._engine = planes, engine
        self._on_plane_done, self._load_previous = on_plane_done, load_previous
        self._before = before or previous_plane
        check_labels(content_labels, planes)
        self._content_labels = self._with_carried(content_labels)
        self._names = list(names or ["content", *style_names(len(as_list(styles)))])
        self._current_settings = self.settings  # with all updates
        self._styles, self._style_labels = styles, style_labels
        known = finished if isinstance(finished, Mapping) else {}
        self._finished = {int(plane) for plane in finished}
        self._records = {
            int(plane): PlaneRecord.model_validate(record)
            for plane, record in known.items()
            if record is not None
        }
        self._first_record: RunRecord | None = None
        self._last_record: RunRecord | None = None
        self._shape: tuple[int, ...] = ()
        self._dtype = ""
        self._ranges = PlaneRanges(planes)
        self._status: Literal["finished", "stopped", "failed", "running"] = "running"
        self._run: StyleTransfer | None = None
        self._control.on_applied = self._keep_update
        self._control.at_plane = self._update_at_plane
        self._plane = 0  # the current one
        self._elapsed = 0.0  # seconds of the planes before the current one
        self._begun = False
        self._snapshots = self._iterate()

    def __len__(self) -> int:
        """Return the number of planes."""
        return len(self._planes)

    @property
    def finished(self) -> tuple[int, ...]:
        """The finished planes, in order."""
        return tuple(sorted(self._finished))

    @property
    def unfinished(self) -> tuple[int, ...]:
        """The planes still to process, in order."""
        return tuple(plane for plane in range(len(self._planes)) if plane not in self._finished)

    @property
    def run(self) -> StyleTransfer | None:
        """The run of the current plane, if there is one."""
        return self._run

    def __iter__(self) -> Self:
        """Return the run itself, so that a loop can continue it."""
        return self

    def __next__(self) -> Snapshot:
        """Run one iteration of the current plane, or of the next, and return the snapshot after it.

        Raises
        ------
        StyleTransferError
            If a plane is invalid, or its run fails: see `StyleTransfer`.
        """
        self.begin()
        snapshot = self._advance()
        if snapshot is None:
            raise StopIteration
        return snapshot

    def _advance(self) -> Snapshot | None:
        try:
            return next(self._snapshots, None)
        except BaseException:
            self._status = "failed"
            raise

    def begin(self) -> None:
        """Create the run of the first plane, so that `record` is available.

        Otherwise the first iteration does.

        Raises
        ------
        StyleTransferError
            If it cannot be created: see `StyleTransfer`.
        """
        if not self._begun:
            self._begun = True
            self._advance()

    def steer(
        self,
        *,
        styles: Any = UNCHANGED,
        names: Sequence[str] | None = None,
        content_labels: Any = UNCHANGED,
        style_labels: Any = UNCHANGED,
        **choices: Any,
    ) -> None:
        """Change the current and all later planes, from the next evaluation on.

        Any thread may call this.

        Parameters
        ----------
        styles, names, content_labels, style_labels, **choices
            As for `StyleTransfer.steer`, but with the labels of each plane.

        Raises
        ------
        InputError
            If a setting is invalid, there are not as many labels as planes, or the run has ended.
            Images are checked later; `Snapshot.warnings` then has the reason.
        """
        update = SettingsUpdate(choices, styles, names, content_labels, style_labels)
        if self._status != "running":
            raise InputError("The run of the stack has ended; steer while it is running.")
        update.settings(self._current_settings)
        if content_labels is not UNCHANGED and not callable(content_labels):
            check_labels(content_labels, self._planes)
        self._control.steer(update)

    def _update_at_plane(self, update: SettingsUpdate) -> SettingsUpdate:
        """Return an update with the labels of the current plane only."""
        if update.content_labels is UNCHANGED:
            return update
        labels = self._with_carried(update.content_labels)
        return replace(update, content_labels=None if labels is None else labels[self._plane])

    def _with_carried(self, labels: Planes | None) -> Planes | None:
        """Return labels of planes, carried along the motion where none are painted."""
        if labels is None or self.start_from != "warped":
            return labels
        return CarriedLabels(labels, self._before, self._motion)

    def _keep_update(self, update: SettingsUpdate) -> None:
        """Use an update for the planes to come."""
        if update.styles is not UNCHANGED:
            count = len(as_list(update.styles))
            if update.names is None and count != len(self._names) - 1:
                self._names[1:] = style_names(count)
            self._styles = update.styles
        if update.names is not None:
            self._names[1:] = update.names
        if update.style_labels is not UNCHANGED:
            self._style_labels = update.style_labels
        if update.content_labels is not UNCHANGED:
            self._content_labels = self._with_carried(update.content_labels)
        self._current_settings = update.settings(self._current_settings)

    @property
    def record(self) -> StackRecord:
        """Provenance of the planes finished so far.

        Raises
        ------
        InputError
            If the first plane was not begun.
        """
        run = self._last_record
        if run is None and self._run is not None:
            run = self._run.record
        if run is None:
            raise InputError("There is no record before the first plane begins.")
        first = self._first_record or run
        return StackRecord(
            settings=self.settings,
            start_from=self.start_from,
            long_term=self.long_term,
            flow_method=self._flow_method,
            resolved=run.resolved,
            content=StackContent(
                name=self._names[0], shape=(len(self._planes), *self._shape), dtype=self._dtype
            ),
            styles=first.styles,
            style_labels=first.style_labels,
            versions=run.versions | motion.motion_versions(self._flow_method),
            finished=tuple(self._records[k] for k in sorted(self._records)),
            status=self._status,
        )

    def _iterate(self) -> Iterator[Snapshot | None]:
        """Yield None once when the first run is created, and then the snapshots."""
        engine, style_cache, announced = self._engine, None, False
        if engine is None:
            engine, style_cache = default_engine()
        for plane in self.unfinished:
            content = self._read(plane)
            self._scales_by_plane  # noqa: B018  # fixes which planes belong to this run
            initial = self._initial(plane, content)
            self._plane = plane
            run = self._create_run(engine, style_cache, plane, content, initial)
            if self._control.stopped:
                break
            self._run = run
            if not announced:
                announced = True
                yield None
            for snapshot in run:
                yield self._count_all_planes(snapshot, plane)
            self._elapsed += snapshot.elapsed if run.history else 0.0
            self._run, self._last_record = None, run.record
            if len(run.history) < sum(scale.iterations for scale in run.scales):
                break
            result = run.result()
            self._first_record = self._first_record or result.record
            self._records[plane] = PlaneRecord.from_run(plane, result.record)
            if self._on_plane_done is not None:
                self._on_plane_done(plane, result)
            self._finished.add(plane)
            self._recent[plane] = _Recent(content, result.image)
        self._status = "stopped" if self.unfinished else "finished"

    def _initial(self, plane: int, content: Any) -> Initial | None:
        """Return the initial image of a plane, made from those before it; None: its content."""
        steps = _LONG_TERM if self.start_from == "warped" and self.long_term else _SHORT_TERM
        planes = [before for n in steps if (before := self._planes_back(plane, n)) is not None]
        if self.start_from == "content":  # the plane before is only checked
            planes = [before for before in planes if before in self._records]
        reach = {self._planes_back(plane, n) for n in range(1, steps[-1] + 1)}
        self._recent = {k: recent for k, recent in self._recent.items() if k in reach}
        self._recent |= {k: self._read_again(k) for k in planes if k not in self._recent}
        if self.start_from == "content" or not planes:
            return None
        results = [self._result_of(before, plane) for before in planes]
        if self.start_from == "previous":
            return Initial(warm_start(results[0], self._recent[planes[0]].content, content), None)
        self._recent[plane] = _Recent(content, None)
        earlier = [
            Earlier(self._recent[before].content, result, self._motion(before, plane))
            for before, result in zip(planes, results, strict=True)
        ]
        return warped_start(earlier, content, self._size)

    @property
    def _size(self) -> tuple[int, int]:
        """Height and width of the working size."""
        last = next(iter(self._scales_by_plane.values()))[-1]
        return last.height, last.width

    def _motion(self, earlier: int, later: int) -> Motion:
        """Return the motion between two planes, kept until a later plane is next."""
        if (earlier, later) not in self._motions:
            before, now = (self._recent.get(k) or self._read_again(k) for k in (earlier, later))
            self._motions = {pair: m for pair, m in self._motions.items() if pair[1] == later}
            self._motions[earlier, later] = motion_of(
                before.content, now.content, self._size, self._flow_method
            )
        return self._motions[earlier, later]

    def _planes_back(self, plane: int, count: int) -> int | None:
        """Return the plane a number of planes before a plane, or None."""
        before: int | None = plane
        for _ in range(count):
            before = None if before is None else self._before(before)
        return before

    def _read_again(self, plane: int) -> _Recent:
        """Read a plane that was finished earlier, and check that it has not changed since."""
        content = self._read(plane)
        if plane in self._records:
            check_unchanged(content, self._records[plane].content, plane, self._names[0])
        return _Recent(content, None)

    @cached_property
    def _scales_by_plane(self) -> dict[int, tuple[Scale, ...]]:
        """Scales of each plane that was unfinished when the run began."""
        from napari_nst.engine.optim.sizes import scales_for

        height, width = self._shape[:2]
        return {
            plane: scales_for(self._settings_of(plane), height, width, self._device)
            for plane in self.unfinished
        }

    @cached_property
    def _device(self) -> str:
        """Kind of the device of the runs."""
        from napari_nst.engine.resources.device import Device

        return Device.from_settings(self.settings).torch_device.type

    def _settings_of(self, plane: int) -> StyleTransferSettings:
        if self._before(plane) is None:
            return self._current_settings
        height, width = self._shape[:2]
        return plane_settings(
            self._current_settings, plane, self.start_from, (height, width), self._device
        )

    @property
    def scales(self) -> tuple[Scale, ...]:
        """Scales of all planes of this run, in order; known after `begin`."""
        return tuple(scale for scales in self._scales_by_plane.values() for scale in scales)

    def _count_all_planes(self, snapshot: Snapshot, plane: int) -> Snapshot:
        """Return a plane's snapshot with iterations, progress and time of the whole run."""
        by_plane = self._scales_by_plane
        work = {k: _pixels(scales) for k, scales in by_plane.items()}
        earlier = [k for k in work if k < plane]
        iterations = {k: sum(s.iterations for s in scales) for k, scales in by_plane.items()}
        return replace(
            snapshot,
            iteration=sum(iterations[k] for k in earlier) + snapshot.iteration,
            iterations=sum(iterations.values()),
            elapsed=self._elapsed + snapshot.elapsed,
            progress=(sum(work[k] for k in earlier) + snapshot.progress * work[plane])
            / sum(work.values()),
            plane=plane + 1,
            planes=len(self._planes),
        )

    def _create_run(
        self,
        engine: Callable[..., StyleTransfer],
        style_cache: StyleCache | None,
        plane: int,
        content: Any,
        initial: Initial | None,
    ) -> StyleTransfer:
        settings = self._current_settings if initial is None else self._settings_of(plane)
        inputs: dict[str, Any] = {"names": self._names, "control": self._control}
        if initial is not None:
            inputs["init_image"] = self._ranges.with_range(initial.image, like=content)
            if initial.reliability is not None:
                inputs["init_reliability"] = initial.reliability
        if self._content_labels is not None:
            inputs["content_labels"] = self._content_labels[plane]
        if self._style_labels is not None:
            inputs["style_labels"] = self._style_labels
        if style_cache is not None:
            inputs["style_cache"] = style_cache
        return engine(self._ranges.with_range(content), self._styles, settings, **inputs)

    def _read(self, plane: int) -> Any:
        content = as_array(self._planes[plane], self._names[0])
        if self._shape and content.shape != self._shape:
            raise InputError(
                f"Plane {plane} of {self._names[0]} has shape {content.shape}; the planes before "
                f"it have {self._shape}, and all must have one."
            )
        self._shape, self._dtype = content.shape, content.dtype.name
        return content

    def _result_of(self, plane: int, following: int) -> Any:
        if self._load_previous is not None:
            return np.asarray(self._load_previous(plane))
        result = self._recent[plane].result
        if result is None:
            raise InputError(
                f"Plane {plane} is finished, and plane {following} starts from it: give "
                "load_previous, which returns it."
            )
        return result


def _pixels(scales: Iterable[Scale]) -> int:
    """Return the number of pixels of all iterations."""
    return sum(scale.height * scale.width * scale.iterations for scale in scales)
