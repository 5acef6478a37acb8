from __future__ import annotations

import gc
from functools import cache
from typing import TYPE_CHECKING, Any

import napari.window  # noqa: F401  with torch the bulk of what the garbage collector would visit
import pytest
import torch  # noqa: F401
from fake_engine import FakeEngine
from layer_helpers import add_pictures
from napari.components import ViewerModel
from npe2 import PluginManifest

from napari_nst.plugin.layers.arrays import take_plane
from napari_nst.plugin.run.job import Job
from napari_nst.plugin.run.session import Session, State
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from npe2.manifest.schema import DiscoverResults


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test its own cache and presets."""
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NAPARI_NST_CONFIG", str(tmp_path / "config"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def quick_garbage_collection(request: pytest.FixtureRequest) -> None:
    """Exempt what exists before a viewer from garbage collection: napari collects at each layer."""
    if "make_napari_viewer" in request.fixturenames:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def manifests_read_once() -> Iterator[None]:
    """Read the manifests of installed plugins once instead of for each viewer."""
    find = PluginManifest.discover
    found = cache(lambda: list(find()))

    def discover(paths: Sequence[str | Path] = ()) -> Iterator[DiscoverResults]:
        return find(paths) if paths else iter(found())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", discover)
        yield


@pytest.fixture
def viewer(make_napari_viewer: Any) -> Any:
    """A real viewer with a content and a style layer."""
    viewer = make_napari_viewer()
    add_pictures(viewer)
    return viewer


@pytest.fixture
def model() -> ViewerModel:
    """A viewer without a window, with a content and a style layer."""
    model = ViewerModel()
    add_pictures(model)
    return model


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def run_job(qtbot: Any) -> Any:
    """Return a function that starts a job of a viewer's first two layers, and waits for its end."""

    def start(session: Session, viewer: Any, *, wait: bool = True, **choices: Any) -> Job:
        content, style = (take_plane(layer, viewer.dims) for layer in viewer.layers[:2])
        job = Job(content, (style,), StyleTransferSettings(**({"iterations": 5} | choices)))
        assert session.start(job)
        if wait:
            qtbot.waitUntil(lambda: session.state is State.IDLE, timeout=20000)
        return job

    return start
