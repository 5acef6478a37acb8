"""Planes on disk: written, reopened, and refused if they are of something else."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_nst.errors import InputError
from napari_nst.stacks import PlaneStore

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

IDENTITY = {"settings": {"iterations": 5, "size": None}, "styles": ("a", "b")}


def open_store(path: Path, **changes: Any) -> PlaneStore:
    """Open or create a store of three planes of 4 x 5 pixels."""
    arguments = {"shape": (3, 4, 5), "dtype": "uint16", "axis": 0, "identity": IDENTITY}
    return PlaneStore(path, **(arguments | changes))


def plane(value: int, shape: tuple[int, ...] = (4, 5)) -> NDArray[np.uint16]:
    return np.full(shape, value, np.uint16)


def test_a_new_store_is_empty_and_zero(tmp_path: Path) -> None:
    new = open_store(tmp_path / "a" / "folder")
    assert (new.finished, new.complete) == (set(), False)
    assert isinstance(new.array, np.memmap)
    assert new.array.shape == (3, 4, 5)
    assert not new.array.any()


def test_planes_and_notes_are_there_after_reopening(tmp_path: Path) -> None:
    first = open_store(tmp_path)
    first.put(1, plane(7), {"value": [1, 2]})
    first.put(0, plane(9))
    again = open_store(tmp_path)
    assert again.finished == {0, 1}
    assert again.notes == {0: None, 1: {"value": [1, 2]}}
    assert (again.plane(1) == 7).all()
    assert not isinstance(again.plane(1), np.memmap)
    again.put(2, plane(1))
    assert again.complete
    np.testing.assert_array_equal(np.load(tmp_path / "planes.npy")[:, 0, 0], [9, 7, 1])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_planes_lie_along_any_axis(tmp_path: Path, axis: int) -> None:
    store = open_store(tmp_path, shape=(2, 2, 2), axis=axis)
    picture = np.arange(4).reshape(2, 2)
    store.put(1, picture)
    np.testing.assert_array_equal(np.take(store.array, 1, axis), picture)
    assert not np.take(store.array, 0, axis).any()
    np.testing.assert_array_equal(
        open_store(tmp_path, shape=(2, 2, 2), axis=axis).plane(1), picture
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity": {**IDENTITY, "settings": {"iterations": 6, "size": None}}},
         "its settings.iterations is 5, not 6"),
        ({"identity": {**IDENTITY, "styles": ["a"]}}, "its styles is ['a', 'b'], not ['a']"),
        ({"shape": (3, 4, 6)}, "its shape is [3, 4, 5], not [3, 4, 6]"),
        ({"dtype": "float32"}, "its dtype is '<u2', not '<f4'"),
        ({"axis": 1}, "its axis is 0, not 1"),
    ],
)  # fmt: skip
def test_a_store_of_something_else_raises_with_the_difference_and_is_unchanged(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    open_store(tmp_path).put(1, plane(7))
    with pytest.raises(InputError, match="holds the planes of something else") as error:
        open_store(tmp_path, **changes)
    assert message in str(error.value)
    assert (open_store(tmp_path).plane(1) == 7).all()


def test_the_header_is_stored_with_the_notes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.header is None
    store.put(0, plane(1), header={"run": 1})
    store.put(1, plane(1))
    assert store.header == open_store(tmp_path).header == {"run": 1}


def test_planes_are_flushed_before_their_note_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    store = open_store(tmp_path)
    flush, write_notes = np.memmap.flush, PlaneStore._write_notes

    def note(self: PlaneStore, notes: Any, header: Any) -> None:
        order.append(("note", sorted(notes)))
        write_notes(self, notes, header)

    monkeypatch.setattr(np.memmap, "flush", lambda self: (order.append("flush"), flush(self)))
    monkeypatch.setattr(PlaneStore, "_write_notes", note)
    store.put(2, plane(3))
    assert order == ["flush", ("note", [2])]


def test_a_plane_without_its_note_is_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    store.put(0, plane(1))

    def interrupt(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np.memmap, "flush", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.put(1, plane(2))
    monkeypatch.undo()
    assert store.finished == open_store(tmp_path).finished == {0}


def test_an_incomplete_note_beside_the_note_is_ignored(tmp_path: Path) -> None:
    open_store(tmp_path).put(0, plane(1))
    (tmp_path / "planes.json.new").write_text('{"shape": [3, ')
    assert open_store(tmp_path).finished == {0}


def test_a_store_without_notes_is_created_again(tmp_path: Path) -> None:
    open_store(tmp_path).put(0, plane(1))
    (tmp_path / "planes.json").unlink()
    assert not open_store(tmp_path).array.any()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"finished": 3}', '{"finished": {"x": 1}}'])
def test_an_invalid_note_raises(tmp_path: Path, text: str) -> None:
    open_store(tmp_path)
    (tmp_path / "planes.json").write_text(text)
    with pytest.raises(InputError, match="not the note of a stack"):
        open_store(tmp_path)


def test_an_array_that_does_not_match_the_note_raises(tmp_path: Path) -> None:
    open_store(tmp_path)
    np.save(tmp_path / "planes.npy", np.zeros((3, 4), np.uint16))
    with pytest.raises(InputError, match="does not match the note"):
        open_store(tmp_path)
    (tmp_path / "planes.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is damaged"):
        open_store(tmp_path)
    (tmp_path / "planes.npy").unlink()
    with pytest.raises(InputError, match="cannot be used for the planes"):
        open_store(tmp_path)


def test_a_full_disk_raises_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    with pytest.raises(InputError, match=r"room for 0\.0 GiB, and the planes take 4\.0 GiB"):
        open_store(tmp_path / "new", shape=(2048, 1024, 1024))
    assert not (tmp_path / "new" / "planes.npy").exists()


def test_a_file_instead_of_a_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used for the planes"):
        open_store(tmp_path / "file")


@pytest.mark.parametrize(("k", "shape"), [(3, (4, 5)), (-1, (4, 5)), (0, (5, 4)), (0, (1, 4, 5))])
def test_another_index_or_shape_of_a_plane_raises(
    tmp_path: Path, k: int, shape: tuple[int, ...]
) -> None:
    store = open_store(tmp_path)
    with pytest.raises(InputError, match=r"planes 0 to 2 of shape \(4, 5\)"):
        store.put(k, plane(1, shape))
    assert store.finished == set()


def test_the_note_is_json(tmp_path: Path) -> None:
    open_store(tmp_path).put(2, plane(1))
    note = json.loads((tmp_path / "planes.json").read_text())
    assert note["finished"] == {"2": None}
    assert note["identity"]["settings"]["iterations"] == 5
