"""Measures that are kept in a file, so that a benchmark of hours can be stopped and continued."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from quality import Measures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["RESULTS_HELP", "Results"]

RESULTS_HELP = "keep the measures in this JSON file; those that it has are not measured again"


class Results:
    """Measures by size, choice and pair.

    Parameters
    ----------
    size : int
        Longest side in pixels.
    file : Path or None
        Where measures are kept; None: nowhere.
    """

    def __init__(self, size: int, file: Path | None) -> None:
        self._file, self._size = file, str(size)
        self._all: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
        if file is not None and file.exists():
            self._all = json.loads(file.read_text(encoding="utf-8"))

    def measured(self, choice: str, pair: str, measure: Callable[[], Measures]) -> Measures:
        """Return the measures of a pair with a choice of settings; measure them if needed."""
        of_pairs = self._all.setdefault(self._size, {}).setdefault(choice, {})
        if pair not in of_pairs:
            of_pairs[pair] = asdict(measure())
            if self._file is not None:
                self._file.write_text(str(self) + "\n", encoding="utf-8")
        return Measures(**of_pairs[pair])

    def __str__(self) -> str:
        """Return all measures as JSON."""
        return json.dumps(self._all, indent=2)
