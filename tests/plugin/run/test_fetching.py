"""VGG-19's weights, fetched from a server on this machine through the viewer's worker."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtWidgets import QApplication, QMessageBox, QProgressDialog, QPushButton, QWidget

from napari_nst.errors import WeightsError
from napari_nst.plugin.run.fetching import Fetch, ask_and_fetch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def published(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A server that has a VGG-19 as torchvision's: one stored number, expanded."""
    import torch

    from napari_nst.networks import NETWORKS

    network = NETWORKS["vgg19"]
    places = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
    state = {}
    for name, place in zip(network.convolutions, places, strict=True):
        layer = network.layer(name)
        value = torch.ones(1)
        state[f"features.{place}.weight"] = value.expand(
            layer.out_channels, layer.in_channels, 3, 3
        )
        state[f"features.{place}.bias"] = value.expand(layer.out_channels)
    file = tmp_path / "published.pth"
    torch.save(state, file, _use_new_zipfile_serialization=False)
    server.content = file.read_bytes()
    url = f"{server.url}/vgg19-{hashlib.sha256(server.content).hexdigest()[:8]}.pth"
    monkeypatch.setattr("napari_nst.engine.network.weights.VGG19_URL", url)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return server


def say(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    asked: list[str] = []

    def question(parent: Any, title: str, text: str) -> Any:
        asked.append(text)
        return answer

    monkeypatch.setattr(QMessageBox, "question", question)
    return asked


def dialogs() -> list[QProgressDialog]:
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, QProgressDialog)]


def test_the_weights_are_fetched_where_the_engine_finds_them(
    viewer: Any, published: Any, qtbot: Any, monkeypatch: Any, own_cache: Path
) -> None:
    asked = say(monkeypatch, QMessageBox.StandardButton.Yes)
    fetch = ask_and_fetch(viewer.window._qt_window)
    assert fetch is not None
    assert fetch.running
    assert len(dialogs()) == 1
    problems: list[str] = []
    fetch.ended.connect(problems.append)
    qtbot.waitUntil(lambda: not fetch.running, timeout=60000)

    assert "548 MB" in asked[0]
    assert str(own_cache) in asked[0]
    assert problems == [""]
    assert fetch.file == own_cache / "vgg19_features.safetensors"
    assert fetch.file.is_file()
    qtbot.waitUntil(lambda: not dialogs(), timeout=5000)
    fetch.start()  # again: they are there
    qtbot.waitUntil(lambda: not fetch.running, timeout=60000)
    assert len(published.ranges) == 1


def test_no_is_no(viewer: Any, server: Any, monkeypatch: Any) -> None:
    say(monkeypatch, QMessageBox.StandardButton.No)
    assert ask_and_fetch(viewer.window._qt_window) is None
    assert server.ranges == []


def test_a_cancelled_download_continues_the_next_time(
    viewer: Any, published: Any, qtbot: Any, monkeypatch: Any, own_cache: Path
) -> None:
    say(monkeypatch, QMessageBox.StandardButton.Yes)
    half = len(published.content) // 2
    published.will_answer({"upto": half}, {"status": 503}, {"status": 503})
    fetch = ask_and_fetch(viewer.window._qt_window)
    assert fetch is not None
    (dialog,) = dialogs()
    # It asks again when it has written what came, not before.
    qtbot.waitUntil(lambda: len(published.ranges) >= 2, timeout=60000)
    dialog.findChild(QPushButton).click()
    problems: list[str] = []
    fetch.ended.connect(problems.append)
    qtbot.waitUntil(lambda: not fetch.running, timeout=60000)
    assert problems == [""]
    assert fetch.file is None
    published.answers.clear()
    fetch.start()
    qtbot.waitUntil(lambda: not fetch.running, timeout=60000)

    assert fetch.file is not None
    assert published.ranges[-1] == f"bytes={half}-"


def test_progress_is_emitted_a_few_times_a_second(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    go_on = threading.Event()

    def slow(on_progress: Any, cancelled: Any) -> Path:
        for done in range(0, 300 * 10**6, 10**5):
            on_progress(done, 548 * 10**6)
        go_on.wait(20)
        return tmp_path

    fetch = Fetch(slow)
    told: list[tuple[int, int]] = []
    fetch.progressed.connect(lambda done, total: told.append((done, total)))
    fetch.start()
    fetch.start()  # refused
    qtbot.waitUntil(lambda: (299, 548) in told, timeout=10000)
    go_on.set()
    qtbot.waitUntil(lambda: not fetch.running, timeout=10000)

    assert len(told) < 20


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (WeightsError("No such file: try later."), "No such file: try later."),
        (ValueError("oops"), "The download failed: oops."),
        (RuntimeError("swallowed by some workers"), "The download failed: swallowed by some"),
    ],
)
def test_an_error_is_emitted_once(viewer: Any, qtbot: Any, error: Exception, problem: str) -> None:
    def fail(**_: Any) -> Path:
        raise error

    fetch = Fetch(fail)
    problems: list[str] = []
    fetch.ended.connect(problems.append)
    fetch.start()
    qtbot.waitUntil(lambda: not fetch.running, timeout=10000)

    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_the_download_ends_with_its_parent(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    ended = threading.Event()

    def wait(on_progress: Any, cancelled: Any) -> Path:
        while not cancelled():
            ended.wait(0.02)
        ended.set()
        return tmp_path

    parent = QWidget()
    fetch = Fetch(wait, parent)
    fetch.start()
    qtbot.wait(100)
    parent.deleteLater()
    del fetch, parent

    qtbot.waitUntil(ended.is_set, timeout=10000)
    qtbot.wait(100)
