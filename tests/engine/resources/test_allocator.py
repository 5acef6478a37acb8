from __future__ import annotations

import platform
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from napari_nst.engine.resources import allocator
from napari_nst.engine.resources import device as compute
from napari_nst.engine.resources.peak_memory import Workload
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")

# Blocks of 40 MiB, each freed before the next is asked for and written to.
CODE = """if True:
    import resource, sys
    import torch
    from napari_nst.engine.resources import allocator

    def faults():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    def resident():
        line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
        return int(line.split()[1]) // 1024

    if sys.argv[1] == "kept":
        assert allocator.keep_freed_memory()
    for _ in range(20):  # until a hole fits
        torch.ones(10 * 2**20)
    before = faults()
    for _ in range(10):
        torch.ones(10 * 2**20)
    held = resident()
    allocator.give_back()
    print(faults() - before, held - resident())
"""


def told(how: str) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True
    )
    faults, given_back = done.stdout.split()
    return int(faults), int(given_back)


@on_glibc
def test_memory_that_is_freed_is_found_again_and_given_back() -> None:
    fresh, _ = told("not")
    kept, given_back = told("kept")
    assert kept < fresh / 10
    assert given_back >= 40  # MiB


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    assert not allocator.keep_freed_memory()
    allocator.give_back()


@pytest.mark.parametrize(("times", "keeps"), [(3.9, False), (4.1, True)])
def test_a_run_keeps_memory_where_there_is_plenty_and_gives_it_back(
    monkeypatch: pytest.MonkeyPatch,
    content: NDArray[Any],
    style: NDArray[Any],
    times: float,
    keeps: bool,
) -> None:
    deeds: list[str] = []
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: deeds.append("keeps"))
    monkeypatch.setattr(allocator, "give_back", lambda: deeds.append("gives back"))
    settings = StyleTransferSettings(size=32, iterations=2, device="cpu", precision="float32")
    last = StyleTransfer(content, style, settings).scales[-1]
    needed = Workload(settings, last, (style.shape[:2],)).bytes_needed()
    monkeypatch.setattr(
        compute.psutil, "virtual_memory", lambda: SimpleNamespace(available=times * needed)
    )
    run = StyleTransfer(content, style, settings)
    next(run)
    assert deeds == ["keeps"] * keeps
    run.stop()
    list(run)
    assert deeds == ["keeps"] * keeps + ["gives back"]
