"""The commands ``weights fetch``, ``list``, ``verify`` and ``path``."""

from __future__ import annotations

import _thread
import hashlib
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import napari_nst
from napari_nst.cli import main
from napari_nst.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGED_SHA256 = "551516687b64c019586426b2a33f1e165e8452ee324a3f1a1aeee10a3ba43df1"
FETCH = ["weights", "fetch", "vgg19"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty cache directory and an empty torch hub."""
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "cache"


@pytest.fixture
def url(server: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Serve a small file in the place of torchvision's VGG-19, and return its address."""
    network = NETWORKS["vgg19"]
    state: dict[str, Any] = {"classifier.0.bias": torch.ones(200_000)}
    for name in network.convolutions:
        layer = network.layer(name)
        state[f"{name}.weight"] = torch.ones(1).expand(layer.out_channels, layer.in_channels, 3, 3)
        state[f"{name}.bias"] = torch.ones(1).expand(layer.out_channels)
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    server.content = buffer.getvalue()
    prefix = hashlib.sha256(server.content).hexdigest()[:8]
    url = f"{server.url}/vgg19-{prefix}.pth"
    monkeypatch.setattr("napari_nst.engine.network.weights.VGG19_URL", url)
    return url


@pytest.fixture
def type_answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_fetched_weights_are_listed_and_verified(
    url: str, cache: Path, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*FETCH, "--yes"]) == 0
    out, err = capsys.readouterr()
    file = cache / "vgg19_features.safetensors"
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "napari-nst: 0.0 MB of 0.8 MB are here"
    assert "napari-nst: 0.8 MB of 0.8 MB are here" in lines
    assert lines[-1] == f"napari-nst: wrote VGG-19's weights to {file} (40.1 MB)."

    assert main([*FETCH, "--yes"]) == 0
    assert capsys.readouterr().err == f"napari-nst: VGG-19's weights are in {file} already.\n"
    assert len(server.ranges) == 1

    assert main(["weights", "list"]) == 0
    packaged = Path(napari_nst.__file__).parent / "data" / "vgg16_features.safetensors"
    assert capsys.readouterr().out.splitlines() == [
        f"vgg16   {packaged}",
        f"        29.4 MB, sha256 {PACKAGED_SHA256}",
        f"vgg19   {file}",
        f"        40.1 MB, sha256 {sha256}",
    ]

    assert main(["weights", "verify"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"vgg16   intact, sha256 {PACKAGED_SHA256}",
        f"vgg19   intact, sha256 {sha256}",
    ]
    assert err == ""

    file.write_bytes(file.read_bytes()[:-1])
    assert main(["weights", "verify"]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"vgg16   intact, sha256 {PACKAGED_SHA256}"]
    assert err.startswith(f"napari-nst: {file} is damaged: ") and err.count("\n") == 1
    assert main(["weights", "list"]) == 0
    assert f"vgg19   {file} is damaged: " in capsys.readouterr().out


def test_missing_weights_are_reported(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("vgg19   VGG-19's weights are not on this machine: download them with ")
    assert "'napari-nst weights fetch vgg19'" in last
    assert main(["weights", "verify"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "vgg19   not on this machine"


def test_path_shows_the_cache_directory(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "path"]) == 0
    assert capsys.readouterr().out == f"{cache}\n"


def test_without_subcommand_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("fetch", "list", "verify", "path"))


@pytest.mark.parametrize("answer", ["y\n", "\n"])
def test_fetch_asks_with_the_size(
    url: str,
    cache: Path,
    type_answer: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    answer: str,
) -> None:
    type_answer(answer)
    assert main(FETCH) == 0
    question = capsys.readouterr().err.splitlines()[0]
    assert question.startswith(
        f"Download VGG-19's weights (548 MB, of which 40 MB are kept) from {url} to {cache}?"
    )
    assert (cache / "vgg19_features.safetensors").exists()


def test_fetch_downloads_nothing_after_no(
    url: str, cache: Path, server: Any, type_answer: Callable[[str], None]
) -> None:
    type_answer("n\n")
    assert main(FETCH) == 0
    assert server.ranges == []
    assert not cache.exists()


def test_fetch_without_a_terminal_needs_yes(
    url: str, server: Any, type_answer: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    type_answer("")
    assert main(FETCH) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "napari-nst: Nobody answered: add --yes to download without a question."
    assert server.ranges == []


def test_ctrl_c_at_the_question_exits_silently(
    url: str, server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(""))
    assert main(FETCH) == 130
    assert "Nobody" not in capsys.readouterr().err
    assert server.ranges == []


def test_interrupted_download_is_continued(
    url: str, cache: Path, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    part = cache / f"{url.rsplit('/', 1)[1]}.part"

    def press_ctrl_c() -> None:
        while not part.exists() or part.stat().st_size < 300_000:
            time.sleep(0.01)
        # The server closes the connection next: the signal does not end waiting for bytes.
        _thread.interrupt_main()

    server.will_answer({"upto": 400_000, "before_the_end": press_ctrl_c})
    assert main([*FETCH, "--yes"]) == 130
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    assert err.splitlines()[-1] == (
        "napari-nst: cancelled; 'napari-nst weights fetch vgg19' continues the download."
    )
    assert set(cache.iterdir()) == {part, part.with_name(f"{part.name}.lock")}
    size = part.stat().st_size
    assert 300_000 <= size <= 400_000
    assert main([*FETCH, "--yes"]) == 0
    assert server.ranges == [None, f"bytes={size}-"]
    assert {each.suffix for each in cache.iterdir()} == {".json", ".lock", ".safetensors"}


def test_download_error_is_one_line(
    url: str, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server.will_answer({"status": 404})
    assert main([*FETCH, "--yes"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"napari-nst: {url} cannot be downloaded (the server answered 404 Not F")
    assert err.count("\n") == 1


@pytest.mark.parametrize("network", ["vgg16", "resnet"])
def test_only_vgg19_can_be_fetched(network: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "fetch", network]) == 2
    err = capsys.readouterr().err
    assert network in err and "vgg19" in err and err.count("\n") == 1
