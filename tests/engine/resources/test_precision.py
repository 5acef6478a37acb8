from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from napari_nst.engine.resources import precision

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_NST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "precision.json"


def set_seconds(
    monkeypatch: pytest.MonkeyPatch, bfloat16: float, float32: float
) -> list[torch.dtype]:
    """Set the seconds of convolutions; return the list of timed dtypes."""
    timed: list[torch.dtype] = []

    def seconds(convolution: precision._Convolution) -> float:
        dtype = convolution._weight.dtype
        timed.append(dtype)
        return bfloat16 if dtype == torch.bfloat16 else float32

    monkeypatch.setattr(precision._Convolution, "seconds", seconds)
    return timed


@pytest.mark.parametrize(
    ("bfloat16", "float32", "faster"),
    [(0.1, 0.3, True), (0.28, 0.3, False), (0.3, 0.3, False), (9.0, 0.3, False)],
)
def test_bfloat16_is_chosen_if_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, bfloat16: float, float32: float, faster: bool
) -> None:
    set_seconds(monkeypatch, bfloat16, float32)
    assert precision.bfloat16_is_faster(CPU, "a processor") is faster


def test_each_device_is_measured_once(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    timed = set_seconds(monkeypatch, 0.1, 0.3)
    assert precision.bfloat16_is_faster(CPU, "one")
    once = len(timed)
    assert precision.bfloat16_is_faster(CPU, "one")
    assert len(timed) == once
    set_seconds(monkeypatch, 0.5, 0.3)
    assert precision.bfloat16_is_faster(CPU, "one")
    assert not precision.bfloat16_is_faster(CPU, "another")
    cached = json.loads(cache.read_text())
    instructions = torch.backends.cpu.get_cpu_capability()
    assert cached == {
        f"one, {instructions}, torch {torch.__version__}": True,
        f"another, {instructions}, torch {torch.__version__}": False,
    }


def test_very_slow_bfloat16_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = set_seconds(monkeypatch, 40.0, 1.0)
    assert not precision.bfloat16_is_faster(CPU, "a processor")
    assert timed.count(torch.bfloat16) == 1


def test_a_device_without_bfloat16_has_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(convolution: precision._Convolution) -> float:
        raise RuntimeError("not implemented for 'BFloat16'")

    monkeypatch.setattr(precision._Convolution, "seconds", fails)
    assert not precision.bfloat16_is_faster(CPU, "a processor")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_cache_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, cache: Path, text: str
) -> None:
    cache.parent.mkdir()
    cache.write_text(text)
    set_seconds(monkeypatch, 0.1, 0.3)
    assert precision.bfloat16_is_faster(CPU, "a processor")


def test_a_cache_that_cannot_be_written_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    set_seconds(monkeypatch, 0.1, 0.3)
    assert precision.bfloat16_is_faster(CPU, "a processor")


def test_precision_can_be_measured_on_the_cpu() -> None:
    assert precision.bfloat16_is_faster(CPU, "this processor") in (True, False)
    for dtype in (torch.float32, torch.bfloat16):
        assert precision._Convolution(CPU, dtype).seconds() > 0
