"""Measure the responsiveness of the viewer during a run, by gaps of a 10 ms timer.

Needs a display; without one::

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/viewer.py
"""

from __future__ import annotations

import argparse
import gc
import sys
import threading
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
import psutil
from qtpy.QtCore import QEventLoop, QTimer
from rich.console import Console
from rich.table import Table

from napari_nst import samples
from napari_nst.plugin.run.session import State

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
    """Collect the seconds between the timeouts of a 10 ms timer."""
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
    """Return the durations and the timer's gaps of a run, in seconds."""
    began = time.perf_counter()
    first: list[float] = []
    panel.session.reported.connect(lambda _: first.append(time.perf_counter() - began))
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


def cycles(panel: Any, viewer: Any, count: int) -> str:
    """Start and stop runs after ten to warm up; describe the leaks of threads and memory."""

    def usage() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), psutil.Process().memory_info().rss

    refs = []
    for number in range(10 + count):
        if number == 10:
            threads, memory = usage()
        panel.start()
        wait(lambda: panel.session.layer is not None, 60)
        refs.append(weakref.ref(panel.session.run))
        (panel.stop, panel.cancel)[number % 2]()
        wait(lambda: panel.session.state is State.IDLE, 60)
        if number % 2 == 0:
            viewer.layers.remove(panel.session.layer)
    after = usage()
    return (
        f"{count} cycles: {after[0] - threads:+d} threads, "
        f"{(after[1] - memory) / count / 1e6:+.3f} MB a cycle, "
        f"{sum(ref() is not None for ref in refs)} engines alive, {len(viewer.layers)} layers."
    )


def forecast(panel: Any) -> str:
    """Describe the errors of the remaining time that a run reported."""
    reports: list[tuple[float, float]] = []
    began = time.perf_counter()

    def note(progress: Any) -> None:
        if progress.remaining is not None:
            reports.append((time.perf_counter() - began, progress.remaining))

    panel.session.reported.connect(note)
    panel.start()
    wait(lambda: panel.session.state is State.IDLE, 3600)
    whole = time.perf_counter() - began
    errors = []
    for share in (0.2, 0.5, 0.8):
        when, left = next(each for each in reports if each[0] >= share * whole)
        errors.append(f"{(left - (whole - when)) / (whole - when):+.0%} at {share:.0%}")
    return f"The time left of a run of {whole:.0f} s was off by {', '.join(errors)}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--cycles", type=int, default=0, help="also start and stop this many runs")
    arguments = parser.parse_args()
    viewer = napari.Viewer()
    for data, options, _ in next(iter(samples.SAMPLES.values())).layers():
        viewer.add_image(data, **options)
    wait(lambda: False, 2)  # until the viewer is ready
    began = time.perf_counter()
    _, panel = viewer.window.add_plugin_dock_widget("napari-nst", "Neural style transfer")
    opened = time.perf_counter() - began
    loaded = "torch" in sys.modules
    panel.controls.size.value = arguments.size
    panel.controls.fields["iterations"].value = arguments.iterations
    began = time.perf_counter()
    with heartbeat() as gaps:
        wait(
            lambda: hasattr(sys.modules.get("napari_nst.engine.run.transfer"), "StyleTransfer"), 60
        )
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
        f"{max(gaps):.3f} s."
    )
    console.print(forecast(panel))
    if arguments.cycles:
        console.print(cycles(panel, viewer, arguments.cycles))
    viewer.close()


if __name__ == "__main__":
    main()
