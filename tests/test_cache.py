"""The cache directory and its JSON files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_nst.cache import cache_directory, read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path


def test_environment_variable_sets_the_cache_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "deep"))
    assert cache_directory() == tmp_path / "deep"
    monkeypatch.setenv("NAPARI_NST_CACHE", "")
    default = cache_directory()
    monkeypatch.delenv("NAPARI_NST_CACHE")
    assert cache_directory() == default != tmp_path / "deep"
    assert default.is_absolute() and "napari-nst" in default.parts


def test_json_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "deep" / "cache"))
    assert read_json("a.json") == {}
    write_json("a.json", {"ä": [1, 2.5, None]})
    assert read_json("a.json") == {"ä": [1, 2.5, None]}
    assert [file.name for file in cache_directory().iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff\xfe\x00"])
def test_damaged_json_reads_as_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path))
    (tmp_path / "a.json").write_bytes(content)
    assert read_json("a.json") == {}


def test_unwritable_cache_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path))
    (tmp_path / "a.json").mkdir()
    write_json("a.json", {"a": 1})
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    write_json("a.json", {"a": 1})
