from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import distributed
import numpy as np
import pytest
import tifffile
from distributed import Client, LocalCluster
from film_helpers import make_film, scene

from napari_nst.batch import BatchRecord, batch
from napari_nst.errors import InputError
from napari_nst.files import write_image
from napari_nst.stacks import StackRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

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


def connect(workers: int) -> Iterator[Client]:
    """Yield a client of a new cluster with some workers, each a process."""
    with (
        LocalCluster(
            n_workers=workers, processes=True, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as connected,
    ):
        yield connected


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    yield from connect(2)


@pytest.fixture(scope="module")
def single() -> Iterator[Client]:
    yield from connect(1)


@pytest.fixture
def one_worker(single: Client) -> Iterator[Client]:
    """Connect to a cluster with a single worker, which a test may make fail."""
    yield single
    single.run(succeed)


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


def test_tasks_of_a_killed_worker_are_run_again(
    folder: Path, client: Client, one_worker: Client
) -> None:
    assert one_worker is distributed.default_client()  # so the newest is not the one that is given
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


def write_series(length: int, photo: Any, noise: float = 0.01) -> NDArray[np.uint8]:
    """Write planes of a moving scene with noise to series.ome.tif, and return them."""
    rng = np.random.default_rng(0)
    scene = [np.roll(photo(32, 40)[..., 0], k, axis=1) for k in range(length)]
    values = np.clip(scene + rng.normal(0, noise, (length, 32, 40)), 0, 1)
    series = (255 * values).astype(np.uint8)
    tifffile.imwrite("series.ome.tif", series, metadata={"axes": "TYX"})
    return series


def series_of(out: str) -> NDArray[np.uint8]:
    return tifffile.imread(f"{out}/series.ome.tif")


def record_of_series(out: str) -> BatchRecord:
    return BatchRecord.model_validate_json(Path(f"{out}/series.napari-nst.json").read_text())


@pytest.mark.parametrize("start_from", ["warped", "previous"])
def test_chunks_of_a_series_are_cross_faded(
    folder: Path, client: Client, photo: Any, start_from: Any
) -> None:
    series = write_series(12, photo)
    options: Any = {"start_from": start_from, "long_term": start_from == "warped", **TINY}
    options["intensities"] = "full"
    report = batch("series.ome.tif", "s.png", "out", scheduler=client, chunk=6, **options)
    assert statuses(report) == ["made"]
    parts = {}
    for name, part in {"first": series[:6], "second": series[3:]}.items():
        tifffile.imwrite("series.ome.tif", part, metadata={"axes": "TYX"})
        batch("series.ome.tif", "s.png", name, **options)
        parts[name] = series_of(name).astype(float)
    share = np.array([0.25, 0.5, 0.75]).reshape(3, 1, 1)
    faded = (1 - share) * parts["first"][3:] + share * parts["second"][:3]
    assert np.abs(parts["first"][3:] - parts["second"][:3]).mean() > 1
    expected = np.concatenate([parts["first"][:3], np.rint(faded), parts["second"][3:]])
    np.testing.assert_array_equal(series_of("out"), expected)
    record = record_of_series("out")
    assert record.fingerprint.chunk == 6
    assert isinstance(record.run, StackRecord)
    assert record.run.content.shape == (12, 32, 40)
    shares = [(plane.plane, plane.share) for plane in record.run.finished]
    overlap = [(3, 0.75), (3, 0.25), (4, 0.5), (4, 0.5), (5, 0.25), (5, 0.75)]
    assert shares == [(0, 1), (1, 1), (2, 1), *overlap, *((k, 1) for k in range(6, 12))]
    assert not list(Path("out").glob(".*"))


def test_series_are_divided_if_workers_would_have_no_job(
    folder: Path, client: Client, photo: Any
) -> None:
    write_series(32, photo)
    options: Any = {**TINY, "size": 32, "iterations": 1, "style_layers": ("relu1_1",)}
    options["content_layers"] = ("relu1_1",)
    run = partial(batch, "series.ome.tif", "s.png", "out", **options)
    assert statuses(run(scheduler=client)) == ["made"]
    assert record_of_series("out").fingerprint.chunk == 16
    assert statuses(run()) == ["skipped"]  # any length will do
    assert statuses(run(scheduler=client, chunk=16)) == ["skipped"]
    assert statuses(run(scheduler=client, chunk=0)) == ["made"]
    assert record_of_series("out").fingerprint.chunk == 0
    with pytest.raises(InputError, match="chunk is 16, and only a cluster divides stacks"):
        run(chunk=16)


def succeed() -> None:
    """Undo what the functions below change in a worker."""
    from napari_nst import stacks
    from napari_nst.batch import cluster, reading, stack_task, task
    from napari_nst.stacks import resumable

    resumable.put_plane = stacks.put_plane
    task.read_picture = reading.read_picture
    cluster.make_plane = stack_task.make_plane


def fail_in_the_second_chunk() -> None:
    """Make a worker fail at the third plane of the second chunk, which has nine."""
    from napari_nst import stacks
    from napari_nst.stacks import resumable

    def put_plane(store: Any, k: int, *more: Any) -> None:
        if len(store.array) == 9 and k == 2:
            raise ZeroDivisionError("division by zero")
        stacks.put_plane(store, k, *more)

    resumable.put_plane = put_plane


def fail_in_planes_that_are_finished() -> None:
    """Make a worker fail if it makes a plane again that `fail_in_the_second_chunk` let pass."""
    from napari_nst import stacks
    from napari_nst.stacks import resumable

    def put_plane(store: Any, k: int, *more: Any) -> None:
        if len(store.array) == 6 or k < 2:
            raise ZeroDivisionError("division by zero")
        stacks.put_plane(store, k, *more)

    resumable.put_plane = put_plane


def test_finished_planes_are_kept_if_a_chunk_fails(
    folder: Path, client: Client, one_worker: Client, photo: Any
) -> None:
    write_series(12, photo)
    one_worker.run(fail_in_the_second_chunk)
    report = batch("series.ome.tif", "s.png", "out", scheduler=one_worker, chunk=6, **TINY)
    assert statuses(report) == ["failed"]
    assert "ZeroDivisionError" in (report.failed[0].error or "")
    assert not Path("out/series.ome.tif").exists()
    one_worker.run(fail_in_planes_that_are_finished)
    # Without a length, that of the stored chunks is taken.
    report = batch("series.ome.tif", "s.png", "out", scheduler=one_worker, **TINY)
    assert statuses(report) == ["made"]
    assert record_of_series("out").fingerprint.chunk == 6
    batch("series.ome.tif", "s.png", "two", scheduler=client, chunk=6, **TINY)
    np.testing.assert_array_equal(series_of("out"), series_of("two"))


def test_neighbouring_planes_agree_at_a_seam_as_elsewhere(
    folder: Path, client: Client, photo: Any
) -> None:
    rng = np.random.default_rng(0)
    still = np.clip(photo(32, 40) + rng.normal(0, 0.01, (24, 32, 40, 3)), 0, 1)
    write = {"metadata": {"axes": "TYXS"}, "photometric": "rgb"}
    tifffile.imwrite("series.ome.tif", (255 * still).astype(np.uint8), **write)
    options: Any = {"size": 40, "iterations": 10, "precision": "float32"}
    options |= {"style_layers": ["relu1_1", "relu2_1"], "content_layers": ["relu2_2"]}
    batch("series.ome.tif", "s.png", "out", scheduler=client, chunk=16, **options)
    changes = np.abs(np.diff(series_of("out").astype(float), axis=0)).mean(axis=(1, 2, 3))
    seam = slice(7, 16)  # planes 8 to 15 are cross-faded
    assert changes[seam].max() < 1.5 * np.delete(changes, seam).mean()


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


def test_unexpected_error_on_a_worker_fails_one_job(folder: Path, one_worker: Client) -> None:
    one_worker.run(fail_on_worker)
    report = batch("in", "s.png", "out", start_from="content", scheduler=one_worker, **TINY)
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
