from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_nst.cache import cache_directory, read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path


def test_the_environment_names_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "deep"))
    assert cache_directory() == tmp_path / "deep"
    monkeypatch.setenv("NAPARI_NST_CACHE", "")
    users = cache_directory()
    monkeypatch.delenv("NAPARI_NST_CACHE")
    assert cache_directory() == users != tmp_path / "deep"
    assert users.is_absolute() and "napari-nst" in users.parts


def test_json_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "deep" / "cache"))
    assert read_json("a.json") == {}
    write_json("a.json", {"ä": [1, 2.5, None]})
    assert read_json("a.json") == {"ä": [1, 2.5, None]}
    assert [file.name for file in cache_directory().iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff\xfe\x00"])
def test_damaged_json_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path))
    (tmp_path / "a.json").write_bytes(content)
    assert read_json("a.json") == {}


def test_a_cache_that_cannot_be_written_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path))
    (tmp_path / "a.json").mkdir()
    write_json("a.json", {"a": 1})
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    write_json("a.json", {"a": 1})
