"""Runs that are saved, loaded and continued, and files that are damaged."""

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
from engine_helpers import label_halves, quick_settings, run_to_end, steer_after, totals
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from napari_nst import StyleTransfer, stylize
from napari_nst.engine.run import checkpoint
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Image = NDArray[np.float32]

quick = partial(quick_settings, scales=2, iterations=12)

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")


def check_equal(run: StyleTransfer, expected: StyleTransfer) -> None:
    """Check that result, losses and record are equal."""
    assert run.result().image.tobytes() == expected.result().image.tobytes()
    assert totals(run) == totals(expected)
    assert [x.style_layers for x in run.history] == [x.style_layers for x in expected.history]
    assert run.record == expected.record
    assert run.record.to_json() == expected.record.to_json()


Steering = dict[int, list[dict[str, Any]]]


def save_and_load_at(
    iteration: int,
    path: Path,
    make_run: Callable[[], StyleTransfer],
    steering: Steering | None = None,
) -> tuple[StyleTransfer, StyleTransfer]:
    """Return a run that was saved and loaded at an iteration, and an uninterrupted one.

    Both are finished; `steering` has the changes after each iteration.
    """

    def iterate(run: StyleTransfer, first: int, last: int) -> None:
        for done in range(first, last + 1):
            next(run)
            for change in (steering or {}).get(done, []):
                run.steer(**change)

    uninterrupted, interrupted = make_run(), make_run()
    iterations = uninterrupted.settings.iterations
    iterate(uninterrupted, 1, iterations)
    iterate(interrupted, 1, iteration)
    interrupted.save(path)
    image = interrupted.result().image
    loaded = StyleTransfer.load(path)
    assert loaded.result().image.tobytes() == image.tobytes()
    assert len(loaded.history) == iteration
    iterate(loaded, iteration + 1, iterations)
    assert next(uninterrupted, None) is next(loaded, None) is None
    return loaded, uninterrupted


# Of 12 iterations, 4 are at the small scale and 8 at the large one.
@pytest.mark.parametrize("at", [0, 1, 4, 7, 10, 12])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_resumed_run_is_byte_equal_to_an_uninterrupted_one(
    optimizer: str, at: int, tmp_path: Path, content: Image, style: Image
) -> None:
    def make_run() -> StyleTransfer:
        return StyleTransfer(content, style, settings)

    settings = quick(optimizer=optimizer, init="noise", seed=5)
    assert [scale.iterations for scale in make_run().scales] == [4, 8]
    check_equal(*save_and_load_at(at, tmp_path / "run", make_run))


@pytest.mark.parametrize("at", [1, 5])
def test_a_run_with_strokes_in_pixels_continues_to_the_same_bytes(
    at: int, tmp_path: Path, content: Image, style: Image
) -> None:
    settings = quick(iterations=6, strokes_relative_to="pixels")
    loaded, expected = save_and_load_at(
        at, tmp_path / "run", lambda: StyleTransfer(content, style, settings)
    )
    check_equal(loaded, expected)
    assert [scale.style_side for scale in loaded.scales] == [256, 512]


def test_lbfgs_can_be_saved_during_its_line_search(
    tmp_path: Path, content: Image, style: Image
) -> None:
    def make_run() -> StyleTransfer:
        return StyleTransfer(content, style, settings)

    settings = quick(optimizer="lbfgs", learning_rate=8, scales=1, iterations=16)
    run, halvings = make_run(), []
    for _ in run:
        halvings.append(run._loop.state.optimizer._trial.shortened)  # type: ignore[union-attr]
    assert max(halvings) > 0  # a learning rate of 8 is too large for some steps
    at = halvings.index(max(halvings)) + 1
    check_equal(*save_and_load_at(at, tmp_path / "run", make_run))


WEIGHTS: Steering = {2: [{"style_weight": 3}], 6: [{"tv_weight": 1}, {"style_weights": (2,)}]}
COLOURS: Steering = {
    3: [{"color": "luminance"}],
    7: [{"color": "palette"}, {"color": "style"}],
    9: [{"color": "match"}],
}
IMAGES: Steering = {
    2: [{"content_labels": np.pad(np.ones((40, 30), int), ((0, 0), (0, 18)))}],
    4: [{"styles": [np.full((30, 30, 3), 0.3), np.eye(50)], "style_weights": (1, 2)}],
    6: [{"region_styles": {1: 1}}, {"region_guidance": "inside"}],
    9: [{"content_labels": None, "region_styles": None}],
}


@pytest.mark.parametrize(
    "steering", [WEIGHTS, COLOURS, IMAGES], ids=["weights", "colours", "images"]
)
@pytest.mark.parametrize("at", [3, 6, 7, 9])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_steered_run_continues_to_the_same_bytes(
    optimizer: str, steering: Steering, at: int, tmp_path: Path, content: Image, style: Image
) -> None:
    def make_run() -> StyleTransfer:
        return StyleTransfer(content, style, quick(optimizer=optimizer))

    loaded, uninterrupted = save_and_load_at(at, tmp_path / "run", make_run, steering)
    check_equal(loaded, uninterrupted)
    assert len(loaded.record.steering) == sum(map(len, steering.values()))


def test_pending_updates_are_saved(tmp_path: Path, content: Image, style: Image) -> None:
    path = tmp_path / "run"
    run = StyleTransfer(content, style, quick())
    next(run)
    run.steer(styles=[style, 1 - style], content_labels=label_halves(content, 0, 1))
    run.steer(style_weights=(1, 2))
    run.save(path)
    loaded = StyleTransfer.load(path)
    assert loaded.record.steering == ()
    with pytest.raises(InputError, match=r"^style_weights has 1 shares for 2 styles"):
        loaded.steer(style_weights=(1,))
    loaded.steer(region_styles={1: 1})
    run.steer(region_styles={1: 1})
    run_to_end(run)
    run_to_end(loaded)
    check_equal(loaded, run)
    assert len(run.record.steering) == 3


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("form", ["nan", "alpha", "grey", "uint16"])
def test_all_inputs_are_saved(
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

    def make_run() -> StyleTransfer:
        return StyleTransfer(
            picture,
            styles,
            settings,
            init_image=1 - np.nan_to_num(content),
            init_reliability=np.linspace(0, 1, 1920).reshape(40, 48),
            names=["a", "b", "c"],
            content_labels=label_halves(content, 0, 1),
            style_labels=[label_halves(style, 1, 1), None],
        )

    loaded, uninterrupted = save_and_load_at(7, tmp_path / "run", make_run)
    check_equal(loaded, uninterrupted)
    assert loaded.result().image.shape == picture.shape
    assert loaded.history[-1].temporal == uninterrupted.history[-1].temporal > 0
    assert [record.name for record in loaded.record.styles] == ["b", "c"]
    for name in ("output_shape", "scales", "settings"):
        assert getattr(loaded, name) == getattr(uninterrupted, name)


@pytest.mark.parametrize("status", ["stopped", "failed", "finished"])
def test_a_run_that_ended_can_be_saved(
    status: str, tmp_path: Path, content: Image, style: Image
) -> None:
    path = tmp_path / "run"
    run = StyleTransfer(content, style, quick())
    uninterrupted = StyleTransfer(content, style, quick())
    run_to_end(uninterrupted)
    for snapshot in run:
        if snapshot.iteration == 8 and status == "stopped":
            run.stop()
        if snapshot.iteration == 8 and status == "failed":
            run._loop.state.status = "failed"
            break
    run.save(path)
    loaded = StyleTransfer.load(path)
    assert loaded.record.status == ("finished" if status == "finished" else "running")
    assert len(list(loaded)) == (0 if status == "finished" else 4)
    check_equal(loaded, uninterrupted)


def test_a_run_can_be_saved_after_every_iteration(
    tmp_path: Path, content: Image, style: Image
) -> None:
    path = tmp_path / "run"
    labels = label_halves(content, 0, 1)
    run = StyleTransfer(content, style, quick(), content_labels=labels)
    while (snapshot := next(run, None)) is not None:
        if snapshot.iteration == 2:
            run.steer(tv_weight=1)
        run.save(path)
        run = StyleTransfer.load(path)
    uninterrupted = StyleTransfer(content, style, quick(), content_labels=labels)
    steer_after(uninterrupted, 2, tv_weight=1)
    check_equal(run, uninterrupted)
    assert os.listdir(tmp_path) == ["run"]


def test_a_loaded_run_is_replayed_from_its_record(
    tmp_path: Path, content: Image, style: Image
) -> None:
    def make_run() -> StyleTransfer:
        return StyleTransfer(content, style, quick())

    loaded, _ = save_and_load_at(7, tmp_path / "run", make_run, WEIGHTS)
    again = stylize(content, style, record=loaded.record)
    assert again.image.tobytes() == loaded.result().image.tobytes()


def test_tile_sizes_are_saved(tmp_path: Path, content: Image, style: Image) -> None:
    path = tmp_path / "run"
    big = np.tile(content, (4, 4, 1))
    run = StyleTransfer(big, style, quick(iterations=2))
    run._loop.memory_plan.tile_sizes[:] = [64, 80]
    run.save(path)
    assert [scale.tile for scale in StyleTransfer.load(path).record.resolved.scales] == [64, 80]


def test_an_image_of_several_updates_is_written_once(
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


# Invalid files


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, content: Image, style: Image) -> Path:
    path = tmp_path_factory.mktemp("saved") / "run"
    run = StyleTransfer(content, style, quick())
    next(run)
    run.save(path)
    return path


class Exploit:
    """Creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def save_about(path: Path, about: str) -> None:
    """Write a safetensors file with a description."""
    save_file({"x": torch.zeros(2)}, path, {"about": about})


def header(version: int) -> str:
    return json.dumps({"name": "napari-nst run", "format": version})


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("about", "{}")


OTHER_FILES: dict[str, Callable[[Path, Path], object]] = {  # of a path and the exploit's trace
    "missing": lambda path, _: None,
    "folder": lambda path, _: path.mkdir(),
    "empty": lambda path, _: path.write_bytes(b""),
    "pickle": lambda path, trace: path.write_bytes(pickle.dumps(Exploit(trace))),
    "torch": lambda path, trace: torch.save({"about": Exploit(trace)}, path),
    "zip": lambda path, _: write_zip(path),
    "safetensors": lambda path, _: save_file({"x": torch.zeros(2)}, path),
    "a list": lambda path, _: save_about(path, "[1, 2]"),
    "invalid JSON": lambda path, _: save_about(path, "{"),
    "nested JSON": lambda path, _: save_about(path, "[" * 100_000),
    "another version": lambda path, _: save_about(path, header(checkpoint._FORMAT + 1)),
    "only a header": lambda path, _: save_about(path, header(checkpoint._FORMAT)),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_another_file_raises_with_its_path_and_runs_no_code(kind: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "mine.run", tmp_path / "trace"
    OTHER_FILES[kind](path, trace)
    with pytest.raises(InputError) as caught:
        StyleTransfer.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert not trace.exists()


def test_a_truncated_file_raises(tmp_path: Path, saved: Path) -> None:
    path, whole = tmp_path / "run", saved.read_bytes()
    for length in (1, 7, 9, 500, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is not a run that was saved"):
            StyleTransfer.load(path)


def test_a_file_with_missing_or_wrong_parts_raises(
    tmp_path: Path, content: Image, style: Image
) -> None:
    path = tmp_path / "run"
    run = StyleTransfer(content, style, quick(optimizer="lbfgs"))
    for _ in range(3):
        next(run)
    run.save(path)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        # Copies: before safetensors 0.8 they are views of the file, which is written again.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    for part in set(about) - {"status"}:
        less = {k: v for k, v in about.items() if k != part}
        wrong = {**about, part: "?"}
        for damaged in (less, wrong):
            save_file(tensors, path, {"about": json.dumps(damaged)})
            if part == "optimizer" and damaged is less:
                continue  # as of a run before its first iteration
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
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_tensors_raises(position: float, bit: int, saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    first = 8 + int.from_bytes(whole[:8], "little")  # after the header of safetensors
    whole[first + int(position * (len(whole) - first))] ^= 1 << bit
    damaged = saved.with_name("damaged")
    damaged.write_bytes(whole)
    with pytest.raises(InputError, match=r"is damaged, or was saved by another version\.$"):
        StyleTransfer.load(damaged)


# Writing


def test_an_interrupted_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Image, style: Image
) -> None:
    path = tmp_path / "run"
    run = StyleTransfer(content, style, quick())
    run.save(path)
    whole = path.read_bytes()
    next(run)

    def fail(tensors: Any, file: Path, **options: Any) -> None:
        file.write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", fail)
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
    next(run)  # the run can continue


def test_a_replay_cannot_be_saved(tmp_path: Path, content: Image, style: Image) -> None:
    record = stylize(content, style, quick(iterations=2)).record
    run = StyleTransfer(content, style, record.settings, replay=record)
    with pytest.raises(InputError, match=r"^A run that replays a record cannot be saved"):
        run.save(tmp_path / "run")
    assert not list(tmp_path.iterdir())
