"""Pictures, records and a working directory for the tests of the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_nst.files import read_metadata, write_image
from napari_nst.record import RunRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def make_picture(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random(shape, np.float32)


def read_record(path: str | Path) -> RunRecord:
    return RunRecord.model_validate_json(read_metadata(path) or "")


def sheet_shows(sheet: NDArray[Any], part: NDArray[Any]) -> bool:
    height, width = part.shape[:2]
    corners = np.argwhere((sheet[: 1 - height, : 1 - width] == part[0, 0]).all(axis=-1))
    return any(np.array_equal(sheet[y : y + height, x : x + width], part) for y, x in corners)


@pytest.fixture(scope="session")
def picture() -> Callable[..., NDArray[np.float32]]:
    """Make a random picture of a shape."""
    return make_picture


@pytest.fixture(scope="session")
def record_of() -> Callable[[str | Path], RunRecord]:
    """Read the record in the metadata of a picture."""
    return read_record


@pytest.fixture(scope="session")
def shows() -> Callable[[NDArray[Any], NDArray[Any]], bool]:
    """Return whether a picture is on a sheet, pixel by pixel."""
    return sheet_shows


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables that make rich treat any stream as a terminal."""
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with content.png and style.png, on a machine without VGG-19's weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-weights"))
    write_image("content.png", make_picture((40, 48, 3)))
    write_image("style.png", make_picture((36, 40, 3), seed=1))
    return tmp_path
