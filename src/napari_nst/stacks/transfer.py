"""A whole stack: the engine's one loop, plane by plane."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np

from napari_nst.engine.images.arguments import as_array, as_list, refuse_path, style_names
from napari_nst.engine.run.control import Control
from napari_nst.errors import InputError
from napari_nst.settings import StyleTransferSettings
from napari_nst.stacks.agreement import carried, check, settings_of
from napari_nst.stacks.planes import (
    PlaneRanges,
    check_labels,
    check_unchanged,
    default_engine,
    in_a_row,
)
from napari_nst.stacks.record import PlaneRecord, StackContent, StackRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.engine.run.snapshots import Snapshot, StyleTransferResult
    from napari_nst.engine.run.style_cache import StyleCache
    from napari_nst.engine.run.transfer import StyleTransfer
    from napari_nst.record import RunRecord
    from napari_nst.stacks.planes import Planes

__all__ = ["StackTransfer"]

_SAME: Final[Any] = object()  # says that an input stays what it is: None says there is to be none


class StackTransfer:
    """A run over all planes of a stack: an iterator of `Snapshot`.

    Network and targets are computed once.  Planes are done in their order; those that are not
    finished when the run ends are not put anywhere.

    Parameters
    ----------
    planes : Planes
        A list, an array, or anything else with a length whose items are images as `StyleTransfer`
        takes them, all of one shape; read one at a time, when its turn comes.
    styles : array_like or sequence of array_like
        One or several style images, of any size.
    settings : StyleTransferSettings, optional
        Every choice.
    start_from : {"previous", "content"}
        What a plane starts from: the result of the plane before, so that the two agree
        (`settings_of` says how it goes on from there), or its own content, as a picture on its
        own would.
    on_plane_done : callable, optional
        Called with the index of each plane that is done and its `StyleTransferResult`, in order.
    names : sequence of str, optional
        What messages and the record call the stack and the styles.
    finished : iterable of int, or mapping of int to PlaneRecord or dict
        Planes that are not to be done again; with their records, they are in this run's, and
        a plane whose content is not what it was then is refused.
    before : callable, optional
        Returns for a plane the one that comes before it, an index that is smaller, or None: such
        a plane starts from its own content.  By default the planes are one row.
    load_previous : callable, optional
        Returns the finished plane of an index, from which the next one starts: uint8, uint16 or
        floats in [0, 1].  If it is given, it is asked in any case: so a run that was broken off
        comes to the same bytes as an unbroken one, whatever a store rounds.
    content_labels : sequence of array_like, optional
        For each plane the labels of its regions.
    style_labels : sequence of array_like or None, optional
        For each style the labels painted on it, or None.
    engine : callable, optional
        Makes the run of a plane; by default `StyleTransfer`, which loads torch.
    control : Control, optional
        Stops and pauses the runs of all planes; by default one of its own.

    Raises
    ------
    InputError
        If the stack is empty, or a choice cannot be.  Of what is wrong with a plane the iteration
        tells.
    """

    def __init__(
        self,
        planes: Planes,
        styles: Any,
        settings: StyleTransferSettings | None = None,
        *,
        start_from: Literal["previous", "content"] = "previous",
        on_plane_done: Callable[[int, StyleTransferResult], object] | None = None,
        names: Sequence[str] | None = None,
        finished: Iterable[int] | Mapping[int, Any] = (),
        before: Callable[[int], int | None] | None = None,
        load_previous: Callable[[int], Any] | None = None,
        content_labels: Planes | None = None,
        style_labels: Any = None,
        engine: Callable[..., StyleTransfer] | None = None,
        control: Control[Any] | None = None,
    ) -> None:
        self.settings = settings or StyleTransferSettings()
        self.start_from = check(self.settings, start_from)
        refuse_path(planes, "The stack", "open the file with napari_nst.files.open_stack")
        if len(planes) == 0:
            raise InputError("The stack has no planes; give at least one.")
        self._planes, self._engine = planes, engine
        self._on_plane_done, self._load_previous = on_plane_done, load_previous
        self._before = before or in_a_row
        check_labels(content_labels, planes)
        self._content_labels = content_labels
        self._names = list(names or ["content", *style_names(len(as_list(styles)))])
        self._now = self.settings  # steering included
        self._inputs: dict[str, Any] = {"styles": styles}
        if style_labels is not None:
            self._inputs["style_labels"] = style_labels
        known = finished if isinstance(finished, Mapping) else {}
        self._done = {int(plane) for plane in finished}
        self._records = {
            int(plane): PlaneRecord.model_validate(record)
            for plane, record in known.items()
            if record is not None
        }
        self._first: RunRecord | None = None
        self._latest: RunRecord | None = None
        self._shape: tuple[int, ...] = ()
        self._dtype = ""
        self._ranges = PlaneRanges(planes)
        self._status: Literal["finished", "stopped", "failed", "running"] = "running"
        self._run: StyleTransfer | None = None
        self._plane = 0  # the one at work
        self._control: Control[Any] = control or Control()  # of the runs of all planes
        self._one_at_a_time = threading.Lock()
        self._elapsed = 0.0  # seconds of work on the planes before the current one
        self._begun = False
        self._snapshots = self._steps()

    def __len__(self) -> int:
        """Return the number of planes."""
        return len(self._planes)

    @property
    def finished(self) -> tuple[int, ...]:
        """The planes that are done, in their order."""
        return tuple(sorted(self._done))

    @property
    def unfinished(self) -> tuple[int, ...]:
        """The planes that are still to be done, in their order."""
        return tuple(plane for plane in range(len(self._planes)) if plane not in self._done)

    @property
    def run(self) -> StyleTransfer | None:
        """The run of the plane at work, if one is."""
        return self._run

    def __iter__(self) -> Self:
        """Return the run itself: a loop that was left can be entered again."""
        return self

    def __next__(self) -> Snapshot:
        """Do one evaluation of the plane at work, or of the next, and return the snapshot after it.

        Raises
        ------
        StyleTransferError
            If a plane cannot be used, or its run fails: see `StyleTransfer`.
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
        """Make the run of the first plane that is to be done: its `record` can be asked then.

        Without it, the iteration does.

        Raises
        ------
        StyleTransferError
            If it cannot be made: see `StyleTransfer`.
        """
        if not self._begun:
            self._begun = True
            self._advance()

    def stop(self) -> None:
        """End the run before its next tile or evaluation; any thread may call this."""
        self._control.stop()

    def stop_if(self, predicate: Callable[[], bool]) -> None:
        """End the run when a predicate becomes true; a paused run checks it, too."""
        self._control.stop_if(predicate)

    def pause(self) -> None:
        """Wait before the next tile or evaluation; any thread may call this."""
        self._control.pause()

    def resume(self) -> None:
        """Continue after `pause`."""
        self._control.resume()

    @property
    def paused_seconds(self) -> float:
        """Seconds spent paused."""
        return self._control.paused_seconds

    def steer(self, **changes: Any) -> None:
        """Change settings, styles or labels from now on; any thread may ask.

        It takes effect at the next evaluation of the plane at work, and holds for the planes after
        it.

        Parameters
        ----------
        **changes
            As `StyleTransfer.steer` takes them; but ``content_labels`` for each plane.

        Raises
        ------
        InputError
            If one of them cannot be changed during a run, or not so, or no plane is at work.
        """
        with self._one_at_a_time:
            if self._run is None:
                raise InputError("No plane is at work; steer while one is.")
            labels = changes.pop("content_labels", _SAME)
            if labels is not _SAME:
                check_labels(labels, self._planes)
                own = None if labels is None else labels[self._plane]
                self._run.steer(content_labels=own, **changes)
                self._content_labels = labels
            else:
                self._run.steer(**changes)
            self._keep(**changes)

    def _keep(
        self, *, styles: Any = _SAME, names: Any = None, style_labels: Any = _SAME, **choices: Any
    ) -> None:
        """Have for the planes to come what the plane at work was steered to."""
        if styles is not _SAME:
            count = len(as_list(styles))
            if count != len(self._names) - 1:
                names = names or style_names(count)
            self._inputs["styles"] = styles
        if names is not None:
            self._names[1:] = names
        if style_labels is not _SAME:
            self._inputs["style_labels"] = style_labels
        self._now = self._now.replace(**choices)

    @property
    def record(self) -> StackRecord:
        """How the stack came to be, up to now.

        Raises
        ------
        InputError
            If no plane has been at work yet.
        """
        run = self._run.record if self._latest is None and self._run is not None else self._latest
        if run is None:
            raise InputError("There is no record before the first plane is at work.")
        first = self._first or run
        return StackRecord.model_validate(
            {
                "settings": self.settings,
                "start_from": self.start_from,
                "resolved": run.resolved,
                "content": StackContent(
                    name=self._names[0],
                    shape=(len(self._planes), *self._shape),
                    dtype=self._dtype,
                ),
                "styles": first.styles,
                "style_labels": first.style_labels,
                "finished": tuple(self._records[k] for k in sorted(self._records)),
                "status": self._status,
            }
        )

    def _steps(self) -> Iterator[Snapshot | None]:
        """Yield None once when the first run is made, and then the snapshots."""
        engine, style_cache, announced = self._engine, None, False
        if engine is None:
            engine, style_cache = default_engine()
        latest: tuple[int | None, Any, StyleTransferResult | None] = (None, None, None)
        for plane in self.unfinished:
            content, start = self._read(plane), None
            self._plan  # noqa: B018  # fixes what counts as the whole run
            before = self._before(plane)
            goes_on = self.start_from == "previous" and before is not None
            if before is not None and latest[0] != before and (goes_on or before in self._records):
                latest = (before, self._read(before), None)  # in an earlier run, or further back
                self._compare(before, latest[1])
            if goes_on and before is not None:
                result = self._result_of(before, plane, latest[2])
                start = carried(result, latest[1], content)
            run = self._begin(engine, style_cache, plane, content, start)
            if run is None:
                break
            if not announced:
                announced = True
                yield None
            for snapshot in run:
                yield self._count_all_planes(snapshot, plane)
            self._elapsed += snapshot.elapsed if run.history else 0.0
            with self._one_at_a_time:
                self._run = None
                # Later planes begin with what was steered; these are of this plane's content.
                while self._control.pop_update() is not None:
                    pass
            self._latest = run.record
            if len(run.history) < sum(scale.iterations for scale in run.scales):
                break
            result = run.result()
            self._first = self._first or result.record
            self._records[plane] = PlaneRecord.of(plane, result.record)
            if self._on_plane_done is not None:
                self._on_plane_done(plane, result)
            self._done.add(plane)
            latest = (plane, content, result)
        self._status = "stopped" if self.unfinished else "finished"

    @cached_property
    def _plan(self) -> dict[int, tuple[Scale, ...]]:
        """The scales of each plane that was unfinished when the run began."""
        from napari_nst.engine.optim.sizes import scales_for
        from napari_nst.engine.resources.device import Device

        device = Device.from_settings(self.settings).torch_device.type
        height, width = self._shape[:2]
        return {
            plane: scales_for(self._settings_of(plane), height, width, device)
            for plane in self.unfinished
        }

    def _settings_of(self, plane: int) -> StyleTransferSettings:
        if self._before(plane) is None:
            return self._now
        return settings_of(self._now, plane, self.start_from)

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The scales of all planes to do, one after another; known after `begin`."""
        return tuple(scale for scales in self._plan.values() for scale in scales)

    def _count_all_planes(self, snapshot: Snapshot, plane: int) -> Snapshot:
        """Return a plane's snapshot with iterations, progress and time of the whole run."""
        work = {k: _pixels(scales) for k, scales in self._plan.items()}
        earlier = [k for k in work if k < plane]
        iterations = {k: sum(s.iterations for s in scales) for k, scales in self._plan.items()}
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

    def _begin(
        self,
        engine: Callable[..., StyleTransfer],
        style_cache: StyleCache | None,
        plane: int,
        content: Any,
        start: Any,
    ) -> StyleTransfer | None:
        """Make a plane's run; None if it is not to begin any more."""
        settings = self._now if start is None else self._settings_of(plane)
        inputs = dict(self._inputs)
        content, start = self._ranges.of(content), self._ranges.of(start, like=content)
        if start is not None:
            inputs["init_image"] = start
        if self._content_labels is not None:
            inputs["content_labels"] = self._content_labels[plane]
        if style_cache is not None:
            inputs["style_cache"] = style_cache
        inputs["control"] = self._control
        run = engine(content, inputs.pop("styles"), settings, names=self._names, **inputs)
        if self._control.stopped:
            return None
        with self._one_at_a_time:
            self._run, self._plane = run, plane
        return run

    def _read(self, plane: int) -> Any:
        content = as_array(self._planes[plane], self._names[0])
        if self._shape and content.shape != self._shape:
            raise InputError(
                f"Plane {plane} of {self._names[0]} has shape {content.shape}; the planes before "
                f"it have {self._shape}, and all must have one."
            )
        self._shape, self._dtype = content.shape, content.dtype.name
        return content

    def _result_of(self, plane: int, following: int, result: StyleTransferResult | None) -> Any:
        if self._load_previous is not None:
            return np.asarray(self._load_previous(plane))
        if result is None:
            raise InputError(
                f"Plane {plane} is finished, and plane {following} is to start from it: give "
                "load_previous, which returns it."
            )
        return result.image

    def _compare(self, plane: int, content: Any) -> None:
        """Refuse to go on from a plane whose content has changed since it was done."""
        if plane in self._records:
            check_unchanged(content, self._records[plane].content, plane, self._names[0])


def _pixels(scales: Iterable[Scale]) -> int:
    """Return the number of pixels of all iterations."""
    return sum(scale.height * scale.width * scale.iterations for scale in scales)
