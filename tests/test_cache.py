from __future__ import annotations

from typing import TYPE_CHECKING

from napari_nst.cache import cache_directory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_environment_names_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "deep"))
    assert cache_directory() == tmp_path / "deep"
    monkeypatch.setenv("NAPARI_NST_CACHE", "")
    users = cache_directory()
    monkeypatch.delenv("NAPARI_NST_CACHE")
    assert cache_directory() == users != tmp_path / "deep"
    assert users.is_absolute() and "napari-nst" in users.parts
