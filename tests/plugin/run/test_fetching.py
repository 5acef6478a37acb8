"""Downloads of VGG-19 from the panel, here from a server on this machine."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtWidgets import QApplication, QMessageBox, QProgressDialog, QPushButton, QWidget
from state_dicts import publish_vgg19

from napari_nst.errors import WeightsError
from napari_nst.plugin.run.fetching import Fetch, ask_and_fetch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def published(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A file server with the weights of VGG-19."""
    publish_vgg19(server, monkeypatch, tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return server


def answer_question(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    """Answer the question whether to download; return the list of its texts."""
    texts: list[str] = []

    def question(parent: Any, title: str, text: str) -> Any:
        texts.append(text)
        return answer

    monkeypatch.setattr(QMessageBox, "question", question)
    return texts


def dialogs() -> list[QProgressDialog]:
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, QProgressDialog)]


def test_the_engine_finds_the_downloaded_weights(
    viewer: Any, published: Any, qtbot: Any, monkeypatch: Any, own_cache: Path
) -> None:
    texts = answer_question(monkeypatch, QMessageBox.StandardButton.Yes)
    fetch = ask_and_fetch(viewer.window._qt_window)
    assert fetch is not None
    assert fetch.running
    assert len(dialogs()) == 1
    problems: list[str] = []
    fetch.ended.connect(problems.append)
    qtbot.waitUntil(lambda: not fetch.running, timeout=60000)

    assert "548 MB" in texts[0]
    assert str(own_cache) in texts[0]
    assert problems == [""]
    assert fetch.file == own_cache / "vgg19_features.safetensors"
    assert fetch.file.is_file()
    qtbot.waitUntil(lambda: not dialogs(), timeout=5000)
    fetch.start()  # they are there already
    qtbot.waitUntil(lambda: not fetch.running, timeout=60000)
    assert len(published.ranges) == 1


def test_nothing_is_downloaded_after_no(viewer: Any, server: Any, monkeypatch: Any) -> None:
    answer_question(monkeypatch, QMessageBox.StandardButton.No)
    assert ask_and_fetch(viewer.window._qt_window) is None
    assert server.ranges == []


def test_a_cancelled_download_continues_the_next_time(
    viewer: Any, published: Any, qtbot: Any, monkeypatch: Any, own_cache: Path
) -> None:
    answer_question(monkeypatch, QMessageBox.StandardButton.Yes)
    half = len(published.content) // 2
    published.will_answer({"upto": half}, {"status": 503}, {"status": 503})
    fetch = ask_and_fetch(viewer.window._qt_window)
    assert fetch is not None
    (dialog,) = dialogs()
    # The second request is sent after the first half is written.
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
    released = threading.Event()

    def slow(on_progress: Any, cancelled: Any) -> Path:
        for done in range(0, 300 * 10**6, 10**5):
            on_progress(done, 548 * 10**6)
        released.wait(20)
        return tmp_path

    fetch = Fetch(slow)
    progress: list[tuple[int, int]] = []
    fetch.progressed.connect(lambda done, total: progress.append((done, total)))
    fetch.start()
    fetch.start()  # has no effect
    qtbot.waitUntil(lambda: (299, 548) in progress, timeout=10000)
    released.set()
    qtbot.waitUntil(lambda: not fetch.running, timeout=10000)

    assert len(progress) < 20


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
