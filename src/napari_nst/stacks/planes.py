"""What a stack is made of, and what its run needs of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_nst.engine.shared import Shared
    from napari_nst.engine.snapshots import Snapshot
    from napari_nst.engine.transfer import StyleTransfer

__all__ = ["PlaneSnapshot", "Planes", "default_engine", "hash_of"]


class Planes(Protocol):
    """Images that can be counted and read one at a time."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __getitem__(self, k: int, /) -> Any:
        """Return one."""
        ...


@dataclass(frozen=True)
class PlaneSnapshot:
    """Where a stack is after an evaluation.

    Attributes
    ----------
    plane, planes : int
        The plane at work, from 0, and how many the stack has.
    snapshot : Snapshot
        Of that plane's run.
    """

    plane: int
    planes: int
    snapshot: Snapshot


def default_engine() -> tuple[Callable[..., StyleTransfer], Shared]:
    """Import the engine, and torch with it, when it is first needed."""
    from napari_nst.engine.shared import Shared
    from napari_nst.engine.transfer import StyleTransfer

    return StyleTransfer, Shared()


def hash_of(content: Any) -> str:
    """Return the hash that a record has of an image."""
    from napari_nst.engine.pictures import record_of

    return record_of(content, "").sha256
