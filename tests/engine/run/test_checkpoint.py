"""A run is saved, loaded, and goes on as if nothing had been."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from engine_helpers import quick as quick_settings
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from napari_nst import StyleTransfer, stylize
from napari_nst.engine.run import checkpoint
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Image = NDArray[np.float32]

quick = partial(quick_settings, scales=2, iterations=12)

pytestmark = pytest.mark.usefixtures("one_thread")


def halves(image: Any, left: int, right: int) -> NDArray[np.uint8]:
    labels = np.full(image.shape[:2], right, np.uint8)
    labels[:, : image.shape[1] // 2] = left
    return labels


def same(run: StyleTransfer, unbroken: StyleTransfer) -> None:
    assert run.result().image.tobytes() == unbroken.result().image.tobytes()
    assert [x.total for x in run.history] == [x.total for x in unbroken.history]
    assert [x.style_layers for x in run.history] == [x.style_layers for x in unbroken.history]
    assert run.record == unbroken.record
    assert run.record.to_json() == unbroken.record.to_json()


def break_and_go_on(
    make: Any, path: Path, at: int, steering: dict[int, list[dict[str, Any]]] | None = None
) -> tuple[StyleTransfer, StyleTransfer]:
    """Carry out one run unbroken, and one that is saved and loaded after so many iterations."""

    def go(run: StyleTransfer, done: int, until: int) -> None:
        for iteration in range(done, until):
            next(run)
            for change in (steering or {}).get(iteration + 1, []):
                run.steer(**change)

    unbroken, broken = make(), make()
    iterations = unbroken.settings.iterations
    go(unbroken, 0, iterations)
    go(broken, 0, at)
    broken.save(path)
    saved = broken.result().image
    loaded = StyleTransfer.load(path)
    assert loaded.result().image.tobytes() == saved.tobytes()
    assert len(loaded.history) == at
    go(loaded, at, iterations)
    assert next(unbroken, None) is next(loaded, None) is None
    return loaded, unbroken


# 12 iterations: 4 at the small size, 8 at the large one
@pytest.mark.parametrize("at", [0, 1, 4, 7, 10, 12])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_resumed_run_is_byte_equal_to_an_uninterrupted_one(
    optimizer: str, at: int, tmp_path: Path, content: Image, style: Image
) -> None:
    settings = quick(optimizer=optimizer, init="noise", seed=5)
    scales = StyleTransfer(content, style, settings).scales
    assert [scale.iterations for scale in scales] == [4, 8]
    same(*break_and_go_on(lambda: StyleTransfer(content, style, settings), tmp_path / "run", at))


def test_lbfgs_is_saved_in_the_middle_of_a_trial(
    tmp_path: Path, content: Image, style: Image
) -> None:
    settings = quick(optimizer="lbfgs", learning_rate=8, scales=1, iterations=16)
    run = StyleTransfer(content, style, settings)
    shortened = []
    for _ in run:
        trial = run._loop.state.optimizer._trial  # type: ignore[union-attr]
        shortened.append(trial.shortened)
    assert max(shortened) > 0  # steps of eight times their length have to be taken back
    at = shortened.index(max(shortened)) + 1
    same(*break_and_go_on(lambda: StyleTransfer(content, style, settings), tmp_path / "run", at))


WEIGHTS = {2: [{"style_weight": 3}], 6: [{"tv_weight": 1}, {"style_weights": (2,)}]}
COLOURS = {3: [{"color": "luminance"}], 9: [{"color": "match"}]}
IMAGES: dict[int, list[dict[str, Any]]] = {
    2: [{"content_labels": np.pad(np.ones((40, 30), int), ((0, 0), (0, 18)))}],
    4: [{"styles": [np.full((30, 30, 3), 0.3), np.eye(50)], "style_weights": (1, 2)}],
    6: [{"region_styles": {1: 1}}, {"region_guidance": "inside"}],
    9: [{"content_labels": None, "region_styles": None}],
}


@pytest.mark.parametrize("steering", [WEIGHTS, COLOURS, IMAGES], ids=["weights", "colours", "all"])
@pytest.mark.parametrize("at", [3, 6, 7, 9])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_steering_before_and_after_is_kept(
    optimizer: str, steering: Any, at: int, tmp_path: Path, content: Image, style: Image
) -> None:
    settings = quick(optimizer=optimizer)
    loaded, unbroken = break_and_go_on(
        lambda: StyleTransfer(content, style, settings), tmp_path / "run", at, steering
    )
    same(loaded, unbroken)
    assert len(loaded.record.steering) == sum(map(len, steering.values()))


def test_pending_updates_are_saved(tmp_path: Path, content: Image, style: Image) -> None:
    path = tmp_path / "run"
    run = StyleTransfer(content, style, quick())
    next(run)
    run.steer(styles=[style, 1 - style], content_labels=halves(content, 0, 1))
    run.steer(style_weights=(1, 2))
    run.save(path)
    loaded = StyleTransfer.load(path)
    assert loaded.record.steering == ()
    with pytest.raises(InputError, match=r"^style_weights has 1 shares for 2 styles"):
        loaded.steer(style_weights=(1,))
    loaded.steer(region_styles={1: 1})
    run.steer(region_styles={1: 1})
    for _ in (*run, *loaded):
        pass
    same(loaded, run)
    assert len(run.record.steering) == 3


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("form", ["nan", "alpha", "grey", "uint16"])
def test_all_that_goes_in_comes_out_again(
    optimizer: str, form: str, tmp_path: Path, content: Image, style: Image
) -> None:
    picture: Any = content.copy()
    if form == "nan":
        picture[3:9, 10:20, 1] = np.nan
    elif form == "alpha":
        picture = np.dstack([picture, np.linspace(0, 1, 1920).reshape(40, 48)])
    elif form == "grey":
        picture = picture[:, :, 0]
    else:
        picture = (picture * 65535).astype(np.uint16)
    settings = quick(optimizer=optimizer, init="image", nan="keep", style_weights=(1, 2))
    styles = [style, np.dstack([style, style[:, :, :1]])]

    def make() -> StyleTransfer:
        return StyleTransfer(
            picture,
            styles,
            settings,
            init_image=1 - np.nan_to_num(content),
            names=["a", "b", "c"],
            content_labels=halves(content, 0, 1),
            style_labels=[halves(style, 1, 1), None],
        )

    loaded, unbroken = break_and_go_on(make, tmp_path / "run", 7)
    same(loaded, unbroken)
    assert loaded.result().image.shape == picture.shape
    assert [record.name for record in loaded.record.styles] == ["b", "c"]
    for name in ("output_shape", "scales", "settings"):
        assert getattr(loaded, name) == getattr(unbroken, name)


@pytest.mark.parametrize("ended", ["stopped", "failed", "finished"])
def test_a_stopped_run_can_be_saved_and_resumed(
    ended: str, tmp_path: Path, content: Image, style: Image
) -> None:
    path = tmp_path / "run"
    run = StyleTransfer(content, style, quick())
    unbroken = StyleTransfer(content, style, quick())
    for _ in unbroken:
        pass
    for snapshot in run:
        if snapshot.iteration == 8 and ended == "stopped":
            run.stop()
        if snapshot.iteration == 8 and ended == "failed":
            run._loop.state.status = "failed"
            break
    run.save(path)
    loaded = StyleTransfer.load(path)
    assert loaded.record.status == ("finished" if ended == "finished" else "running")
    assert len(list(loaded)) == (0 if ended == "finished" else 4)
    same(loaded, unbroken)


def test_a_run_can_be_saved_again_and_again(tmp_path: Path, content: Image, style: Image) -> None:
    path = tmp_path / "run"
    run = StyleTransfer(content, style, quick(), content_labels=halves(content, 0, 1))
    while (snapshot := next(run, None)) is not None:
        if snapshot.iteration == 2:
            run.steer(tv_weight=1)
        run.save(path)
        run = StyleTransfer.load(path)
    unbroken = StyleTransfer(content, style, quick(), content_labels=halves(content, 0, 1))
    for snapshot in unbroken:
        if snapshot.iteration == 2:
            unbroken.steer(tv_weight=1)
    same(run, unbroken)
    assert os.listdir(tmp_path) == ["run"]


def test_a_loaded_run_is_replayed_from_its_record(
    tmp_path: Path, content: Image, style: Image
) -> None:
    loaded, _ = break_and_go_on(
        lambda: StyleTransfer(content, style, quick()), tmp_path / "run", 7, WEIGHTS
    )
    again = stylize(content, style, record=loaded.record)
    assert again.image.tobytes() == loaded.result().image.tobytes()


def test_tiles_that_were_halved_stay_so(tmp_path: Path, content: Image, style: Image) -> None:
    path = tmp_path / "run"
    big = np.tile(content, (4, 4, 1))
    run = StyleTransfer(big, style, quick(iterations=2))
    run._loop.memory_plan.tile_sizes[:] = [64, 80]
    run.save(path)
    assert [scale.tile for scale in StyleTransfer.load(path).record.resolved.scales] == [64, 80]


def test_an_image_in_two_places_is_written_once(
    tmp_path: Path, content: Image, style: Image
) -> None:
    run = StyleTransfer(content, style, quick())
    next(run)
    run.save(tmp_path / "plain")
    run.steer(tv_weight=1)
    run.steer(tv_weight=2)
    next(run)
    run.steer(tv_weight=3)
    run.save(tmp_path / "steered")
    sizes = [(tmp_path / name).stat().st_size for name in ("plain", "steered")]
    assert sizes[1] < sizes[0] + content.nbytes / 2


# Files that are none


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, content: Image, style: Image) -> Path:
    path = tmp_path_factory.mktemp("saved") / "run"
    run = StyleTransfer(content, style, quick())
    next(run)
    run.save(path)
    return path


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch " + os.environ["NAPARI_NST_EVIL"],)


def foreign(kind: str, path: Path) -> None:
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif kind == "torch":
        torch.save({"about": Evil()}, path)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("about", "{}")
    elif kind == "other weights":
        save_file({"x": torch.zeros(2)}, path)
    elif kind == "no dictionary":
        save_file({"x": torch.zeros(2)}, path, {"about": "[1, 2]"})
    elif kind == "no JSON":
        save_file({"x": torch.zeros(2)}, path, {"about": "{"})
    elif kind == "nested JSON":
        save_file({"x": torch.zeros(2)}, path, {"about": "[" * 100_000})
    elif kind == "another version":
        save_file({"x": torch.zeros(2)}, path, {"about": '{"name": "napari-nst run", "format": 9}'})
    elif kind == "nothing in it":
        save_file({"x": torch.zeros(2)}, path, {"about": '{"name": "napari-nst run", "format": 2}'})
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "directory":
        path.mkdir()


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "directory",
        "empty",
        "pickle",
        "torch",
        "zip",
        "other weights",
        "no dictionary",
        "no JSON",
        "nested JSON",
        "another version",
        "nothing in it",
    ],
)
def test_a_file_that_is_no_run_is_named(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, touched = tmp_path / "mine.run", tmp_path / "evil"
    monkeypatch.setenv("NAPARI_NST_EVIL", str(touched))
    foreign(kind, path)
    with pytest.raises(InputError) as caught:
        StyleTransfer.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert not touched.exists()


def test_a_damaged_file_is_named(tmp_path: Path, content: Image, style: Image) -> None:
    path = tmp_path / "run"
    run = StyleTransfer(content, style, quick(optimizer="lbfgs"))
    for _ in range(3):
        next(run)
    run.save(path)
    whole = path.read_bytes()
    for length in (1, 7, 9, 500, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is not a run that was saved"):
            StyleTransfer.load(path)
    path.write_bytes(whole)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    for part in set(about) - {"status"}:
        less = {k: v for k, v in about.items() if k != part}
        wrong = {**about, part: "?"}
        for damaged in (less, wrong):
            save_file(tensors, path, {"about": json.dumps(damaged)})
            if part == "optimizer" and damaged is less:
                continue  # a run that has not begun
            with pytest.raises(InputError) as caught:
                StyleTransfer.load(path)
            assert "\n" not in str(caught.value)
    for name in tensors:
        if name == "history":
            continue
        rest = {k: v for k, v in tensors.items() if k != name}
        save_file(rest, path, {"about": json.dumps(about)})
        with pytest.raises(InputError, match=r"is damaged, or was saved by another version\.$"):
            StyleTransfer.load(path)


@settings(max_examples=20, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_tensors_is_detected(place: float, bit: int, saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    first = 8 + int.from_bytes(whole[:8], "little")  # where safetensors' header ends
    whole[first + int(place * (len(whole) - first))] ^= 1 << bit
    damaged = saved.with_name("damaged")
    damaged.write_bytes(whole)
    with pytest.raises(InputError, match=r"is damaged, or was saved by another version\.$"):
        StyleTransfer.load(damaged)


# Writing


def test_an_interrupted_write_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    path = tmp_path / "run"
    run = StyleTransfer(content, style, quick())
    run.save(path)
    whole = path.read_bytes()
    next(run)

    def full(tensors: Any, file: Path, **options: Any) -> None:
        file.write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", full)
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        expected: Any = InputError if isinstance(error, OSError) else KeyboardInterrupt
        with pytest.raises(expected) as caught:
            run.save(path)
        assert path.read_bytes() == whole
        assert os.listdir(tmp_path) == ["run"]
        if expected is InputError:
            assert "No space left on device" in str(caught.value)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"cannot be written: there is no folder .*nowhere\.$"):
        run.save(tmp_path / "nowhere" / "run")
    next(run)  # and the run goes on


def test_a_replay_is_not_saved(tmp_path: Path, content: Image, style: Image) -> None:
    record = stylize(content, style, quick(iterations=2)).record
    run = StyleTransfer(content, style, record.settings, replay=record)
    with pytest.raises(InputError, match=r"^A run that replays a record cannot be saved"):
        run.save(tmp_path / "run")
    assert not list(tmp_path.iterdir())
