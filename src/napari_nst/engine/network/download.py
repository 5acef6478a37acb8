"""Download the weights of VGG-19: resumable, with a checked hash."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout

from napari_nst.cache import cache_directory
from napari_nst.engine.network import converted, weights
from napari_nst.errors import StyleTransferError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Progress = Callable[[int, int | None], object]
    Cancelled = Callable[[], bool]

__all__ = ["DownloadCancelled", "download", "fetch_vgg19"]

_TIMEOUT = 20.0  # seconds without a byte
_PAUSE = 1.0  # seconds before the second attempt, doubled before each later one
_ATTEMPTS = 4
_POLL = 0.1  # seconds between checks while waiting
_CHUNK = 1 << 18
_MEGABYTE = 10**6


class DownloadCancelled(StyleTransferError):
    """A download was cancelled; the partial file is kept."""


class TransientError(Exception):
    """The connection failed in a way that another attempt may fix."""


def fetch_vgg19(
    *,
    url: str | None = None,
    on_progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Path:
    """Download VGG-19's convolutions into the cache directory.

    548 MB are downloaded and 40 MB kept: the convolutions, in half precision.  Nothing happens if
    they exist already.  If another process is downloading them, this one waits, and continues
    the download if the other one ends early.

    Parameters
    ----------
    url : str or None
        A mirror of torchvision's file.
    on_progress, cancelled
        See `download`.

    Returns
    -------
    Path
        The converted file, which `weights.find` returns from now on.

    Raises
    ------
    DownloadCancelled
        If it was cancelled; the next call continues the download.
    WeightsError
        If the file cannot be downloaded or stored, or has another hash.
    """
    kept = converted.find_intact()
    if kept is not None:
        return kept
    official = weights.VGG19_URL
    name = official.rsplit("/", 1)[1]
    # The hash in the official name, not in the mirror's: it must be the same file.
    prefix = weights.hash_in_name(name)
    if prefix is None:
        raise WeightsError(f"{name} does not end in the beginning of its hash, as it should.")
    part = cache_directory() / f"{name}.part"
    with _locked(part, on_progress, cancelled):
        kept = converted.find_intact()  # by the process that held the lock
        if kept is not None:
            return kept
        download(url or official, part, prefix, on_progress=on_progress, cancelled=cancelled)
        file = converted.write(
            weights.read("vgg19", part), f"torchvision VGG19_Weights.IMAGENET1K_V1, {name}"
        )
        part.unlink(missing_ok=True)
    return file


def download(
    url: str,
    target: Path,
    sha256_prefix: str,
    *,
    on_progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    timeout: float = _TIMEOUT,
    pause: float = _PAUSE,
) -> None:
    """Download a file, or the rest of a partial file.

    Failed connections are retried, up to four attempts in a row without progress.

    Parameters
    ----------
    url : str
        Address of the file.
    target : Path
        The file to write, or a partial file to continue.
    sha256_prefix : str
        First digits of the expected hash.
    on_progress : callable, optional
        Called with the bytes downloaded so far and in total, None if unknown.
    cancelled : callable, optional
        Called between chunks; the download ends if it returns true.
    timeout : float
        Seconds without a byte after which a connection counts as failed.
    pause : float
        Seconds before the second attempt, doubled before each later one.

    Raises
    ------
    DownloadCancelled
        If it was cancelled; the partial file stays.
    WeightsError
        If there is no such file, no connection or no room, or if the hash differs; a file with
        another hash is deleted.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        farthest, failures = _size(target), 0
        while True:
            try:
                _receive(url, target, on_progress, cancelled, timeout)
                break
            except TransientError as cut:
                reason = str(cut)
            size = _size(target)
            failures = 1 if size > farthest else failures + 1
            farthest = max(farthest, size)
            if failures == _ATTEMPTS:
                raise WeightsError(
                    f"{url} could not be downloaded in {_ATTEMPTS} attempts ({reason}): check "
                    "the connection and fetch it again, which continues after the "
                    f"{_megabytes(size)} that are here."
                )
            _wait(pause * 2 ** (failures - 1), target, cancelled)
        sha256 = converted.sha256_of(target)
        if not sha256.startswith(sha256_prefix):
            target.unlink()
            raise WeightsError(
                f"The file from {url} is damaged and was deleted (its sha256 is {sha256[:8]}..., "
                f"and should begin with {sha256_prefix}): fetch it again."
            )
    except OSError as error:  # those of the network are TransientError
        raise converted.cannot_write(target, error) from None


@contextmanager
def _locked(
    part: Path, on_progress: Progress | None, cancelled: Cancelled | None
) -> Iterator[None]:
    """Hold a lock on a partial download; wait while another process holds it."""
    lock = FileLock(f"{part}.lock")
    while True:
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
            break
        except Timeout:
            if on_progress is not None:
                on_progress(_size(part), None)  # of the other process
            _raise_if_cancelled(cancelled, part)
            time.sleep(_POLL)
        except OSError:
            break  # a file system without locks; if it cannot be written, `download` will say so
    try:
        yield
    finally:
        lock.release()


def _receive(
    url: str,
    target: Path,
    on_progress: Progress | None,
    cancelled: Cancelled | None,
    timeout: float,
) -> None:
    """Make one attempt to download the rest of a file."""
    _raise_if_cancelled(cancelled, target)
    done = _size(target)
    response = _open(url, done, timeout)
    if response is None:
        return
    with response:
        start, total = _extent(response)
        if start not in (0, done):
            target.unlink()  # the next attempt requests the whole file
            raise TransientError(f"the server sent bytes from {start} instead of {done}")
        done = start
        with target.open("ab" if start else "wb") as stream:
            while total is None or done < total:
                if on_progress is not None:
                    on_progress(done, total)
                _raise_if_cancelled(cancelled, target)
                chunk = _read(response)
                if not chunk:
                    break
                stream.write(chunk)
                done += len(chunk)
    if on_progress is not None:
        on_progress(done, total)
    if total is not None and done < total:
        raise TransientError(f"the connection ended after {done} of {total} bytes")


def _open(url: str, start: int, timeout: float) -> HTTPResponse | None:
    """Request a file from a byte on; return None if it ends there."""
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response: HTTPResponse = urlopen(request, timeout=timeout)
    except HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return None
        answer = f"the server answered {error.code} {error.reason}"
        passing = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
        if error.code in passing or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise TransientError(answer) from None
        raise WeightsError(
            f"{url} cannot be downloaded ({answer}): try again later, or name a copy of the file "
            "in the setting 'weights'."
        ) from None
    except (OSError, HTTPException) as error:
        raise TransientError(str(error) or type(error).__name__) from None
    return response


def _extent(response: HTTPResponse) -> tuple[int, int | None]:
    """Return the first byte of a response, and the size of the whole file if known."""
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        given = re.match(r"bytes (\d+)-\d+/(\d+|\*)$", response.headers.get("Content-Range", ""))
        if given is None:
            raise TransientError("the server does not say which part of the file it sent")
        return int(given[1]), None if given[2] == "*" else int(given[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _read(response: HTTPResponse) -> bytes:
    """Return the bytes received so far: a slow connection still reports progress."""
    try:
        return response.read1(_CHUNK)
    except (OSError, HTTPException) as error:
        raise TransientError(str(error) or type(error).__name__) from None


def _wait(seconds: float, target: Path, cancelled: Cancelled | None) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        _raise_if_cancelled(cancelled, target)
        time.sleep(min(left, _POLL))


def _raise_if_cancelled(cancelled: Cancelled | None, target: Path) -> None:
    if cancelled is not None and cancelled():
        raise DownloadCancelled(
            "The download was cancelled: fetch the file again to continue after the "
            f"{_megabytes(_size(target))} that are here."
        )


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:.0f} MB"
