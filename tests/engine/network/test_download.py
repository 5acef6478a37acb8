from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors import safe_open
from state_dicts import publish_vgg19

from napari_nst.engine.network import weights
from napari_nst.engine.network.download import DownloadCancelled, download, fetch_vgg19
from napari_nst.errors import StyleTransferError, WeightsError
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT = np.random.default_rng(0).bytes(3_000_000)


def prefix(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


# Download of any file


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.part"


@pytest.fixture
def fetch(server: Any, target: Path) -> Callable[..., None]:
    """Download the server's file with a short timeout and no pauses."""
    server.content = CONTENT

    def fetch(**options: Any) -> None:
        options = {"timeout": 0.3, "pause": 0.0} | options
        download(f"{server.url}/file", target, prefix(CONTENT), **options)

    return fetch


def test_a_file_is_downloaded(fetch: Callable[..., None], target: Path, server: Any) -> None:
    seen: list[tuple[int, int | None]] = []
    fetch(on_progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen) and len(seen) > 5
    assert server.ranges == [None]


@pytest.mark.parametrize("stalls", [False, True], ids=["cut", "stalled"])
def test_a_broken_connection_is_resumed(
    fetch: Callable[..., None], target: Path, server: Any, stalls: bool
) -> None:
    server.will_answer({"upto": 1_000_000, "stalls": stalls}, {"upto": 2_000_000, "stalls": stalls})
    fetch()
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-", "bytes=2000000-"]


def test_attempts_with_progress_are_not_counted(
    fetch: Callable[..., None], target: Path, server: Any
) -> None:
    server.will_answer(*({"upto": 200_000 * k} for k in range(1, 11)))
    fetch()
    assert target.read_bytes() == CONTENT
    assert len(server.ranges) == 11


def test_a_partial_file_is_continued(fetch: Callable[..., None], target: Path, server: Any) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT[:1234])
    seen: list[tuple[int, int | None]] = []
    fetch(on_progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert seen[0] == (1234, len(CONTENT))
    assert server.ranges == ["bytes=1234-"]


def test_a_complete_file_is_checked(fetch: Callable[..., None], target: Path, server: Any) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    fetch()
    assert target.read_bytes() == CONTENT
    assert len(server.ranges) == 1
    target.write_bytes(CONTENT + b"more")
    with pytest.raises(WeightsError, match="is damaged and was deleted"):
        fetch()
    assert not target.exists()


def test_a_server_without_ranges_restarts_the_download(
    fetch: Callable[..., None], target: Path, server: Any
) -> None:
    server.will_answer({"upto": 1_000_000}, {"ranges": False})
    fetch()
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-"]


def test_a_server_without_ranges_that_always_disconnects_raises(
    fetch: Callable[..., None], target: Path, server: Any
) -> None:
    server.will_answer(*[{"upto": 1_000_000, "ranges": False}] * 9)
    with pytest.raises(WeightsError) as caught:
        fetch()
    message = str(caught.value)
    assert message.startswith(f"{server.url}/file could not be downloaded in 4 attempts (the conn")
    assert "after 1000000 of 3000000 bytes" in message and "1 MB" in message
    assert target.stat().st_size == 1_000_000
    assert len(server.ranges) == 4


def test_another_range_than_requested_is_discarded(
    fetch: Callable[..., None], target: Path, server: Any
) -> None:
    server.will_answer({"upto": 1_000_000}, {"shift": -10})
    fetch()
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-", None]


def test_a_file_with_another_hash_is_deleted(
    fetch: Callable[..., None], target: Path, server: Any
) -> None:
    wrong = bytearray(CONTENT)
    wrong[1_500_000] ^= 1
    server.content = bytes(wrong)
    with pytest.raises(WeightsError) as caught:
        fetch()
    assert str(caught.value) == (
        f"The file from {server.url}/file is damaged and was deleted (its sha256 is "
        f"{prefix(bytes(wrong))}..., and should begin with {prefix(CONTENT)}): fetch it again."
    )
    assert not target.exists()
    server.content = CONTENT
    fetch()
    assert target.read_bytes() == CONTENT


def test_a_missing_file_is_not_requested_again(
    fetch: Callable[..., None], target: Path, server: Any
) -> None:
    server.will_answer({"status": 404})
    with pytest.raises(WeightsError, match=r"answered 404 Not Found.*setting 'weights'"):
        fetch()
    assert not target.exists()
    assert len(server.ranges) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_retried(
    fetch: Callable[..., None], target: Path, server: Any, status: int
) -> None:
    server.will_answer({"status": status}, {"status": status})
    fetch()
    assert target.read_bytes() == CONTENT
    server.will_answer(*[{"status": status}] * 4)
    target.unlink()
    with pytest.raises(WeightsError, match=f"4 attempts .the server answered {status}"):
        fetch()


def test_an_unknown_length_is_accepted(
    fetch: Callable[..., None], target: Path, server: Any
) -> None:
    server.will_answer({"length": False})
    seen: list[tuple[int, int | None]] = []
    fetch(on_progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), None)
    target.unlink()
    server.will_answer({"length": False, "upto": 1_000_000})
    with pytest.raises(WeightsError, match="is damaged and was deleted"):
        fetch()  # only the hash shows that the file is incomplete


def test_without_a_connection_the_download_raises(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        with pytest.raises(WeightsError) as caught:
            download(url, tmp_path / "file.part", "0" * 8, timeout=0.5, pause=0.0)
    assert str(caught.value).startswith(f"{url} could not be downloaded in 4 attempts (")
    assert "\n" not in str(caught.value)


def test_a_cancelled_download_is_resumed(
    fetch: Callable[..., None], target: Path, server: Any
) -> None:
    done = 0

    def note(so_far: int, total: int | None) -> None:
        nonlocal done
        done = so_far

    with pytest.raises(DownloadCancelled, match=r"to continue after the \d MB") as caught:
        fetch(on_progress=note, cancelled=lambda: done > 1_000_000)
    assert isinstance(caught.value, StyleTransferError)
    size = target.stat().st_size
    assert size == done < len(CONTENT)
    fetch()
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={size}-"]


def test_a_download_can_be_cancelled_before_its_next_attempt(
    fetch: Callable[..., None], server: Any
) -> None:
    server.will_answer({"status": 503})
    with pytest.raises(DownloadCancelled):
        fetch(pause=100.0, cancelled=lambda: len(server.ranges) == 1)
    assert len(server.ranges) == 1


def test_a_full_disk_raises_one_sentence(fetch: Callable[..., None], target: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    target.parent.mkdir()
    target.symlink_to("/dev/full")
    with pytest.raises(WeightsError) as caught:
        fetch()
    assert str(caught.value) == (
        f"{target} cannot be written (No space left on device): make room there, or name another "
        "directory in the environment variable NAPARI_NST_CACHE."
    )


def test_a_directory_that_cannot_be_created_raises_one_sentence(
    fetch: Callable[..., None], target: Path, server: Any
) -> None:
    target.parent.write_text("a file")  # even root cannot create a directory here
    with pytest.raises(WeightsError, match=r"cannot be written .*NAPARI_NST_CACHE"):
        fetch()
    assert server.ranges == []


# VGG-19


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(cache: Path) -> set[str]:
    """Return the names of all files except the lock."""
    return {file.name for file in cache.iterdir() if file.suffix != ".lock"}


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty cache of torch hub."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def name(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    return publish_vgg19(server, monkeypatch, tmp_path)


def test_vgg19_is_fetched_converted_and_found(cache: Path, name: str, server: Any) -> None:
    with pytest.raises(WeightsError, match="'napari-nst weights fetch vgg19'"):
        weights.find("vgg19")
    file = fetch_vgg19()
    assert file == cache / "vgg19_features.safetensors" == weights.find("vgg19")
    assert files(cache) == {file.name, "vgg19_features.json"}
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert json.loads((cache / "vgg19_features.json").read_text())["sha256"] == sha256
    with safe_open(file, "pt") as opened:
        assert opened.metadata() == {
            "source": f"torchvision VGG19_Weights.IMAGENET1K_V1, {name}",
        }
    loaded = weights.load("vgg19")
    assert (loaded.source, loaded.sha256) == (file.name, sha256)
    assert len(loaded.tensors) == 32
    for k, convolution in enumerate(NETWORKS["vgg19"].convolutions):
        weight, bias = (loaded.tensors[f"{convolution}.{part}"] for part in ("weight", "bias"))
        assert weight.dtype == bias.dtype == torch.float16
        assert weight.min() == weight.max() == k + 0.5
        assert bias.min() == bias.max() == -k - 0.5
    assert fetch_vgg19() == file
    assert len(server.ranges) == 1  # nothing more is fetched


def test_the_converted_file_takes_precedence_over_torch_hub(
    cache: Path, name: str, hub: Path
) -> None:
    hub.mkdir(parents=True)
    (hub / name).write_bytes(b"not even read")
    assert weights.find("vgg19") == hub / name
    file = fetch_vgg19()
    assert weights.find("vgg19") == file
    (cache / "vgg19_features.json").unlink()  # as after an interrupted conversion
    assert weights.find("vgg19") == hub / name


@pytest.mark.parametrize("damage", ["bit", "half"])
def test_a_damaged_converted_file_is_fetched_again(
    cache: Path, name: str, server: Any, damage: str
) -> None:
    file = fetch_vgg19()
    whole = file.read_bytes()
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    file.write_bytes(content if damage == "bit" else content[: len(content) // 2])
    with pytest.raises(WeightsError, match="is damaged"):
        weights.load("vgg19")
    assert fetch_vgg19() == file
    assert file.read_bytes() == whole
    assert len(server.ranges) == 2


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"sha256": 7}'])
def test_a_damaged_hash_file_is_ignored(cache: Path, name: str, note: str) -> None:
    cache.mkdir()
    (cache / "vgg19_features.safetensors").write_bytes(b"anything")
    (cache / "vgg19_features.json").write_text(note)
    with pytest.raises(WeightsError, match="not on this machine"):
        weights.find("vgg19")


def test_a_conversion_that_fails_keeps_the_download(cache: Path, name: str, server: Any) -> None:
    obstacle = cache / "vgg19_features.safetensors" / "in the way"
    obstacle.mkdir(parents=True)
    with pytest.raises(WeightsError, match=r"cannot be written .*NAPARI_NST_CACHE"):
        fetch_vgg19()
    assert files(cache) == {obstacle.parent.name, f"{name}.part"}
    obstacle.rmdir()
    obstacle.parent.rmdir()
    assert fetch_vgg19() == weights.find("vgg19")
    assert server.ranges == [None, f"bytes={len(server.content)}-"]


def test_a_cancelled_fetch_keeps_the_partial_file(cache: Path, name: str, server: Any) -> None:
    server.content += bytes(1000)
    with pytest.raises(DownloadCancelled):
        fetch_vgg19(cancelled=lambda: bool(server.ranges))
    assert files(cache) == {f"{name}.part"}


def test_a_mirror_must_serve_the_file_of_torchvision(
    cache: Path, name: str, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    genuine = server.content
    other = publish_vgg19(server, monkeypatch, tmp_path, scale=2.0)
    forged = server.content
    server.content = genuine
    with pytest.raises(WeightsError, match=r"is damaged and was deleted"):
        fetch_vgg19(url=f"{server.url}/mirror/{name}")  # the hash fits its name, not torchvision's
    server.content = forged
    assert fetch_vgg19(url=f"{server.url}/mirror/any-name") == weights.find("vgg19")
    assert other != name


# Concurrent downloads


def set_when_waiting(seen: threading.Event) -> Callable[[int, int | None], None]:
    """Return a progress callback that sets an event while it waits, when the total is None."""

    def note(done: int, total: int | None) -> None:
        if total is None:
            seen.set()

    return note


def test_two_simultaneous_fetches_are_one_download(cache: Path, name: str, server: Any) -> None:
    half, seen = len(server.content) // 2, threading.Event()
    # The server delays the first download until the second one waits.
    server.will_answer({"upto": half, "before_the_end": lambda: seen.wait(30)})

    def second() -> Path:
        while not server.ranges:
            seen.wait(0.01)
        return fetch_vgg19(on_progress=set_when_waiting(seen))

    with ThreadPoolExecutor() as pool:
        both = pool.submit(fetch_vgg19), pool.submit(second)
        assert {each.result(60) for each in both} == {weights.find("vgg19")}
    assert seen.is_set()
    assert server.ranges == [None, f"bytes={half}-"]  # both by the first one
    assert files(cache) == {"vgg19_features.json", "vgg19_features.safetensors"}


def test_the_second_continues_when_the_first_is_cancelled(
    cache: Path, name: str, server: Any
) -> None:
    half, seen = len(server.content) // 2, threading.Event()
    server.will_answer({"upto": half, "before_the_end": lambda: seen.wait(30)})
    with ThreadPoolExecutor() as pool:
        first = pool.submit(fetch_vgg19, cancelled=seen.is_set)
        while not server.ranges:
            seen.wait(0.01)
        file = fetch_vgg19(on_progress=set_when_waiting(seen))
        with pytest.raises(DownloadCancelled):
            first.result(60)
    assert file == weights.find("vgg19")
    given = [None if each is None else int(each[6:-1]) for each in server.ranges]
    assert given[0] is None and len(given) == 2 and 0 < (given[1] or 0) <= half


def test_the_file_is_fetched_on_file_systems_without_locks(
    cache: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", fail)
    assert fetch_vgg19() == weights.find("vgg19")


LOCK_CODE = """
import fcntl, sys
stream = open(sys.argv[1], "ab")
fcntl.flock(stream, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.name != "posix", reason="the other program uses flock")
def test_a_download_waits_for_another_process_to_end(cache: Path, name: str, server: Any) -> None:
    cache.mkdir()
    command = [sys.executable, "-c", LOCK_CODE, str(cache / f"{name}.part.lock")]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout is not None and other.stdout.readline() == b"locked\n"
        waited: list[int] = []
        with pytest.raises(DownloadCancelled, match="cancelled"):
            fetch_vgg19(
                on_progress=lambda done, total: waited.append(done),
                cancelled=lambda: len(waited) == 3,
            )
        assert server.ranges == []  # none while the other process has the lock
        other.kill()
        other.wait()
        assert fetch_vgg19() == weights.find("vgg19")  # the remaining lock file is not locked
    assert files(cache) == {"vgg19_features.json", "vgg19_features.safetensors"}
