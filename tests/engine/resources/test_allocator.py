from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from napari_nst.engine.resources import allocator
from napari_nst.engine.resources import device as compute
from napari_nst.engine.resources.peak_memory import Workload
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@pytest.fixture(scope="module", autouse=True)
def no_abandoned_runs() -> None:
    """Finish the runs that other tests left; this takes longer than most tests."""
    gc.collect()


@pytest.fixture(autouse=True)
def default_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo settings of the user, of a Dask cluster, and of unfinished runs in this process."""
    monkeypatch.setattr(allocator, "_runs", 0)
    for name in (*os.environ,):
        if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES":
            monkeypatch.delenv(name)


on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

# Blocks of 40 MiB, each freed before the next is allocated and written to.
CODE = """if True:
    import resource
    import torch
    from napari_nst.engine.resources import allocator

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            torch.ones(10 * 2**20)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    def resident():
        line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
        return int(line.split()[1]) // 1024

    print(faults())
    with allocator.keep_freed_memory():
        with allocator.keep_freed_memory():
            pass
        for _ in range(20):  # until a free block fits
            torch.ones(10 * 2**20)
        print(faults())
        before = resident()
        allocator.release_freed_memory()
        print(before - resident())
    print(faults())
    with allocator.keep_freed_memory():
        faults()
        print(faults())
"""


def run_code(**environment: str) -> list[int]:
    """Run CODE in a new process and return the numbers that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return [int(line) for line in done.stdout.split()]


@on_glibc
def test_freed_memory_is_kept_for_the_outermost_context_only() -> None:
    for _ in range(3):
        before, during, released, after, again = run_code()
        assert during < before / 10
        assert released >= 40  # MiB
        assert again < before / 10
        # If a block of another thread happens to lie above a free one, the heap keeps that and
        # reuses it, whatever the thresholds are.
        if after > 0.9 * before:
            break
    assert after > 0.9 * before


@on_glibc
@pytest.mark.parametrize(
    "tuned",
    [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4096"}],
)
def test_thresholds_tuned_by_the_user_are_not_changed(tuned: dict[str, str]) -> None:
    before, during, *_ = run_code(**tuned)
    assert during > before / 2


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with allocator.keep_freed_memory():
        allocator.release_freed_memory()


@pytest.mark.parametrize(("times", "keeps"), [(3.9, False), (4.1, True)])
def test_a_run_keeps_memory_where_it_is_ample_and_releases_it(
    monkeypatch: pytest.MonkeyPatch,
    content: NDArray[Any],
    style: NDArray[Any],
    times: float,
    keeps: bool,
) -> None:
    calls: list[str] = []

    @contextmanager
    def keep() -> Iterator[None]:
        calls.append("keep")
        yield
        calls.append("restore")

    monkeypatch.setattr(allocator, "keep_freed_memory", keep)
    monkeypatch.setattr(allocator, "release_freed_memory", lambda: calls.append("release"))
    settings = StyleTransferSettings(size=32, iterations=2, device="cpu", precision="float32")
    run = StyleTransfer(content, style, settings)
    fast = run.record.resolved.convolutions != "direct"
    workload = Workload(settings, run.scales[-1], (style.shape[:2],), fast_convolutions=fast)
    needed = workload.bytes_needed()
    monkeypatch.setattr(
        compute.psutil, "virtual_memory", lambda: SimpleNamespace(available=times * needed)
    )
    run = StyleTransfer(content, style, settings)
    next(run)
    assert calls == ["keep"] * keeps
    list(run)
    assert calls == ["keep", "restore"] * keeps + ["release"]


@pytest.mark.parametrize("end", ["stopped", "abandoned"])
def test_a_run_that_does_not_finish_restores_the_thresholds(
    monkeypatch: pytest.MonkeyPatch, content: NDArray[Any], style: NDArray[Any], end: str
) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(allocator, "_set_thresholds", lambda *sizes: set_to.append(sizes))
    run = StyleTransfer(content, style, StyleTransferSettings(size=32, iterations=3, device="cpu"))
    next(run)
    assert set_to == [allocator._DURING_RUN]
    if end == "stopped":
        run.stop()
        list(run)
    del run
    gc.collect()
    assert set_to == [allocator._DURING_RUN, allocator._AFTER_RUN]
