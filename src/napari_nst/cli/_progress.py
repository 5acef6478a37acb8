"""Where a run is, on standard error: a bar in a terminal, a line for each scale elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_nst.engine.run.snapshots import Snapshot
    from napari_nst.engine.run.transfer import StyleTransfer

    Update = Callable[[Snapshot], None]

__all__ = ["say", "show"]

_SECONDS_BETWEEN_UPDATES = 0.1


def say(message: str) -> None:
    """Tell the user something that is not the program's product."""
    print("napari-nst:", message, file=sys.stderr)


def show(run: StyleTransfer, after: Callable[[], object] | None = None) -> None:
    """Iterate a run to its end, and show where it is; `after` is called after each iteration."""
    console = Console(stderr=True)
    display = _bar(console) if console.is_interactive else _lines()
    with display as update:
        for snapshot in run:
            update(snapshot)
            if after is not None:
                after()


@contextmanager
def _bar(console: Console) -> Iterator[Update]:
    shown = -_SECONDS_BETWEEN_UPDATES
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[losses]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        task = progress.add_task("beginning", total=1, losses="")

        def update(snapshot: Snapshot) -> None:
            nonlocal shown
            now = time.monotonic()
            # To read a loss is to wait for the GPU, so not after every iteration.
            if now - shown >= _SECONDS_BETWEEN_UPDATES:
                shown = now
                losses = snapshot.losses
                progress.update(
                    task,
                    completed=snapshot.progress,
                    description=f"scale {snapshot.scale}/{snapshot.scales}, "
                    f"iteration {snapshot.iteration}/{snapshot.iterations}",
                    losses=f"style {losses.style:.3g}, content {losses.content:.3g}",
                )

        yield update


@contextmanager
def _lines() -> Iterator[Update]:
    scale = 0

    def update(snapshot: Snapshot) -> None:
        nonlocal scale
        if snapshot.scale != scale:
            scale = snapshot.scale
            height, width = snapshot.shape
            say(f"scale {scale} of {snapshot.scales}, {width} x {height} pixels")

    yield update
