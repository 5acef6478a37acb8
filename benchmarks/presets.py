"""Draw the quality of all presets against their time; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pairs import FOLDER_HELP, SIX, with_images
from quality import Measures, measure
from rich.console import Console
from rich.table import Table

from napari_nst.presets import presets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["dominated"]

_MEASURES = ("style_distance", "structure", "similarity", "seconds")
_DRAWING = (1200, 420)  # pixels


def dominated(results: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Return the presets that a faster one beats, each with the faster one.

    Parameters
    ----------
    results : mapping of str to mapping
        For each preset its mean style distance, structure, similarity and seconds.
    """
    return {
        name: other
        for name, own in results.items()
        for other, faster in results.items()
        if faster["seconds"] < own["seconds"]
        and faster["style_distance"] < own["style_distance"]
        and faster["structure"] > own["structure"]
        and faster["similarity"] > own["similarity"]
    }


def _draw(path: Path, results: Mapping[str, Mapping[str, float]]) -> None:
    """Draw the mean style distance and the two measures of structure against the time."""
    import pyqtgraph
    from pyqtgraph.exporters import ImageExporter

    application = pyqtgraph.mkQApp()
    pyqtgraph.setConfigOptions(background="w", foreground="k", antialias=True)
    window = pyqtgraph.GraphicsLayoutWidget(size=_DRAWING)
    seconds = [row["seconds"] for row in results.values()]
    for column, name in enumerate(_MEASURES[:3]):
        plot = window.addPlot(row=0, col=column, title=name.replace("_", " "))
        plot.setLabel("bottom", "seconds")
        plot.setLogMode(x=True)
        plot.showGrid(x=True, y=True, alpha=0.2)
        plot.plot(seconds, [row[name] for row in results.values()], pen=None, symbol="o")
        for preset, row in results.items():
            label = pyqtgraph.TextItem(preset, color="k", anchor=(0, 0.5), angle=25)
            label.setPos(np.log10(row["seconds"]), row[name])
            plot.addItem(label)
        plot.setXRange(np.log10(min(seconds)) - 0.3, np.log10(max(seconds)) + 0.3)
    window.resize(*_DRAWING)
    window.show()
    application.processEvents()  # lays the plots out
    ImageExporter(window.scene()).export(str(path))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="longest side (default: 256)")
    parser.add_argument("--folder", type=Path, help=FOLDER_HELP)
    parser.add_argument("--network", default="vgg16", help="of all presets (default: vgg16)")
    parser.add_argument("--presets", nargs="+", default=list(presets()), choices=list(presets()))
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write the results there")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the means (needs a display)")
    options = parser.parse_args(arguments)
    results: dict[str, dict[str, Measures]] = {}
    for key in options.presets:
        settings = presets()[key].resolve().replace(output_size="working", network=options.network)
        if settings.size == "auto":
            settings = settings.replace(size=options.size)
        folder = options.pictures and options.pictures / key
        results[key] = {}
        for name, content, style in with_images(SIX, options.folder):
            results[key][name] = measure(name, content, style, settings, folder)
            print(key, name, results[key][name], file=sys.stderr)
    means = {
        presets()[key].name: {
            name: float(np.mean([getattr(measured, name) for measured in of_pairs.values()]))
            for name in _MEASURES
        }
        for key, of_pairs in results.items()
    }
    worse = dominated(means)
    table = Table("preset", *(name.replace("_", " ") for name in _MEASURES), "worse than")
    for name, row in means.items():
        table.add_row(name, *(f"{value:.3f}" for value in row.values()), worse.get(name, ""))
    Console(stderr=True).print(table)
    numbers = {
        key: {pair: asdict(measured) for pair, measured in of_pairs.items()}
        for key, of_pairs in results.items()
    }
    print(json.dumps({str(options.size): numbers}, indent=2))
    if options.plot:
        _draw(options.plot, means)
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
