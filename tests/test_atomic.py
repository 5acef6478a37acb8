"""Files and folders are written completely or not at all."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from napari_nst.atomic import atomic_write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("existing", [None, "old"])
def test_file_appears_when_the_block_ends(tmp_path: Path, existing: str | None) -> None:
    path = tmp_path / "file"
    if existing is not None:
        path.write_text(existing)
    with atomic_write(path) as scratch:
        assert scratch.parent == tmp_path
        scratch.write_text("new")
        assert (path.read_text() if path.exists() else None) == existing
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("folder", [False, True])
def test_error_keeps_the_old_file(tmp_path: Path, error: type[BaseException], folder: bool) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as scratch:
        if folder:
            scratch.mkdir()
            scratch = scratch / "inside"
        scratch.write_text("new")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", [None, "file", "folder"])
def test_folder_replaces_a_file_or_folder(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "store"
    if before == "folder":
        path.mkdir()
        (path / "old").touch()
    elif before == "file":
        path.touch()
    with atomic_write(path) as scratch:
        scratch.mkdir()
        (scratch / "new").touch()
    assert [each.name for each in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_file_does_not_replace_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(OSError), atomic_write(path) as scratch:
        scratch.touch()
    assert list(tmp_path.rglob("*")) == [path, path / "old"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_new_file_has_default_permissions_and_a_replaced_one_keeps_its_own(
    tmp_path: Path,
) -> None:
    default, path = tmp_path / "default", tmp_path / "file"
    default.touch()
    for expected in (stat.S_IMODE(default.stat().st_mode), 0o444):
        with atomic_write(path) as scratch:
            scratch.touch()
        assert stat.S_IMODE(path.stat().st_mode) == expected
        path.chmod(0o444)


def test_content_is_synced_before_the_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    existed_at_sync = []
    monkeypatch.setattr(os, "fsync", lambda _: existed_at_sync.append(path.exists()))
    with atomic_write(path) as scratch:
        scratch.touch()
    assert existed_at_sync == [False]
