"""How the viewer feels during a run: a 10 ms heartbeat in its thread, and the first picture.

Needs a display; without one::

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/viewer.py
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from qtpy.QtCore import QEventLoop, QTimer
from rich.console import Console
from rich.table import Table

from napari_nst import samples
from napari_nst.plugin.session import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def wait(until: Callable[[], bool], seconds: float) -> None:
    loop, poll = QEventLoop(), QTimer()
    end = time.perf_counter() + seconds
    poll.timeout.connect(lambda: (until() or time.perf_counter() > end) and loop.quit())
    poll.start(50)
    loop.exec()


@contextmanager
def heartbeat() -> Iterator[list[float]]:
    """Collect the seconds between the beats of a 10 ms timer."""
    gaps: list[float] = []
    last = time.perf_counter()

    def beat() -> None:
        nonlocal last
        now = time.perf_counter()
        gaps.append(now - last)
        last = now

    timer = QTimer()
    timer.timeout.connect(beat)
    timer.start(10)
    yield gaps
    timer.stop()


def run(panel: Any) -> dict[str, float]:
    """Do one run, and return what was felt of it, in seconds."""
    began = time.perf_counter()
    first: list[float] = []
    panel.session.progressed.connect(lambda _: first.append(time.perf_counter() - began))
    with heartbeat() as gaps:
        panel.start()
        wait(lambda: panel.session.state is State.IDLE, 3600)
    return {
        "first picture": first[0],
        "whole run": time.perf_counter() - began,
        "gap, median": float(np.median(gaps)),
        "gap, 95 %": float(np.quantile(gaps, 0.95)),
        "gap, longest": max(gaps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=160)
    arguments = parser.parse_args()
    viewer = napari.Viewer()
    for data, options, _ in next(iter(samples.SAMPLES.values())).layers():
        viewer.add_image(data, **options)
    wait(lambda: False, 2)  # the viewer's own start
    began = time.perf_counter()
    _, panel = viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")
    opened = time.perf_counter() - began
    loaded = "torch" in sys.modules
    panel.controls.size.value = arguments.size
    panel.controls.iterations.value = arguments.iterations
    began = time.perf_counter()
    with heartbeat() as held_up:
        wait(lambda: hasattr(sys.modules.get("napari_nst.engine.transfer"), "stylize"), 60)
    warmed = time.perf_counter() - began
    wait(lambda: False, 1)
    first, second = run(panel), run(panel)
    table = Table("seconds", "first run", "second run")
    for name in first:
        table.add_row(name, f"{first[name]:.3f}", f"{second[name]:.3f}")
    console = Console()
    console.print(table)
    console.print(
        f"The panel opened in {opened:.2f} s, torch {'' if loaded else 'not '}loaded; it was "
        f"imported in the background within {warmed:.1f} s, the longest gap meanwhile "
        f"{max(held_up):.3f} s."
    )
    viewer.close()


if __name__ == "__main__":
    main()
