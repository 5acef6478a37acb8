"""Measures of benchmarks that take hours are kept, and not measured again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import presets
import pytest
import strength
from pairs import PAIRS, SIX
from quality import Measures
from results import Results

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Measures(style_distance=0.2, structure=0.7, similarity=0.5, noise=1.0, seconds=4.0)
WORSE = Measures(style_distance=0.3, structure=0.6, similarity=0.4, noise=1.0, seconds=9.0)


def never() -> Measures:
    raise AssertionError("measured again")


def test_a_pair_is_measured_once_for_each_choice_and_size(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert Results(256, file).measured("draft", "cat_oil", lambda: GOOD) == GOOD
    assert Results(256, file).measured("draft", "cat_oil", never) == GOOD
    assert Results(512, file).measured("draft", "cat_oil", lambda: WORSE) == WORSE
    assert Results(256, file).measured("balanced", "cat_oil", lambda: WORSE) == WORSE
    assert Results(256, file).measured("draft", "dog_oil", lambda: WORSE) == WORSE
    assert Results(256, file).measured("draft", "cat_oil", never) == GOOD


def test_a_stopped_benchmark_keeps_what_it_measured(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    results = Results(256, file)
    results.measured("draft", "cat_oil", lambda: GOOD)
    with pytest.raises(AssertionError, match="measured again"):
        results.measured("draft", "dog_oil", never)
    assert list(json.loads(file.read_text())["256"]["draft"]) == ["cat_oil"]


@pytest.mark.parametrize(
    ("benchmark", "pairs", "choices"), [(presets, SIX, 1), (strength, PAIRS, 2)]
)
def test_benchmarks_continue_from_the_file_of_their_results(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    benchmark: Any,
    pairs: Any,
    choices: int,
) -> None:
    measured: list[str] = []

    def measure(name: str, *_: Any) -> Measures:
        measured.append(name)
        return GOOD

    monkeypatch.setattr(benchmark, "measure", measure)
    options = ["--results", str(tmp_path / "results.json")]
    options += ["--presets", "draft"] if benchmark is presets else []
    assert benchmark.main(options) == 0
    without_folder = [pair.name for pair in pairs if pair.images(None) is not None]
    assert sorted(measured) == sorted(choices * without_folder)
    first = capsys.readouterr().out
    assert benchmark.main(options) == 0
    assert len(measured) == choices * len(without_folder)
    assert capsys.readouterr().out == first


def test_a_preset_that_a_faster_one_beats_makes_the_exit_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.json"
    for pair in SIX:
        Results(256, file).measured("draft", pair.name, lambda: GOOD)
        Results(256, file).measured("balanced", pair.name, lambda: WORSE)
    assert presets.main(["--results", str(file), "--presets", "balanced", "draft"]) == 1
    assert "Draft" in capsys.readouterr().err
