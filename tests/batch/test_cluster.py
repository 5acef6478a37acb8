from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from distributed import Client, LocalCluster
from film_helpers import make_film, scene

from napari_nst.batch import batch
from napari_nst.errors import InputError
from napari_nst.files import write_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_nst.batch import BatchReport, JobProgress

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.xdist_group("cluster"),  # starts processes: one test at a time
    # After a worker is killed, the garbage collector closes its connections.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

# The automatic precision is measured, and two processes may differ.
TINY: dict[str, Any] = {
    "size": 48,
    "iterations": 3,
    "scales": 1,
    "precision": "float32",
    "content_layers": ("relu3_1",),
    "style_layers": ("relu1_1", "relu3_1"),
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=2, processes=True, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as connected,
    ):
        yield connected


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Any, stripes: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for number in range(6):
        write_image(f"in/{number}.png", np.roll(photo(40, 48), number, axis=1))
    values = np.stack([np.roll(photo(40, 48)[..., 0], 2 * k, axis=1) for k in range(4)])
    tifffile.imwrite("in/cells.tif", (60000 * values).astype(np.uint16), imagej=True)
    write_image("s.png", stripes(44, 36))
    return tmp_path


def pictures(out: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(out).glob("*.png")}


def planes(out: str) -> Any:
    return tifffile.imread(f"{out}/cells.tif")


def statuses(report: BatchReport) -> list[str]:
    return [outcome.status for outcome in report.outcomes]


def test_tasks_of_a_killed_worker_are_run_again(folder: Path, client: Client) -> None:
    assert statuses(batch("in", "s.png", "serial", start_from="content", **TINY)) == ["made"] * 7
    (Path("in") / "bad.png").write_bytes(b"not a picture")
    processes = client.run(os.getpid)
    victim = next(iter(processes.values()))
    killed: list[float] = []

    def kill_one(progress: JobProgress) -> None:
        if not killed:  # while the other jobs are running
            os.kill(victim, signal.SIGKILL)
            killed.append(time.monotonic())

    report = batch(
        "in", "s.png", "out", start_from="content", scheduler=client, progress=kill_one, **TINY
    )
    assert killed
    assert statuses(report) == ["made"] * 6 + ["failed", "made"]
    assert "bad.png is not an image of a supported format" in (report.failed[0].error or "")
    assert victim not in client.run(os.getpid).values()
    assert pictures("out") == pictures("serial")
    np.testing.assert_array_equal(planes("out"), planes("serial"))
    second_report = batch("in", "s.png", "out", start_from="content", scheduler=client, **TINY)
    assert statuses(second_report) == ["skipped"] * 6 + ["failed", "skipped"]


def test_stack_with_dependent_planes_is_one_task(folder: Path, client: Client) -> None:
    batch("in/cells.tif", "s.png", "serial", **TINY)
    address = client.scheduler.address
    report = batch("in/cells.tif", "s.png", "out", scheduler=address, **TINY)
    assert statuses(report) == ["made"]
    np.testing.assert_array_equal(planes("out"), planes("serial"))


@pytest.mark.parametrize("start_from", ["previous", "content"])
def test_films_have_the_same_bytes(folder: Path, client: Client, start_from: Any) -> None:
    make_film(Path("clip.mp4"), [scene(k) for k in range(3)], sound="aac")
    options: Any = {"start_from": start_from, **TINY}
    batch("clip.mp4", "s.png", "serial", **options)
    report = batch("clip.mp4", "s.png", "out", scheduler=client, **options)
    assert statuses(report) == ["made"]
    assert Path("out/clip.mp4").read_bytes() == Path("serial/clip.mp4").read_bytes()


def fail_on_worker() -> None:
    """Make a worker raise unexpected errors for one picture and one plane."""
    from napari_nst.batch import stack_task, task

    read, make = task.read_picture, stack_task.make_plane

    def read_picture(path: Path, *given: Any, **more: Any) -> Any:
        if path.name == "2.png":
            raise ZeroDivisionError("division by zero")
        return read(path, *given, **more)

    def make_plane(job: Any, reading: Any, k: int, style_cache: Any) -> Any:
        if k == 1:
            raise KeyError("plane")
        return make(job, reading, k, style_cache)

    task.read_picture = read_picture
    from napari_nst.batch import cluster

    cluster.make_plane = make_plane


def test_unexpected_error_on_a_worker_fails_one_job(folder: Path) -> None:
    with (
        LocalCluster(
            n_workers=1, processes=True, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as own,
    ):
        own.run(fail_on_worker)
        report = batch("in", "s.png", "out", start_from="content", scheduler=own, **TINY)
    assert statuses(report) == ["made", "made", "failed", "made", "made", "made", "failed"]
    picture, stack = report.failed
    log = Path("out/napari-nst-batch.log").read_text()
    for outcome, message in ((picture, "ZeroDivisionError: division by zero"), (stack, "KeyError")):
        assert message in (outcome.error or "") and "the traceback is in" in (outcome.error or "")
        assert outcome.traceback and outcome.traceback in log


def test_error_for_a_missing_scheduler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_nst.batch.cluster._SECONDS_TO_CONNECT", 1)
    with pytest.raises(InputError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        batch("in", "s.png", "out", scheduler="tcp://127.0.0.1:9", **TINY)
