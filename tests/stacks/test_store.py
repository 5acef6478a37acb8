"""Planes on disk: what was put is there again, and nothing else is taken for it."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from napari_nst.errors import InputError
from napari_nst.stacks import PlaneStore

IDENTITY = {"settings": {"iterations": 5, "size": None}, "styles": ("a", "b")}


def store(path, **other):
    about = {"shape": (3, 4, 5), "dtype": "uint16", "axis": 0, "identity": IDENTITY} | other
    return PlaneStore(path, **about)


def plane(value, shape=(4, 5)):
    return np.full(shape, value, np.uint16)


def test_a_new_store_is_empty_and_zero(tmp_path):
    new = store(tmp_path / "a" / "folder")
    assert (new.finished, new.complete) == (set(), False)
    assert isinstance(new.array, np.memmap)
    assert new.array.shape == (3, 4, 5)
    assert not new.array.any()


def test_what_was_put_is_there_for_the_next_to_open_it(tmp_path):
    first = store(tmp_path)
    first.put(1, plane(7), {"said": [1, 2]})
    first.put(0, plane(9))
    again = store(tmp_path)
    assert again.finished == {0, 1}
    assert again.notes == {0: None, 1: {"said": [1, 2]}}
    assert (again.plane(1) == 7).all()
    assert not isinstance(again.plane(1), np.memmap)
    again.put(2, plane(1))
    assert again.complete
    np.testing.assert_array_equal(np.load(tmp_path / "planes.npy")[:, 0, 0], [9, 7, 1])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_planes_lie_along_any_axis(tmp_path, axis):
    kept = store(tmp_path, shape=(2, 2, 2), axis=axis)
    picture = np.arange(4).reshape(2, 2)
    kept.put(1, picture)
    np.testing.assert_array_equal(np.take(kept.array, 1, axis), picture)
    assert not np.take(kept.array, 0, axis).any()
    np.testing.assert_array_equal(store(tmp_path, shape=(2, 2, 2), axis=axis).plane(1), picture)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"identity": {**IDENTITY, "settings": {"iterations": 6, "size": None}}},
         "its settings.iterations is 5, not 6"),
        ({"identity": {**IDENTITY, "styles": ["a"]}}, "its styles is ['a', 'b'], not ['a']"),
        ({"shape": (3, 4, 6)}, "its shape is [3, 4, 5], not [3, 4, 6]"),
        ({"dtype": "float32"}, "its dtype is '<u2', not '<f4'"),
        ({"axis": 1}, "its axis is 0, not 1"),
    ],
)  # fmt: skip
def test_another_identity_is_refused_with_what_differs_and_touches_nothing(tmp_path, other, said):
    store(tmp_path).put(1, plane(7))
    with pytest.raises(InputError, match="holds the planes of something else") as error:
        store(tmp_path, **other)
    assert said in str(error.value)
    assert (store(tmp_path).plane(1) == 7).all()


def test_a_header_about_all_planes_is_kept_with_the_notes(tmp_path):
    kept = store(tmp_path)
    assert kept.header is None
    kept.put(0, plane(1), header={"of": "all"})
    kept.put(1, plane(1))
    assert kept.header == store(tmp_path).header == {"of": "all"}


def test_data_are_on_the_disk_before_the_note_says_so(tmp_path, monkeypatch):
    order = []
    kept = store(tmp_path)
    flush, write_notes = np.memmap.flush, PlaneStore._write_notes

    def note(self, notes, header):
        order.append(("note", sorted(notes)))
        write_notes(self, notes, header)

    monkeypatch.setattr(np.memmap, "flush", lambda self: (order.append("flush"), flush(self)))
    monkeypatch.setattr(PlaneStore, "_write_notes", note)
    kept.put(2, plane(3))
    assert order == ["flush", ("note", [2])]


def test_a_plane_whose_note_was_never_written_is_not_done(tmp_path, monkeypatch):
    kept = store(tmp_path)
    kept.put(0, plane(1))

    def killed(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(np.memmap, "flush", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.put(1, plane(2))
    monkeypatch.undo()
    assert kept.finished == store(tmp_path).finished == {0}


def test_half_a_note_beside_the_whole_one_is_no_harm(tmp_path):
    store(tmp_path).put(0, plane(1))
    (tmp_path / "planes.json.new").write_text('{"shape": [3, ')
    assert store(tmp_path).finished == {0}


def test_a_store_without_notes_is_created_again(tmp_path):
    store(tmp_path).put(0, plane(1))
    (tmp_path / "planes.json").unlink()
    assert not store(tmp_path).array.any()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"finished": 3}', '{"finished": {"x": 1}}'])
def test_a_note_that_is_none_is_refused(tmp_path, text):
    store(tmp_path)
    (tmp_path / "planes.json").write_text(text)
    with pytest.raises(InputError, match="not the note of a stack"):
        store(tmp_path)


def test_an_array_that_is_not_the_notes_is_refused(tmp_path):
    store(tmp_path)
    np.save(tmp_path / "planes.npy", np.zeros((3, 4), np.uint16))
    with pytest.raises(InputError, match="not the array that the note"):
        store(tmp_path)
    (tmp_path / "planes.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is damaged"):
        store(tmp_path)
    (tmp_path / "planes.npy").unlink()
    with pytest.raises(InputError, match="cannot be used for the planes"):
        store(tmp_path)


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    with pytest.raises(InputError, match=r"room for 0\.0 GiB, and the planes take 4\.0 GiB"):
        store(tmp_path / "new", shape=(2048, 1024, 1024))
    assert not (tmp_path / "new" / "planes.npy").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used for the planes"):
        store(tmp_path / "file")


@pytest.mark.parametrize(("k", "shape"), [(3, (4, 5)), (-1, (4, 5)), (0, (5, 4)), (0, (1, 4, 5))])
def test_a_plane_that_does_not_belong_is_refused(tmp_path, k, shape):
    kept = store(tmp_path)
    with pytest.raises(InputError, match=r"planes 0 to 2 of shape \(4, 5\)"):
        kept.put(k, plane(1, shape))
    assert kept.finished == set()


def test_the_note_is_plain_json(tmp_path):
    store(tmp_path).put(2, plane(1))
    note = json.loads((tmp_path / "planes.json").read_text())
    assert note["finished"] == {"2": None}
    assert note["identity"]["settings"]["iterations"] == 5
