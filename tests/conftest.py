from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

# Parallel tests have one core each; more threads would take ten times as long.  Set before torch is
# imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

# Without a file, napari neither reads the user's settings nor saves at each change.
os.environ["NAPARI_CONFIG"] = ""

# qtpy, and so napari, takes the Qt binding of QT_API; pytest-qt has a variable of its own.
if "QT_API" in os.environ:
    os.environ.setdefault("PYTEST_QT_API", os.environ["QT_API"])

# Importing triton, as torch.optim does, crashes the process after a canvas was made with software
# OpenGL, but not before.
if sys.platform in ("linux", "win32") and importlib.util.find_spec("triton") is not None:
    importlib.import_module("triton")

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

# The first example includes importing torch, so deadlines would fail.
hypothesis_settings.register_profile("napari-nst", deadline=None)
hypothesis_settings.load_profile("napari-nst")


def make_photo(height: int, width: int) -> NDArray[np.float32]:
    """Return a smooth scene with a few edges and little noise, in [0, 1]."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    sky = np.stack([0.3 + 0.3 * y, 0.5 + 0.2 * y, 0.9 - 0.3 * y], axis=-1)
    ground = np.stack([0.5 - 0.2 * x, 0.4 + 0.1 * x, 0.2 + 0 * x], axis=-1)
    picture = np.where((y > 0.6 + 0.1 * np.sin(7 * x))[..., None], ground, sky)
    picture[(y - 0.5) ** 2 + (x - 0.4) ** 2 < 0.04] = (0.9, 0.8, 0.1)
    picture += np.random.default_rng(0).normal(0, 0.02, picture.shape)
    return picture.clip(0, 1).astype(np.float32)


def make_stripes(height: int, width: int) -> NDArray[np.float32]:
    """Return slanted stripes of two colours, in [0, 1]."""
    y, x = np.mgrid[0:height, 0:width]
    share = (0.5 + 0.5 * np.sin(0.9 * x + 0.5 * y))[..., None]
    picture = share * np.array([0.9, 0.3, 0.1]) + (1 - share) * np.array([0.1, 0.2, 0.5])
    return picture.astype(np.float32)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        default="cpu",
        help="device of the engine's tests: cpu, cuda or mps (default: cpu)",
    )


def pytest_configure(config: pytest.Config) -> None:
    device = str(config.getoption("--device"))
    os.environ["NAPARI_NST_TEST_DEVICE"] = device
    if device != "cpu":
        import torch

        # TF32 rounds to 10 bits, more than the tolerances of the tests.
        torch.backends.cudnn.allow_tf32 = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests with windows in one process: they share the screen and the clipboard."""
    for item in items:
        windows = item.path.name in ("test_pyside6.py", "test_triton.py")
        if windows or {"qtbot", "make_napari_viewer"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("viewer"))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use temporary folders instead of the user's cache and presets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_NST_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("NAPARI_NST_CONFIG", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(autouse=True)
def same_numbers(request: pytest.FixtureRequest) -> None:
    """Let a module's `RNG` begin again in each test, whichever tests this process had before."""
    if rng := getattr(request.module, "RNG", None):
        rng.bit_generator.state = np.random.default_rng(0).bit_generator.state


@dataclass
class Answer:
    """Response of the file server to one request; the defaults serve the file."""

    status: int | None = None  # an error instead of the file
    upto: int | None = None  # end before this byte of the file
    stalls: bool = False  # then keep the connection open
    ranges: bool = True  # support Range
    shift: int = 0  # offset from the requested part
    length: bool = True  # send Content-Length
    before_the_end: Callable[[], object] | None = None


@dataclass
class FileServer:
    """A local server of one file at every address that begins with `url`."""

    url: str
    content: bytes = b""
    answers: list[Answer] = field(default_factory=list)  # to the next requests
    ranges: list[str | None] = field(default_factory=list)  # Range header of each request

    def will_answer(self, *answers: dict[str, Any]) -> None:
        self.answers += [Answer(**options) for options in answers]


@pytest.fixture
def server() -> Iterator[FileServer]:
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested = self.headers["Range"]
            served.ranges.append(requested)
            try:
                self.answer(served.answers.pop(0) if served.answers else Answer(), requested)
            except OSError:  # the client closed the connection
                return

        def answer(self, answer: Answer, requested: str | None) -> None:
            whole = len(served.content)
            given = (
                re.fullmatch(r"bytes=(\d+)-", requested) if requested and answer.ranges else None
            )
            start = int(given[1]) + answer.shift if given else 0
            if answer.status is not None or start >= whole:
                self.send_error(answer.status or 416)
                return
            self.send_response(206 if given else 200)
            if given:
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            if answer.length:
                self.send_header("Content-Length", str(whole - start))
            self.end_headers()
            self.wfile.write(served.content[start : answer.upto])
            if answer.before_the_end is not None:
                answer.before_the_end()
            if answer.stalls:
                released.wait()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        served = FileServer(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield served
        released.set()
        http.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def photo() -> Callable[[int, int], NDArray[np.float32]]:
    return make_photo


@pytest.fixture(scope="session")
def stripes() -> Callable[[int, int], NDArray[np.float32]]:
    return make_stripes


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Use one thread: small images gain nothing from more."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def thin_network() -> Iterator[Callable[..., Any]]:
    """Use a VGG with few channels and random weights; estimates of memory stay those of VGG."""
    import thin_vgg

    from napari_nst.engine.network import weights

    real = weights.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "load", thin_vgg.load)
        yield real


@pytest.fixture
def real_network(thin_network: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the packaged network in one test of a module that uses the thin one."""
    monkeypatch.setattr("napari_nst.engine.network.weights.load", thin_network)


@pytest.fixture(scope="session")
def content() -> NDArray[np.float32]:
    """A content image of 40 x 48 pixels, read-only."""
    image = make_photo(40, 48)
    image.flags.writeable = False
    return image


@pytest.fixture(scope="session")
def style() -> NDArray[np.float32]:
    """A style image of 44 x 36 pixels, read-only."""
    image = make_stripes(44, 36)
    image.flags.writeable = False
    return image
