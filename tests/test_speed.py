"""Measured and guessed speeds of devices."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from napari_nst import speed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache directory that does not exist yet."""
    folder = tmp_path / "deep" / "cache"
    monkeypatch.setenv("NAPARI_NST_CACHE", str(folder))
    return folder


def guessed_speed(device: str) -> float:
    """Return the speed of a device that was not measured."""
    found, measured = speed.load_speed(device)
    assert not measured
    assert found > 0
    return found


def test_a_saved_speed_is_loaded_as_measured(cache: Path) -> None:
    speed.save_speed("cpu", 2.5e11)
    assert [file.parent for file in cache.iterdir()] == [cache]
    assert speed.load_speed("cpu") == (2.5e11, True)


def test_each_device_has_its_speed() -> None:
    speed.save_speed("cpu", 1.0e11)
    speed.save_speed("cuda", 4.0e13)
    speed.save_speed("cpu", 3.0e11)
    assert speed.load_speed("cpu") == (3.0e11, True)
    assert speed.load_speed("cuda") == (4.0e13, True)
    assert not speed.load_speed("mps")[1]


def test_each_precision_has_its_speed_or_guesses_from_another_precision() -> None:
    speed.save_speed("cpu", 1.0e11, "float32")
    assert speed.load_speed("cpu", "float32") == (1.0e11, True)
    assert speed.load_speed("cpu") == speed.load_speed("cpu", "bfloat16") == (1.0e11, False)
    speed.save_speed("cpu", 4.0e11)
    assert speed.load_speed("cpu") == (4.0e11, True)
    assert speed.load_speed("cpu", "float32") == (1.0e11, True)
    assert not speed.load_speed("cuda", "float32")[1]


def test_one_slow_run_among_fast_ones_is_ignored() -> None:
    for rate in (3.0e11, 3.1e11, 0.3e11):  # the last one beside another program
        speed.save_speed("cpu", rate)
    assert speed.load_speed("cpu") == (3.0e11, True)


def test_a_slow_first_run_is_ignored_after_the_second() -> None:
    for rate in (0.3e11, 3.0e11):
        speed.save_speed("cpu", rate)
    assert speed.load_speed("cpu") == (3.0e11, True)


def test_the_latest_eight_runs_are_kept(cache: Path) -> None:
    for rate in [*[9.0e11] * 8, *[1.0e11] * 4, 2.0e11]:
        speed.save_speed("cpu", rate)
    assert json.loads((cache / "speed.json").read_text()) == {
        "cpu": [*[9.0e11] * 3, *[1.0e11] * 4, 2.0e11]
    }
    assert speed.load_speed("cpu") == (2.0e11, True)


def test_a_speed_is_guessed_without_a_measurement() -> None:
    assert guessed_speed("mps") < guessed_speed("cuda")
    assert guessed_speed("something new") == guessed_speed("cpu")


def test_the_speed_of_a_processor_is_guessed_from_matrix_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0, 9, 10, 12, 20, 20.5, 30, 33])  # the first product is slow: threads start
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    speed._matrix_product_speed.cache_clear()
    try:
        assert guessed_speed("cpu") == 2 * 512**3 / 0.5
        assert guessed_speed("cpu") == 2 * 512**3 / 0.5  # measured once
    finally:
        speed._matrix_product_speed.cache_clear()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1e11]",
        b"null",
        b'"cpu"',
        b"\xff\xfe\x00",
        b'{"cpu": "fast"}',
        b'{"cpu": null}',
        b'{"cpu": 0}',
        b'{"cpu": -1e11}',
        b'{"cpu": 1e11}',
        b'{"cpu": []}',
        b'{"cpu": [0, -1e11, null, "fast"]}',
        b'{"cpu": [NaN, Infinity]}',
        b'{"cpu": {"speed": 1e11}}',
        b'{"cuda": "fast"}',
    ],
)
def test_a_damaged_file_is_ignored(cache: Path, content: bytes) -> None:
    cache.mkdir(parents=True)
    (cache / "speed.json").write_bytes(content)
    guessed_speed("cpu")
    speed.save_speed("cpu", 1.5e11)
    assert speed.load_speed("cpu") == (1.5e11, True)


def test_entries_beside_a_damaged_one_are_read(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "speed.json").write_text(json.dumps({"cpu": "fast", "cuda": [7e12, "fast"]}))
    guessed_speed("cpu")
    assert speed.load_speed("cuda") == (7e12, True)


def test_a_directory_that_cannot_be_made_is_ignored(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the directory should be")  # fails for root, too
    speed.save_speed("cpu", 1e12)
    guessed_speed("cpu")
    assert cache.read_text().startswith("a file")


def test_a_file_that_cannot_be_written_is_ignored(cache: Path) -> None:
    (cache / "speed.json").mkdir(parents=True)
    speed.save_speed("cpu", 1e12)
    guessed_speed("cpu")
