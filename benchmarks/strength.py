"""Compare how much of the content twelve styles leave at one strength; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pairs import FOLDER_HELP, PAIRS, with_images
from quality import Measures, measure
from results import RESULTS_HELP, Results
from rich.console import Console
from rich.table import Table

from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What is kept: without control of the content weight, and by default.
_CHOICES = {"weights only": 0.0, "default": StyleTransferSettings().kept_structure}
_MEASURES = ("style_distance", "structure", "similarity")


def _table(title: str, results: Mapping[str, Mapping[str, Measures]]) -> Table:
    table = Table("pair", *(name.replace("_", " ") for name in _MEASURES), title=title)
    pairs = next(iter(results.values()))
    for pair in pairs:
        cells = []
        for name in _MEASURES:
            values = [getattr(of_pairs[pair], name) for of_pairs in results.values()]
            cells.append(", ".join(f"{value:.3f}" for value in values))
        table.add_row(pair, *cells)
    for label, summarize in (("mean", np.mean), ("spread (standard deviation)", np.std)):
        cells = []
        for name in _MEASURES:
            of_choices = [
                [getattr(measured, name) for measured in of_pairs.values()]
                for of_pairs in results.values()
            ]
            cells.append(", ".join(f"{summarize(values):.3f}" for values in of_choices))
        table.add_row(f"[bold]{label}", *cells)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="longest side (default: 256)")
    parser.add_argument("--folder", type=Path, help=FOLDER_HELP)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write the results there")
    parser.add_argument("--results", type=Path, metavar="JSON", help=RESULTS_HELP)
    options = parser.parse_args(arguments)
    kept_measures = Results(options.size, options.results)
    settings = StyleTransferSettings(size=options.size, output_size="working")
    results: dict[str, dict[str, Measures]] = {choice: {} for choice in _CHOICES}
    for name, content, style in with_images(PAIRS, options.folder):
        for choice, kept in _CHOICES.items():
            folder = options.pictures and options.pictures / choice.replace(" ", "-")
            now = settings.replace(kept_structure=kept)
            run = partial(measure, name, content, style, now, folder)
            results[choice][name] = kept_measures.measured(choice, name, run)
    Console(stderr=True).print(_table(", ".join(_CHOICES), results))
    print(kept_measures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
