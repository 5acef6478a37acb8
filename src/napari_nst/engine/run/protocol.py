"""Public interface to a run, of one image or of a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.engine.run.snapshots import Snapshot
    from napari_nst.record import Record

__all__ = ["Run"]


class Run(Protocol):
    """Iterate, steer, pause and stop a run; get its record and its result."""

    @property
    def scales(self) -> tuple[Scale, ...]:
        """Scales of the run; of a stack, those of all its planes in order."""
        ...

    @property
    def record(self) -> Record:
        """Provenance of the current result."""
        ...

    @property
    def paused_seconds(self) -> float:
        """Seconds spent paused."""
        ...

    def __iter__(self) -> Iterator[Snapshot]:
        """Return an iterator that runs one iteration for each snapshot."""
        ...

    def __next__(self) -> Snapshot:
        """Run one iteration."""
        ...

    def stop(self) -> None:
        """End the run before its next tile or evaluation."""
        ...

    def stop_if(self, predicate: Callable[[], bool], /) -> None:
        """End the run when a predicate becomes true."""
        ...

    def pause(self) -> None:
        """Wait before the next tile or evaluation."""
        ...

    def resume(self) -> None:
        """Continue after `pause`."""
        ...

    def steer(self, **changes: Any) -> None:
        """Change settings, styles or labels before the next evaluation; see `SettingsUpdate`."""
        ...

    def result(self) -> Any:
        """Return the current result, with `image` and `record`."""
        ...
